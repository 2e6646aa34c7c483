"""The unmodified `openai` package against a whole stack."""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from backburner.services import keys
from tests.late import Late
from tests.local.lossy_proxy import lossy_proxy
from tests.local.stacks import (
    CHAT,
    MODEL,
    PATIENCE_SECONDS,
    lines,
    names,
    request,
    requests,
    text_of,
    wait_until,
)

if TYPE_CHECKING:
    import anthropic
    import openai
else:
    anthropic, openai = Late("anthropic"), Late("openai")

MEGABYTE = 1 << 20
ENDED = ("completed", "failed", "expired", "cancelled")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def connect(stack) -> Iterator[Callable[..., "openai.OpenAI"]]:
    """Clients of the stack; closed afterwards."""
    made: list[openai.OpenAI] = []

    def connect(key: str, **options: Any) -> "openai.OpenAI":
        one = openai.OpenAI(base_url=f"{stack.url}/v1", api_key=key, max_retries=0, **options)
        made.append(one)
        return one

    yield connect
    for one in made:
        one.close()


@pytest.fixture(scope="module")
def ai(connect, dev_key):
    return connect(dev_key)


@pytest.fixture(scope="module")
def other(stack, connect):
    """Another tenant."""
    secret, _ = keys.create(stack.env, "other")
    return connect(secret)


@pytest.fixture
def newcomer(stack, connect):
    """A tenant that has nothing yet."""
    secret, _ = keys.create(stack.env, stack.env.ids.new("t").replace("_", "-"))
    return connect(secret)


def submit(ai: "openai.OpenAI", content: bytes, **options: Any) -> Any:
    file = ai.files.create(file=("in.jsonl", content), purpose="batch")
    return ai.batches.create(
        input_file_id=file.id, endpoint=CHAT, completion_window="24h", **options
    )


def run(ai: "openai.OpenAI", content: bytes, **options: Any) -> Any:
    """Submit a batch and wait until it has ended."""
    batch_id = submit(ai, content, **options).id
    wait_until(lambda: ai.batches.retrieve(batch_id).status in ENDED, "the end of the batch")
    return ai.batches.retrieve(batch_id)


def test_a_file_becomes_a_batch_and_its_results_come_back_in_order(ai, tmp_path):
    path = tmp_path / "work.jsonl"
    path.write_bytes(requests(120))

    file = ai.files.create(file=path, purpose="batch")
    assert (file.object, file.filename, file.purpose) == ("file", "work.jsonl", "batch")
    assert file.bytes == path.stat().st_size
    batch = ai.batches.create(
        input_file_id=file.id,
        endpoint=CHAT,
        completion_window="24h",
        metadata={"project": "tests"},
    )
    assert batch.status in ("validating", "in_progress")
    wait_until(lambda: ai.batches.retrieve(batch.id).status in ENDED, "the end of the batch")

    ended = ai.batches.retrieve(batch.id)
    assert ended.status == "completed"
    assert ended.metadata == {"project": "tests"}
    assert ended.request_counts is not None
    assert ended.request_counts.to_dict() == {"total": 120, "completed": 120, "failed": 0}
    assert ended.error_file_id is None
    output = lines(ai.files.content(ended.output_file_id).read())
    assert [line["custom_id"] for line in output] == names(120)
    assert [text_of(line) for line in output] == [f"say {n}" for n in range(1, 121)]
    assert {line["response"]["status_code"] for line in output} == {200}
    assert {line["error"] for line in output} == {None}
    named = ai.files.retrieve(ended.output_file_id)
    assert named.purpose == "batch_output"
    assert ai.files.content(file.id).read() == path.read_bytes()


def test_lists_are_walked_page_by_page_and_end(newcomer):
    made = [submit(newcomer, request(n)) for n in range(5)]

    assert [b.id for b in newcomer.batches.list(limit=2)] == [b.id for b in reversed(made)]
    assert [f.id for f in newcomer.files.list(limit=2, order="asc", purpose="batch")] == [
        b.input_file_id for b in made
    ]
    first = newcomer.batches.list(limit=2)
    assert first.has_next_page()
    rest = newcomer.batches.list(limit=100, after=first.data[-1].id)
    assert [b.id for b in rest.data] == [b.id for b in reversed(made)][2:]
    assert not rest.has_next_page()


def test_an_empty_list_is_empty(newcomer):
    assert list(newcomer.batches.list()) == []
    assert list(newcomer.files.list()) == []


