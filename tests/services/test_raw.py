"""Raw requests: bytes in, bytes out, over the same queue, slots and attempts as everything else."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from backburner.domain.batch import Batch, BatchKind, BatchStatus
from backburner.domain.errors import InvalidRequest, NotFound
from backburner.domain.request import Outcome
from backburner.services import batches, deletion, raw, results
from tests import oracle
from tests.world import MemoryWorld, a_catalog, a_model, a_raw_model, a_world_in_memory

LARGE = bytes(range(256)) * 100


@pytest.fixture
def world() -> Iterator[MemoryWorld]:
    with a_world_in_memory(catalog=a_catalog(a_model(), a_raw_model())) as world:
        yield world


def answer(world: MemoryWorld, batch: Batch) -> tuple[bytes, str | None]:
    """What is kept of the answer: its bytes, and what they are."""
    kept = results.raw_answer(world.untapped, batch)
    assert kept is not None
    return world.blobs.get(kept.key), kept.content_type


@pytest.mark.parametrize("body", [b"\x00\xff\n\r", LARGE], ids=["small", "large"])
def test_bytes_go_to_the_model_and_back_as_they_are(world, body):
    batch = world.ask_raw(body, accept="image/webp", custom_attributes="size=3")
    (attempt,) = world.outstanding
    assert attempt.body == body
    shard = attempt.shard
    told = (shard.content_type, shard.accept, shard.custom_attributes)
    assert told == ("image/png", "image/webp", "size=3")
    world.answer(attempt)
    after = world.batch(batch)
    assert (after.status, after.completed) == (BatchStatus.COMPLETED, 1)
    assert answer(world, batch) == (body, "image/png")
    world.settle()
    assert list(world.blobs.list("async/output/")) == []
    oracle.check_end(world)


def test_its_attempt_fails_with_the_servers_status_and_words(world):
    batch = world.ask_raw()
    world.fail(status=415, said=b"what is this?")
    assert world.batch(batch).status is BatchStatus.FAILED
    outcome = results.single(world.untapped, batch)
    assert outcome is not None
    assert (outcome.status_code, b"what is this?" in outcome.body) == (415, True)
    assert results.raw_answer(world.untapped, batch) is None
    world.settle()
    oracle.check_end(world)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (b'{"error": {"message": "Too big."}}', b"Too big."),
        (b'{"error": "Too big."}', b"Too big."),
        (b'{"error": {"message": ""}}', b"error"),
        (b'{"detail": 1}', b"detail"),
        (b'["Too big."]', b"Too big."),
        (b"  Too big.\n", b'"Too big."'),
        (b"\xff\xfe", "\ufffd".encode()),
        (b"", b"failed to answer"),
    ],
)
def test_whatever_the_server_says_is_text(world, said, message):
    batch = world.ask_raw()
    world.fail(status=400, said=said)
    outcome = results.single(world.untapped, batch)
    assert outcome is not None
    assert message in outcome.body


def test_without_a_status_or_words_the_failure_is_told_in_ours(world):
    batch = world.ask_raw()
    (shard,) = world.shards(batch)
    said: dict[str, Any] = {"code": "result_lost", "reason": "It was lost."}
    assert raw.failure(world.env, shard, status_code=None, **said) == Outcome(
        line=1, custom_id="request", code="result_lost", message="It was lost."
    )
    silent = raw.failure(world.env, shard, code="x", reason="It broke.", status_code=500)
    assert msgspec.json.decode(silent.body) == {"error": {"message": "It broke.", "status": 500}}


def test_of_long_words_the_beginning_is_told(world):
    batch = world.ask_raw()
    world.fail(status=400, said=b"x" * 4096 + b"y")
    outcome = results.single(world.untapped, batch)
    assert outcome is not None
    assert msgspec.json.decode(outcome.body) == {"error": {"message": "x" * 4096, "status": 400}}


@pytest.mark.parametrize("body", [b"x", LARGE], ids=["small", "large"])
def test_what_broke_is_tried_again_with_the_same_bytes(world, body):
    batch = world.ask_raw(body)
    world.fail(status=503)
    assert world.batch(batch).status is BatchStatus.IN_PROGRESS
    world.settle()
    assert [one.body for one in world.backend.submissions] == [body, body]
    assert answer(world, batch)[0] == body
    oracle.check_end(world)


def test_what_breaks_every_time_fails_with_its_last_words(world):
    batch = world.ask_raw()
    for _ in range(60):
        for attempt in world.outstanding:
            world.fail(attempt, status=500, said=b"no memory")
        world.tick()
    after = world.batch(batch)
    assert (after.status, len(world.backend.submissions)) == (BatchStatus.FAILED, 3)
    outcome = results.single(world.untapped, after)
    assert outcome is not None
    assert (outcome.status_code, b"no memory" in outcome.body) == (500, True)


def test_a_lost_notification_loses_nothing_but_the_content_type(world):
    batch = world.ask_raw(b"x")
    world.answer(told=False)
    world.tick(minutes=3)
    assert world.batch(batch).status is BatchStatus.COMPLETED
    assert answer(world, batch) == (b"x", None)
    world.settle()
    oracle.check_end(world)


def test_the_first_answer_stands_and_a_second_one_is_removed(world):
    batch = world.ask_raw()
    (attempt,) = world.outstanding
    world.answer(attempt, data=b"first")
    world.answer(attempt, data=b"second")
    assert answer(world, batch)[0] == b"first"
    assert list(world.blobs.list("async/output/")) == []
    world.settle()
    oracle.check_end(world)


def test_a_notification_without_a_result_has_it_tried_again(world):
    batch = world.ask_raw()
    (attempt,) = world.outstanding
    world.notify_success(attempt)
    attempt.is_told = True
    world.settle()
    assert world.batch(batch).status is BatchStatus.COMPLETED
    assert len(world.backend.submissions) == 2
    oracle.check_end(world)


def test_a_cancelled_one_gives_its_slot_back_and_keeps_no_late_answer(world):
    batch = world.ask_raw()
    (attempt,) = world.outstanding
    batches.cancel(world.env, "acme", batch.id, kind=BatchKind.REQUEST)
    assert world.pool("vision").in_flight == 0
    world.answer(attempt)
    world.settle()
    assert world.batch(batch).status is BatchStatus.CANCELLED
    assert results.raw_answer(world.untapped, batch) is None
    oracle.check_end(world)


def test_one_that_nobody_answers_expires(world):
    batch = world.ask_raw(completion_window="15m")
    for _ in range(40):
        for attempt in world.outstanding:
            world.lose(attempt)
        world.tick()
    assert world.batch(batch).is_terminal
    oracle.check_end(world)


def test_one_waits_where_no_slot_is_free(world):
    asked = [world.ask_raw(b"%d" % number) for number in range(4)]
    assert len(world.outstanding) == 2
    world.settle()
    assert [answer(world, batch)[0] for batch in asked] == [b"0", b"1", b"2", b"3"]
    oracle.check_end(world)


def test_a_deleted_one_leaves_nothing(world):
    batch = world.ask_raw(LARGE)
    world.answer()
    deletion.delete(world.env, "acme", batch.id, kind=BatchKind.REQUEST)
    assert list(world.blobs.list("batches/")) == []
    with pytest.raises(NotFound):
        batches.find(world.env, "acme", batch.id, kind=BatchKind.REQUEST)


@pytest.mark.parametrize("name", ["content_type", "accept", "custom_attributes"])
@pytest.mark.parametrize("value", ["", "x" * 1025, "ü", "a\nb"])
def test_what_the_server_is_told_fits_a_header(world, name, value):
    with pytest.raises(InvalidRequest) as caught:
        world.ask_raw(**{name: value})
    assert caught.value.param == name
    assert world.outstanding == []
