"""Every call of files, uploads, batches, background responses and models, by the openai package."""

import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import openai
import pytest
from conftest import KEY, MODEL, URL, a_file, a_line, until
from openai import OpenAI

CHAT = "/v1/chat/completions"
ENDED = ("completed", "failed", "expired", "cancelled")
DAY = 86400


@pytest.fixture(scope="module")
def ai():
    with OpenAI(base_url=f"{URL}/v1", api_key=KEY) as client:
        yield client


def ended(ai, batch):
    return until(
        lambda: (now := ai.batches.retrieve(batch.id)).status in ENDED and now, "the batch's end"
    )


def a_batch(ai, data, **options):
    file = ai.files.create(file=("in.jsonl", data), purpose="batch")
    return ai.batches.create(
        input_file_id=file.id, endpoint=CHAT, completion_window="24h", **options
    )


def lines(data):
    assert data.endswith(b"\n")
    return [json.loads(line) for line in data.split(b"\n")[:-1]]


# ---- files


def test_a_file_is_created_retrieved_listed_read_and_deleted(ai):
    data = a_file(3)
    file = ai.files.create(
        file=("three.jsonl", data),
        purpose="batch",
        extra_body={"expires_after[anchor]": "created_at", "expires_after[seconds]": str(DAY)},
    )
    assert (file.object, file.filename, file.bytes, file.purpose) == (
        "file",
        "three.jsonl",
        len(data),
        "batch",
    )
    assert file.status == "processed"  # curator waits for it
    assert file.expires_at == file.created_at + DAY
    assert ai.files.retrieve(file.id) == file
    assert ai.files.content(file.id).content == data
    assert ai.files.wait_for_processing(file.id).id == file.id
    deleted = ai.files.delete(file.id)
    assert (deleted.id, deleted.deleted) == (file.id, True)
    with pytest.raises(openai.NotFoundError) as refused:
        ai.files.retrieve(file.id)
    assert refused.value.request_id


def test_a_list_of_files_is_paged_ordered_and_filtered(ai):
    made = [ai.files.create(file=("f.jsonl", a_file(1)), purpose="batch").id for _ in range(5)]
    newest = [file.id for file in ai.files.list(limit=2, purpose="batch")]  # follows every page
    assert newest[:5] == made[::-1]
    oldest = [file.id for file in ai.files.list(limit=100, order="asc")]
    assert [one for one in oldest if one in made] == made
    assert list(ai.files.list(purpose="nothing-has-it")) == []


def test_a_file_without_a_name_is_taken(ai):
    file = ai.files.create(file=io.BytesIO(a_file(1)), purpose="batch")
    assert file.filename


def test_an_upload_in_parts_becomes_a_file(ai, tmp_path):
    data = a_file(400)
    path = tmp_path / "big.jsonl"
    path.write_bytes(data)
    upload = ai.uploads.upload_file_chunked(
        file=path, mime_type="application/jsonl", purpose="batch", part_size=10_000
    )
    assert upload.status == "completed"
    assert upload.file.bytes == len(data)
    assert ai.files.content(upload.file.id).content == data


def test_an_upload_is_put_together_in_the_order_asked_for_and_may_be_cancelled(ai):
    data = a_file(2)
    upload = ai.uploads.create(
        bytes=len(data), filename="two.jsonl", mime_type="application/jsonl", purpose="batch"
    )
    second = ai.uploads.parts.create(upload.id, data=data[10:])
    first = ai.uploads.parts.create(upload.id, data=data[:10])
    done = ai.uploads.complete(upload.id, part_ids=[first.id, second.id])
    assert ai.files.content(done.file.id).content == data
    other = ai.uploads.create(
        bytes=9, filename="x.jsonl", mime_type="application/jsonl", purpose="batch"
    )
    assert ai.uploads.cancel(other.id).status == "cancelled"


# ---- batches


def test_a_batch_runs_from_its_file_to_its_output_in_order(ai):
    batch = a_batch(ai, a_file(30), metadata={"team": "blue"})
    assert batch.status in ("validating", "in_progress")
    assert batch.request_counts is not None
    done = ended(ai, batch)
    assert done.status == "completed"
    assert (done.request_counts.total, done.request_counts.completed) == (30, 30)
    assert done.metadata == {"team": "blue"}
    assert done.error_file_id is None
    out = lines(ai.files.content(done.output_file_id).content)
    assert [line["custom_id"] for line in out] == [f"r{n}" for n in range(1, 31)]
    assert all(line["response"]["status_code"] == 200 for line in out)
    assert done.id in [one.id for one in ai.batches.list(limit=1)]  # follows every page


