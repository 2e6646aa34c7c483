"""A request that comes twice creates once, whatever was lost in between."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from backburner.ports import Delete, Key, Put, Write
from backburner.services import records
from tests import oracle
from tests.tap import Crash, PortError, fault_at, meanwhile
from tests.web.conftest import CATALOG, Answer, Client, WebMemoryWorld, WebWorld, form, requests
from tests.world import CHAT, MINUTE, World

FIRST, RETRY = {"x-stainless-retry-count": "0"}, {"x-stainless-retry-count": "1"}
NAMED = {"idempotency-key": "order-66"}
DAY = 86400


@dataclass(frozen=True)
class Creation:
    """Something that a client may ask for; the same each time."""

    ask: Callable[[Client, dict[str, str]], Answer]
    other: Callable[[Client, dict[str, str]], Answer]
    made: Callable[[World], int]


def file(content: bytes) -> Callable[[Client, dict[str, str]], Answer]:
    def ask(client: Client, headers: dict[str, str]) -> Answer:
        # Clients draw another boundary for each try.
        ask.tries += 1  # type: ignore[attr-defined]
        parts = [("purpose", "batch"), ("file", ("in.jsonl", content))]
        body, kind = form(parts, f"boundary{ask.tries}")  # type: ignore[attr-defined]
        return client.ask("POST", "/v1/files", body, {"content-type": kind, **headers})

    ask.tries = 0  # type: ignore[attr-defined]
    return ask


def batch(**more: Any) -> Callable[[Client, dict[str, str]], Answer]:
    def ask(client: Client, headers: dict[str, str]) -> Answer:
        body = {"input_file_id": "file_given", "endpoint": CHAT, **more}
        return client.ask("POST", "/v1/batches", json.dumps(body).encode(), headers)

    return ask


def response(text: str) -> Callable[[Client, dict[str, str]], Answer]:
    def ask(client: Client, headers: dict[str, str]) -> Answer:
        body = {"model": "tiny", "input": text, "background": True}
        return client.ask("POST", "/v1/responses", json.dumps(body).encode(), headers)

    return ask


def count(kind: str) -> Callable[[World], int]:
    return lambda world: len(world.store.query(f"acme/{kind}", limit=999))


CREATIONS = {
    "a file": Creation(file(b"one\n"), file(b"two\n"), lambda w: count("files")(w) - 1),
    "a batch": Creation(batch(), batch(completion_window="1h"), count("batches")),
    "a response": Creation(response("hi"), response("ho"), count("responses")),
}


def a_web_world() -> WebMemoryWorld:
    world = WebMemoryWorld(Path("/dev/null"), catalog=CATALOG)
    client = world.client("acme")
    given = world.upload(requests(2))
    # One that every world has under the same name.
    key, item = f"files/acme/{given}", world.store.get(_file_key(given))[0]
    assert item is not None
    world.store.transact(
        Put(_file_key("file_given"), {**item, "id": "file_given"}), Delete(_file_key(given))
    )
    assert world.blobs.stat(key) is not None
    assert client.key is not None
    return world


def _file_key(file_id: str) -> Key:
    return records.file_key("acme", file_id)


@pytest.fixture
def world():
    world = a_web_world()
    yield world
    world.close()


@pytest.fixture
def acme(world):
    return Client("secret-of-acme", world)


@pytest.fixture(params=CREATIONS.values(), ids=list(CREATIONS))
def creation(request):
    return request.param


@pytest.mark.parametrize(
    ("first", "second"), [(NAMED, NAMED), (FIRST, RETRY), (RETRY, RETRY), (NAMED | FIRST, NAMED)]
)
def test_the_second_gets_what_the_first_got(world, acme, creation, first, second):
    one, two = creation.ask(acme, first), creation.ask(acme, second)
    assert (one.status, two.status) == (200, 200)
    assert two.json == one.json
    assert ("idempotent-replayed" in one.headers, two.headers["idempotent-replayed"]) == (
        False,
        "true",
    )
    assert creation.made(world) == 1
    assert len(world.keys("files/acme/")) <= 2  # no content is left over


def test_the_first_answer_comes_again_although_all_has_gone_on(world, acme):
    ask = CREATIONS["a batch"].ask
    before = ask(acme, NAMED)
    world.finish()
    world.advance(MINUTE)
    assert acme.get(f"/v1/batches/{before.json['id']}").json["status"] == "completed"
    assert ask(acme, NAMED).body == before.body
    deleted = CREATIONS["a file"].ask(acme, NAMED)
    acme.delete(f"/v1/files/{deleted.json['id']}")
    assert CREATIONS["a file"].ask(acme, NAMED).body == deleted.body


def test_a_key_that_was_given_to_another_request_is_refused(world, acme, creation):
    assert creation.ask(acme, NAMED).status == 200
    answer = creation.other(acme, NAMED)
    assert (answer.status, answer.error["code"]) == (422, "idempotency_key_reused")
    assert creation.made(world) == 1
    assert len(world.keys("files/acme/")) <= 2


def test_a_key_is_one_tenants_and_one_routes(world, acme):
    other = world.client("other")
    ids = {CREATIONS[name].ask(acme, NAMED).json["id"] for name in CREATIONS}
    ids |= {CREATIONS[name].ask(other, NAMED).json["id"] for name in ("a file", "a response")}
    assert len(ids) == 5


def test_a_key_is_remembered_for_a_day(world, acme, creation):
    first = creation.ask(acme, NAMED).json["id"]
    world.advance(DAY - 1)
    assert creation.ask(acme, NAMED).json["id"] == first
    world.advance(1)
    later = creation.ask(acme, NAMED).json["id"]
    assert later != first
    assert creation.ask(acme, NAMED).json["id"] == later


def test_a_retry_finds_what_was_asked_for_within_ten_minutes(world, acme, creation):
    first = creation.ask(acme, FIRST).json["id"]
    world.advance(599)
    assert creation.ask(acme, RETRY).json["id"] == first
    world.advance(1)
    assert creation.ask(acme, RETRY).json["id"] != first


def test_what_is_no_retry_creates_again(world, acme, creation):
    ids = [creation.ask(acme, headers).json["id"] for headers in ({}, FIRST, {}, FIRST)]
    assert len(set(ids)) == 4
    assert creation.ask(acme, RETRY).json["id"] == ids[3]
    assert creation.other(acme, RETRY).json["id"] not in ids


def test_what_a_retry_overtook_gets_the_retrys_answer(world, acme, creation):
    """A client gave up waiting and asked again; then the first request goes on."""
    answers: list[Answer] = []
    with world.tap.hooked(None):
        creation.ask(acme, FIRST)  # asked for, and over, before
    world.advance(700)
    for call in range(12):
        world.advance(700)
        retry = meanwhile(call, world.tap, lambda: answers.append(creation.ask(acme, RETRY)))
        before = creation.made(world)
        with world.tap.hooked(retry):
            late = creation.ask(acme, FIRST)
        if not answers:
            break
        assert late.json["id"] == answers.pop().json["id"]
        assert creation.made(world) == before + 1
    else:
        raise AssertionError("more calls than were tried")


def test_a_new_request_is_not_taken_for_one_that_a_retry_overtook(world, acme, creation):
    retried = creation.ask(acme, RETRY).json["id"]
    world.advance(1)
    assert creation.ask(acme, FIRST).json["id"] != retried


@pytest.mark.parametrize("second", [NAMED, RETRY])
def test_two_at_once_create_once(creation, second):
    """The second falls between any two port calls of the first."""
    for call in range(12):
        world = a_web_world()
        try:
            acme = Client("secret-of-acme", world)
            answers: list[Answer] = []
            ask = partial(creation.ask, acme, second)
            hook = meanwhile(call, world.tap, partial(_append, answers, ask))
            with world.tap.hooked(hook):
                answers.append(ask())
            assert len({one.body for one in answers}) == 1
            assert creation.made(world) == 1
        finally:
            world.close()
        if len(answers) == 1:
            return
    raise AssertionError("more calls than were tried")


def _append(answers: list[Answer], ask: Callable[[], Answer]) -> None:
    answers.append(ask())


@pytest.mark.parametrize("kind", [Crash, PortError])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("first", "second"), [(NAMED, NAMED), (FIRST, RETRY)])
def test_whatever_call_it_dies_at_the_next_try_creates_no_second(
    creation, kind, when, first, second
):
    died = 0
    for call in range(20):
        world = a_web_world()
        try:
            acme = Client("secret-of-acme", world)
            with world.tap.hooked(fault_at(call, when, kind)):
                try:
                    is_whole = creation.ask(acme, first).status == 200
                except Crash:
                    is_whole = False
                is_over = len(world.tap.calls) <= call
            died += not is_whole
            again = creation.ask(acme, second)
            assert again.status == 200
            assert creation.made(world) == 1
            world.tenants.add("acme")
            world.accepted |= {("acme", again.json["id"])} if "object" in again.json else set()
            world.accepted = {one for one in world.accepted if one[1].startswith(("batch", "resp"))}
            world.settle()
            assert creation.made(world) == 1
            oracle.check_end(world, tidy=False)
        finally:
            world.close()
        if is_over:
            break
    assert died > 0


@pytest.mark.parametrize("key", ["x" * 256, "naïve", "a\tb", "\x7f"])
def test_a_key_that_can_not_be_one_is_refused(world, acme, creation, key):
    answer = creation.ask(acme, {"idempotency-key": key})
    assert (answer.status, answer.error["param"]) == (400, "Idempotency-Key")
    assert creation.made(world) == 0


def test_a_request_that_was_refused_may_come_again(world, acme):
    ask = CREATIONS["a batch"].ask
    world.store.transact(*_gone("file_given"))
    assert ask(acme, NAMED).status == 404
    assert batch(priority=3)(acme, NAMED).status == 404  # nothing was made, so nothing is noted


def _gone(file_id: str) -> list[Write]:
    return [Delete(_file_key(file_id))]


@pytest.mark.parametrize("headers", [{}, FIRST])
def test_first_requests_cost_no_further_calls(world, acme, creation, headers):
    def calls(sent: dict[str, str]) -> list[str]:
        with world.tap.hooked(None):
            creation.ask(acme, sent)
            return list(world.tap.calls)

    calls({})
    assert calls(headers) == calls({})


def test_many_at_once_create_one(tmp_path):
    """On the real database, with threads."""
    world = WebWorld(tmp_path, catalog=CATALOG, has_threads=True)
    try:
        acme = world.client("acme")
        ask = CREATIONS["a response"].ask
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: ask(acme, NAMED), range(32)))
        assert {one.status for one in answers} == {200}
        assert len({one.json["id"] for one in answers}) == 1
        assert count("responses")(world) == 1
    finally:
        world.close()
