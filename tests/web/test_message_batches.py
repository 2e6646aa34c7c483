"""Message Batches: what Anthropic's clients ask for, and what they are told."""

import json
from contextlib import suppress
from dataclasses import replace
from email import message_from_bytes, policy
from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backburner import bootstrap
from backburner.ports import QueueName
from backburner.services import files
from tests.effort import tried
from tests.tap import Crash, crash_after, meanwhile_at
from tests.web.conftest import Client, completion, requests

PATH = "/v1/messages/batches"
USER = {"role": "user", "content": "hi"}


def params(**members: Any) -> dict[str, Any]:
    whole = {"model": "tiny", "max_tokens": 9, "messages": [USER], **members}
    return {name: value for name, value in whole.items() if value is not ...}


def asked(custom_id: str, **members: Any) -> dict[str, Any]:
    return {"custom_id": custom_id, "params": params(**members)}


def create(client: Client, count: int | list[dict[str, Any]], **members: Any) -> dict[str, Any]:
    """Create a batch of so many requests, or of these."""
    some = [asked(f"c{n}") for n in range(count)] if isinstance(count, int) else count
    answer = client.post(PATH, {"requests": some, **members})
    assert answer.status == 200, answer.body
    made: dict[str, Any] = answer.json
    return made


def refused(client: Client, body: Any) -> str:
    answer = client.post(PATH, body)
    assert answer.status == 400, answer.body
    assert (answer.json["type"], answer.error["type"]) == ("error", "invalid_request_error")
    message: str = answer.error["message"]
    return message


def counts(**some: int) -> dict[str, int]:
    none = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)
    return none | some


def test_a_batch_runs_to_its_end_and_its_results_come_in_order(world, acme):
    made = create(acme, 5)
    assert made["id"].startswith("msgbatch_")
    assert (made["type"], made["processing_status"]) == ("message_batch", "in_progress")
    assert made["request_counts"] == counts(processing=5)
    assert made["results_url"] is made["ended_at"] is made["cancel_initiated_at"] is None
    world.pump()
    world.reply(count=1)
    running = acme.get(f"{PATH}/{made['id']}").json
    assert running["request_counts"] == counts(succeeded=2, processing=3)
    assert running["results_url"] is None
    world.finish()
    ended = acme.get(f"{PATH}/{made['id']}").json
    assert (ended["processing_status"], ended["request_counts"]) == ("ended", counts(succeeded=5))
    assert ended["results_url"] == f"http://here{PATH}/{made['id']}/results"
    assert ended["ended_at"].endswith("Z")
    answer = acme.get(f"{PATH}/{made['id']}/results")
    assert answer.headers["content-type"] == "application/x-jsonl"
    assert answer.body.endswith(b"\n")
    assert [line["custom_id"] for line in answer.lines] == ["c0", "c1", "c2", "c3", "c4"]
    assert answer.lines[0]["result"]["type"] == "succeeded"
    message = answer.lines[0]["result"]["message"]
    assert message["content"] == [{"type": "text", "text": "re c0"}]
    assert message["usage"]["service_tier"] == "batch"
    assert len({line["result"]["message"]["id"] for line in answer.lines}) == 5


def test_the_model_gets_chat_completions(world, acme):
    create(acme, [asked("c0", system="be brief", stop_sequences=["x"])])
    world.pump()
    (attempt,) = world.outstanding
    assert attempt.requests[0]["url"] == "/v1/chat/completions"
    assert attempt.requests[0]["body"] == {
        "model": "tiny",
        "messages": [{"role": "system", "content": "be brief"}, USER],
        "max_tokens": 9,
        "stop": ["x"],
    }


def test_what_fails_is_an_error_beside_the_rest(world, acme):
    made = create(acme, 4)
    world.pump()
    world.reply(count=1, status=400, body={"error": {"message": "too odd"}})
    world.finish()
    ended = acme.get(f"{PATH}/{made['id']}").json
    assert ended["request_counts"] == counts(succeeded=2, errored=2)
    lines = acme.get(f"{PATH}/{made['id']}/results").lines
    assert [line["result"]["type"] for line in lines] == ["errored"] * 2 + ["succeeded"] * 2
    assert lines[0]["result"]["error"] == {
        "type": "error",
        "error": {"type": "invalid_request_error", "message": "too odd"},
        "request_id": None,
    }


