"""Taking a batch in: what is checked, and that it is durable."""

import math
from dataclasses import asdict
from typing import Any

import pytest

from backburner.domain.batch import Batch, BatchStatus
from backburner.domain.errors import InvalidRequest, NotFound
from backburner.domain.file import FilePurpose
from backburner.services import batches, files, submit
from tests import oracle
from tests.tap import Hook, PortError, crash_after, fault_at
from tests.world import CHAT, World


def new(world: World, **changes: Any) -> Any:
    file_id = world.upload([])
    asked = submit.NewBatch(input_file_id=file_id, route=CHAT)
    return submit.NewBatch(**asdict(asked) | changes)


def break_at(name: str) -> Hook:
    """Every call of that name fails."""

    def hook(call: int, at: str, called: str) -> None:
        if called == name and at == "before":
            raise PortError(name)

    return hook


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"route": "/v1/nothing"}, "endpoint"),
        ({"route": None}, "endpoint"),
        ({"route": ["/v1/chat/completions"]}, "endpoint"),
        ({"completion_window": "1y"}, "completion_window"),
        ({"metadata": [1]}, "metadata"),
        ({"metadata": {"notify_email": "x"}}, "metadata.notify_email"),
        ({"on_invalid": "maybe"}, "x_on_invalid"),
        ({"on_invalid": ["fail"]}, "x_on_invalid"),
        ({"priority": 10}, "priority"),
        ({"priority": -1}, "priority"),
        ({"priority": True}, "priority"),
        ({"priority": 1.0}, "priority"),
        ({"priority": "1"}, "priority"),
        ({"priority": [1]}, "priority"),
        ({"input_file_id": None}, "input_file_id"),
        ({"input_file_id": ""}, "input_file_id"),
        ({"input_file_id": 7}, "input_file_id"),
    ],
)
def test_a_field_that_is_wrong_is_named(world, changes, param):
    with pytest.raises(InvalidRequest) as caught:
        submit.submit_batch(world.env, "acme", new(world, **changes))
    assert caught.value.param == param
    assert world.all_batches() == []


def test_a_batch_is_what_was_asked_for(world):
    asked: dict[str, Any] = {"metadata": {"name": "nightly"}, "on_invalid": "skip", "priority": 7}
    asked |= {"output_expires_seconds": 9e6, "is_inline": True}
    given = new(world, **asked, completion_window="2h", max_tokens=10**6)
    batch = submit.submit_batch(world.env, "acme", given)
    now = world.clock.now()
    assert world.batch(batch) == batch
    assert batch == Batch(
        tenant="acme",
        id=batch.id,
        status=BatchStatus.VALIDATING,
        route=CHAT,
        input_file_id=given.input_file_id,
        input_key=files.blob_key("acme", given.input_file_id),
        completion_window="2h",
        max_tokens=10**6,
        created_at=now,
        expires_at=now + 7200,
        ttl=math.ceil(now + 7200 + 9e6 + 86400),
        **asked,
    )


def test_a_file_that_is_not_there_or_anothers_is_not_found(world):
    mine = new(world)
    for tenant, asked in (("acme", new(world, input_file_id="file_none")), ("zeta", mine)):
        with pytest.raises(NotFound) as caught:
            submit.submit_batch(world.env, tenant, asked)
        assert caught.value.param == "input_file_id"


def test_a_result_file_is_no_input(world):
    files.add(
        world.env,
        "acme",
        file_id="file_out",
        filename="out.jsonl",
        purpose=FilePurpose.BATCH_OUTPUT,
        size=0,
    )
    with pytest.raises(InvalidRequest, match="batch_output") as caught:
        submit.submit_batch(world.env, "acme", new(world, input_file_id="file_out"))
    assert caught.value.param == "input_file_id"


def test_what_was_accepted_runs_although_the_process_died_right_after(world):
    with crash_after(world.tap, "store.transact"):
        world.submit(2)
    world.settle()
    (batch,) = world.all_batches()
    assert batch.completed == 2
    oracle.check_end(world)


def test_what_was_accepted_is_no_error_although_the_queue_broke(world):
    with world.tap.hooked(break_at("queue.send")):
        world.submit(2)
    world.settle()
    (batch,) = world.all_batches()
    assert batch.completed == 2
    oracle.check_end(world)


@pytest.mark.parametrize("broken", ["backend.instances", "store.query"])
def test_a_request_that_runs_is_no_error_although_the_endpoint_could_not_be_woken(world, broken):
    with world.tap.hooked(break_at(broken)):
        world.respond()
    assert len(world.outstanding) == 1
    world.settle()
    oracle.check_end(world)


def test_what_was_not_accepted_leaves_no_batch(world):
    with world.tap.hooked(fault_at(1, "before", PortError)), pytest.raises(PortError):
        world.submit(2)
    assert world.all_batches() == []


def test_batches_are_listed_newest_first_page_by_page(world):
    made = [world.submit(1).id for _ in range(5)]
    found, after = [], None
    while True:
        page, more = batches.page(world.env, "acme", after=after, limit=2)
        found += [batch.id for batch in page]
        after = found[-1]
        if not more:
            break
    assert found == made[::-1]


def test_files_are_listed_page_by_page_and_by_purpose(world):
    made = [world.upload([]) for _ in range(5)]
    for newest_first in (True, False):
        found, after, more = [], None, True
        while more:
            page, more = files.page(
                world.env,
                "acme",
                after=after,
                limit=2,
                newest_first=newest_first,
                purpose="batch",
            )
            found += [file.id for file in page]
            after = found[-1]
        assert found == (made[::-1] if newest_first else made)
    assert files.page(world.env, "acme", after=None, limit=2, purpose="batch_output") == ([], False)


def test_a_last_page_that_is_full_says_that_there_are_no_more(world):
    made = [world.upload([]) for _ in range(4)]
    first = files.page(world.env, "acme", after=None, limit=2, newest_first=False)
    last = files.page(world.env, "acme", after=made[1], limit=2, newest_first=False)
    assert ([one.id for one in first[0]], first[1]) == (made[:2], True)
    assert ([one.id for one in last[0]], last[1]) == (made[2:], False)


def test_a_route_that_is_none_is_refused_with_those_that_there_are(world):
    with pytest.raises(
        InvalidRequest, match=r"one of /v1/chat/completions, .*/v1/embeddings"
    ) as caught:
        submit.submit_batch(world.env, "acme", new(world, route="/v1/nothing"))
    assert caught.value.code == "invalid_endpoint"
