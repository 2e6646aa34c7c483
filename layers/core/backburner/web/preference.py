"""The `Prefer` header of a request: whether, and for how long, its client waits (RFC 7240)."""

import re
from dataclasses import dataclass

_SECONDS = re.compile(r"[0-9]{1,6}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """What a client prefers."""

    #: Whether it reads the result later where it is not there in time.
    is_async: bool = False
    #: Seconds that it waits; None: it did not say.
    wait_seconds: float | None = None

    def applied(self) -> str:
        """What `Preference-Applied` says of it."""
        words = ["respond-async"] if self.is_async else []
        if self.wait_seconds is not None:
            words.append(f"wait={self.wait_seconds:.0f}")
        return ", ".join(words)


def read(header: str, *, most_seconds: float) -> Preference:
    """Read the header; what makes no sense is ignored, as the RFC has it.

    Args:
        header: its value; empty if there is none.
        most_seconds: that are waited.
    """
    is_async = False
    wait: float | None = None
    for given in header.split(","):
        name, _, value = given.partition(";")[0].partition("=")
        value = value.strip().strip('"')
        match name.strip().lower():
            case "respond-async":
                is_async = True
            case "wait" if wait is None and _SECONDS.fullmatch(value):
                wait = min(float(value), most_seconds)
    return Preference(is_async=is_async, wait_seconds=wait)