def test_a_success_without_a_message_is_counted_and_shown_as_it_came(world, acme):
    made = create(acme, 1)
    world.finish({"object": "odd"})
    assert acme.get(f"{PATH}/{made['id']}").json["request_counts"] == counts(succeeded=1)
    (line,) = acme.get(f"{PATH}/{made['id']}/results").lines
    assert line["result"]["message"]["content"] == [{"type": "text", "text": ""}]
    assert line["result"]["message"]["x_answer"] == {"object": "odd"}


# ---------------------------------------------------------------- stopping


def test_a_cancelled_batch_keeps_what_has_finished(world, acme):
    made = create(acme, 12)
    world.pump()
    world.reply(count=1)
    world.pump()
    cancelled = acme.post(f"{PATH}/{made['id']}/cancel").json
    assert cancelled["processing_status"] == "canceling"
    assert cancelled["cancel_initiated_at"] is not None
    again = acme.post(f"{PATH}/{made['id']}/cancel")
    assert (again.status, again.json["processing_status"]) == (200, "canceling")
    world.finish()
    ended = acme.get(f"{PATH}/{made['id']}").json
    assert ended["processing_status"] == "ended"
    kinds = [one["result"]["type"] for one in acme.get(f"{PATH}/{made['id']}/results").lines]
    assert set(kinds) == {"succeeded", "canceled"}
    assert ended["request_counts"] == counts(
        succeeded=kinds.count("succeeded"), canceled=kinds.count("canceled")
    )
    refusal = acme.post(f"{PATH}/{made['id']}/cancel")
    assert (refusal.status, refusal.error["type"]) == (400, "invalid_request_error")


def test_a_batch_that_is_cancelled_at_once_gives_every_request_back(world, acme):
    made = create(acme, 3)
    cancelled = acme.post(f"{PATH}/{made['id']}/cancel").json
    assert sum(cancelled["request_counts"].values()) == 3
    world.finish()
    ended = acme.get(f"{PATH}/{made['id']}").json
    assert ended["request_counts"] == counts(canceled=3)
    assert acme.get(f"{PATH}/{made['id']}/results").lines == [
        {"custom_id": f"c{n}", "result": {"type": "canceled"}, "x_line": n + 1} for n in range(3)
    ]


@pytest.mark.parametrize("is_planned", [True, False])
def test_what_has_not_run_by_the_deadline_expires(world, acme, is_planned):
    made = create(acme, 3, completion_window="15m")
    if is_planned:
        world.pump()
        world.reply(count=1)
        for attempt in world.outstanding:
            world.lose(attempt)
    else:  # the planner's message is lost, and reap does not come
        for name, message in world.receive(QueueName.PLAN):
            world.queue.delete([message])
            assert name is QueueName.PLAN
    world.advance(16 * 60)
    world.tick(90)
    ended = acme.get(f"{PATH}/{made['id']}").json
    assert ended["processing_status"] == "ended"
    done = 2 if is_planned else 0
    assert ended["request_counts"] == counts(succeeded=done, expired=3 - done)
    lines = acme.get(f"{PATH}/{made['id']}/results").lines
    assert [line["result"]["type"] for line in lines[done:]] == ["expired"] * (3 - done)


def test_a_batch_whose_first_requests_fail_ends_with_errors(world, acme):
    made = create(acme, 200)
    world.pump()
    world.reply(count=1, status=400, body={"error": {"message": "no"}})
    world.finish()
    ended = acme.get(f"{PATH}/{made['id']}").json
    assert ended["request_counts"] == counts(errored=200)
    assert "first" in ended["x_failure"]
    lines = acme.get(f"{PATH}/{made['id']}/results").lines
    error = lines[-1]["result"]["error"]["error"]
    assert (error["type"], error["details"]) == ("api_error", {"error_code": "canary_failed"})


# ---------------------------------------------------------------- what is refused

BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no limit": (asked("c", max_tokens=...), "params.max_tokens: is required"),
    "no such model": (asked("c", model="nobody"), "params.model: The model 'nobody'"),
    "a model of another route": (asked("c", model="embedder"), "params.model: The model"),
    "too long": (asked("c", max_tokens=5000), "params.messages: The prompt"),
    "images for the blind": (
        asked(
            "c",
            messages=[
                {
                    "role": "user",
                    "content": [{"type": "image", "source": {"type": "url", "url": "u"}}],
                }
            ],
        ),
        "params.messages: The model 'tiny' takes no images",
    ),
    "no custom_id": ({"params": params()}, "custom_id: is missing"),
    "a number for it": ({"custom_id": 1, "params": params()}, "custom_id: must be a string"),
    "an empty one": (asked(""), "custom_id: must have 1 to 64"),
    "a long one": (asked("x" * 65), "custom_id: must have 1 to 64"),
    "an odd one": (asked("a b"), "custom_id: must have 1 to 64"),
    "no params": ({"custom_id": "c"}, "params: must be an object"),
    "deep params": (
        asked("c", metadata=json.loads("[" * 130 + "]" * 130)),
        "params: is nested deeper than 128",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_is_named_by_its_place(world, acme, name):
    bad, expected = BAD[name]
    told = refused(acme, {"requests": [asked("good"), bad, asked("also-good")]})
    assert told.startswith(f"requests.1.{expected}")
    assert world.keys("batches/") == []
    assert acme.get(PATH).json["data"] == []


@pytest.mark.parametrize("odd", [1, "text", None, [], ["c"]])
def test_what_is_no_request_at_all_is_named_by_its_place(acme, odd):
    assert refused(acme, {"requests": [odd]}).startswith("requests.0")


def test_all_bad_requests_are_named_at_once(acme):
    some = [asked("a", max_tokens=...), asked("b"), asked("b"), asked("c", temperature=9)]
    told = refused(acme, {"requests": some}).split("\n")
    assert [line.partition(": ")[0] for line in told] == [
        "requests.0.params.max_tokens",
        "requests.2.custom_id",
        "requests.3.params.temperature",
    ]
    assert "requests.1 already" in told[1]


def test_very_many_bad_requests_are_counted(world, acme):
    limits = replace(world.env.limits, reported_errors=2)
    bootstrap.install(replace(world.env, limits=limits))
    told = refused(acme, {"requests": [asked("a b")] * 5}).split("\n")
    assert (len(told), told[-1]) == (3, "… and 3 more.")


BODIES: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "not valid JSON"),
    "a list": (b"[]", "must be a JSON object"),
    "no requests": (b"{}", "requests: is required"),
    "none": (b'{"requests":[]}', "requests: must have at least one"),
    "an object for them": (b'{"requests":{}}', "requests: must be a list"),
    "cut off": (b'{"requests":[{"custom_id":"c","par', "not valid JSON"),
    "cut off between": (b'{"requests":[{}', "not valid JSON"),
    "more behind": (b'{"requests":[]} {}', "not valid JSON"),
    "a comma too many": (b'{"requests":[],}', "not valid JSON"),
    "NaN": (b'{"requests":[NaN]}', "not valid JSON"),
    "no UTF-8": (b'{"requests":["\xff"]}', "not valid UTF-8"),
    "far too deep": (b'{"requests":[' + b"[" * 100_000, "not valid JSON"),
    "both": (
        b'{"requests_file_id":"file-x","requests":[%b]}' % json.dumps(asked("c")).encode(),
        "requests: must be empty beside 'requests_file_id'",
    ),
    "another member": (b'{"requests":[],"model":"m"}', "model: this member"),
    "a window of a year": (b'{"requests":[],"completion_window":"365d"}', "'completion_window'"),
    "an odd priority": (b'{"requests":[],"priority":"high"}', "'priority'"),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_is_no_batch_is_refused(world, acme, name):
    body, expected = BODIES[name]
    answer = acme.ask("POST", PATH, body)
    assert answer.status == 400, answer.body
    assert expected in answer.error["message"]
    assert world.keys("batches/") == []


def test_a_body_over_the_limit_is_told_what_to_do_instead(world, acme):
    bootstrap.install(replace(world.env, limits=replace(world.env.limits, body_bytes=600)))
    answer = acme.post(PATH, {"requests": [asked(f"c{n}") for n in range(20)]})
    assert (answer.status, answer.error["type"]) == (413, "request_too_large")
    assert "requests_file_id" in answer.error["message"]
    assert world.keys("batches/") == []


def test_too_many_requests_are_told_what_to_do_instead(world, acme):
    bootstrap.install(replace(world.env, limits=replace(world.env.limits, body_requests=2)))
    assert "requests_file_id" in refused(acme, {"requests": [asked(f"c{n}") for n in range(3)]})


def test_a_request_over_the_limit_is_named(world, acme):
    bootstrap.install(replace(world.env, limits=replace(world.env.limits, line_bytes=400)))
    long = asked("long", messages=[{"role": "user", "content": "x" * 500}])
    assert refused(acme, {"requests": [asked("a"), long]}).startswith("requests.1")


