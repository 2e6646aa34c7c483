"""Webhook endpoints and deliveries over HTTP, by hand and by the openai package."""

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from backburner.domain.errors import Undelivered
from backburner.ports import HookAnswer
from tests.late import Late
from tests.memory import Posted
from tests.web.conftest import Client, requests
from tests.web.test_sdk import sdk  # noqa: F401 - a fixture

if TYPE_CHECKING:
    import openai
else:
    openai = Late("openai")

ENDPOINTS = "/v1/webhook_endpoints"
DELIVERIES = "/v1/x-deliveries"
URL = "https://hooks.example.com/x"
ALL = {"name": "hook", "url": URL, "event_types": ["batch.completed", "batch.failed"]}


def make(client: Client, **given: Any) -> Any:
    answer = client.post(ENDPOINTS, ALL | given)
    assert answer.status == 200, answer.body
    return answer.json


def gone(_: Posted) -> HookAnswer:
    return HookAnswer(status=410)


def nobody(_: Posted) -> HookAnswer:
    raise Undelivered("It did not answer in time.")


def run(world: Any, client: Client, count: int = 1, **options: Any) -> Any:
    """Batches that have ended, and were told."""
    made = [client.batch(requests(1), **options) for _ in range(count)]
    world.finish()
    world.tick(2)
    return made[0]


# ---------------------------------------------------------------- the openai package


def test_the_sdk_manages_endpoints(world, sdk):  # noqa: F811
    types = sdk.webhooks.event_types.list().data
    assert {"batch.completed", "response.incomplete"} <= set(types)
    made = sdk.webhooks.create(name="one", url=URL, event_types=["batch.completed"])
    assert made.object == "webhook_endpoint"
    key = base64.b64decode(made.signing_secret.removeprefix("whsec_"))
    assert 24 <= len(key) <= 64
    assert made.signing_secret_hint.endswith(made.signing_secret[-4:])
    found = sdk.webhooks.retrieve(made.id)
    assert (found.name, found.url, found.event_types) == ("one", URL, ["batch.completed"])
    assert not hasattr(found, "signing_secret")
    world.advance(5)
    changed = sdk.webhooks.update(made.id, name="two", event_types=["response.failed"])
    assert (changed.name, changed.event_types) == ("two", ["response.failed"])
    assert changed.updated_at == made.updated_at + 5
    rotated = sdk.webhooks.rotate_secret(made.id, keep_old_secret_active_for_24_hours=True)
    assert rotated.signing_secret != made.signing_secret
    others = [sdk.webhooks.create(name="n", url=URL, event_types=types[:1]).id for _ in range(3)]
    assert [one.id for one in sdk.webhooks.list(limit=2)] == [*others[::-1], made.id]
    tested = sdk.webhooks.test(made.id, event_type="batch.failed")
    assert (tested.status_code, tested.success) == (200, True)
    assert world.receiver.posted[-1].event["type"] == "batch.failed"
    deleted = sdk.webhooks.delete(made.id)
    assert (deleted.id, deleted.deleted) == (made.id, True)
    with pytest.raises(openai.NotFoundError):
        sdk.webhooks.retrieve(made.id)


def test_the_sdk_unwraps_what_it_is_told(world, acme, sdk, monkeypatch):  # noqa: F811
    monkeypatch.setattr("time.time", world.clock.now)
    made = sdk.webhooks.create(name="one", url=URL, event_types=["batch.completed"])
    batch = run(world, acme)
    sdk.webhooks.test(made.id, event_type="batch.completed")
    told, sample = (
        sdk.webhooks.unwrap(one.body, one.headers, secret=made.signing_secret)
        for one in world.receiver.posted
    )
    assert (told.type, told.data.id) == ("batch.completed", batch["id"])
    assert (sample.object, sample.type) == ("event", "batch.completed")
    assert sample.data.id == "batch_test"


# ---------------------------------------------------------------- endpoints


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 257}, "name"),
        ({"name": None}, "name"),
        ({"url": "http://example.com"}, "url"),
        ({"url": "https://169.254.169.254/latest/meta-data"}, "url"),
        ({"url": "https://2130706433/"}, "url"),
        ({"url": None}, "url"),
        ({"event_types": []}, "event_types"),
        ({"event_types": ["batch.done"]}, "event_types"),
        ({"event_types": "batch.completed"}, "event_types"),
        ({"event_types": [7]}, "event_types"),
        ({"x_notify_email": "nobody"}, "x_notify_email"),
    ],
)
def test_what_is_wrong_with_an_endpoint_is_named(acme, given, param):
    answer = acme.post(ENDPOINTS, ALL | given)
    assert (answer.status, answer.error["param"]) == (400, param)
    assert f"'{param}'" in answer.error["message"]
    made = make(acme)
    changed = acme.post(f"{ENDPOINTS}/{made['id']}", given)
    assert (changed.status, changed.error["param"]) == (400, param)
    assert acme.get(f"{ENDPOINTS}/{made['id']}").json["name"] == "hook"