def test_a_batch_is_cancelled_and_keeps_what_it_has(ai):
    slow = requests(600, "null:delay=1")  # more shards than slots
    batch = submit(ai, slow)
    wait_until(
        lambda: (ai.batches.retrieve(batch.id).request_counts or batch).completed,
        "the first results",
    )

    cancelled = ai.batches.cancel(batch.id)
    assert cancelled.status in ("cancelling", "cancelled")
    wait_until(lambda: ai.batches.retrieve(batch.id).status == "cancelled", "the cancellation")

    ended = ai.batches.retrieve(batch.id)
    done = lines(ai.files.content(ended.output_file_id).read())
    dropped = lines(ai.files.content(ended.error_file_id).read())
    assert ended.request_counts.to_dict() == {
        "total": 600,
        "completed": len(done),
        "failed": len(dropped),
    }
    assert sorted(line["custom_id"] for line in done + dropped) == sorted(names(600))
    assert dropped
    assert {line["error"]["code"] for line in dropped} == {"batch_cancelled"}
    with pytest.raises(openai.BadRequestError):
        ai.batches.cancel(batch.id)


def test_a_deleted_file_is_gone(ai):
    file = ai.files.create(file=("in.jsonl", request(1)), purpose="batch")

    deleted = ai.files.delete(file.id)

    assert (deleted.id, deleted.deleted) == (file.id, True)
    with pytest.raises(openai.NotFoundError):
        ai.files.retrieve(file.id)
    with pytest.raises(openai.NotFoundError):
        ai.files.content(file.id)


def test_requests_that_the_model_refuses_are_in_the_error_file_with_its_answer(ai):
    content = request(1) + request(2, "null:status=400") + request(3)

    batch = run(ai, content)

    assert batch.status == "completed"
    assert batch.request_counts.to_dict() == {"total": 3, "completed": 2, "failed": 1}
    assert [one["custom_id"] for one in lines(ai.files.content(batch.output_file_id).read())] == [
        "r1",
        "r3",
    ]
    (error,) = lines(ai.files.content(batch.error_file_id).read())
    assert error["custom_id"] == "r2"
    assert error["response"]["status_code"] == 400
    assert error["response"]["body"]["error"]["message"] == "The request asked for status 400."


def test_a_file_with_bad_lines_fails_as_a_whole_and_names_every_one(ai):
    bad = {
        2: b"{not json\n",
        3: request(1),
        5: request(5, model="gpt-4o"),
        6: request(6, stream=True),
        7: json.dumps({**json.loads(request(7)), "url": "/v1/embeddings"}).encode() + b"\n",
        9: b"\xff\xfe\n",
        10: request(10, "word " * 4000),
    }
    content = b"".join(bad.get(number) or request(number) for number in range(1, 12))

    batch = run(ai, content)

    assert batch.status == "failed"
    assert [error.line for error in batch.errors.data] == list(bad)
    codes = {error.line: error.code for error in batch.errors.data}
    assert codes[2] == "invalid_json_line"
    assert codes[3] == "duplicate_custom_id"
    assert codes[5] == "model_not_found"
    assert codes[10] == "context_length_exceeded"
    assert all(error.message for error in batch.errors.data)
    assert batch.output_file_id is None
    assert batch.failed_at is not None


def test_bad_lines_are_skipped_where_that_is_asked_for(ai):
    content = request(1) + b"{not json\n" + request(3) + request(1) + request(5)

    batch = run(ai, content, extra_body={"x_on_invalid": "skip"})

    assert batch.status == "completed"
    assert batch.request_counts.to_dict() == {"total": 5, "completed": 3, "failed": 2}
    good = lines(ai.files.content(batch.output_file_id).read())
    bad = lines(ai.files.content(batch.error_file_id).read())
    assert [line["custom_id"] for line in good] == ["r1", "r3", "r5"]
    assert [line["error"]["code"] for line in bad] == ["invalid_json_line", "duplicate_custom_id"]


def test_an_empty_file_fails_with_a_reason(ai):
    batch = run(ai, b"\n")
    assert batch.status == "failed"
    assert [error.code for error in batch.errors.data] == ["empty_batch"]


def test_a_background_response_is_polled_until_it_is_there(ai):
    response = ai.responses.create(model=MODEL, input="tell me", background=True)
    assert response.status in ("queued", "in_progress")

    done = wait_until(lambda: _completed(ai, response.id), "the response")

    assert done.output_text == "tell me"
    assert done.usage.output_tokens > 0
    with pytest.raises(openai.BadRequestError):
        ai.responses.cancel(response.id)


def _completed(ai: "openai.OpenAI", response_id: str) -> Any:
    response = ai.responses.retrieve(response_id)
    assert response.status in ("queued", "in_progress", "completed"), response
    return response if response.status == "completed" else None


