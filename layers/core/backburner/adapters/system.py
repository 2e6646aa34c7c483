"""Time and ids of the machine that the code runs on."""

import random
import secrets
import threading
import time

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

    def sleep(self, seconds: float) -> bool:
        time.sleep(seconds)
        return True


class SystemIds:
    """Ids of ten digits of time and ten random ones; each is greater than those before it.

    They need to differ, and keep no secret: the system is asked for chance once, as each such call
    hands the interpreter over to another thread.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._random = random.Random()  # noqa: S311
        self._lock = threading.Lock()
        self._last = 0

    def new(self, kind: str) -> str:
        return f"{kind}_{_base32(self._next(), 20)}"

    def secret(self) -> str:
        return secrets.token_urlsafe(32)

    def random(self) -> float:
        return self._random.random()

    def _next(self) -> int:
        """A number of time and chance; within one millisecond, a random step beyond the last."""
        milliseconds = int(self._clock.now() * 1000)
        drawn = milliseconds << _RANDOM_BITS | self._random.getrandbits(_RANDOM_BITS - 1)
        with self._lock:
            if drawn >> _RANDOM_BITS <= self._last >> _RANDOM_BITS:
                drawn = self._last + 1 + self._random.getrandbits(24)
            self._last = drawn
        return drawn


def _base32(number: int, digits: int) -> str:
    return "".join(_DIGITS[number >> 5 * place & 31] for place in reversed(range(digits)))
