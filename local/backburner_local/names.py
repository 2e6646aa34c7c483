"""Names that AWS draws for requests and messages."""

import random
import uuid

#: Seeded by the system once: to ask it for each name would hand the interpreter to another thread.
_random = random.Random()  # noqa: S311 - they need to differ, and keep no secret


def new() -> uuid.UUID:
    """A UUID that no other name has."""
    return uuid.UUID(int=_random.getrandbits(128), version=4)
