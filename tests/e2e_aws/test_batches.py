"""A client's batches, from its HTTP request to the files, the mail and the event."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from backburner.domain.batch import BatchStatus
from backburner.domain.delivery import Channel, Delivery, DeliveryStatus
from backburner.domain.file import FilePurpose
from backburner.domain.slots import pool_id
from backburner.services import batches, files, outbox, records
from tests.e2e_aws.conftest import TENANT, World
from tests.e2e_aws.deploy import SENDER
from tests.e2e_aws.ministack import ROOT
from tests.e2e_aws.model_server import FAILS_ONCE
from tests.e2e_aws.servers import wait_until
from tests.e2e_aws.submitting import finished, read, submit
from tests.late import Late
from tests.local.stacks import MODEL, lines, names, request, requests, text_of

if TYPE_CHECKING:
    import openai
else:
    openai = Late("openai")

pytestmark = pytest.mark.e2e_aws

ADDRESS = "team@example.com"


class Inbox:
    """A queue that hears events of completed batches only: the subscription filters."""

    def __init__(self, sqs: Any, url: str) -> None:
        self._sqs, self._url = sqs, url
        self._heard: list[dict[str, Any]] = []

    def about(self, batch_id: str) -> list[dict[str, Any]]:
        found = self._sqs.receive_message(QueueUrl=self._url, MaxNumberOfMessages=10)
        for message in found.get("Messages", ()):
            self._heard.append(json.loads(message["Body"]))
            self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])
        return [event for event in self._heard if event["data"]["id"] == batch_id]


@pytest.fixture(scope="module")
def inbox(world: World) -> Iterator[Inbox]:
    topic = world.deployment.resources["EventsTopic"]
    with world.aws.client("sqs") as sqs, world.aws.client("sns") as sns:
        url = sqs.create_queue(QueueName="inbox")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        arn = arn["Attributes"]["QueueArn"]
        allow = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}}
        policy = {**allow, "Action": "sqs:SendMessage", "Resource": arn}
        sqs.set_queue_attributes(
            QueueUrl=url,
            Attributes={"Policy": json.dumps({"Version": "2012-10-17", "Statement": [policy]})},
        )
        sns.subscribe(
            TopicArn=topic,
            Protocol="sqs",
            Endpoint=arn,
            Attributes={
                "RawMessageDelivery": "true",
                "FilterPolicy": json.dumps({"status": ["completed"], "tenant": [TENANT]}),
            },
        )
        yield Inbox(sqs, url)


@pytest.fixture(scope="module")
def sample(world: World, ai: "openai.OpenAI", inbox: Inbox) -> Any:
    """The sample batch with its bad lines at the end, run to its end."""
    content = (ROOT / "events" / "sample_batch.jsonl").read_bytes()
    bad = (ROOT / "events" / "sample_bad_lines.jsonl").read_bytes()
    batch_id = submit(
        ai,
        content + bad,
        metadata={"notify_email": ADDRESS},
        extra_body={"x_on_invalid": "skip"},
    )
    return finished(ai, batch_id)


def test_the_sample_batch_comes_back_in_order(ai, sample):
    asked = lines((ROOT / "events" / "sample_batch.jsonl").read_bytes())
    assert sample.status == "completed"
    assert sample.request_counts.to_dict() == {"total": 407, "completed": 400, "failed": 7}

    output = read(ai, sample.output_file_id)

    assert [line["custom_id"] for line in output] == [line["custom_id"] for line in asked]
    said = [line["body"]["messages"][-1]["content"] for line in asked]
    assert [text_of(line) for line in output] == said


def test_bad_lines_are_in_the_error_file_with_their_reasons(ai, sample):
    errors = read(ai, sample.error_file_id)

    assert [line["id"].rpartition("-")[2] for line in errors] == [
        str(number) for number in range(401, 408)
    ]
    assert all(line["error"]["message"] for line in errors)


def test_the_table_says_that_it_is_over(world, sample):
    env = world.deployment.environment
    batch = batches.load(env, TENANT, sample.id)
    assert batch is not None
    assert (batch.status, batch.completed, batch.failed) == (BatchStatus.COMPLETED, 400, 7)

    def slots() -> Any:
        name = pool_id("sagemaker_async", MODEL)
        (item,) = env.store.get(records.pool_key(name))
        return records.to_pool(item, name)

    wait_until(lambda: slots().in_flight == 0, "the return of all slots")


def test_a_mail_tells_of_it(world, sample):
    env = world.deployment.environment

    def tried() -> Delivery | None:
        told = outbox.of_batch(env, TENANT, sample.id)
        (found,) = (one for one in told if one.channel is Channel.EMAIL)
        return found if found.last_error or found.status is not DeliveryStatus.PENDING else None

    delivery = wait_until(tried, "an attempt to send the mail")
    assert delivery.last_error is None
    (mail,) = [mail for mail in world.ministack.mails() if sample.id in json.dumps(mail)]
    assert mail["To"] == [ADDRESS]
    assert mail["Source"] == SENDER
    assert f"{world.deployment.outputs['ApiUrl']}/batches/{sample.id}" in mail["BodyText"]


def test_an_event_tells_of_it(inbox, sample):
    (event,) = wait_until(lambda: inbox.about(sample.id), "the event")
    assert event["type"] == "batch.completed"
    assert event["data"] == {
        "id": sample.id,
        "status": "completed",
        "tenant": TENANT,
        "model": MODEL,
        "request_counts": {"total": 407, "completed": 400, "failed": 7},
    }


def test_a_request_that_the_model_refuses_is_in_the_error_file(ai):
    batch_id = submit(ai, request(1) + request(2, "null:status=400") + request(3))

    batch = finished(ai, batch_id)

    assert batch.status == "completed"
    assert [line["custom_id"] for line in read(ai, batch.output_file_id)] == ["r1", "r3"]
    (error,) = read(ai, batch.error_file_id)
    assert (error["custom_id"], error["response"]["status_code"]) == ("r2", 400)


def test_an_invocation_that_fails_is_told_by_the_error_topic_and_tried_again(world, ai):
    batch_id = submit(ai, request(1) + request(2, FAILS_ONCE))

    batch = finished(ai, batch_id)

    assert batch.status == "completed"
    assert [line["custom_id"] for line in read(ai, batch.output_file_id)] == ["r1", "r2"]
    assert world.deployment.log("OnErrorFunction")


def test_a_background_response_is_polled_until_it_is_there(ai):
    response = ai.responses.create(model=MODEL, input="tell me", background=True)
    assert response.status in ("queued", "in_progress")

    def is_done() -> bool:
        return ai.responses.retrieve(response.id).status not in ("queued", "in_progress")

    wait_until(is_done, "the end of the response")
    assert ai.responses.retrieve(response.id).output_text == "tell me"


def test_a_cancelled_batch_keeps_what_it_has(ai):
    count = 600  # more shards than slots
    batch_id = submit(ai, requests(count, "null:delay=2"))
    wait_until(lambda: ai.batches.retrieve(batch_id).status == "in_progress", "the start")

    ai.batches.cancel(batch_id)

    batch = finished(ai, batch_id)
    assert batch.status == "cancelled"
    done = read(ai, batch.output_file_id) if batch.output_file_id else []
    dropped = read(ai, batch.error_file_id)
    assert batch.request_counts.to_dict() == {
        "total": count,
        "completed": len(done),
        "failed": len(dropped),
    }
    assert sorted(line["custom_id"] for line in done + dropped) == sorted(names(count))
    assert {line["error"]["code"] for line in dropped} == {"batch_cancelled"}


def test_a_file_too_large_for_a_function_comes_by_a_signed_link(world, ai):
    env = world.deployment.environment
    content = request(1) * 50_000
    file_id = env.ids.new("file")
    env.blobs.put(files.blob_key(TENANT, file_id), content)
    files.add(
        env,
        TENANT,
        file_id=file_id,
        filename="large.jsonl",
        purpose=FilePurpose.BATCH,
        size=len(content),
        expires_at=None,
    )

    answer = ai.files.with_raw_response.content(file_id)

    assert answer.content == content
    link = str(answer.http_response.url)
    assert link.startswith(world.aws.url)
    assert httpx.get(link.partition("?")[0], verify=world.aws.context).status_code == 403


def test_a_deleted_file_is_gone(world, ai):
    file = ai.files.create(file=("in.jsonl", request(1)), purpose="batch")
    assert file.id in [one.id for one in ai.files.list()]

    assert ai.files.delete(file.id).deleted

    with pytest.raises(openai.NotFoundError):
        ai.files.content(file.id)
    assert world.deployment.environment.blobs.stat(files.blob_key(TENANT, file.id)) is None


def test_another_tenant_sees_nothing_of_it(world, sample, connect):
    stranger = connect("other")
    with pytest.raises(openai.NotFoundError):
        stranger.batches.retrieve(sample.id)
    with pytest.raises(openai.NotFoundError):
        stranger.files.content(sample.output_file_id)


def test_a_key_that_nobody_knows_opens_nothing(world, ai):
    with pytest.raises(openai.AuthenticationError):
        ai.with_options(api_key="bb-wrong").models.list()