def test_a_large_body_streams_from_where_the_gateway_put_it(world, acme):
    some = [asked(f"c{n}", system="é" * 3000) for n in range(200)]
    body = json.dumps({"priority": 3, "requests": some}, indent=2, ensure_ascii=False).encode()
    answer = acme.ask("POST", PATH, body, spool="spool/x")
    assert answer.status == 200, answer.body
    assert answer.json["request_counts"]["processing"] == 200
    assert answer.json["x_priority"] == 3
    (key,) = world.keys("batches/")
    assert world.env.blobs.get(key).count(b"\n") == 200
    world.finish()
    assert acme.get(f"{PATH}/{answer.json['id']}").json["request_counts"] == counts(succeeded=200)
    assert world.keys("batches/") == world.keys("spool/") == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@settings(
    max_examples=tried(30, long=400),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    body=st.dictionaries(
        st.sampled_from(["requests", "requests_file_id", "metadata", "priority", "x_a"]),
        st.lists(JSON | st.fixed_dictionaries({"custom_id": JSON, "params": JSON})) | JSON,
    ),
    cut=st.integers(0, 40),
)
def test_no_body_is_an_error_of_ours(acme, body, cut):
    data = json.dumps(body).encode()
    assert acme.ask("POST", PATH, data[: max(0, len(data) - cut)]).status in (400, 404)


# ---------------------------------------------------------------- requests in a file


def test_requests_may_come_in_a_file_and_bad_ones_end_as_errors(world, acme):
    lines = [
        json.dumps(asked("c0")),
        json.dumps(asked("c1", max_tokens=...)),
        "{",
        json.dumps(asked("c0")),
        json.dumps(asked("c4", model="nobody")),
        json.dumps(asked("c5")),
    ]
    file_id = acme.upload("\n".join(lines).encode()).json["id"]
    made = acme.post(PATH, {"requests": [], "requests_file_id": file_id}).json
    assert made["x_requests_file_id"] == file_id
    world.finish()
    assert acme.get(f"{PATH}/{made['id']}").json["request_counts"] == counts(succeeded=2, errored=4)
    results = acme.get(f"{PATH}/{made['id']}/results").lines
    assert [one["custom_id"] for one in results] == ["c0", "c1", "line-3", "c0", "c4", "c5"]
    errors = [one["result"]["error"]["error"] for one in results[1:5]]
    assert errors[0]["message"].startswith("params.max_tokens: is required")
    assert [one["type"] for one in errors] == ["invalid_request_error"] * 3 + ["not_found_error"]


def test_a_file_without_requests_ends_at_once_with_the_reason(world, acme):
    file_id = acme.upload(b"\n\n").json["id"]
    made = acme.post(PATH, {"requests_file_id": file_id}).json
    world.finish()
    ended = acme.get(f"{PATH}/{made['id']}").json
    assert (ended["processing_status"], ended["request_counts"]) == ("ended", counts())
    assert ended["x_failure"] == "The input file has no requests."
    assert acme.get(f"{PATH}/{made['id']}/results").body == b""


@pytest.mark.parametrize(
    ("file_id", "status"), [("file-none", 404), (7, 400), ("", 400), ("of-another", 404)]
)
def test_the_file_must_be_ones_own(world, acme, file_id, status):
    if file_id == "of-another":
        file_id = world.client("zeta").upload(b"x").json["id"]
    answer = acme.post(PATH, {"requests_file_id": file_id})
    assert answer.status == status
    said = "No such File object" if status == 404 else "'requests_file_id' must be the id"
    assert said in answer.error["message"]


# ---------------------------------------------------------------- lists, results, deletion


def test_lists_go_both_ways_newest_first(world, acme):
    made = [create(acme, 1)["id"] for _ in range(5)][::-1]
    everything = acme.get(PATH).json
    assert [one["id"] for one in everything["data"]] == made
    assert (everything["has_more"], everything["first_id"], everything["last_id"]) == (
        False,
        made[0],
        made[-1],
    )
    first = acme.get(PATH, limit=2).json
    assert ([one["id"] for one in first["data"]], first["has_more"]) == (made[:2], True)
    after = acme.get(PATH, limit=2, after_id=made[1]).json
    assert ([one["id"] for one in after["data"]], after["has_more"]) == (made[2:4], True)
    last = acme.get(PATH, limit=2, after_id=made[3]).json
    assert ([one["id"] for one in last["data"]], last["has_more"]) == (made[4:], False)
    before = acme.get(PATH, limit=2, before_id=made[3]).json
    assert ([one["id"] for one in before["data"]], before["has_more"]) == (made[1:3], True)
    newest = acme.get(PATH, limit=9, before_id=made[1]).json
    assert ([one["id"] for one in newest["data"]], newest["has_more"]) == (made[:1], False)


