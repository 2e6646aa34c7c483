"""A claimed shard and its backend: what it is given, and what is made of its answer."""

from dataclasses import replace

import pytest
from msgspec import structs

from backburner.domain.catalog import Jobs, Model
from backburner.domain.errors import (
    BackendError,
    BackendFull,
    BackendRefused,
    BackendThrottled,
    BackendUnready,
)
from backburner.domain.shard import Shard, ShardStatus
from backburner.ports import QueueName, Submitted
from backburner.services import claims, sending
from tests import oracle
from tests.backend import ManualBackend
from tests.world import MemoryWorld, a_catalog, a_model, a_raw_model, a_world_in_memory

MODEL = a_model()


@pytest.fixture
def world():
    with a_world_in_memory(catalog=a_catalog(MODEL, a_raw_model())) as made:
        yield made


def claimed(world: MemoryWorld, lines: int = 2) -> Shard:
    """A shard with a slot, that nobody sent yet."""
    batch = world.submit(lines)
    world.pump(QueueName.PLAN)
    (shard,) = world.shards(batch)
    taken = claims.claim(world.untapped, MODEL, (shard,)).shard
    assert taken is not None
    return taken


def saying(world: MemoryWorld, said: Submitted) -> list[bytes | str]:
    """Have the backend say so of whatever it takes; returns what that is."""
    given: list[bytes | str] = []

    class Saying(type(world.backend)):  # type: ignore[misc]
        def submit(self, shard: Shard, model: Model, payload: bytes | str) -> Submitted:
            given.append(payload)
            return said

    world.backend.__class__ = Saying
    return given


def stored(world: MemoryWorld, shard: Shard) -> Shard:
    (found,) = [one for batch in world.all_batches() for one in world.shards(batch)]
    assert found.id == shard.id
    return found


@pytest.mark.parametrize(
    ("answer", "goes_on", "status", "attempt"),
    [
        (None, True, ShardStatus.IN_FLIGHT, 1),
        (BackendError("Nobody knows."), True, ShardStatus.IN_FLIGHT, 1),
        (BackendThrottled(), False, ShardStatus.WAITING, 0),
        (BackendFull(), False, ShardStatus.WAITING, 0),
        (BackendUnready(), False, ShardStatus.WAITING, 0),
        (BackendRefused("Too large."), True, ShardStatus.DONE, 1),
    ],
    ids=lambda one: type(one).__name__ if isinstance(one, Exception) else None,
)
def test_what_a_backend_says_decides_on_the_shard_and_on_whether_more_is_sent(
    world, answer, goes_on, status, attempt
):
    shard = claimed(world)
    world.backend.fail_next(*([answer] if answer else []))
    assert sending.send(world.untapped, shard) is goes_on
    after = stored(world, shard)
    assert (after.status, after.attempt) == (status, attempt)
    oracle.check_step(world)


def test_a_refusal_is_told_in_the_words_of_the_backend(world):
    shard = claimed(world)
    world.backend.fail_next(BackendRefused("The body is too large."))
    sending.send(world.untapped, shard)
    world.settle()
    (batch,) = world.all_batches()
    errors = [line["error"] for line in world.errors(batch)]
    assert {(one["code"], one["message"]) for one in errors} == {
        ("backend_refused", "The body is too large.")
    }


def test_a_shard_of_which_the_catalog_has_no_model_any_more_waits_for_its_lease(world):
    shard = structs.replace(claimed(world), pool="manual:gone", model="gone")
    assert sending.send(world.untapped, shard)
    assert world.backend.submissions == []


def test_requests_travel_inline_or_as_their_object(world):
    given = saying(world, Submitted())
    shard = claimed(world)
    for content in (
        {"input_inline": b"here\n", "input_key": None},
        {"input_inline": None, "input_key": "there"},
        {"input_inline": None, "input_key": None},
    ):
        assert sending.send(world.untapped, structs.replace(shard, **content))
    assert given == [b"here\n", "there", b""]


