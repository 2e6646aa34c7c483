"""The durable queue by itself."""

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from backburner_local.emulators.sagemaker.invocation import Invocation
from backburner_local.emulators.sagemaker.queue import InvocationQueue


def invocation(number: int, endpoint: str = "e") -> Invocation:
    return Invocation(
        id=number,
        endpoint=endpoint,
        inference_id=f"i{number}",
        accepted_at=float(number),
        ttl_seconds=60,
        timeout_seconds=60,
    )


def accept(queue: InvocationQueue, count: int, endpoint: str = "e") -> list[Invocation]:
    made = [invocation(queue.next_id(), endpoint) for _ in range(count)]
    for one in made:
        queue.accept(one, b"body")
    return made


def test_many_threads_may_accept_at_the_same_time(tmp_path):
    async def go() -> Any:
        queue = InvocationQueue(tmp_path)
        with ThreadPoolExecutor(8) as threads:
            made = [
                one for some in threads.map(lambda _: accept(queue, 50), range(8)) for one in some
            ]
        left = queue.left("e")
        queue.close()
        return {one.id for one in made}, [one.id for one, _, _ in left]

    made, left = asyncio.run(go())
    assert len(made) == 400
    assert left == sorted(made)


def test_what_is_forgotten_is_gone_before_long_with_its_notification(tmp_path):
    async def go() -> Any:
        queue = InvocationQueue(tmp_path)
        told, untold = accept(queue, 2)
        queue.finish(told, "topic", "message")
        queue.forget(told.id)
        assert len(queue.left("e")) == 2  # a deletion waits for company
        await asyncio.sleep(0.5)
        left = queue.left("e")
        notifications = queue._fetch("SELECT id FROM notifications")
        queue.close()
        return left == [(untold, None, None)] and notifications == []

    assert asyncio.run(go())


def test_a_body_is_had_again_and_again_from_memory_or_the_file(tmp_path):
    async def go() -> Any:
        queue = InvocationQueue(tmp_path, most_kept_bytes=10)
        made = accept(queue, 5)
        queue.forget(made[0].id)
        bodies = [queue.body(one) for one in (*made, *made)]
        queue.close()
        return bodies

    assert asyncio.run(go()) == [b"body"] * 10


def test_what_an_endpoint_that_is_deleted_leaves_takes_no_room_in_memory(tmp_path):
    async def go() -> Any:
        queue = InvocationQueue(tmp_path, most_kept_bytes=8)
        accept(queue, 2)
        queue.forget_endpoint("e")
        (kept,) = accept(queue, 1, "another")
        queue._connection.execute("UPDATE invocations SET body = 'of the file'")
        body = queue.body(kept)
        queue.close()
        return body

    assert asyncio.run(go()) == b"body"


def test_a_closed_queue_accepts_nothing(tmp_path):
    async def go() -> None:
        queue = InvocationQueue(tmp_path)
        queue.close()
        with pytest.raises(ConnectionRefusedError):
            queue.accept(invocation(1), None)

    asyncio.run(go())


def test_each_stage_of_an_invocation_is_found_after_a_restart(tmp_path):
    async def before() -> Any:
        queue = InvocationQueue(tmp_path)
        accepted, finished, forgotten = accept(queue, 3)
        for one in (finished, forgotten):
            queue.finish(one, "topic", f"message {one.id}")
        queue.forget(forgotten.id)
        queue.close()
        return [(accepted, None, None), (finished, "topic", f"message {finished.id}")]

    async def after() -> Any:
        queue = InvocationQueue(tmp_path)
        left, fresh = queue.left("e"), queue.next_id()
        bodies = [queue.body(one) for one, _, _ in left]
        queue.close()
        return left, fresh, bodies

    expected = asyncio.run(before())
    left, fresh, bodies = asyncio.run(after())
    assert left == expected
    assert bodies == [b"body", b"body"]
    assert fresh > max(one.id for one, _, _ in left)


def test_a_deleted_endpoint_takes_its_unfinished_work_along_and_nobody_elses(tmp_path):
    async def go() -> Any:
        queue = InvocationQueue(tmp_path)
        _, finished = accept(queue, 2)
        (other,) = accept(queue, 1, "other")
        queue.finish(finished, "topic", "message")
        queue.forget_endpoint("e")
        (successor,) = accept(queue, 1)
        left = [[one.id for one, *_ in queue.left(name)] for name in ("e", "other")]
        queue.close()
        return left == [[finished.id, successor.id], [other.id]]

    assert asyncio.run(go())


def test_what_cannot_be_stored_is_not_accepted(tmp_path):
    async def go() -> Any:
        queue = InvocationQueue(tmp_path)
        queue._connection.execute("DROP TABLE invocations")
        try:
            with pytest.raises(sqlite3.Error, match="no such table"):
                queue.accept(invocation(1), None)
        finally:
            queue.close()

    asyncio.run(go())
