"""Background responses over HTTP."""

from dataclasses import replace
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
    assert acme.get(path, stream="").status == 200


def test_responses_and_batches_are_not_each_other(acme):
    response_id = ask(acme).json["id"]
    assert acme.get(f"/v1/batches/{response_id}").status == 404
    assert acme.get("/v1/batches").json["data"] == []


class TestDeletion:
    def test_of_a_response_leaves_nothing_of_it(self, world, acme):
        response_id = ask(acme, user="long " * 2000).json["id"]
        world.reply()
        answer = acme.delete(f"/v1/responses/{response_id}")
        assert (answer.status, answer.json) == (
            200,
            {"id": response_id, "object": "response.deleted", "deleted": True},
        )
        assert world.keys("batches/") == []
        assert world.env.store.query(f"acme/{response_id}") == []
        for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/input_items")):
            assert acme.ask(method, f"/v1/responses/{response_id}{path}").status == 404
        world.pump()

    def test_of_one_that_runs_gives_its_slot_back(self, world, acme):
        response_id = ask(acme).json["id"]
        (attempt,) = world.outstanding
        assert acme.delete(f"/v1/responses/{response_id}").status == 200
        assert world.pool("tiny").in_flight == 0
        world.answer(attempt)
        world.settle()
        assert acme.get(f"/v1/responses/{response_id}").status == 404
        assert world.keys("async/") == []

    def test_of_one_that_waits_never_runs_it(self, world, acme):
        ids = [ask(acme).json["id"] for _ in range(5)]
        assert acme.delete(f"/v1/responses/{ids[4]}").status == 200
        world.finish()
        assert len(world.backend.submissions) == 4
        assert world.pool("tiny").backlog == 0

    def test_tells_nobody_any_more(self, world, acme):
        response_id = ask(acme, metadata={"notify_email": "me@example.com"}).json["id"]
        world.reply()
        acme.delete(f"/v1/responses/{response_id}")
        world.settle()
        assert world.mailed(f"evt_{response_id}") == []


class TestInputItems:
    def test_are_listed_newest_first_page_by_page(self, acme):
        given = [{"role": "user", "content": f"say {n}"} for n in range(5)]
        path = f"/v1/responses/{ask(acme, input=given).json['id']}/input_items"
        seen: list[Any] = []
        query: dict[str, str] = {}
        while True:
            page = acme.get(path, limit=2, **query).json
            assert page["object"] == "list"
            seen += page["data"]
            if not page["has_more"]:
                break
            query = {"after": page["last_id"]}
        texts = [one["content"][0]["text"] for one in seen]
        assert texts == [f"say {n}" for n in reversed(range(5))]
        assert acme.get(path, order="asc").json["data"] == seen[::-1]
        assert len({one["id"] for one in seen}) == 5

    def test_of_a_text_are_one_message(self, acme):
        path = f"/v1/responses/{ask(acme).json['id']}/input_items"
        (item,) = acme.get(path).json["data"]
        assert (item["type"], item["role"]) == ("message", "user")
        assert item["content"] == [{"type": "input_text", "text": "hi"}]

    @pytest.mark.parametrize("query", [{"order": "up"}, {"limit": 101}, {"after": "msg_x"}])
    def test_of_a_page_that_is_none_are_refused(self, acme, query):
        path = f"/v1/responses/{ask(acme).json['id']}/input_items"
        answer = acme.get(path, **query)
        assert (answer.status, [answer.error["param"]]) == (400, list(query))


