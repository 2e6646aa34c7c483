"""Background responses over HTTP."""

from typing import Any

import pytest

from backburner.ports import Limits
from tests.web.conftest import Answer, Client, completion


def ask(client: Client, **members: Any) -> Answer:
    return client.post(
        "/v1/responses", {"model": "tiny", "input": "hi", "background": True, **members}
    )


def test_a_response_is_queued_runs_and_completes(world, acme):
    answer = ask(acme, metadata={"a": "b"})
    assert answer.status == 200
    response = answer.json
    assert (response["status"], response["output"], response["usage"]) == ("queued", [], None)
    path = f"/v1/responses/{response['id']}"
    assert acme.get(path).json["status"] == "in_progress"
    world.reply(body=completion("hello"))
    done = acme.get(path).json
    assert done["status"] == "completed"
    assert done["metadata"] == {"a": "b"}
    assert done["output"][0]["content"][0]["text"] == "hello"
    assert done["usage"]["total_tokens"] == 5


def test_the_model_gets_a_chat_completion(world, acme):
    ask(acme, instructions="be brief", max_output_tokens=5)
    (attempt,) = world.outstanding
    (line,) = attempt.requests
    assert line["url"] == "/v1/chat/completions"
    assert line["body"]["max_completion_tokens"] == 5
    assert [one["role"] for one in line["body"]["messages"]] == ["system", "user"]


def test_without_a_slot_it_waits(world, acme):
    ids = [ask(acme).json["id"] for _ in range(5)]
    states = [acme.get(f"/v1/responses/{one}").json["status"] for one in ids]
    assert states == ["in_progress"] * 4 + ["queued"]
    world.reply()
    world.pump()
    assert acme.get(f"/v1/responses/{ids[4]}").json["status"] == "in_progress"


def test_a_refused_request_fails_with_the_models_words(world, acme):
    path = f"/v1/responses/{ask(acme).json['id']}"
    world.reply(status=400, body={"error": {"message": "Too hot.", "code": "hot"}})
    failed = acme.get(path).json
    assert failed["status"] == "failed"
    assert failed["error"] == {"code": "hot", "message": "Too hot."}


def test_a_cancelled_response_is_cancelled_at_once(world, acme):
    path = f"/v1/responses/{ask(acme).json['id']}"
    for _ in range(2):
        answer = acme.post(f"{path}/cancel")
        assert (answer.status, answer.json["status"]) == (200, "cancelled")
    world.reply()
    world.pump()
    assert acme.get(path).json["status"] == "cancelled"
    assert acme.post(f"{path}/cancel").json["status"] == "cancelled"


def test_a_completed_response_can_not_be_cancelled(world, acme):
    path = f"/v1/responses/{ask(acme).json['id']}"
    world.reply()
    answer = acme.post(f"{path}/cancel")
    assert (answer.status, answer.error["type"]) == (400, "invalid_request_error")


def test_an_input_that_is_too_large_for_an_item_goes_to_an_object(world, acme):
    text = "long " * 2000
    answer = ask(acme, input="hi", instructions=None, user=text)
    path = f"/v1/responses/{answer.json['id']}"
    assert acme.get(path).json["user"] == text


BAD = {
    "no background": ({"background": None}, 400, "background"),
    "stream": ({"stream": True}, 400, "stream"),
    "a model that is not there": ({"model": "huge"}, 404, "model"),
    "a model for embeddings": ({"model": "embedder"}, 400, "model"),
    "a prompt that is too long": ({"input": "x" * 70_000}, 400, "input"),
    "a window": ({"completion_window": "1m"}, 400, "completion_window"),
    "metadata": ({"metadata": {"a": 1}}, 400, "metadata.a"),
    "a priority": ({"priority": 10}, 400, "priority"),
    "a priority in words": ({"metadata": {"x_priority": "high"}}, 400, "priority"),
    "a mail address": ({"metadata": {"notify_email": "me"}}, 400, "metadata.notify_email"),
}


@pytest.mark.parametrize(("members", "status", "param"), BAD.values(), ids=BAD)
def test_a_bad_field_is_named(world, acme, members, status, param):
    answer = ask(acme, **members)
    assert (answer.status, answer.error["param"]) == (status, param)
    assert world.outstanding == []


def test_a_stream_can_not_be_read(acme):
    path = f"/v1/responses/{ask(acme).json['id']}"
    assert acme.get(path, stream="true").error["param"] == "stream"
    assert acme.get(path, stream="false").status == 200


def test_responses_and_batches_are_not_each_other(acme):
    response_id = ask(acme).json["id"]
    assert acme.get(f"/v1/batches/{response_id}").status == 404
    assert acme.get("/v1/batches").json["data"] == []


class TestWithASmallLimit:
    @pytest.fixture
    def limits(self):
        return Limits(line_bytes=1000)

    def test_a_body_over_the_limit_is_refused_by_name(self, acme):
        answer = ask(acme, input="x" * 1000)
        assert answer.status == 413
        assert "1000 bytes" in answer.error["message"]
