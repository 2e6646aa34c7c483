"""On one machine the stack removes what DynamoDB would remove by itself."""

import threading
from collections.abc import Iterator

from backburner_local.triggers import Sweeper, Workers


def test_the_store_is_swept_again_and_again_even_after_a_failure():
    swept = threading.Event()
    turns: Iterator[int] = iter((3, 0))

    def sweep() -> int:
        turn = next(turns, None)
        if turn is None:
            swept.set()
            raise OSError("the disk is full")
        return turn

    workers = Workers()
    workers.start("sweep", Sweeper(sweep, 0.01).run)
    for _ in range(2):
        assert swept.wait(10)
        swept.clear()
    workers.stop()
