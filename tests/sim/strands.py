"""Strands: acts that go on side by side, one at a time; dice draw who goes on at each port call.

A strand is a thread, as a handler can't be left in its middle otherwise. Only one of them ever
runs, so that the same dice give the same run.
"""

import random
import threading
from collections.abc import Callable, Sequence

from tests.tap import Crash, Tap

#: How likely whoever runs goes on at its next call: some runs change hands all the time.
_STAYS = (0.0, 0.3, 0.7, 0.9)


class Strand:
    """One of the acts, and how far it is."""

    def __init__(self, act: Callable[[], object], *, dies_at: int | None = None) -> None:
        """Prepare.

        Args:
            act: what it does.
            dies_at: number of its port call before which it dies.
        """
        self.error: BaseException | None = None
        self.is_over = False
        self.calls = 0
        self._act = act
        self._dies_at = dies_at
        self._go, self._stop = threading.Semaphore(0), threading.Semaphore(0)
        threading.Thread(target=self._run, daemon=True).start()

    def go_on(self) -> None:
        """Return when it comes to its next port call, or is over."""
        self._go.release()
        self._stop.acquire()

    def pause(self) -> None:
        """Before each of its port calls, by its own thread."""
        self._stop.release()
        self._go.acquire()
        self.calls += 1
        if self.calls - 1 == self._dies_at:
            raise Crash("in the midst of others")

    def _run(self) -> None:
        self._go.acquire()
        try:
            self._act()
        except BaseException as error:  # noqa: BLE001 - told by whoever runs the strands
            self.error = error
        self.is_over = True
        self._stop.release()


def run(strands: Sequence[Strand], tap: Tap, dice: random.Random) -> list[BaseException]:
    """Have all go on to their ends; returns what they raised."""
    stays = dice.choice(_STAYS)
    left = list(strands)
    current = left[0]

    def pause(number: int, when: str, name: str) -> None:
        if when == "before":
            current.pause()

    with tap.hooked(pause):
        while left:
            if current.is_over or dice.random() >= stays:
                current = dice.choice(left)
            current.go_on()
            if current.is_over:
                left.remove(current)
    return [strand.error for strand in strands if strand.error is not None]
