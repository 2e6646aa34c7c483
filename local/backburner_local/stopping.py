"""Wait until a signal asks the program to stop."""

import signal
import socket
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """Hears SIGINT and SIGTERM from when it is made; for the main thread only.

    An Event would not do. Handlers run between two steps of the main thread: it may be about to
    wait, and then waits for ever, or hold the lock that `set` wants. What the interpreter writes
    into a socket the moment that a signal comes wakes whoever reads it.
    """

    def __init__(self, *, on_second_interrupt: Callable[[], object] | None = None) -> None:
        self.is_told = False
        self._on_second_interrupt = on_second_interrupt
        self._reading, self._writing = socket.socketpair()
        self._writing.settimeout(0)
        self._woken_before = signal.set_wakeup_fd(self._writing.fileno(), warn_on_full_buffer=False)
        self._before = {number: signal.signal(number, self._hear) for number in _SIGNALS}

    def wait(self) -> None:
        """Return once a signal came, be it before this."""
        while not self.is_told:
            self._reading.recv(64)

    def close(self) -> None:
        """Leave signals to whoever had them before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._woken_before)
        self._reading.close()
        self._writing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _hear(self, number: int, _: FrameType | None) -> None:
        is_second = self.is_told and number == signal.SIGINT
        self.is_told = True
        if is_second and self._on_second_interrupt is not None:
            self._on_second_interrupt()