@pytest.mark.parametrize(
    "query",
    [{"limit": 0}, {"limit": 1001}, {"after_id": "a b"}, {"after_id": "a", "before_id": "b"}],
)
def test_a_bad_query_is_refused(acme, query):
    answer = acme.get(PATH, **query)
    assert (answer.status, answer.error["type"]) == (400, "invalid_request_error")


def test_batches_are_shown_in_the_dialect_they_came_in(world, acme):
    mine = create(acme, 1)["id"]
    other = acme.batch(requests(1))["id"]
    assert [one["id"] for one in acme.get("/v1/batches").json["data"]] == [other]
    assert [one["id"] for one in acme.get(PATH).json["data"]] == [mine]
    assert acme.get(f"/v1/batches/{mine}").status == 404
    assert acme.post(f"/v1/batches/{mine}/cancel").status == 404
    assert acme.get(f"{PATH}/{other}").status == 404


def test_a_tenant_sees_only_its_own(world, acme):
    made = create(acme, 1)["id"]
    zeta = world.client("zeta")
    world.finish()
    for method, path in (
        ("GET", f"{PATH}/{made}"),
        ("GET", f"{PATH}/{made}/results"),
        ("POST", f"{PATH}/{made}/cancel"),
        ("DELETE", f"{PATH}/{made}"),
    ):
        answer = zeta.ask(method, path)
        assert (answer.status, answer.error["type"]) == (404, "not_found_error")
        assert answer.json["request_id"] == "req_test"
    assert zeta.get(PATH).json["data"] == []


def test_only_what_has_ended_can_be_deleted(world, acme):
    made = create(acme, 1)["id"]
    assert acme.delete(f"{PATH}/{made}").status == 400
    assert acme.get(f"{PATH}/{made}/results").status == 400
    world.finish()
    answer = acme.delete(f"{PATH}/{made}")
    assert answer.json == {"id": made, "type": "message_batch_deleted"}
    assert acme.get(f"{PATH}/{made}").status == 404
    assert acme.delete(f"{PATH}/{made}").status == 404
    assert acme.get("/v1/files").json["data"] == []
    assert world.keys("") == []
    assert acme.get("/v1/x-deliveries", batch=made).json["data"] == []


def test_a_batch_that_is_deleted_leaves_nothing_although_who_ended_it_died(world, acme):
    made = create(acme, 1)["id"]
    world.pump()
    world.reply()

    def die(_: int, when: str, name: str) -> None:
        if (when, name) == ("before", "blobs.list"):
            raise Crash(name)

    with world.tap.hooked(die), suppress(Crash):
        world.pump()
    assert acme.get(f"{PATH}/{made}").json["processing_status"] == "ended"
    assert acme.delete(f"{PATH}/{made}").status == 200
    world.settle()
    assert world.keys("batches/") == world.keys("files/") == []


@pytest.mark.parametrize("at", ["store.transact", "blobs.delete"])
def test_a_deletion_whose_process_died_is_made_again_whole(world, acme, at):
    made = create(acme, 1)["id"]
    world.finish()
    with crash_after(world.tap, at):
        acme.delete(f"{PATH}/{made}")
    assert acme.get(f"{PATH}/{made}").status == 200
    assert acme.delete(f"{PATH}/{made}").status == 200
    assert world.keys("") == []


@pytest.mark.parametrize("way", [{"x_max_tokens": 5}, {"metadata": {"x_max_tokens": "5"}}])
def test_a_batch_ends_when_its_budget_is_used_up(world, acme, way):
    made = create(acme, 6, **way)["id"]
    world.finish()
    ended = acme.get(f"{PATH}/{made}").json
    assert ended["request_counts"] == counts(succeeded=2, errored=4)
    results = [line["result"] for line in acme.get(f"{PATH}/{made}/results").lines]
    assert [one["type"] for one in results] == ["succeeded"] * 2 + ["errored"] * 4
    error = results[-1]["error"]["error"]
    assert (error["type"], error["details"]["error_code"]) == ("billing_error", "budget_exceeded")


def test_a_budget_of_words_is_refused(acme):
    assert "x_max_tokens" in refused(acme, {"requests": [asked("a")], "x_max_tokens": "many"})


def test_large_results_come_by_a_signed_link(world, acme):
    made = create(acme, 1)["id"]
    world.finish(completion("x" * (4 << 20)))
    answer = acme.get(f"{PATH}/{made}/results")
    assert (answer.status, answer.body) == (302, b"")
    assert answer.headers["location"].startswith("http://here/blobs/")


