"""Routes whose clients expect an answer at once, and the requests that their calls become."""

from collections.abc import Callable
from typing import Any

import pytest

from backburner.ports import Limits
from tests.web.conftest import Answer, Client, completion
from tests.world import CHAT

MESSAGES = "/v1/messages"
BODIES: dict[str, dict[str, Any]] = {
    CHAT: {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]},
    MESSAGES: {
        "model": "tiny",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "hi"}],
    },
    "/v1/embeddings": {"model": "embedder", "input": ["a", "b"]},
}


def ask(client: Client, prefer: str = "", route: str = CHAT, **options: Any) -> Answer:
    headers = {"prefer": prefer} if prefer else {}
    body = BODIES[route] | options.pop("body", {})
    asking = Client(client.key, client.world, headers=client.headers | headers)
    return asking.post(route, body, **options)


@pytest.fixture
def while_waiting(world) -> Callable[[Callable[[], object]], None]:
    """Have something happen while a call waits, after two looks."""

    def on_sleep(act: Callable[[], object]) -> None:
        slept = []
        sleep = world.clock.sleep

        def asleep(seconds: float) -> bool:
            slept.append(seconds)
            if len(slept) == 2:
                act()
            return bool(sleep(seconds))

        world.clock.sleep = asleep

    return on_sleep


class TestAsync:
    @pytest.mark.parametrize("route", BODIES)
    def test_a_request_is_accepted_and_read_where_its_location_says(self, world, acme, route):
        answer = ask(acme, "respond-async", route)
        assert answer.status == 202
        assert answer.headers["preference-applied"] == "respond-async"
        assert int(answer.headers["retry-after"]) >= 1
        shown = answer.json
        assert (shown["object"], shown["endpoint"]) == ("request", route)
        location = answer.headers["location"]
        assert location == shown["urls"]["result"] == f"http://here/v1/requests/{shown['id']}"
        path = location.removeprefix("http://here")
        assert acme.get(path).status == 202
        assert acme.get(f"{path}/status").json["status"] == "in_progress"
        world.reply(body=completion("hello"))
        done = acme.get(path)
        assert done.status == 200
        expected = {"type": "message"} if route == MESSAGES else {"object": "chat.completion"}
        assert expected.items() <= done.json.items()
        assert acme.get(f"{path}/status").json["status"] == "completed"

    def test_the_model_gets_the_body_as_it_came(self, world, acme):
        body = b'{"model": "tiny",\r\n "messages": [{"role":"user","content":"hi"}], "seed": 1e2}'
        headers = {"prefer": "respond-async", "content-type": "application/json"}
        assert acme.ask("POST", CHAT, body, headers).status == 202
        (attempt,) = world.outstanding
        assert attempt.requests[0]["body"] == BODIES[CHAT] | {"seed": 100.0}

    def test_an_error_of_the_model_comes_with_its_status(self, world, acme):
        for route, kind in ((CHAT, None), (MESSAGES, "error")):
            path = ask(acme, "respond-async", route).headers["location"].removeprefix("http://here")
            world.reply(status=422, body={"error": {"message": "Too hot."}})
            failed = acme.get(path)
            assert failed.status == 422
            assert failed.json.get("type") == kind
            assert failed.error["message"] == "Too hot."
            assert failed.headers["x-should-retry"] == "false"
            assert acme.get(f"{path}/status").json["status_code"] == 422

    def test_an_answer_without_a_message_is_shown_as_it_came(self, world, acme):
        path = f"/v1/requests/{ask(acme, 'respond-async', MESSAGES).json['id']}"
        world.reply(body={"choices": [], "note": "odd"})
        message = acme.get(path).json
        assert (message["type"], message["content"]) == ("message", [{"type": "text", "text": ""}])
        assert message["x_answer"] == {"choices": [], "note": "odd"}

    def test_a_request_without_a_slot_waits_for_one(self, world, acme):
        ids = [ask(acme, "respond-async").json["id"] for _ in range(5)]
        states = [acme.get(f"/v1/requests/{one}/status").json["status"] for one in ids]
        assert states == ["in_progress"] * 4 + ["queued"]
        world.finish()
        assert {acme.get(f"/v1/requests/{one}").status for one in ids} == {200}

    def test_options_are_taken_from_the_query(self, acme):
        query = {"completion_window": "2h", "priority": "3", "notify_email": "me@example.com"}
        shown = ask(acme, "respond-async", query=query).json
        assert shown["completion_window"] == "2h"
        assert shown["priority"] == 3
        assert shown["metadata"] == {"notify_email": "me@example.com"}

    def test_the_pause_between_two_looks_grows(self, world, acme):
        path = f"/v1/requests/{ask(acme, 'respond-async').json['id']}"
        pauses = []
        for _ in range(5):
            pauses.append(int(acme.get(path).headers["retry-after"]))
            world.clock.advance(40)
        assert pauses == sorted(pauses)
        assert (pauses[0], pauses[-1]) == (1, 30)