def test_a_background_response_is_cancelled(ai):
    response = ai.responses.create(model=MODEL, input="null:delay=3", background=True)

    ai.responses.cancel(response.id)

    wait_until(lambda: ai.responses.retrieve(response.id).status == "cancelled", "the cancellation")


def test_a_client_that_waits_gets_its_answer_in_one_call(ai):
    messages = [{"role": "user", "content": "tell me"}]
    completion = ai.chat.completions.create(model=MODEL, messages=messages)
    assert completion.choices[0].message.content == "tell me"
    with pytest.raises(openai.UnprocessableEntityError, match="status 422"):
        ai.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "null:status=422"}]
        )


def test_a_client_that_does_not_wait_reads_its_answer_later(ai):
    with httpx.Client(headers={"Authorization": f"Bearer {ai.api_key}"}) as http:
        accepted = ai.chat.completions.with_raw_response.create(
            model=MODEL,
            messages=[{"role": "user", "content": "null:delay=1.5"}],
            extra_headers={"Prefer": "respond-async"},
        )
        assert accepted.status_code == 202
        location = accepted.headers["location"]
        assert http.get(location).status_code == 202
        done = wait_until(lambda: _unless_202(http.get(location)), "the answer")
    assert done.json()["choices"][0]["message"]["content"] == "null:delay=1.5"


def _unless_202(answer: httpx.Response) -> httpx.Response | None:
    return answer if answer.status_code != 202 else None


def test_anthropics_client_waits_as_well(stack, dev_key):
    with anthropic.Anthropic(base_url=stack.url, api_key=dev_key, max_retries=0) as client:
        asked: Any = {"model": MODEL, "max_tokens": 20}
        message = client.messages.create(messages=[{"role": "user", "content": "hi"}], **asked)
        assert (message.type, message.content[0].text) == ("message", "hi")
        with pytest.raises(anthropic.NotFoundError) as caught:
            client.messages.create(
                messages=[{"role": "user", "content": "x"}], **asked | {"model": "no"}
            )
        assert "not_found_error" in str(caught.value.body)


def test_the_models_are_listed(ai):
    assert [model.id for model in ai.models.list()] == [MODEL]
    assert ai.models.retrieve(MODEL).object == "model"
    with pytest.raises(openai.NotFoundError):
        ai.models.retrieve("gpt-4o")


def test_a_key_that_nobody_knows_opens_nothing(connect):
    stranger = connect("bb-wrong")
    with pytest.raises(openai.AuthenticationError):
        stranger.models.list()
    with pytest.raises(openai.AuthenticationError):
        stranger.files.create(file=("in.jsonl", request(1)), purpose="batch")


@pytest.mark.parametrize("header", ["x-api-key", "api-key"])
def test_the_key_may_come_in_other_headers(connect, dev_key, header):
    only = {"Authorization": openai.Omit(), header: dev_key}
    listed = connect("unused").models.list(extra_headers=only)
    assert [model.id for model in listed] == [MODEL]


def test_another_tenant_sees_nothing_of_it(ai, other):
    batch = run(ai, requests(3))
    response = ai.responses.create(model=MODEL, input="mine", background=True)
    attempts: list[Callable[[], object]] = [
        lambda: other.batches.retrieve(batch.id),
        lambda: other.batches.cancel(batch.id),
        lambda: other.files.retrieve(batch.input_file_id),
        lambda: other.files.content(batch.input_file_id),
        lambda: other.files.delete(batch.input_file_id),
        lambda: other.files.content(batch.output_file_id),
        lambda: other.responses.retrieve(response.id),
        lambda: other.responses.cancel(response.id),
        lambda: other.batches.create(
            input_file_id=batch.input_file_id, endpoint=CHAT, completion_window="24h"
        ),
    ]
    for attempt in attempts:
        with pytest.raises(openai.NotFoundError):
            attempt()
    assert batch.id not in [one.id for one in other.batches.list()]
    assert ai.files.content(batch.input_file_id).read() == requests(3)


def test_what_is_missing_or_wrong_is_named(ai):
    with pytest.raises(openai.NotFoundError):
        ai.batches.create(input_file_id="file-no", endpoint=CHAT, completion_window="24h")
    file = ai.files.create(file=("in.jsonl", request(1)), purpose="batch")
    with pytest.raises(openai.BadRequestError) as caught:
        ai.batches.create(input_file_id=file.id, endpoint="/v1/no", completion_window="24h")
    assert caught.value.param == "endpoint"
    with pytest.raises(openai.BadRequestError) as caught:
        ai.files.create(file=("in.jsonl", request(1)), purpose="fine-tune")
    assert caught.value.param == "purpose"