def test_a_cancelled_batch_says_so_at_once(ai):
    batch = a_batch(ai, a_file(2000))
    cancelled = ai.batches.cancel(batch.id)
    assert cancelled.status in ("cancelling", "cancelled")
    assert cancelled.cancelling_at
    done = ended(ai, batch)
    assert done.status == "cancelled"
    with pytest.raises(openai.BadRequestError):  # 409 would be tried again
        ai.batches.cancel(a_done_batch(ai).id)


def a_done_batch(ai):
    return ended(ai, a_batch(ai, a_file(1)))


def test_bad_lines_are_named(ai):
    data = (a_line(1) + '{"custom_id": "x"\n' + a_line(1)).encode()
    done = ended(ai, a_batch(ai, data))
    assert done.status == "failed"
    assert {(error.code, error.line) for error in done.errors.data} == {
        ("invalid_json_line", 2),
        ("duplicate_custom_id", 3),
    }


def test_what_a_request_asks_wrongly_comes_out_in_the_error_file(ai):
    data = (a_line(1) + a_line(2, max_tokens=-5)).encode()
    done = ended(ai, a_batch(ai, data, extra_body={"x_on_invalid": "skip"}))
    assert (done.request_counts.completed, done.request_counts.failed) == (1, 1)
    (line,) = lines(ai.files.content(done.error_file_id).content)
    assert line["custom_id"] == "r2"


def test_output_expires_as_asked(ai):
    batch = a_batch(ai, a_file(1), output_expires_after={"anchor": "created_at", "seconds": DAY})
    done = ended(ai, batch)
    file = ai.files.retrieve(done.output_file_id)
    assert file.expires_at == file.created_at + DAY


def test_a_batch_may_bring_its_requests_along(ai):
    requests = [json.loads(a_line(number)) for number in (1, 2)]
    batch = ai.post(
        "/batches",
        body={"endpoint": CHAT, "completion_window": "1h", "requests": requests},
        cast_to=openai.types.Batch,
    )
    done = ended(ai, batch)
    assert done.request_counts.completed == 2


def test_options_reach_the_batch_by_extra_body_and_by_metadata(ai):
    batch = a_batch(ai, a_file(1), extra_body={"priority": 7}, metadata={"x_max_tokens": "100000"})
    assert ended(ai, batch).status == "completed"


# ---- responses


def test_a_background_response_is_created_polled_listed_and_deleted(ai):
    response = ai.responses.create(model=MODEL, input="hello", background=True)
    assert response.status in ("queued", "in_progress")
    assert response.output == []
    done = until(
        lambda: (now := ai.responses.retrieve(response.id)).status == "completed" and now,
        "the response's end",
    )
    assert done.output_text
    assert done.usage.total_tokens == done.usage.input_tokens + done.usage.output_tokens
    (item,) = list(ai.responses.input_items.list(response.id))
    assert item.role == "user"
    ai.responses.delete(response.id)
    with pytest.raises(openai.NotFoundError):
        ai.responses.retrieve(response.id)


def test_a_background_response_is_cancelled_again_and_again(ai):
    response = ai.responses.create(model=MODEL, input="hello", background=True)
    try:
        status = ai.responses.cancel(response.id).status
    except openai.BadRequestError:
        status = "completed"
    if status == "completed":  # it was faster
        assert ai.responses.retrieve(response.id).status == "completed"
    else:
        assert [status, ai.responses.cancel(response.id).status] == ["cancelled"] * 2


def test_input_tokens_are_counted(ai):
    if not hasattr(ai.responses, "input_tokens"):
        pytest.skip("this version of the client has no such call")
    counted = ai.responses.input_tokens.count(model=MODEL, input="hello world")
    assert counted.input_tokens > 0


def test_a_chat_completion_waits_for_its_answer(ai):
    answer = ai.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "say 1"}]
    )
    assert answer.choices[0].message.content


# ---- webhooks


