"""Routes, keys, errors and threads: what all requests have in common."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backburner import bootstrap
from backburner.domain.errors import BackendThrottled, Busy, Conflict
from backburner.ports import Item, Key
from backburner.services import keys
from backburner_local.adapters.store import SqliteStore
from functions.api import app
from tests.effort import tried
from tests.web.conftest import Client, WebWorld, answer_of, make_event, requests

EVENTS = sorted((Path(__file__).parents[2] / "events").glob("api_*.json"))


class BrokenStore(SqliteStore):
    """A store that can't be read."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def get(self, *keys: Key) -> list[Item | None]:
        raise self.error


def break_store(world: WebWorld, error: Exception) -> None:
    bootstrap.install(replace(world.env, store=BrokenStore(error)))


def test_health_needs_no_key(world, acme):
    acme.key = None
    answer = acme.get("/healthz")
    assert (answer.status, answer.json) == (200, {"status": "ok"})


@pytest.mark.parametrize(
    "header",
    [
        ("authorization", "Bearer {}"),
        ("authorization", "bearer   {} "),
        ("x-api-key", "{}"),
        ("api-key", "{}"),
    ],
)
def test_a_key_comes_in_one_of_three_headers(acme, header):
    name, form = header
    acme.headers = {name: form.format(acme.key)}
    acme.key = None
    assert acme.get("/v1/models").status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": "Bearer wrong"},
        {"authorization": "Basic c2VjcmV0"},
        {"x-api-key": "wr\u00f6ng"},
        {"api-key": "\udcff"},
    ],
)
def test_without_a_valid_key_nothing_is_told(acme, headers):
    acme.key, acme.headers = None, headers
    for path in ("/v1/files", "/v1/batches", "/v1/models", "/v1/responses/x", "/v1/files/y"):
        answer = acme.get(path)
        assert (answer.status, answer.error["type"]) == (401, "authentication_error")
        assert answer.error["code"] == "invalid_api_key"
        assert answer.headers["www-authenticate"] == "Bearer"


def test_a_revoked_key_opens_nothing(world, acme):
    keys.revoke(world.env, acme.key[:8])
    assert acme.get("/v1/models").status == 401


@pytest.mark.parametrize("path", ["/v1/models", "/openai/v1/models"])
def test_routes_have_an_alias(acme, path):
    assert acme.get(path).status == 200


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/nothing", "/v1/files/", "/v1/files/a/b", "/v2/files"]
)
def test_an_unknown_path_is_404(acme, path):
    answer = acme.get(path)
    assert (answer.status, answer.error["code"]) == (404, "unknown_url")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/files", "GET, POST"),
        ("PATCH", "/openai/v1/batches", "GET, POST"),
        ("POST", "/v1/files/x", "DELETE, GET"),
        ("PUT", "/v1/responses/x", "DELETE, GET"),
        ("PUT", "/v1/responses/input_tokens", "POST"),
        ("GET", "/v1/batches/x/cancel", "POST"),
        ("POST", "/healthz", "GET"),
    ],
)
def test_a_wrong_method_is_405_with_the_right_ones(acme, method, path, allowed):
    answer = acme.ask(method, path)
    assert (answer.status, answer.headers["allow"]) == (405, allowed)
    assert answer.error["code"] == "method_not_allowed"


def test_every_answer_names_its_request(world, acme):
    for answer in (
        acme.get("/v1/models"),
        acme.get("/v1/nothing"),
        acme.post("/v1/batches", []),
        acme.get("/v1/files/x"),
        acme.get("/healthz"),
    ):
        assert answer.headers["x-request-id"] == "req_test"
        assert answer.headers["request-id"] == "req_test"


NO_OBJECT = {
    "nothing": b"",
    "no JSON": b"{",
    "NaN": b'{"input_file_id":NaN}',
    "invalid UTF-8": b'{"a":"\xff"}',
    "a list": b"[]",
    "null": b"null",
    "too deep": b'{"a":' + b"[" * 200 + b"]" * 200 + b"}",
    "far too deep": b"[" * 100_000,
}


@pytest.mark.parametrize("body", NO_OBJECT.values(), ids=NO_OBJECT)
@pytest.mark.parametrize("path", ["/v1/batches", "/v1/responses"])
def test_a_body_that_is_no_object_is_refused(acme, path, body):
    answer = acme.ask("POST", path, body)
    assert (answer.status, answer.error["type"]) == (400, "invalid_request_error")


