"""The clock of one machine; and time and ids that are the same in every run, for tests."""

import hashlib
import random
import threading
from itertools import count

from backburner.adapters.system import SystemClock
from backburner.domain.request import Instant


class StoppableClock(SystemClock):
    """The machine's clock, whose sleepers wake up when the process ends."""

    def __init__(self) -> None:
        self._stopping = threading.Event()

    def sleep(self, seconds: float) -> bool:
        return not self._stopping.wait(seconds)

    def stop(self) -> None:
        """Wake whoever sleeps; from now on nobody does."""
        self._stopping.set()


class FixedClock:
    """A clock that stands still until it is told to go on."""

    def __init__(self, now: Instant = 1_750_000_000.0) -> None:
        self._now = now
        self._lock = threading.Lock()

    def now(self) -> Instant:
        return self._now

    def advance(self, seconds: float) -> Instant:
        """Let time pass; returns the new now."""
        with self._lock:
            self._now += seconds
            return self._now

    def sleep(self, seconds: float) -> bool:
        """Time passes at once."""
        self.advance(seconds)
        return True


class SequentialIds:
    """Ids, secrets and random numbers that are the same in every run."""

    def __init__(self) -> None:
        self._ids = count(1)
        self._secrets = count(1)
        self._random = random.Random(1)  # noqa: S311 - repeatable is the point

    def new(self, kind: str) -> str:
        return f"{kind}_{next(self._ids):020d}"

    def secret(self) -> str:
        return hashlib.sha256(f"secret {next(self._secrets)}".encode()).hexdigest()

    def random(self) -> float:
        return self._random.random()