class TestConversation:
    def first(self, world: Any, acme: Client, **members: Any) -> str:
        response_id: str = ask(acme, **members).json["id"]
        world.reply(body=completion("I am Ada."))
        return response_id

    def test_is_continued_by_naming_the_former_response(self, world, acme):
        first = self.first(world, acme, input="who are you?", instructions="be Ada")
        answer = ask(acme, input="again!", previous_response_id=first)
        assert answer.json["previous_response_id"] == first
        (attempt,) = world.outstanding
        (line,) = attempt.requests
        assert line["body"]["messages"] == [
            {"role": "user", "content": "who are you?"},
            {"role": "assistant", "content": "I am Ada."},
            {"role": "user", "content": "again!"},
        ]
        world.reply(body=completion("Ada!"))
        third = ask(acme, input="and?", previous_response_id=answer.json["id"]).json
        items = acme.get(f"/v1/responses/{third['id']}/input_items", order="asc").json["data"]
        assert [one["role"] for one in items] == ["user", "assistant"] * 2 + ["user"]
        assert len({one["id"] for one in items}) == 5

    def test_goes_on_when_the_former_response_is_deleted(self, world, acme):
        first = self.first(world, acme)
        second = ask(acme, previous_response_id=first).json["id"]
        acme.delete(f"/v1/responses/{first}")
        world.reply()
        assert acme.get(f"/v1/responses/{second}").json["status"] == "completed"

    def test_keeps_calls_of_tools_and_what_they_gave(self, world, acme):
        call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        first = ask(acme).json["id"]
        world.reply(body=completion(None, tool_calls=[call]))
        given = [{"type": "function_call_output", "call_id": "c1", "output": "7"}]
        ask(acme, input=given, previous_response_id=first)
        (attempt,) = world.outstanding
        messages = attempt.requests[0]["body"]["messages"]
        assert [one["role"] for one in messages] == ["user", "assistant", "tool"]
        assert messages[1]["tool_calls"] == [call]

    def test_with_a_stranger_is_refused(self, world, acme, other):
        first = self.first(world, acme)
        for client, named in ((other, first), (acme, "resp_x"), (acme, 7)):
            answer = ask(client, previous_response_id=named)
            assert answer.status == 400
            assert answer.error["code"] == "previous_response_not_found"

    def test_with_one_that_has_no_answer_is_refused(self, world, acme):
        running = ask(acme).json["id"]
        answer = ask(acme, previous_response_id=running)
        assert (answer.status, answer.error["param"]) == (400, "previous_response_id")
        assert "in_progress" in answer.error["message"]


class TestInputTokens:
    def count(self, client: Client, **members: Any) -> Answer:
        return client.post("/v1/responses/input_tokens", {"model": "tiny", **members})

    def test_are_bounded_by_bytes_without_a_tokenizer(self, acme):
        counted = self.count(acme, input="hello")
        assert counted.json["object"] == "response.input_tokens"
        assert counted.json["x_counted_by"] == "bytes"
        assert counted.json["input_tokens"] == 5 + 16

    def test_are_counted_where_there_is_a_tokenizer(self, world, acme):
        world.set_env(replace(world.untapped, tokenizers={"tiny": lambda text: len(text.split())}))
        counted = self.count(acme, input="two words").json
        assert (counted["input_tokens"], counted["x_counted_by"]) == (2 + 16, "tokenizer")

    def test_include_the_conversation(self, world, acme):
        first = ask(acme).json["id"]
        world.reply(body=completion("hello"))
        counted = self.count(acme, input="on", previous_response_id=first).json
        assert counted["input_tokens"] == 2 + 5 + 2 + 3 * 16

    def test_need_a_model_and_an_input(self, world, acme):
        assert self.count(acme, input="x", model="huge").status == 404
        assert self.count(acme).error["param"] == "input"
        assert world.outstanding == []


class TestWithASmallLimit:
    @pytest.fixture
    def limits(self):
        return Limits(line_bytes=1000)

    def test_a_body_over_the_limit_is_refused_by_name(self, acme):
        answer = ask(acme, input="x" * 1000)
        assert answer.status == 413
        assert "1000 bytes" in answer.error["message"]

    def test_a_conversation_over_the_limit_is_refused_by_name(self, world, acme):
        first = ask(acme, input="x" * 500).json["id"]
        world.reply()
        answer = ask(acme, input="x" * 500, previous_response_id=first)
        assert answer.status == 413
        assert "conversation" in answer.error["message"]