class Receiver(BaseHTTPRequestHandler):
    """Keeps what it is told, and answers 200."""

    told: ClassVar = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.told.append((body, dict(self.headers)))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Nobody reads it."""


@pytest.fixture
def receiver():
    Receiver.told.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/hook"
        server.shutdown()


def test_a_webhook_is_made_tested_told_and_deleted(ai, receiver):
    if not hasattr(ai.webhooks, "create"):
        pytest.skip("this version of the client has no such call")
    types = ai.webhooks.event_types.list().data
    made = ai.webhooks.create(name="one", url=receiver, event_types=["batch.completed"])
    assert made.signing_secret.startswith("whsec_")
    assert made.signing_secret.endswith(made.signing_secret_hint[-4:])
    assert ai.webhooks.test(made.id, event_type="batch.failed").status_code == 200
    changed = ai.webhooks.update(made.id, event_types=types)
    assert changed.event_types == types
    new = ai.webhooks.rotate_secret(made.id, keep_old_secret_active_for_24_hours=True)
    assert made.id in [one.id for one in ai.webhooks.list(limit=1)]  # follows every page
    batch = a_done_batch(ai)
    response = ai.responses.create(model=MODEL, input="hello", background=True)
    until(lambda: len(Receiver.told) >= 3, "the events")
    for secret in (made.signing_secret, new.signing_secret):
        events = [ai.webhooks.unwrap(*one, secret=secret) for one in Receiver.told[1:]]
        assert {(one.type, one.data.id) for one in events} == {
            ("batch.completed", batch.id),
            ("response.completed", response.id),
        }
    assert ai.webhooks.retrieve(made.id).name == "one"
    assert ai.webhooks.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError):
        ai.webhooks.retrieve(made.id)


def test_a_batch_s_own_url_is_told_and_any_version_of_the_client_believes_it(ai, receiver):
    secret = ai.post("/x-callback-secret", body={}, cast_to=object)["signing_secret"]
    batch = ended(ai, a_batch(ai, a_file(1), extra_body={"callback_url": receiver}))
    until(lambda: Receiver.told, "the event")
    event = ai.webhooks.unwrap(*Receiver.told[0], secret=secret)
    assert (event.type, event.data.id) == ("batch.completed", batch.id)
    with pytest.raises(openai.InvalidWebhookSignatureError):
        ai.webhooks.unwrap(*Receiver.told[0], secret="whsec_" + "A" * 44)


# ---- models, errors, keys


def test_models_are_listed(ai):
    assert MODEL in [model.id for model in ai.models.list()]
    assert ai.models.retrieve(MODEL).id == MODEL


def test_the_other_base_path_is_the_same(ai):
    alias = ai.with_options(base_url=f"{URL}/openai/v1")
    assert MODEL in [model.id for model in alias.models.list()]


@pytest.mark.parametrize(
    ("call", "error", "param"),
    [
        (lambda ai: ai.files.retrieve("file-nothing"), openai.NotFoundError, "file_id"),
        (
            lambda ai: ai.files.create(file=("x", b"{}"), purpose="vision"),
            openai.BadRequestError,
            "purpose",
        ),
        (
            lambda ai: ai.batches.create(
                input_file_id="file-nothing", endpoint=CHAT, completion_window="24h"
            ),
            openai.NotFoundError,
            "input_file_id",
        ),
        (
            lambda ai: ai.batches.create(
                input_file_id="file-nothing", endpoint="/v1/rerank", completion_window="24h"
            ),
            openai.BadRequestError,
            "endpoint",
        ),
        (
            lambda ai: ai.responses.create(model="nothing", input="x", background=True),
            openai.NotFoundError,
            "model",
        ),
        (lambda ai: ai.models.retrieve("nothing"), openai.NotFoundError, "model"),
    ],
)
def test_an_error_has_its_class_and_names_the_field(ai, call, error, param):
    with pytest.raises(error) as refused:
        call(ai)
    assert refused.value.param == param
    assert refused.value.type == "invalid_request_error"
    assert refused.value.request_id


def test_a_wrong_key_is_refused():
    stranger = OpenAI(base_url=f"{URL}/v1", api_key="wrong")
    with stranger, pytest.raises(openai.AuthenticationError):
        stranger.models.list()


def test_a_batch_created_twice_with_one_key_is_one(ai):
    file = ai.files.create(file=("in.jsonl", a_file(1)), purpose="batch")
    body = {"input_file_id": file.id, "endpoint": CHAT, "completion_window": "24h"}
    headers = {"Idempotency-Key": f"once-{file.id}"}
    first = ai.batches.create(**body, extra_headers=headers)
    assert ai.batches.create(**body, extra_headers=headers).id == first.id
    with pytest.raises(openai.UnprocessableEntityError):
        ai.batches.create(**body, metadata={"a": "b"}, extra_headers=headers)
