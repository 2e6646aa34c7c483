"""Messages that only ask someone to look: in memory until they are received."""

import threading
import time
from itertools import count

from backburner.domain.request import Instant

#: Pause before a message is received: those that are sent meanwhile and say the same are one with
#: it. To look costs more than anything else that is done about a message.
PAUSE_SECONDS = 0.003


class Fleeting:
    """Messages of one queue, oldest first; those that say the same are one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: By body: when it was sent, and before when, of the monotonic clock, it is not received:
        #: a step of the other clock must not hold up all that say the same.
        self._waiting: dict[str, tuple[Instant, float]] = {}
        self._numbers = count(1)

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, body: str, now: Instant, *, delay_seconds: float = 0.0) -> bool:
        """Send a message; False: one that says the same is to be received as soon."""
        not_before = time.monotonic() + delay_seconds
        with self._lock:
            sent_at, other = self._waiting.get(body, (now, float("inf")))
            self._waiting[body] = sent_at, min(other, not_before)
        return not_before < other

    def due_in(self) -> float:
        """Seconds until there is a message to be received; infinite if there is none."""
        with self._lock:
            first = min((one for _, one in self._waiting.values()), default=float("inf"))
        return first + PAUSE_SECONDS - time.monotonic()

    def take(self, limit: int) -> list[tuple[str, str, Instant]]:
        """Receive some: the id, the body, and when it was sent, of each."""
        now = time.monotonic()
        with self._lock:
            due = [body for body, (_, not_before) in self._waiting.items() if not_before <= now]
            return [
                (f"m{next(self._numbers)}", body, self._waiting.pop(body)[0])
                for body in due[:limit]
            ]
