"""The durable queue by itself."""

import asyncio
import sqlite3
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


async def accept(queue: InvocationQueue, count: int, endpoint: str = "e") -> list[Invocation]:
    made = [invocation(queue.next_id(), endpoint) for _ in range(count)]
    await asyncio.gather(*(queue.accept(one, b"body") for one in made))
    return made


def test_concurrent_invocations_share_their_commits(tmp_path):
    async def go() -> Any:
        queue = InvocationQueue(tmp_path)
        await accept(queue, 500)
        commits = queue.commits
        await queue.close()
        return commits

    assert asyncio.run(go()) < 50


def test_each_stage_of_an_invocation_is_found_after_a_restart(tmp_path):
    async def before() -> Any:
        queue = InvocationQueue(tmp_path)
        accepted, finished, forgotten = await accept(queue, 3)
        for one in (finished, forgotten):
            await queue.finish(one, "topic", f"message {one.id}")
        queue.forget(forgotten.id)
        await queue.close()
        return [(accepted, None, None), (finished, "topic", f"message {finished.id}")]

    async def after() -> Any:
        queue = InvocationQueue(tmp_path)
        left, fresh = queue.left("e"), queue.next_id()
        bodies = [queue.body(one) for one, _, _ in left]
        await queue.close()
        return left, fresh, bodies

    expected = asyncio.run(before())
    left, fresh, bodies = asyncio.run(after())
    assert left == expected
    assert bodies == [b"body", b"body"]
    assert fresh > max(one.id for one, _, _ in left)


def test_a_deleted_endpoint_takes_its_unfinished_work_along_and_nobody_elses(tmp_path):
    async def go() -> Any:
        queue = InvocationQueue(tmp_path)
        _, finished = await accept(queue, 2)
        (other,) = await accept(queue, 1, "other")
        await queue.finish(finished, "topic", "message")
        queue.forget_endpoint("e")
        (successor,) = await accept(queue, 1)
        left = [[one.id for one, *_ in queue.left(name)] for name in ("e", "other")]
        await queue.close()
        return left == [[finished.id, successor.id], [other.id]]

    assert asyncio.run(go())


def test_what_cannot_be_stored_is_not_accepted(tmp_path):
    async def go() -> Any:
        queue = InvocationQueue(tmp_path)
        queue._connection.execute("DROP TABLE invocations")
        try:
            with pytest.raises(sqlite3.Error, match="no such table"):
                await queue.accept(invocation(1), None)
        finally:
            await queue.close()

    asyncio.run(go())