def test_results_that_have_expired_are_told_as_archived(world, acme):
    made = create(acme, 1)["id"]
    world.finish()
    world.advance(world.env.limits.output_expires_seconds)
    shown = acme.get(f"{PATH}/{made}").json
    assert shown["archived_at"] is not None
    assert shown["results_url"] is None
    assert acme.get(f"{PATH}/{made}/results").status == 404


def test_the_mail_links_to_the_batch_and_its_results(world_on_disk):
    world, acme = world_on_disk, world_on_disk.client("acme")
    made = create(acme, 1, metadata={"notify_email": "ann@example.com"})["id"]
    world.finish()
    (path,) = world.mails()
    mail = message_from_bytes(path.read_bytes(), policy=policy.default)
    body = mail.get_body(("plain",))
    assert body is not None
    text = body.get_content().replace("\r\n", "\n")
    assert mail["Subject"] == f"Completed: batch {made} (1 request)"
    assert f"http://here{PATH}/{made}\n" in text
    file_id = files.result_id(made, "output")
    (link,) = (line for line in text.splitlines() if f"/v1/links/{file_id}?" in line)
    stranger = Client(None, world)
    path, _, query = link.removeprefix("http://here").partition("?")
    answer = stranger.ask("GET", path, query=dict(parse_qsl(query)))
    assert answer.status == 302
    key = world.blobs.verify(answer.headers["location"].removeprefix("http://here"))
    assert world.blobs.get(key or "") == acme.get(f"{PATH}/{made}/results").body
    (told,) = world.told
    assert (told.event["type"], told.event["data"]["id"]) == ("batch.completed", made)


def test_a_request_that_comes_again_makes_no_second_batch(world, acme):
    body = {"requests": [asked("c0")]}
    acme.headers = {"idempotency-key": "mine"}
    first, second = acme.post(PATH, body), acme.post(PATH, body)
    assert first.json["id"] == second.json["id"]
    assert len(world.keys("batches/")) == 1
    answer = acme.post(PATH, {"requests": [asked("c1")]})
    assert (answer.status, answer.json["type"]) == (422, "error")


def test_of_two_requests_at_once_the_second_leaves_nothing(world, acme):
    acme.headers = {"idempotency-key": "mine"}
    body = {"requests": [asked("c0")]}
    first: list[str] = []
    act = meanwhile_at(
        "store.transact", world.tap, lambda: first.append(acme.post(PATH, body).json["id"])
    )
    with world.tap.hooked(act):
        second = acme.post(PATH, body)
    assert [second.json["id"]] == first
    assert world.keys("batches/") == [f"batches/acme/{first[0]}/requests.jsonl"]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_without_a_key_the_error_has_anthropics_shape(acme, method):
    acme.key = None
    answer = acme.ask(method, PATH)
    assert (answer.status, answer.json["type"]) == (401, "error")
    assert answer.error["type"] == "authentication_error"


# ---------------------------------------------------------------- counting tokens


def test_tokens_are_counted_where_the_tokenizer_is_at_hand(world, acme):
    counted = acme.post("/v1/messages/count_tokens", params(max_tokens=...)).json
    assert counted == {"input_tokens": 2 + 16, "x_counted_by": "bytes"}
    bootstrap.install(replace(world.env, tokenizers={"tiny": lambda text: 1}))
    counted = acme.post("/v1/messages/count_tokens", params(max_tokens=...)).json
    assert counted == {"input_tokens": 1 + 16, "x_counted_by": "tokenizer"}


@pytest.mark.parametrize(
    ("body", "status"), [(params(model="nobody"), 404), (params(messages=...), 400), ([], 400)]
)
def test_what_can_not_be_counted_is_refused(acme, body, status):
    answer = acme.post("/v1/messages/count_tokens", body)
    assert (answer.status, answer.json["type"]) == (status, "error")


def test_completions_of_tools_come_as_tool_use(world, acme):
    tool = {"name": "f", "input_schema": {"type": "object"}}
    made = create(acme, [asked("c0", tools=[tool])])["id"]
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
    world.finish(completion("", tool_calls=[call]))
    (line,) = acme.get(f"{PATH}/{made}/results").lines
    message = line["result"]["message"]
    assert message["content"] == [{"type": "tool_use", "id": "c1", "name": "f", "input": {"x": 1}}]
    assert message["stop_reason"] == "tool_use"
