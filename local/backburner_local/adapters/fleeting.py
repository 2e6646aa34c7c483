"""Messages that only ask someone to look: in memory until they are received."""

import threading
from itertools import count

from backburner.domain.request import Instant

#: Pause before a message is received: those that are sent meanwhile and say the same are one with
#: it. To look costs more than anything else that is done about a message.
PAUSE_SECONDS = 0.003


class Fleeting:
    """Messages of one queue, oldest first; those that say the same are one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: When each was sent, by body.
        self._waiting: dict[str, Instant] = {}
        self._numbers = count(1)

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, body: str, now: Instant) -> bool:
        """Send a message; False: one that says the same is still to be received."""
        with self._lock:
            if body in self._waiting:
                return False
            self._waiting[body] = now
            return True

    def due_in(self, now: Instant) -> float:
        """Seconds until there is a message to be received; infinite if there is none."""
        with self._lock:
            return min(self._waiting.values(), default=float("inf")) + PAUSE_SECONDS - now

    def take(self, limit: int) -> list[tuple[str, str, Instant]]:
        """Receive some: the id, the body, and when it was sent, of each."""
        with self._lock:
            bodies = list(self._waiting)[:limit]
            return [(f"m{next(self._numbers)}", body, self._waiting.pop(body)) for body in bodies]
