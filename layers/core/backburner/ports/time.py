"""Time, ids and chance, which the domain never takes for itself."""

from typing import Protocol

from backburner.domain.request import Instant


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> Instant:
        """Seconds since the epoch, UTC."""

    def sleep(self, seconds: float) -> bool:
        """Let time pass; False: the process is ending, and nobody should wait any longer."""


class Ids(Protocol):
    """Makes ids and random numbers."""

    def new(self, kind: str) -> str:
        """A new id `<kind>_<20 characters>`; ids sort by age, to the millisecond."""

    def secret(self) -> str:
        """At least 192 random bits, as text."""

    def random(self) -> float:
        """A number from 0 up to 1."""
