"""Waiting for what other threads and processes do."""

import time
from collections.abc import Iterator


def looks(seconds: float, *, pause: float = 0.01, longest: float = 0.1) -> Iterator[None]:
    """When to look, for so long; the last time at the very end.

    Pauses are short at first, as most is there soon, and grow, as each look costs others time.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        yield
        time.sleep(pause)
        pause = min(1.3 * pause, longest)
    yield
