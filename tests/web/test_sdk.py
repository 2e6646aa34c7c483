"""OpenAI's and Anthropic's own clients against the handler, without a change to either.

Bodies come as API Gateway passes them: in an event, as base64.
"""

import base64
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from functions.api import app
from tests.late import Late
from tests.web.conftest import make_event, requests

if TYPE_CHECKING:
    import anthropic
    import openai
else:
    anthropic, openai = Late("anthropic"), Late("openai")


class HandlerTransport(httpx2.BaseTransport):
    """Turns HTTP requests into the handler's events, as API Gateway does."""

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        event = make_event(
            request.method,
            request.url.path,
            request.read(),
            {name.lower(): value for name, value in request.headers.items()},
            dict(request.url.params),
        )
        answer = app.handler(event, None)
        body: Any = answer["body"] or ""
        data = base64.b64decode(body) if answer["isBase64Encoded"] else body.encode()
        return httpx2.Response(answer["statusCode"], headers=answer["headers"], content=data)


@pytest.fixture
def sdk(world, acme):
    http = httpx2.Client(transport=HandlerTransport())
    with openai.OpenAI(
        api_key=acme.key, base_url="http://gateway/v1", http_client=http, max_retries=0
    ) as client:
        yield client


@pytest.fixture
def anthropic_sdk(world, acme):
    http = httpx2.Client(transport=HandlerTransport())
    with anthropic.Anthropic(
        api_key=acme.key, base_url="http://gateway", http_client=http, max_retries=0
    ) as client:
        yield client


def test_the_sdk_runs_a_batch_to_its_end(world, sdk):
    file = sdk.files.create(
        file=("in.jsonl", requests(3)),
        purpose="batch",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )
    assert sdk.files.wait_for_processing(file.id).status == "processed"
    batch = sdk.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"a": "b"},
        extra_body={"priority": 3},
    )
    assert batch.request_counts.failed == 0
    world.finish()
    batch = sdk.batches.retrieve(batch.id)
    assert (batch.status, batch.request_counts.completed) == ("completed", 3)
    assert batch.usage.total_tokens == 15
    assert len(sdk.files.content(batch.output_file_id).text.splitlines()) == 3
    assert sdk.files.delete(file.id).deleted is True


def test_the_sdk_pages_to_the_end(sdk):
    made = {sdk.files.create(file=b"x", purpose="batch").id for _ in range(5)}
    assert {file.id for file in sdk.files.list(limit=2)} == made
    assert list(sdk.batches.list(limit=1)) == []


def test_the_sdk_reads_a_background_response(world, sdk):
    response = sdk.responses.create(model="tiny", input="hi", background=True)
    assert (response.status, response.output_text) == ("queued", "")
    world.reply()
    response = sdk.responses.retrieve(response.id)
    assert (response.status, response.output_text) == ("completed", "re response")
    assert response.usage.total_tokens == 5
    other = sdk.responses.create(model="tiny", input="hi", background=True)
    assert sdk.responses.cancel(other.id).status == "cancelled"


def test_the_sdk_continues_lists_counts_and_deletes_responses(world, sdk):
    first = sdk.responses.create(model="tiny", input="hi", background=True)
    world.reply()
    second = sdk.responses.create(
        model="tiny",
        input="on",
        previous_response_id=first.id,
        background=True,
        include=["reasoning.encrypted_content"],
        extra_body={"background_options": {"completion_window": "2h"}},
    )
    assert second.previous_response_id == first.id
    items = list(sdk.responses.input_items.list(second.id, limit=1))
    assert [item.role for item in items] == ["user", "assistant", "user"]
    assert sdk.responses.input_tokens.count(model="tiny", input="hi").input_tokens == 18
    world.reply()
    found = sdk.responses.retrieve(second.id, include=["message.output_text.logprobs"])
    assert found.model_extra["x_completion_window"] == "2h"
    sdk.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        sdk.responses.retrieve(first.id)


def test_the_sdk_sees_its_own_kinds_of_errors(sdk):
    with pytest.raises(openai.NotFoundError) as caught:
        sdk.batches.retrieve("batch_x")
    assert caught.value.request_id == "req_test"
    assert caught.value.param == "id"
    with pytest.raises(openai.BadRequestError, match="background"):
        sdk.responses.create(model="tiny", input="hi")
    with pytest.raises(openai.AuthenticationError):
        sdk.with_options(api_key="wrong").models.list()
    assert next(iter(sdk.models.list())).id == "tiny"


def test_the_sdk_uploads_in_parts(sdk, tmp_path):
    data = requests(40)
    path = tmp_path / "in.jsonl"
    path.write_bytes(data)
    upload = sdk.uploads.upload_file_chunked(
        file=path, mime_type="application/jsonl", purpose="batch", part_size=1000
    )
    assert (upload.status, upload.file.bytes) == ("completed", len(data))
    assert sdk.files.content(upload.file.id).content == data
    other = sdk.uploads.create(
        bytes=10, filename="x.jsonl", mime_type="application/jsonl", purpose="batch"
    )
    assert sdk.uploads.cancel(other.id).status == "cancelled"


def test_the_sdk_cancels_and_lists_batches(world, sdk):
    file = sdk.files.create(file=("in.jsonl", requests(6)), purpose="batch")
    made = [
        sdk.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        ).id
        for _ in range(3)
    ]
    assert [batch.id for batch in sdk.batches.list(limit=2)] == made[::-1]
    cancelled = sdk.batches.cancel(made[0])
    assert cancelled.cancelling_at
    world.finish()
    assert sdk.batches.retrieve(made[0]).status == "cancelled"
    assert sdk.batches.retrieve(made[1]).status == "completed"


def test_anthropics_sdk_runs_message_batches(world, anthropic_sdk):
    batches = anthropic_sdk.messages.batches
    asked = {"model": "tiny", "max_tokens": 8, "messages": [{"role": "user", "content": "hi"}]}
    made = batches.create(requests=[{"custom_id": n, "params": asked} for n in ("a", "b")])
    assert (made.processing_status, made.request_counts.processing) == ("in_progress", 2)
    world.finish()
    assert batches.retrieve(made.id).request_counts.succeeded == 2
    assert [(one.custom_id, one.result.type) for one in batches.results(made.id)] == [
        ("a", "succeeded"),
        ("b", "succeeded"),
    ]
    assert [one.id for one in batches.list(limit=1)] == [made.id]
    stopped = batches.create(requests=[{"custom_id": "c", "params": asked}])
    assert batches.cancel(stopped.id).cancel_initiated_at is not None
    world.finish()
    assert batches.delete(made.id).id == made.id
    with pytest.raises(anthropic.NotFoundError) as caught:
        batches.retrieve(made.id)
    assert caught.value.request_id == "req_test"


def test_anthropics_sdk_sees_its_own_kinds_of_errors(anthropic_sdk):
    with pytest.raises(anthropic.BadRequestError, match="requests"):
        anthropic_sdk.messages.batches.create(requests=[])
    with pytest.raises(anthropic.AuthenticationError):
        anthropic_sdk.with_options(api_key="wrong").messages.batches.list()
