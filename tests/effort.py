"""How much is tried: some of it in `make test`, more of it in `make test-long`."""

import os
from typing import Final

IS_LONG: Final = os.environ.get("HYPOTHESIS_PROFILE") == "long"


def tried(number: int, *, long: int) -> int:
    """How many of something there is time for."""
    return long if IS_LONG else number
