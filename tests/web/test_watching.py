"""Server-sent events of one batch, as a function answers them and as a gateway streams them."""

import json
from typing import Any

import pytest

from backburner.domain.errors import NotFound
from backburner.web.watching import HEARTBEAT_SECONDS
from functions.api import app
from tests.web.conftest import Answer, make_event, requests

MESSAGES = "/v1/messages/batches"


def told(data: bytes) -> list[dict[str, Any]]:
    """Events of a stream, as a browser's EventSource reads them: one a block that has data."""
    found = []
    for block in data.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line)
        if "data" in fields:
            found.append(
                {"id": fields["id"], "name": fields["event"], **json.loads(fields["data"])}
            )
    return found


def names(data: bytes) -> list[str]:
    return [event["name"] for event in told(data)]


def watch(client, batch, *, after: str = "", wait: int | None = None) -> Answer:
    """Ask as on AWS: the answer ends."""
    headers = {"last-event-id": after} if after else {}
    headers |= {"prefer": f"wait={wait}"} if wait is not None else {}
    kind = MESSAGES if batch["id"].startswith("msgbatch_") else "/v1/batches"
    answer: Answer = client.ask("GET", f"{kind}/{batch['id']}/events", headers=headers)
    return answer


def stream(client, batch, *, after: str = "", prefer: str = "") -> Any:
    """Ask as the gateway of one machine does, which can stream."""
    headers = {"authorization": f"Bearer {client.key}", "last-event-id": after, "prefer": prefer}
    event = make_event("GET", f"/v1/batches/{batch['id']}/events", b"", headers, {})
    event["requestContext"]["backburner"] = {"streams": True}
    answer = app.handler(event, None)
    assert answer["statusCode"] == 200
    assert answer["headers"]["content-type"] == "text/event-stream"
    return answer["stream"]


class TestAnswer:
    """Where the answer is handed over whole."""

    def test_who_knows_nothing_is_told_at_once_where_the_batch_stands(self, acme):
        batch = acme.batch(requests(2))
        answer = watch(acme, batch)
        (event,) = told(answer.body)
        assert answer.headers["content-type"] == "text/event-stream"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.body.startswith(b"retry: 5000\n\n")
        assert event["type"] == event["name"] == "batch.validating"
        assert event["created_at"] == batch["created_at"]
        assert event["data"] == acme.get(f"/v1/batches/{batch['id']}").json

    def test_who_comes_back_is_told_what_happened_since(self, world, acme):
        batch = acme.batch(requests(8))
        (first,) = told(watch(acme, batch).body)
        world.pump()
        (started,) = told(watch(acme, batch, after=first["id"]).body)
        world.reply(count=1)
        (progress,) = told(watch(acme, batch, after=started["id"]).body)
        world.finish()
        ended = told(watch(acme, batch, after=progress["id"]).body)
        assert started["name"] == "batch.in_progress"
        assert progress["name"] == "batch.progress"
        assert progress["data"]["x_progress"]["lines_done"] == 2
        assert [one["name"] for one in ended] == ["batch.finalizing", "batch.completed"]
        assert ended[-1]["data"]["request_counts"] == {"total": 8, "completed": 8, "failed": 0}

    def test_without_news_it_waits_and_says_that_there_is_nothing(self, world, acme):
        batch = acme.batch(requests(1))
        (event,) = told(watch(acme, batch).body)
        began_at = world.clock.now()
        answer = watch(acme, batch, after=event["id"])
        assert told(answer.body) == []
        assert b"\n: " in answer.body
        assert world.clock.now() - began_at == pytest.approx(world.env.limits.wait_seconds)

    def test_a_client_may_wait_less_and_no_longer(self, world, acme):
        batch = acme.batch(requests(1))
        (event,) = told(watch(acme, batch).body)
        for wait, waited in ((0, 0.0), (3, 3.0), (9999, world.env.limits.wait_seconds)):
            began_at = world.clock.now()
            watch(acme, batch, after=event["id"], wait=wait)
            assert world.clock.now() - began_at == pytest.approx(waited)

    def test_a_look_reads_one_item(self, world, acme):
        batch = acme.batch(requests(1))
        (event,) = told(watch(acme, batch).body)
        before = len(world.tap.calls)
        watch(acme, batch, after=event["id"])
        calls = world.tap.calls[before:]
        assert set(calls) == {"store.get"}
        assert len(calls) <= 12  # the key, the batch, and looks: the pauses between them grow

    def test_an_ended_batch_is_told_of_once_and_then_nobody_comes_back(self, world, acme):
        batch = acme.batch(requests(1))
        world.finish()
        (event,) = told(watch(acme, batch).body)
        again = watch(acme, batch, after=event["id"])
        assert event["name"] == "batch.completed"
        assert (again.status, again.body) == (204, b"")

    def test_a_pause_and_its_end_are_told(self, world, acme):
        batch = acme.batch(requests(4))
        world.pump()
        (event,) = told(watch(acme, batch).body)
        seen = []
        for act in ("pause", "resume", "cancel"):
            acme.post(f"/v1/batches/{batch['id']}/{act}")
            (event,) = told(watch(acme, batch, after=event["id"]).body)
            seen.append(event["name"])
        assert seen == ["batch.paused", "batch.resumed", "batch.cancelling"]

    def test_an_id_that_is_none_of_ours_counts_for_nothing(self, acme):
        batch = acme.batch(requests(1))
        assert names(watch(acme, batch, after="evt_1").body) == ["batch.validating"]

    def test_a_message_batch_is_shown_as_its_own_api_shows_it(self, world, acme):
        params = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
        batch = acme.post(MESSAGES, {"requests": [{"custom_id": "a", "params": params}]}).json
        (event,) = told(watch(acme, batch).body)
        assert event["data"] == acme.get(f"{MESSAGES}/{batch['id']}").json
        world.finish()
        ended = told(watch(acme, batch, after=event["id"]).body)[-1]
        assert ended["name"] == "batch.completed"
        assert ended["data"]["processing_status"] == "ended"

    def test_a_batch_that_is_not_there_has_no_events(self, acme, other):
        batch = acme.batch(requests(1))
        assert watch(other, batch).status == 404
        assert watch(acme, {"id": "batch_none"}).status == 404
        assert acme.get(f"{MESSAGES}/{batch['id']}/events").status == 404