def test_a_body_may_come_as_text(acme):
    event = make_event("POST", "/v1/batches", b"", {"authorization": f"Bearer {acme.key}"}, {})
    event |= {"body": '{"input_file_id":"\ud800"}', "isBase64Encoded": False}
    assert answer_of(app.handler(event, None)).status == 400
    event["body"] = '{"input_file_id":"file-x","endpoint":"/v1/embeddings"}'
    assert answer_of(app.handler(event, None)).status == 404


def test_a_body_that_is_no_base64_is_refused(acme):
    event = make_event("POST", "/v1/batches", b"", {"authorization": f"Bearer {acme.key}"}, {})
    event["body"] = "a"
    assert answer_of(app.handler(event, None)).status == 400


@pytest.mark.parametrize(
    ("error", "wait"),
    [
        (Busy(retry_after_seconds=7), "7"),
        (Busy(retry_after_seconds=600), "60"),
        (Conflict("acme/batches batch_1"), "1"),
        (BackendThrottled("arn:aws:secret"), "1"),
    ],
)
def test_when_too_much_is_going_on_clients_are_told_when_to_come_back(world, acme, error, wait):
    break_store(world, error)
    answer = acme.get("/v1/models")
    assert (answer.status, answer.headers["retry-after"]) == (503, wait)
    assert answer.error["type"] == "server_error"
    assert "acme/batches" not in answer.body.decode()
    assert "arn:" not in answer.body.decode()


def test_an_unknown_failure_is_logged_and_not_shown(world, acme, log):
    break_store(world, RuntimeError("the secret of the database"))
    answer = acme.post("/v1/batches", {"metadata": {"a": "the prompt"}})
    assert (answer.status, answer.error["type"]) == (500, "server_error")
    assert b"secret" not in answer.body
    assert answer.headers["x-request-id"] == "req_test"
    assert "the secret of the database" in log.text
    assert "the prompt" not in log.text


def test_without_an_environment_the_answer_is_still_an_error_object(world, acme, log):
    bootstrap.install(None)
    answer = acme.post("/v1/files", {}, spool=None)
    assert (answer.status, answer.error["type"]) == (500, "server_error")


def test_a_body_that_can_not_be_removed_changes_no_answer(world, acme, log):
    event = make_event("GET", "/healthz", b"", {}, {})
    event["requestContext"]["backburner"] = {"bodyKey": "tmp/x"}
    bootstrap.install(None)
    assert answer_of(app.handler(event, None)).status == 200
    assert "body.left" in log.text


def test_a_body_that_was_lost_is_not_found(acme):
    event = make_event("POST", "/v1/batches", b"", {"authorization": f"Bearer {acme.key}"}, {})
    event["requestContext"]["backburner"] = {"bodyKey": "tmp/lost"}
    assert answer_of(app.handler(event, None)).status == 404


def test_threads_never_see_each_others_requests(world):
    clients = [world.client(f"tenant-{n}") for n in range(8)]
    files = [client.upload(b"x").json["id"] for client in clients]

    def look(turn: int) -> bool:
        number = turn % len(clients)
        page = clients[number].get("/v1/files").json
        return [one["id"] for one in page["data"]] == [files[number]]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(look, range(400)))


IDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


@settings(
    max_examples=tried(25, long=600),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    method=st.sampled_from(["GET", "POST", "DELETE"]),
    path=st.sampled_from(
        [
            "/v1/files/{}",
            "/v1/files/{}/content",
            "/v1/batches/{}",
            "/v1/batches/{}/cancel",
            "/v1/batches/{}/retry",
            "/v1/batches/{}/retry-requests",
            "/v1/batches/{}/pause",
            "/v1/batches/{}/resume",
            "/v1/responses/{}",
            "/v1/responses",
            "/v1/batches",
            "/v1/models/{}",
            "/{}",
        ]
    ),
    name=IDS,
    query=st.dictionaries(st.sampled_from(["after", "limit", "order", "offset", "stream"]), IDS),
    body=st.binary(max_size=40),
)
def test_no_input_is_an_error_of_ours(acme, method, path, name, query, body):
    answer = acme.ask(method, path.format(name), body, query=query)
    assert answer.status < 500


@pytest.mark.parametrize("path", EVENTS, ids=lambda path: path.stem)
def test_the_sample_events_are_answered(world, path):
    keys.create(world.env, "sample", secret="bb-sample-key")
    sample = Client("bb-sample-key", world)
    file_id = sample.upload(requests(1)).json["id"]
    event = json.loads(path.read_text().replace("file_sample", file_id))
    answer = answer_of(app.handler(event, None))
    assert answer.status in (200, 202), answer.body
    assert answer.headers["x-request-id"] == event["requestContext"]["requestId"]