class TestWaiting:
    def test_a_result_that_comes_in_time_is_the_answer(self, world, acme, while_waiting):
        while_waiting(lambda: world.reply(body=completion("hello")))
        answer = ask(acme, "respond-async, wait=10")
        assert (answer.status, answer.json) == (200, completion("hello"))
        assert answer.headers["content-type"] == "application/json"

    def test_one_that_does_not_is_read_later(self, world, acme):
        before = world.clock.now()
        answer = ask(acme, "wait=10")
        assert answer.status == 202
        assert answer.headers["preference-applied"] == "wait=10"
        assert world.clock.now() - before == pytest.approx(10)

    def test_nobody_waits_for_longer_than_the_limit(self, world, acme):
        before = world.clock.now()
        answer = ask(acme, "wait=600, respond-async")
        assert answer.headers["preference-applied"] == "respond-async, wait=25"
        assert world.clock.now() - before == pytest.approx(25)

    def test_the_store_is_asked_seldom(self, world, acme):
        with world.tap.hooked(None):
            ask(acme, "wait=25")
            assert 5 < world.tap.calls.count("store.get") <= 25

    def test_who_finds_too_many_waiting_does_not_wait(self, world, acme):
        taken = 0
        while world.env.waiters.acquire(blocking=False):
            taken += 1
        before = world.clock.now()
        assert ask(acme, "wait=10").status == 202
        assert world.clock.now() == before
        world.env.waiters.release(taken)

    @pytest.mark.parametrize("prefer", ["wait=soon", "wait", "handling=lenient", "wait=-1"])
    def test_a_preference_without_sense_is_ignored(self, acme, prefer):
        assert ask(acme, f"respond-async; x=1, {prefer}").status == 202


class TestSilentClients:
    """They never heard of `Prefer`."""

    def test_get_their_result(self, world, acme, while_waiting):
        while_waiting(world.reply)
        answer = ask(acme)
        assert (answer.status, answer.json["object"]) == (200, "chat.completion")

    @pytest.mark.parametrize("route", BODIES)
    def test_get_an_error_when_it_takes_too_long(self, world, acme, route):
        answer = ask(acme, route=route)
        assert (answer.status, answer.headers["retry-after"]) == (504, "1")
        assert "Prefer: respond-async" in answer.error["message"]
        assert answer.headers["location"] in answer.error["message"]
        if route == MESSAGES:
            assert answer.error["type"] == "timeout_error"

    def test_find_their_request_when_they_ask_again(self, world, acme, while_waiting):
        first = Client(acme.key, world, headers={"x-stainless-retry-count": "0"})
        assert ask(first).status == 504
        while_waiting(lambda: world.reply(body=completion("hello")))
        again = Client(acme.key, world, headers={"x-stainless-retry-count": "1"})
        answer = ask(again)
        assert (answer.status, answer.json) == (200, completion("hello"))
        assert answer.headers["idempotent-replayed"] == "true"
        assert len(world.backend.submissions) == 1

    def test_find_no_request_that_was_to_be_run_otherwise(self, world, acme):
        ask(Client(acme.key, world, headers={"x-stainless-retry-count": "0"}))
        again = Client(acme.key, world, headers={"x-stainless-retry-count": "1"})
        other = ask(again, query={"notify_email": "ann@example.com"})
        assert "idempotent-replayed" not in other.headers
        assert len(world.backend.submissions) == 2


