"""Watch one batch: look at it now and then, and tell what has changed."""

from backburner.domain.batch import Batch
from backburner.domain.change import Change, Seen, changes
from backburner.ports import Environment
from backburner.services import batches

#: Pauses between two looks, each longer than the one before until something has changed. A look
#: reads one item: what a client hears late costs more than what the looks do.
_FIRST_SECONDS, _GROWTH, _LONGEST_SECONDS = 0.5, 1.5, 5.0

#: One watcher is served so long; then it has to come back, with a key that is still good.
_LONGEST_WATCH_SECONDS = 1800.0


class Watcher:
    """What one client knows of one batch. Of one thread at a time."""

    def __init__(
        self, env: Environment, batch: Batch, seen: Seen | None, *, seconds: float | None = None
    ) -> None:
        """Begin to watch.

        Args:
            env: the world.
            batch: as it was just loaded.
            seen: what the client knows of it; None: nothing.
            seconds: how long the client watches; None: as long as it may.
        """
        self.batch = batch
        self._env = env
        self._seen = seen
        self._is_loaded = True
        self._pause = _FIRST_SECONDS
        longest = _LONGEST_WATCH_SECONDS
        self._ends_at = env.clock.now() + (longest if seconds is None else min(seconds, longest))

    def look(self) -> list[Change]:
        """What the client has to be told; it counts as told."""
        found = changes(self._load(), self._seen)
        if found:
            self._seen = found[-1].seen
            self._pause = _FIRST_SECONDS
        return found

    @property
    def is_over(self) -> bool:
        """Whether there is nothing more to be told, or the time is over."""
        has_ended = self._seen is not None and self._seen.is_terminal
        return has_ended or self._env.clock.now() >= self._ends_at

    def next_pause(self) -> float:
        """Seconds to wait before the next look."""
        pause = min(self._pause, max(0.0, self._ends_at - self._env.clock.now()))
        self._pause = min(self._pause * _GROWTH, _LONGEST_SECONDS)
        return pause

    def _load(self) -> Batch:
        """The batch as it is now; the first time, as it was given."""
        if self._is_loaded:
            self._is_loaded = False
            return self.batch
        known = self.batch
        self.batch = batches.find(self._env, known.tenant, known.id, kind=known.kind)
        return self.batch


def has_seen_the_end(batch: Batch, seen: Seen | None) -> bool:
    """Whether nothing will ever be told again to a client that knows this."""
    return batch.is_terminal and seen is not None and not changes(batch, seen)
