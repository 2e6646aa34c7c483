"""Raw requests over HTTP: bytes in, bytes out."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest

from backburner.domain.quota import Quota
from backburner.services import keys, raw, records, reservations
from backburner.web.content import INLINE_BYTES
from tests.tap import Crash, fault_at, meanwhile_at
from tests.web.conftest import Answer, Client, WebWorld
from tests.world import CHAT

PNG = b"\x89PNG\r\n\x00\xff"
URL = "http://here"


def ask(
    client: Client, body: bytes = PNG, headers: Mapping[str, str] | None = None, **query: Any
) -> Answer:
    told = {"content-type": "image/png"} | dict(headers or {})
    return client.ask("POST", "/v1/requests", body, told, query={"model": "vision"} | query)


def stored_bytes(world: WebWorld) -> int:
    (usage,) = world.store.get(records.usage_key("acme"))
    return int(usage["stored_bytes"]) if usage is not None else 0


def path_of(answer: Answer) -> str:
    assert answer.status in (201, 202), answer.body
    return f"/v1/requests/{answer.json['id']}"


def test_bytes_go_in_and_bytes_come_out(world, acme):
    path = path_of(ask(acme))
    assert acme.get(path).status == 202
    world.answer(data=b"\x00answer")
    done = acme.get(path)
    assert (done.status, done.body) == (200, b"\x00answer")
    assert done.headers["content-type"] == "image/png"
    assert done.headers["x-content-type-options"] == "nosniff"
    shown = acme.get(f"{path}/status").json
    assert (shown["status"], shown["endpoint"]) == ("completed", "/v1/requests")


def test_the_container_is_told_what_its_client_says(world, acme):
    ask(
        acme,
        headers={
            "accept": "text/plain",
            "x-amzn-sagemaker-custom-attributes": "size=3",
            "x-amzn-sagemaker-content-type": "image/x-raw",
        },
    )
    ask(acme, headers={"accept": "*/*"}, accept="audio/wav")
    ask(acme, headers={"accept": "*/*"}, content_type="a/b", custom_attributes="c")
    told = [
        (one.shard.content_type, one.shard.accept, one.shard.custom_attributes)
        for one in world.outstanding
    ]
    assert told == [
        ("image/x-raw", "text/plain", "size=3"),
        ("image/png", "audio/wav", None),
    ]


def test_a_body_that_is_too_large_for_an_item_goes_to_an_object(world, acme):
    body = PNG * 2000
    path = path_of(ask(acme, body))
    (attempt,) = world.outstanding
    assert attempt.body == body
    assert attempt.shard.input_key is not None
    world.answer()
    assert acme.get(path).body == body


def test_a_large_answer_is_read_by_a_link_that_says_what_it_is(world, acme):
    path = path_of(ask(acme))
    world.answer(data=b"x" * (INLINE_BYTES + 1))
    answer = acme.get(path)
    assert answer.status == 303
    assert "type=image%2Fpng" in answer.headers["location"]


def test_an_answer_nobody_told_of_is_read_by_a_link(world, acme):
    path = path_of(ask(acme))
    world.answer(told=False)
    world.tick(minutes=6)
    assert acme.get(path).status == 303


def test_a_failure_has_the_containers_status_and_words(world, acme):
    path = path_of(ask(acme))
    world.fail(status=415, said=b"No cats.")
    answer = acme.get(path)
    assert (answer.status, answer.error["message"]) == (415, "No cats.")
    assert acme.get(f"{path}/status").json["error"]["code"] == "model_error"


def test_who_waits_gets_the_answer_at_once(world, acme):
    sleep = world.clock.sleep

    def asleep(seconds: float) -> bool:
        if world.outstanding:
            world.answer(data=b"now")
        return bool(sleep(seconds))

    world.clock.sleep = asleep
    answer = ask(acme, headers={"prefer": "wait=5"})
    assert (answer.status, answer.body) == (200, b"now")


def test_an_answer_that_comes_while_its_request_is_deleted_is_not_kept(world, acme):
    path = path_of(ask(acme))
    act = meanwhile_at("blobs.copy", world.tap, lambda: gone.append(acme.delete(path).status))
    gone: list[int] = []
    with world.tap.hooked(act):
        world.answer()
    world.settle()
    assert gone == [200]
    assert world.keys("batches/") == world.keys("async/") == []


class TestUpload:
    def reserve(self, client: Client, **query: Any) -> dict[str, Any]:
        answer = ask(client, b"", upload="true", **query)
        assert answer.status == 201
        made: dict[str, Any] = answer.json
        return made

    def put(self, world: WebWorld, made: dict[str, Any], body: bytes) -> None:
        key = world.blobs.verify_upload(made["upload"]["url"].removeprefix(URL))
        assert key is not None
        world.blobs.put(key, body)

    def start(self, client: Client, made: dict[str, Any]) -> Answer:
        path, _, query = made["start"]["url"].removeprefix(URL).partition("?")
        pairs = dict(pair.split("=") for pair in query.replace("%2F", "/").split("&"))
        return client.ask("POST", path, query=pairs)

    def test_takes_two_steps_and_a_start(self, world, acme):
        made = self.reserve(acme, completion_window="2h", priority=3)
        assert (made["object"], made["upload"]["method"]) == ("request.upload", "PUT")
        self.put(world, made, PNG * 5)
        started = self.start(acme, made)
        assert started.status == 202
        assert started.json["id"] == made["id"]
        assert (started.json["completion_window"], started.json["priority"]) == ("2h", 3)
        (attempt,) = world.outstanding
        assert (attempt.body, attempt.shard.content_type) == (PNG * 5, "image/png")
        assert self.start(acme, made).json["id"] == made["id"]
        assert len(world.outstanding) == 1
        world.answer()
        assert acme.get(f"/v1/requests/{made['id']}").body == PNG * 5

    def test_is_nothing_before_its_start(self, world, acme):
        made = self.reserve(acme)
        assert acme.get(f"/v1/requests/{made['id']}").status == 404
        assert "uploaded" in self.start(acme, made).error["message"]
        self.put(world, made, b"")
        assert self.start(acme, made).status == 400
        assert world.outstanding == []

    def test_is_its_tenants_alone(self, world, acme, other):
        made = self.reserve(acme)
        self.put(world, made, PNG)
        assert self.start(other, made).status == 400
        assert self.start(acme, made).status == 202
        assert other.get(f"/v1/requests/{made['id']}").status == 404

    def test_starts_nothing_that_is_no_request(self, acme):
        answer = acme.ask("POST", "/v1/requests/batch_1/start", query={"model": "vision"})
        assert answer.status == 404

    def test_counts_with_the_files_until_it_is_started(self, world):
        secret, _ = keys.create(
            world.env, "acme", quota=Quota(stored_bytes=world.env.limits.raw_bytes + 10)
        )
        acme = Client(secret, world)
        made = self.reserve(acme)
        refused = ask(acme, b"", upload="true")
        assert (refused.status, refused.error["code"]) == (429, "insufficient_quota")
        assert "link takes up to" in refused.error["message"]
        assert refused.headers["retry-after"] == "60"
        assert acme.upload(b"x" * 11).status == 429
        self.put(world, made, PNG)
        assert self.start(acme, made).status == 202
        assert stored_bytes(world) == 0
        self.reserve(acme)

    def test_that_is_never_started_goes_after_a_day_and_gives_its_room_back(self, world, acme):
        made = self.reserve(acme)
        self.put(world, made, PNG)
        world.advance(reservations.SECONDS - 1)
        world.reap()
        assert world.keys("batches/") == [raw.body_key("acme", made["id"])]
        world.advance(1)
        world.reap()
        assert world.keys("batches/") == []
        assert stored_bytes(world) == 0
        assert self.start(acme, made).status == 400
        assert world.store.query("acme/reservations") == []

    def test_is_not_started_while_it_is_removed(self, world, acme):
        made = self.reserve(acme)
        self.put(world, made, PNG)
        world.advance(reservations.SECONDS)
        statuses = []

        def start() -> None:
            statuses.append(self.start(acme, made).status)

        with world.tap.hooked(meanwhile_at("blobs.delete", world.tap, start)):
            world.reap()
        assert statuses == [404]
        assert world.outstanding == world.keys("batches/") == []

    def test_that_is_started_just_in_time_keeps_its_body(self, world, acme):
        made = self.reserve(acme)
        self.put(world, made, PNG)
        world.advance(reservations.SECONDS)
        (left,) = map(records.to_reservation, world.store.query("acme/reservations"))
        assert self.start(acme, made).status == 202
        reservations.clean_up(world.env, left)
        (attempt,) = world.outstanding
        assert attempt.body == PNG
        assert stored_bytes(world) == 0

    def test_is_removed_whenever_whoever_removes_it_dies(self, world, acme):
        for number in range(20):
            made = self.reserve(acme)
            self.put(world, made, PNG)
            (left,) = map(records.to_reservation, world.store.query("acme/reservations"))
            with suppress(Crash), world.tap.hooked(fault_at(number, "before")):
                reservations.clean_up(world.env, left)
                break
            reservations.clean_up(world.env, left)
            assert world.keys("batches/") == []
            assert stored_bytes(world) == 0
        assert 0 < number < 19

    @pytest.mark.parametrize(
        ("param", "query"),
        {
            "model": {"model": "tiny"},
            "completion_window": {"completion_window": "soon"},
            "priority": {"priority": "10"},
            "metadata.notify_email": {"notify_email": "nobody"},
            "content_type": {"content_type": "x" * 1025},
            "accept": {"accept": "a\r\nb"},
            "custom_attributes": {"custom_attributes": "ü"},
        }.items(),
    )
    def test_checks_all_that_is_said_before_anything_is_uploaded(self, acme, param, query):
        answer = ask(acme, b"", upload="true", **query)
        assert (answer.status, answer.error["param"]) == (400, param)


class TestRepeats:
    def test_of_one_request_run_it_once(self, world, acme):
        body = PNG * 2000
        key = {"idempotency-key": "k"}
        first, second = ask(acme, body, key), ask(acme, body, key)
        assert first.json["id"] == second.json["id"]
        assert len(world.outstanding) == 1
        assert len(world.keys("batches/acme/")) == 1
        assert ask(acme, PNG * 2001, key).status == 422
        assert len(world.keys("batches/acme/")) == 1


BAD = {
    "no model": ({"model": ""}, PNG, 400, "model"),
    "a model that is not there": ({"model": "huge"}, PNG, 404, "model"),
    "a model that takes no bytes": ({"model": "tiny"}, PNG, 400, "model"),
    "no body": ({}, b"", 400, None),
    "a window": ({"completion_window": "1m"}, PNG, 400, "completion_window"),
    "a header that is none": ({"custom_attributes": "ü"}, PNG, 400, "custom_attributes"),
}


@pytest.mark.parametrize(("query", "body", "status", "param"), BAD.values(), ids=BAD)
def test_a_bad_request_is_refused_by_name(world, acme, query, body, status, param):
    answer = ask(acme, body, **query)
    assert (answer.status, answer.error["param"]) == (status, param)
    assert world.outstanding == []
    assert world.keys("batches/") == []


def test_a_large_body_that_is_refused_leaves_nothing(world, acme):
    assert ask(acme, PNG * 2000, completion_window="1m").status == 400
    assert world.keys("batches/") == []


def test_a_model_of_bytes_takes_no_chat(acme):
    asked = {"model": "vision", "messages": [{"role": "user", "content": "hi"}]}
    assert acme.post(CHAT, asked).error["param"] == "model"
