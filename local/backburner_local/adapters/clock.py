"""Time and ids: of this machine, and fixed ones for tests."""

import hashlib
import random
import secrets
import threading
import time
from itertools import count

from backburner.domain.request import Instant
from backburner.ports import Clock

#: Crockford's base 32, lower case: sorts as its values do, without i, l, o and u.
_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
#: Random part of an id: ten digits.
_RANDOM_BITS = 50


class SystemClock:
    """The machine's clock."""

    def now(self) -> Instant:
        return time.time()


class SystemIds:
    """Ids of ten digits of time and ten random ones; each is greater than those before it."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._last = 0

    def new(self, kind: str) -> str:
        return f"{kind}_{_base32(self._next(), 20)}"

    def secret(self) -> str:
        return secrets.token_urlsafe(32)

    def random(self) -> float:
        return secrets.randbits(53) / (1 << 53)

    def _next(self) -> int:
        """A number of time and chance; within one millisecond, a random step beyond the last."""
        milliseconds = int(self._clock.now() * 1000)
        drawn = milliseconds << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS - 1)
        with self._lock:
            if drawn >> _RANDOM_BITS <= self._last >> _RANDOM_BITS:
                drawn = self._last + 1 + secrets.randbits(24)
            self._last = drawn
        return drawn


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


def _base32(number: int, digits: int) -> str:
    return "".join(_DIGITS[number >> 5 * place & 31] for place in reversed(range(digits)))