def test_a_large_upload_streams_through_and_comes_back_by_a_signed_link(ai, tmp_path):
    path = tmp_path / "large.jsonl"
    line = request(1, "x" * 900)
    with path.open("wb") as stream:
        for _ in range(30 * MEGABYTE // len(line) + 1):
            stream.write(line)
    size = path.stat().st_size

    with Memory() as memory, path.open("rb") as stream:
        file = ai.files.create(file=stream, purpose="batch")
    assert file.bytes == size
    assert memory.growth < 12 * MEGABYTE, f"grew by {memory.growth / MEGABYTE:.1f} MB"

    with Memory() as memory, ai.files.with_streaming_response.content(file.id) as answer:
        assert answer.http_response.history[0].status_code == 302
        assert "/blobs/" in str(answer.http_response.url)
        received = sum(len(chunk) for chunk in answer.iter_bytes(MEGABYTE))
    assert received == size
    assert memory.growth < 12 * MEGABYTE, f"grew by {memory.growth / MEGABYTE:.1f} MB"


def test_a_file_comes_in_parts_by_the_packages_own_helper(ai, tmp_path):
    path = tmp_path / "parts.jsonl"
    line = request(1, "x" * 900)
    path.write_bytes(line * (30 * MEGABYTE // len(line)))
    content = path.read_bytes()
    digest = hashlib.md5(content).hexdigest()

    with Memory() as memory:
        upload = ai.uploads.upload_file_chunked(
            file=path,
            mime_type="application/jsonl",
            purpose="batch",
            part_size=4 * MEGABYTE,
            md5=digest,
        )
    assert memory.growth < 60 * MEGABYTE, f"grew by {memory.growth / MEGABYTE:.1f} MB"
    assert (upload.status, upload.filename, upload.bytes) == (
        "completed",
        "parts.jsonl",
        len(content),
    )
    assert ai.files.retrieve(upload.file.id).bytes == len(content)
    assert ai.files.content(upload.file.id).read() == content


def test_a_batch_runs_from_parts_that_cut_lines(ai):
    content = requests(20)
    upload = ai.uploads.upload_file_chunked(
        file=content,
        filename="in.jsonl",
        bytes=len(content),
        mime_type="application/jsonl",
        purpose="batch",
        part_size=777,
    )
    batch = ai.batches.create(input_file_id=upload.file.id, endpoint=CHAT, completion_window="24h")
    wait_until(lambda: ai.batches.retrieve(batch.id).status in ENDED, "the end of the batch")
    output = lines(ai.files.content(ai.batches.retrieve(batch.id).output_file_id).read())
    assert [line["custom_id"] for line in output] == names(20)


class Memory:
    """How much this process, stack and client, grew at its largest."""

    def __enter__(self) -> "Memory":
        self.growth = 0
        self._start = _resident()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self._ended.wait(0.005) and time.monotonic() < deadline:
            self.growth = max(self.growth, _resident() - self._start)


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def test_a_client_whose_answers_are_lost_gets_the_one_that_was_made(stack, newcomer):
    """The client repeats by itself, as its makers built it, and sends no key."""
    file = newcomer.files.create(file=("in.jsonl", request(1)), purpose="batch")
    with lossy_proxy(stack.url, losses=0) as proxy:
        ai = newcomer.with_options(base_url=f"{proxy.url}/v1", max_retries=2)

        def lose() -> None:
            proxy.losses, proxy.seen = 1, []

        lose()
        batch = ai.batches.create(
            input_file_id=file.id, endpoint=CHAT, completion_window="24h", metadata={"a": "b"}
        )
        assert proxy.seen == ["0", "1"]
        lose()
        other = ai.files.create(file=("in.jsonl", request(2)), purpose="batch")
        lose()
        response = ai.responses.create(model=MODEL, input="hi", background=True)
        assert proxy.seen == ["0", "1"]
    assert [one.id for one in newcomer.batches.list()] == [batch.id]
    assert {one.id for one in newcomer.files.list(purpose="batch")} == {file.id, other.id}
    assert newcomer.responses.retrieve(response.id).id == response.id


def test_a_key_of_the_clients_own_makes_one_of_two(newcomer):
    file = newcomer.files.create(file=("in.jsonl", request(1)), purpose="batch")
    asked: dict[str, Any] = {
        "input_file_id": file.id,
        "endpoint": CHAT,
        "extra_headers": {"Idempotency-Key": "order-66"},
    }
    one, two = (newcomer.batches.create(completion_window="24h", **asked) for _ in range(2))
    assert one == two
    with pytest.raises(openai.UnprocessableEntityError):
        newcomer.batches.create(completion_window="2h", **asked)
