"""Each function takes the event that AWS sends it; samples of them are in `events/`."""

import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
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
from backburner.services import mirror
from backburner.settings import MissingSetting
from tests import oracle
from tests.tap import PortError, fault_at
from tests.world import (
    HANDLERS,
    Context,
    a_catalog,
    a_model,
    a_raw_model,
    a_world_in_memory,
    chat,
    load_event,
)


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


def _parquet(**columns: list[str]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


LINES = [chat("a", model="mistral-tiny")]
HI = {"messages": [{"role": "user", "content": "hi"}]}
MESSAGE = {"custom_id": "a", "params": HI | {"max_tokens": 5}}
RECORD = {
    "recordId": "a",
    "modelInput": {"messages": [{"role": "user", "content": [{"text": "hi"}]}]},
}
LONGEST = "/".join(["d" * 200] * 4 + ["e" * 209 + ".jsonl"])

#: Each sample with what lies at its keys, and the results that there are at the end.
DROPPED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "s3_upload_anthropic": (
        {"mistral-tiny/messages.jsonl": [MESSAGE]},
        ["mistral-tiny/messages.jsonl"],
    ),
    "s3_upload_bedrock": (
        {"mistral-tiny/records.jsonl": [RECORD]},
        ["mistral-tiny/records.jsonl.out"],
    ),
    "s3_upload_json": ({"questions.json": json.dumps(HI).encode()}, ["questions.json"]),
    "s3_upload_csv": (
        {
            "tables/_template.toml": b'prompt = "Sum up: {text}"',
            "tables/reviews.csv": b"text\nfine\nbad\n",
        },
        ["tables/reviews.csv.jsonl"],
    ),
    "s3_upload_parquet": (
        {"tables/reviews.parquet": _parquet(prompt=["fine", "bad"])},
        ["tables/reviews.parquet.jsonl"],
    ),
    "s3_upload_texts": (
        {"notes/one.txt": b"one", "notes/two.md": b"two"},
        ["notes/one.txt", "notes/two.md"],
    ),
    "s3_upload_raw": ({"cats/cat.png": b"\x89PNG"}, ["cats/cat.png.out"]),
    "s3_upload_options": (
        {"reviews,model=mistral-tiny,window=2h,priority=3.jsonl": LINES},
        ["reviews,model=mistral-tiny,window=2h,priority=3.jsonl"],
    ),
    "s3_upload_quotes_and_emoji": (
        {"\"double\" 'single' \U0001f600 名前.jsonl": LINES},
        ["\"double\" 'single' \U0001f600 名前.jsonl"],
    ),
    "s3_upload_longest_key": (
        {LONGEST: LINES},
        [mirror.mirrored(f"drop/{LONGEST}"[:-6], mirror.RESULTS, ".jsonl").partition("/")[2]],
    ),
    "s3_upload_twice": ({"reviews.jsonl": LINES}, ["reviews.jsonl"]),
    "s3_upload_ignored": (
        {
            "reviews.jsonl.part": LINES,
            "_template.toml": b'prompt = "{text}"',
            ".hidden.jsonl": LINES,
        },
        [],
    ),
}


@pytest.mark.parametrize("name", DROPPED)
def test_whatever_is_dropped_comes_back_beside_it(name):
    content, results = DROPPED[name]
    catalog = a_catalog(a_model("mistral-tiny"), a_raw_model())
    with a_world_in_memory(catalog=catalog) as world:
        for path, data in content.items():
            world.drop(path, data)
        for _ in range(2):
            call(functions.on_upload.app, name)
        world.settle()
        found = [stat.key.removeprefix("results/") for stat in world.blobs.list("results/")]
        assert found == results
        assert not list(world.blobs.list("rejected/"))
        oracle.check_step(world)


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