@pytest.mark.parametrize(
    ("said", "lines", "is_noted"),
    [
        (Submitted(), 2, False),
        (Submitted(failure_location="s3://b/f"), 2, True),
        (Submitted(failure_location="s3://b/f"), 1, False),  # the end of its lease shows it
        (Submitted(output_location="s3://b/o"), 1, True),
        (Submitted(job="arn:job"), 1, True),
    ],
)
def test_where_to_look_is_noted_if_it_is_worth_the_write(world, said, lines, is_noted):
    saying(world, said)
    shard = claimed(world, lines)
    assert sending.send(world.untapped, shard)
    told = (said.output_location, said.failure_location, said.job)
    after = stored(world, shard)
    noted = (after.output_location, after.failure_location, after.job)
    assert noted == (told if is_noted else (None, None, None))


@pytest.mark.parametrize("at_once", [1, 2, 8])
def test_all_that_was_handed_over_is_sent_by_the_end(world, at_once):
    given, shard = saying(world, Submitted()), claimed(world)
    some = [structs.replace(shard, input_inline=b"%d" % number) for number in range(5)]
    with sending.Sender(world.untapped, at_once=at_once) as sender:
        for one in some:
            sender.send(one)
    assert (sender.count, sender.is_refused) == (5, False)
    assert sorted(given) == [b"%d" % number for number in range(5)]


def test_a_shard_is_sent_to_the_backend_of_its_own_pool():
    other = a_model(backend="elsewhere")
    catalog = a_catalog(replace(MODEL, others=(other,)))
    with a_world_in_memory(catalog=catalog) as world:
        shard, elsewhere = claimed(world), ManualBackend(world.blobs, world.store)
        backends = {**world.untapped.backends, "elsewhere": elsewhere}
        env = replace(world.untapped, backends=backends)
        for pool in (MODEL.pool, other.pool):
            sending.send(env, structs.replace(shard, pool=pool))
        found = [one.shard.pool for one in world.backend.submissions + elsewhere.submissions]
        assert found == [MODEL.pool, other.pool]
        assert len(elsewhere.submissions) == 1


def test_the_failure_of_a_raw_request_is_read_wherever_it_is(world):
    world.ask_raw()
    (attempt,) = world.outstanding
    assert stored(world, attempt.shard).failure_location == world.blobs.uri(attempt.failure_key)


@pytest.mark.parametrize(
    ("error", "waited", "least", "most"),
    [
        (BackendThrottled(), 4000.0, 2.5, 5.0),
        (BackendUnready(), 0.0, 60.0, 60.0),
        (BackendUnready(), 800.0, 200.0, 200.0),
        (BackendUnready(), 4000.0, 300.0, 300.0),
    ],
)
def test_a_backend_that_gave_something_back_is_left_alone_for_a_pause(
    world, error, waited, least, most
):
    batch = world.submit(2)
    world.pump(QueueName.PLAN)
    world.advance(waited)
    (shard,) = world.shards(batch)
    taken = claims.claim(world.untapped, MODEL, (shard,)).shard
    assert taken is not None
    world.backend.fail_next(error)
    assert not sending.send(world.untapped, taken)
    pause = stored(world, taken).not_before - world.clock.now()
    assert least <= pause <= most
    assert world.pool().throttled_until == world.clock.now() + pause


def test_what_ended_meanwhile_is_not_given_back(world):
    shard = claimed(world)
    world.backend.fail_next(BackendError(), is_taken=True)
    sending.send(world.untapped, shard)
    world.answer()
    sending.give_back(world.untapped, shard, pause=5.0)
    assert stored(world, shard).status is ShardStatus.DONE
    assert world.pool().throttled_until == 0
    oracle.check_step(world)


def test_only_a_full_account_teaches_how_many_slots_there_are():
    model = a_model(endpoint="", jobs=Jobs(model_id="vendor.model"))
    for error, learnt in ((BackendThrottled(), None), (BackendFull(), 0)):
        with a_world_in_memory(catalog=a_catalog(model)) as world:
            batch = world.submit(2)
            world.pump(QueueName.PLAN)
            (shard,) = world.shards(batch)
            taken = claims.claim(world.untapped, model, (shard,)).shard
            assert taken is not None
            world.backend.fail_next(error)
            sending.send(world.untapped, taken)
            assert world.pool().learnt == learnt