def test_a_secret_is_shown_once_and_a_hint_of_it_from_then_on(acme):
    made = make(acme)
    rotated = acme.post(f"{ENDPOINTS}/{made['id']}/rotate_secret").json
    for path in ("", f"/{made['id']}"):
        text = acme.get(ENDPOINTS + path).body.decode()
        assert made["signing_secret"] not in text
        assert rotated["signing_secret"] not in text
        assert rotated["signing_secret_hint"] in json.loads(text).get("signing_secret_hint", text)


def test_there_are_at_most_twenty(acme, other):
    for _ in range(20):
        make(acme)
    assert acme.post(ENDPOINTS, ALL).status == 400
    make(other)
    assert len(acme.get(ENDPOINTS, limit=100).json["data"]) == 20


def test_an_endpoint_that_is_made_twice_by_a_client_that_tries_again_is_one(acme):
    first = acme.ask("POST", ENDPOINTS, json.dumps(ALL).encode(), {"x-stainless-retry-count": "0"})
    again = acme.ask("POST", ENDPOINTS, json.dumps(ALL).encode(), {"x-stainless-retry-count": "1"})
    assert again.json == first.json
    path = f"{ENDPOINTS}/{first.json['id']}/rotate_secret"
    keep = json.dumps({"keep_old_secret_active_for_24_hours": True}).encode()
    new, same = (
        acme.ask("POST", path, keep, {"x-stainless-retry-count": str(count)}).json
        for count in range(2)
    )
    assert new == same
    assert len(acme.get(ENDPOINTS).json["data"]) == 1


def test_an_update_that_changes_nothing_leaves_its_time(world, acme):
    made = make(acme)
    world.advance(60)
    assert acme.post(f"{ENDPOINTS}/{made['id']}", {}).json["updated_at"] == made["updated_at"]
    assert acme.post(f"{ENDPOINTS}/{made['id']}").json["updated_at"] == made["updated_at"]


def test_a_sample_that_nobody_takes_is_told_as_such(world, acme):
    made = make(acme)
    path = f"{ENDPOINTS}/{made['id']}/test"
    world.receiver.answer = gone
    answer = acme.post(path, {"event_type": "response.completed"})
    assert (answer.status, answer.json["status_code"]) == (200, 410)
    assert world.receiver.posted[-1].event["data"] == {"id": "resp_test"}
    assert acme.get(f"{ENDPOINTS}/{made['id']}").json["x_status"] == "enabled"
    assert acme.post(path, {"event_type": "nothing"}).error["param"] == "event_type"
    world.receiver.answer = nobody
    unheard = acme.post(path, {"event_type": "batch.failed"})
    reason = "The endpoint could not be told. It did not answer in time."
    assert (unheard.status, unheard.error["message"]) == (400, reason)


def test_an_endpoint_that_is_gone_shows_it_and_an_update_enables_it(world, acme):
    made = make(acme, x_notify_email="ops@example.com")
    world.receiver.answer = gone
    run(world, acme)
    found = acme.get(f"{ENDPOINTS}/{made['id']}").json
    assert (found["x_status"], found["x_disabled_reason"]) == ("disabled", "It answered 410 Gone.")
    assert found["x_disabled_at"]
    mails = [mail for sent in world.mailer.sent.values() for mail in sent]
    assert [mail.to for mail in mails] == ["ops@example.com"]
    enabled = acme.post(f"{ENDPOINTS}/{made['id']}", {"name": "mended"}).json
    assert enabled["x_status"] == "enabled"
    assert (enabled["x_disabled_at"], enabled["x_disabled_reason"]) == (None, None)


# ---------------------------------------------------------------- callbacks


def test_a_batch_s_own_url_is_told_however_it_was_named(world, acme):
    secret = acme.post("/v1/x-callback-secret").json["signing_secret"]
    assert secret.startswith("whsec_")
    by_body = acme.batch(requests(1), callback_url=URL)
    by_metadata = acme.batch(requests(1), metadata={"x_callback_url": URL})
    line = {"custom_id": "one", "params": {"model": "tiny", "max_tokens": 5, "messages": HI}}
    messages = {"requests": [line], "callback_url": URL}
    by_messages = acme.post("/v1/messages/batches", messages).json
    asked = {"model": "tiny", "input": "hi", "background": True, "callback_url": URL}
    by_response = acme.post("/v1/responses", asked).json
    later = {"prefer": "respond-async"}
    chat = json.dumps({"model": "tiny", "messages": HI}).encode()
    path = "/v1/chat/completions"
    by_query = acme.ask("POST", path, chat, later, query={"callback_url": URL}).json
    assert by_body["x_callback_url"] == by_messages["x_callback_url"] == URL
    world.finish()
    world.tick(2)
    told = {one.event["data"]["id"] for one in world.receiver.posted}
    made = (by_body, by_metadata, by_messages, by_response, by_query)
    assert told == {one["id"] for one in made}
    assert {one.url for one in world.receiver.posted} == {URL}