class TestEnds:
    def path(self, client: Client, **options: Any) -> str:
        return f"/v1/requests/{ask(client, 'respond-async', **options).json['id']}"

    def test_a_cancelled_request_is_gone(self, acme):
        path = self.path(acme)
        for _ in range(2):
            answer = acme.post(f"{path}/cancel")
            assert (answer.status, answer.json["status"]) == (200, "cancelled")

    @pytest.mark.parametrize("route", BODIES)
    def test_the_result_of_a_cancelled_request_says_so(self, world, acme, route):
        path = self.path(acme, route=route)
        acme.post(f"{path}/cancel")
        world.pump()
        answer = acme.get(path)
        assert answer.status == 410
        assert "cancelled" in answer.error["message"]
        assert acme.get(f"{path}/status").json["error"]["code"] == "request_cancelled"

    def test_one_that_expired_says_so(self, world, acme):
        path = self.path(acme, query={"completion_window": "15m"})
        world.clock.advance(1000)
        world.reap()
        world.settle()
        answer = acme.get(path)
        assert (answer.status, answer.error["code"]) == (504, "request_expired")

    def test_one_that_ended_can_not_be_cancelled(self, world, acme):
        path = self.path(acme)
        world.reply()
        assert acme.post(f"{path}/cancel").status == 400

    def test_one_that_was_deleted_is_gone(self, world, acme):
        path = self.path(acme)
        assert acme.delete(path).json["object"] == "request.deleted"
        assert acme.get(path).status == 404

    def test_their_ends_are_told_as_their_own(self, world, acme):
        self.path(acme, query={"notify_email": "me@example.com"})
        world.reply()
        world.pump()
        assert [told.event["type"] for told in world.told] == ["request.completed"]


def test_requests_are_listed_newest_first_page_by_page(acme):
    ids = [ask(acme, "respond-async").json["id"] for _ in range(3)]
    first = acme.get("/v1/requests", limit=2).json
    assert [one["id"] for one in first["data"]] == ids[:0:-1]
    rest = acme.get("/v1/requests", after=first["last_id"]).json
    assert ([one["id"] for one in rest["data"]], rest["has_more"]) == (ids[:1], False)
    assert acme.get("/v1/batches").json["data"] == []


BAD = {
    "a stream": ({"body": {"stream": True}}, 400, "stream"),
    "a model that is not there": ({"body": {"model": "huge"}}, 404, "model"),
    "a model for embeddings": ({"body": {"model": "embedder"}}, 400, "model"),
    "no messages": ({"body": {"messages": []}}, 400, "messages"),
    "a prompt that is too long": (
        {"body": {"messages": [{"role": "user", "content": "x" * 70_000}]}},
        400,
        "messages",
    ),
    "a window": ({"query": {"completion_window": "1m"}}, 400, "completion_window"),
    "a priority": ({"query": {"priority": "10"}}, 400, "priority"),
    "a mail address": ({"query": {"notify_email": "me"}}, 400, "metadata.notify_email"),
}


@pytest.mark.parametrize(("options", "status", "param"), BAD.values(), ids=BAD)
def test_a_bad_field_is_named(world, acme, options, status, param):
    answer = ask(acme, "respond-async", **options)
    assert (answer.status, answer.error["param"]) == (status, param)
    assert world.outstanding == []


class TestWithASmallLimit:
    @pytest.fixture
    def limits(self):
        return Limits(line_bytes=1000)

    def test_a_body_over_the_limit_is_refused(self, acme):
        answer = ask(acme, body={"user": "x" * 1000})
        assert answer.status == 413
