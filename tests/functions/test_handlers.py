"""Each function takes the event that AWS sends it; samples of them are in `events/`."""

import json
from typing import Any

import pytest

import functions.deliver.app
import functions.dispatch.app
import functions.finalize.app
import functions.on_error.app
import functions.on_mail_event.app
import functions.on_success.app
import functions.on_upload.app
import functions.plan.app
import functions.reap.app
import functions.report_backlog.app
from backburner import bootstrap
from backburner.domain.batch import BatchStatus
from backburner.domain.shard import ShardStatus
from backburner.ports import QueueName
from backburner.settings import MissingSetting
from tests import oracle
from tests.tap import PortError, fault_at
from tests.world import HANDLERS, Context, chat, load_event


@pytest.fixture
def batch(world):
    """The batch that the samples are about: the first that is submitted has its id."""
    batch = world.submit(2)
    assert batch.id in json.dumps(load_event("sqs_plan"))
    return batch


def call(module: Any, name: Any) -> Any:
    return module.handler(load_event(name), Context())


def queue_event(name: Any, *bodies: Any) -> Any:
    """The sample of the queue's event, with these messages."""
    event = load_event(f"sqs_{name}")
    (record,) = event["Records"]
    event["Records"] = [
        record | {"messageId": str(number), "body": json.dumps(body)}
        for number, body in enumerate(bodies)
    ]
    return event


HAPPY: dict[str, list[object]] = {"batchItemFailures": []}


def test_the_pipeline_runs_from_the_samples_alone(world, batch):
    assert call(functions.plan.app, "sqs_plan") == HAPPY
    dispatched = queue_event("dispatch", {"pool": "manual:mistral"})
    assert functions.dispatch.app.handler(dispatched, Context()) == HAPPY
    (attempt,) = world.outstanding
    assert str(attempt.shard.ref) in json.dumps(load_event("sns_success"))
    world.answer(attempt, told=False)
    call(functions.on_success.app, "sns_success")
    assert call(functions.finalize.app, "sqs_finalize") == HAPPY
    assert call(functions.deliver.app, "sqs_deliver") == HAPPY
    assert world.batch(batch).status is BatchStatus.COMPLETED
    assert len(world.told) == 1
    world.settle()
    oracle.check_end(world)


@pytest.mark.parametrize(
    ("sample", "stops"),
    [
        ("bounce", True),
        ("bounce_transient", False),
        ("complaint", True),
        ("complaint_not_spam", False),
        ("delivery", False),
        ("greeting", False),
    ],
)
def test_an_address_that_a_mail_came_back_from_gets_no_more(world, caplog, sample, stops):
    caplog.set_level("DEBUG")
    for _ in range(2):
        call(functions.on_mail_event.app, f"sns_mailevents_{sample}")
    for tenant in ("acme", "globex"):
        batch = world.submit(1, tenant=tenant, metadata={"notify_email": "Ada@example.com"})
        world.settle()
        assert bool(world.mailed(f"evt_{batch.id}")) is not stops
    assert "ada@" not in caplog.text.lower()


def test_a_failed_invocation_is_tried_again_and_its_reason_stays_with_us(world, batch):
    world.pump(QueueName.PLAN, QueueName.DISPATCH)
    call(functions.on_error.app, "sns_error")
    assert [one.status for one in world.shards(batch)] == [ShardStatus.DONE, ShardStatus.WAITING]
    world.lose()
    for _ in range(2):
        world.advance(60)
        world.pump()
        world.fail()
    world.settle()
    assert "ClientError" not in json.dumps(world.errors(batch))


@pytest.mark.parametrize("module", [functions.on_success.app, functions.on_error.app])
def test_test_notifications_change_nothing(world, batch, module):
    world.pump(QueueName.PLAN, QueueName.DISPATCH)
    before = world.shards(batch)
    call(module, "sns_test_notification")
    assert world.shards(batch) == before


@pytest.mark.parametrize("name", ["sns_success", "sns_error"])
def test_results_of_nobody_change_nothing(world, name):
    call(functions.on_success.app, name)
    call(functions.on_error.app, name)
    assert world.all_batches() == []


def test_a_result_outside_our_bucket_is_a_missing_result(world, batch):
    world.pump(QueueName.PLAN, QueueName.DISPATCH)
    event = load_event("sns_success")
    sns = event["Records"][0]["Sns"]
    sns["Message"] = sns["Message"].replace("s3://bucket/", "s3://elsewhere/")
    functions.on_success.app.handler(event, Context())
    assert world.shards(batch)[1].status is ShardStatus.WAITING


def test_an_upload_becomes_a_batch(world):
    world.drop("reviews.jsonl", [chat("a")])
    call(functions.on_upload.app, "s3_upload")
    world.settle()
    (batch,) = world.all_batches()
    assert batch.dropped_key == "drop/reviews.jsonl"
    oracle.check_end(world)


def test_keys_come_encoded(world):
    key = world.drop("team a/résumés + 100% (1).jsonl", [chat("a")])
    call(functions.on_upload.app, "s3_upload_odd_key")
    world.settle()
    (batch,) = world.all_batches()
    assert batch.dropped_key == key
    assert world.blobs.stat("results/team a/résumés + 100% (1).jsonl") is not None
    oracle.check_end(world)


@pytest.mark.parametrize("name", ["s3_removed", "s3_test_event"])
def test_other_events_of_the_bucket_change_nothing(world, name):
    world.drop("reviews.jsonl", [chat("a")])
    call(functions.on_upload.app, name)
    assert world.all_batches() == []


def test_the_schedule_reaps_and_reports(world, batch):
    world.advance(86400)
    call(functions.reap.app, "schedule")
    call(functions.report_backlog.app, "schedule")
    assert world.batch(batch).stopping is not None
    assert world.published


@pytest.mark.parametrize("name", ["plan", "dispatch", "finalize", "deliver"])
def test_of_a_batch_of_messages_only_the_failed_ones_come_again(world, batch, name):
    body = json.loads(load_event(f"sqs_{name}")["Records"][0]["body"])
    event = queue_event(name, body, {"nonsense": 1}, body)
    assert HANDLERS[QueueName(name)].handler(event, Context()) == {
        "batchItemFailures": [{"itemIdentifier": "1"}]
    }


@pytest.mark.parametrize("name", ["plan", "finalize", "deliver"])
def test_a_message_whose_store_fails_comes_again(world, batch, name):
    event = load_event(f"sqs_{name}")
    with world.tap.hooked(fault_at(0, "before", PortError)):
        answer = HANDLERS[QueueName(name)].handler(event, Context())
    assert len(answer["batchItemFailures"]) == 1


@pytest.mark.parametrize("name", ["plan", "finalize", "deliver", "dispatch"])
def test_messages_about_what_is_not_there_are_done_with(world, name):
    assert call(HANDLERS[QueueName(name)], f"sqs_{name}") == HAPPY


def test_a_function_without_a_world_says_so():
    bootstrap.install(None)
    with pytest.raises(MissingSetting, match="backburner up"):
        call(functions.reap.app, "schedule")