HI = [{"role": "user", "content": "hi"}]


def test_a_url_that_no_webhook_may_go_to_is_refused(acme):
    acme.post("/v1/x-callback-secret")
    file_id = acme.upload(requests(1)).json["id"]
    given = {"input_file_id": file_id, "endpoint": "/v1/chat/completions"}
    for url in ("http://example.com", "https://[::ffff:127.0.0.1]/", "https://localhost"):
        answer = acme.post("/v1/batches", given | {"callback_url": url})
        assert (answer.status, answer.error["param"]) == (400, "callback_url")


# ---------------------------------------------------------------- deliveries


def test_the_deliveries_of_a_batch_are_listed(world, acme):
    made = make(acme)
    batch = run(world, acme, metadata={"notify_email": "ann@example.com"})
    found = acme.get(DELIVERIES, batch=batch["id"]).json["data"]
    shown = {one["channel"]: (one["endpoint_id"], one["target"], one["status"]) for one in found}
    assert shown == {
        "email": (None, "ann@example.com", "delivered"),
        "events": (None, None, "delivered"),
        "webhook": (made["id"], None, "delivered"),
    }
    assert {one["event_id"] for one in found} == {f"evt_{batch['id']}"}
    first = acme.get(DELIVERIES, batch=batch["id"], limit=2).json
    rest = acme.get(DELIVERIES, batch=batch["id"], after=first["last_id"]).json
    assert (first["has_more"], rest["has_more"]) == (True, False)
    assert [*first["data"], *rest["data"]] == found
    assert acme.get(DELIVERIES, batch=batch["id"], status="dead").json["data"] == []


def test_what_is_dead_is_listed_the_latest_first_and_told_again(world, acme):
    made = make(acme)
    world.receiver.answer = gone
    batches = [run(world, acme)["id"] for _ in range(3)]
    first = acme.get(DELIVERIES, status="dead", limit=2).json
    rest = acme.get(DELIVERIES, status="dead", after=first["last_id"], limit=1).json
    dead = [*first["data"], *rest["data"]]
    assert [one["batch_id"] for one in dead] == batches[::-1]
    assert (first["has_more"], rest["has_more"]) == (True, False)
    assert {one["last_error"] for one in dead} == {
        "It answered 410 Gone.",
        "The endpoint was disabled.",
    }
    world.receiver.answer = lambda _: HookAnswer(status=200)
    acme.post(f"{ENDPOINTS}/{made['id']}", {})
    again = acme.post(f"{DELIVERIES}/{dead[0]['id']}/replay").json
    assert (again["status"], again["attempts"], again["event_id"]) == (
        "pending",
        0,
        dead[0]["event_id"],
    )
    answer = acme.post(f"{DELIVERIES}/replay", {"since": 0, "endpoint_id": made["id"]}).json
    assert (answer["replayed"], answer["has_more"], answer["next_since"]) == (2, False, None)
    world.tick(2)
    assert acme.get(DELIVERIES, status="dead").json["data"] == []
    assert acme.get(f"{DELIVERIES}/{dead[0]['id']}").json["status"] == "delivered"


@pytest.mark.parametrize("since", [None, "now", -1, True, 1e12])
def test_since_when_to_tell_again_is_an_instant(acme, since):
    answer = acme.post(f"{DELIVERIES}/replay", {"since": since})
    assert (answer.status, answer.error["param"]) == (400, "since")


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"status": "lost"}, "status"),
        ({"status": "pending"}, "status"),
        ({}, "status"),
        ({"status": "dead", "after": "x"}, "after"),
    ],
)
def test_a_list_of_deliveries_is_of_the_dead_or_of_a_batch(acme, query, param):
    answer = acme.get(DELIVERIES, **query)
    assert (answer.status, answer.error["param"]) == (400, param)


def test_another_tenant_s_endpoints_and_deliveries_are_nobody_s(world, acme, other):
    made = make(acme)
    world.receiver.answer = gone
    batch = run(world, acme)
    (dead,) = acme.get(DELIVERIES, status="dead").json["data"]
    for method, path in (
        ("GET", f"{ENDPOINTS}/{made['id']}"),
        ("POST", f"{ENDPOINTS}/{made['id']}"),
        ("DELETE", f"{ENDPOINTS}/{made['id']}"),
        ("POST", f"{ENDPOINTS}/{made['id']}/rotate_secret"),
        ("GET", f"{DELIVERIES}/{dead['id']}"),
        ("POST", f"{DELIVERIES}/{dead['id']}/replay"),
    ):
        assert other.ask(method, path).status == 404
    tested = other.post(f"{ENDPOINTS}/{made['id']}/test", {"event_type": "batch.failed"})
    assert tested.status == 404
    assert other.get(ENDPOINTS).json["data"] == []
    assert other.get(DELIVERIES, status="dead").json["data"] == []
    assert other.get(DELIVERIES, batch=batch["id"]).json["data"] == []
    assert other.post(f"{DELIVERIES}/replay", {"since": 0}).json["replayed"] == 0
