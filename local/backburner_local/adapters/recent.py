"""Items as this process committed them lately, so that they need not be read from the file.

To read a row costs some 50 µs, and at each of its steps the interpreter is handed to whoever waits
for it, and has to be waited for: with a request on each of 16 connections, that was a third of all
that the stack did.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import islice

from backburner.ports import Key

#: Most bytes of bodies that are remembered; with their keys, they take about twice as much.
MOST_BYTES = 8 << 20
#: So long what is remembered is believed after the writer saw that no other process wrote: longer
#: than from one commit to the next under load.
SECONDS = 0.05


class Recent:
    """Bodies of items by key, each as the last commit left it.

    Only the writer changes what is remembered; any thread may read it without a lock. While a
    commit waits for the disk, the states before it are remembered still: they are those of the
    file, until some instant within. Whoever reads the file meanwhile may have seen the later ones;
    from then on the earlier ones are not told to anyone, so that nobody sees time go back.

    Other processes may write to the same file. The writer sees it when it next begins, and forgets
    everything; whoever reads meanwhile may believe a state for `SECONDS` that has passed.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._bodies: dict[Key, bytes] = {}
        self._size = 0
        self._version: int | None = None
        self._checked_at = float("-inf")
        #: What is being committed; None: nothing is.
        self._committing: Collection[Key] | None = None
        #: Whether somebody may have seen it already.
        self._is_seen = False

    def find(self, keys: Iterable[Key]) -> dict[Key, bytes]:
        """Those of the items that are remembered, and may be believed."""
        if self._clock() - self._checked_at > SECONDS:
            return {}
        # First of all: when a commit is over, what it left is remembered before this is reset.
        passed = self._committing if self._is_seen else None
        found = {}
        for key in keys:
            body = self._bodies.get(key)
            if body is not None and (passed is None or key not in passed):
                found[key] = body
        return found

    def file_was_read(self) -> None:
        """Whoever did so may know what is being committed."""
        if self._committing is not None:
            self._is_seen = True

    # ------------------------------------------------------------ the writer's

    def begin(self, version: int) -> None:
        """A transaction begins.

        Args:
            version: SQLite's `data_version`, which changes when others commit.
        """
        if version != self._version:
            self.forget_all()
        self._version, self._checked_at = version, self._clock()

    def body(self, key: Key) -> bytes | None:
        """For the writer, within its transaction: nobody else can have written since it began."""
        return self._bodies.get(key)

    def commits(self, keys: Collection[Key]) -> None:
        """Other states of these items are about to be committed."""
        self._is_seen = False
        self._committing = keys

    def committed(self, bodies: Mapping[Key, bytes | None]) -> None:
        """They are, as these; None: the item is gone, or nobody knows."""
        self._forget(bodies)
        for key, body in bodies.items():
            if body is not None:
                self._bodies[key] = body
                self._size += len(body)
        while self._size > MOST_BYTES:
            # The oldest; many at once, as a dict goes past all that were taken out of its front.
            self._forget(list(islice(self._bodies, 1 + len(self._bodies) // 8)))
        self._is_seen = False
        self._committing = None

    def forget_all(self) -> None:
        self._bodies, self._size = {}, 0

    def _forget(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self._size -= len(self._bodies.pop(key, b""))