class TestStream:
    """Where the gateway reads piece by piece."""

    def test_each_change_comes_as_it_happens_and_the_end_ends_it(self, world, acme):
        pieces = stream(acme, batch := acme.batch(requests(4)))
        first = pieces.read()
        assert first.startswith(b"retry: 1000\n\n")
        seen = [names(first), names(pieces.read())]
        world.pump()
        seen.append(names(pieces.read()))
        world.reply(count=1)
        seen.append(names(pieces.read()))
        world.finish()
        seen.append(names(pieces.read()))
        assert seen == [
            ["batch.validating"],
            [],
            ["batch.in_progress"],
            ["batch.progress"],
            ["batch.finalizing", "batch.completed"],
        ]
        assert pieces.read() is None
        assert acme.get(f"/v1/batches/{batch['id']}").json["status"] == "completed"

    def test_one_that_has_ended_is_told_whole(self, world, acme):
        batch = acme.batch(requests(1))
        world.finish()
        pieces = stream(acme, batch)
        assert names(pieces.read()) == ["batch.completed"]
        assert pieces.next_pause() == 0.0
        assert pieces.read() is None

    def test_it_looks_ever_less_often_until_something_happens(self, world, acme):
        pieces = stream(acme, acme.batch(requests(1)))
        pieces.read()
        pauses = []
        for _ in range(8):
            pauses.append(pieces.next_pause())
            world.clock.advance(pauses[-1])
            pieces.read()
        assert pauses == sorted(pauses)
        assert (pauses[0], pauses[-1]) == (0.5, 5.0)
        world.pump()
        assert pieces.read()
        assert pieces.next_pause() == 0.5

    def test_silence_is_broken_by_comments(self, world, acme):
        pieces = stream(acme, acme.batch(requests(1)))
        pieces.read()
        world.clock.advance(HEARTBEAT_SECONDS - 1)
        assert pieces.read() == b""
        world.clock.advance(1)
        assert pieces.read().startswith(b":")
        assert pieces.read() == b""

    @pytest.mark.parametrize(("prefer", "lasts"), [("", 1800.0), ("wait=60", 60.0)])
    def test_it_lasts_no_longer_than_half_an_hour_or_as_the_client_likes(
        self, world, acme, prefer, lasts
    ):
        pieces = stream(acme, acme.batch(requests(1)), prefer=prefer)
        began_at = world.clock.now()
        while pieces.read() is not None:
            world.clock.advance(pieces.next_pause())
        assert world.clock.now() - began_at == pytest.approx(lasts)

    def test_it_goes_on_where_the_client_left(self, world, acme):
        batch = acme.batch(requests(4))
        (event,) = told(stream(acme, batch).read())
        world.finish()
        pieces = stream(acme, batch, after=event["id"])
        assert names(pieces.read()) == ["batch.in_progress", "batch.finalizing", "batch.completed"]

    def test_it_breaks_off_when_the_batch_is_deleted(self, world, acme):
        params = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
        batch = acme.post(MESSAGES, {"requests": [{"custom_id": "a", "params": params}]}).json
        headers = {"authorization": f"Bearer {acme.key}"}
        event = make_event("GET", f"{MESSAGES}/{batch['id']}/events", b"", headers, {})
        event["requestContext"]["backburner"] = {"streams": True}
        pieces = app.handler(event, None)["stream"]
        assert names(pieces.read()) == ["batch.validating"]
        world.finish()
        acme.delete(f"{MESSAGES}/{batch['id']}")
        with pytest.raises(NotFound):
            pieces.read()
