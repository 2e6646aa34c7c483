"""The OpenAPI document and the API say the same: all routes, all answers, all statuses.

Beside what is here, every answer that a client of the other web tests gets is held to it.
"""

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import pytest

from backburner import bootstrap
from backburner.domain.errors import Busy, StorageFull
from backburner.domain.quota import Quota
from backburner.ports import Limits
from backburner.services import keys, links
from backburner.web import gateway
from backburner.web.openapi import mail
from backburner.web.openapi.document import OPERATIONS
from tests.late import Late
from tests.web import conformity
from tests.web.conftest import CATALOG, Answer, Client, WebWorld, form, requests
from tests.world import CHAT, a_catalog, a_model

if TYPE_CHECKING:
    import openapi_spec_validator
else:
    openapi_spec_validator = Late("openapi_spec_validator")

DOCUMENT = conformity.document()
ROUTES = [
    (method.upper(), path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]
IDS = [operation["operationId"] for _, _, operation in ROUTES]

#: Bodies that are right in themselves.
RESPONSE = {"model": "tiny", "input": "hi", "background": True}
CHAT_BODY = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
PART = f"part_{'0' * 40}"
BODIES: dict[str, Any] = {
    "/v1/files": [("purpose", "batch"), ("file", ("in.jsonl", b"one\n"))],
    "/v1/uploads": {
        "bytes": 4,
        "filename": "in.jsonl",
        "mime_type": "application/jsonl",
        "purpose": "batch",
    },
    "/v1/uploads/{upload_id}/parts": [("data", ("in.jsonl", b"one\n"))],
    "/v1/uploads/{upload_id}/complete": {"part_ids": [PART]},
    "/v1/batches": {"input_file_id": "none", "endpoint": CHAT},
    "/v1/batches/{batch_id}/retry": {},
    "/v1/batches/{batch_id}/retry-requests": {"request_ids": ["r-1"]},
    "/v1/responses": RESPONSE,
    "/v1/responses/input_tokens": RESPONSE,
    "/v1/chat/completions": CHAT_BODY,
    "/v1/completions": {"model": "completer", "prompt": "hi"},
    "/v1/embeddings": {"model": "embedder", "input": "hi"},
    "/v1/messages": CHAT_BODY,
    "/v1/estimates": {"models": {"tiny": {"requests": 7}}},
    "/v1/mail": {"enabled": True},
}
MESSAGES = "/v1/messages/batches"
BODIES |= {
    MESSAGES: {"requests": [{"custom_id": "one", "params": CHAT_BODY}]},
    "/v1/messages/count_tokens": CHAT_BODY,
}
ENDPOINTS = "/v1/webhook_endpoints"
ENDPOINT = {
    "name": "hook",
    "url": "https://hooks.example.com/",
    "event_types": ["batch.completed", "response.completed"],
}
TESTED = {"event_type": "batch.completed"}
BODIES |= {
    ENDPOINTS: ENDPOINT,
    f"{ENDPOINTS}/{{endpoint_id}}": {"name": "other"},
    f"{ENDPOINTS}/{{endpoint_id}}/rotate_secret": {"keep_old_secret_active_for_24_hours": True},
    f"{ENDPOINTS}/{{endpoint_id}}/test": {"event_type": "batch.failed"},
    "/v1/x-callback-secret": {"keep_old_secret_active_for_24_hours": True},
    "/v1/x-deliveries/replay": {"since": 0},
}
#: What can't be had here, and why.
EXPLAINED = {
    **{
        ("POST", path, status): "a body of any kind: tests/web/test_raw.py has these"
        for path in ("/v1/requests", "/v1/requests/{request_id}/start")
        for status in (400, 404, 413, 422, 507)
    },
    ("POST", MESSAGES, 413): "tests/web/test_message_batches.py has it: a single request is large",
    ("POST", MESSAGES, 404): "of a file that is named; its requests are errors of their own",
}
#: The same, and yet another.
OTHERS: dict[str, Any] = {
    "/v1/files": [("purpose", "batch"), ("file", ("in.jsonl", b"two\n"))],
    "/v1/uploads": BODIES["/v1/uploads"] | {"bytes": 5},
    "/v1/batches": {"metadata": {"a": "b"}},
    "/v1/responses": {"input": "ho"},
    MESSAGES: {"requests": [{"custom_id": "two", "params": CHAT_BODY}]},
    ENDPOINTS: {"name": "other"},
    f"{ENDPOINTS}/{{endpoint_id}}/rotate_secret": {"keep_old_secret_active_for_24_hours": False},
    "/v1/completions": {"prompt": "ho"},
    "/v1/embeddings": {"input": "ho"},
}
LATER = {"prefer": "respond-async"}

COMPLETER = a_model("completer", routes=("/v1/completions",))


@pytest.fixture
def world(tmp_path, limits):
    catalog = a_catalog(*CATALOG.models.values(), COMPLETER)
    world = WebWorld(tmp_path, limits=limits, catalog=catalog)
    yield world
    world.close()


@pytest.mark.long
def test_the_document_is_openapi():
    openapi_spec_validator.OpenAPIV31SpecValidator(DOCUMENT).validate()
    assert DOCUMENT["openapi"].startswith("3.1")
    assert len(set(IDS)) == len(IDS)


def test_every_schema_that_is_named_is_there():
    """Two types of one name would have longer ones in the components."""
    named = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(DOCUMENT)))
    assert named == set(DOCUMENT["components"]["schemas"])


def test_every_route_is_declared_and_every_declared_route_is_there():
    """A new route needs a declaration in `backburner.web.openapi`."""
    assert set(OPERATIONS) == {f"{method} {rule}" for method, rule, _ in gateway.ROUTES}
    assert set(mail.SIGNED) == {f"{method} {rule}" for method, rule, _ in gateway.SIGNED}


def test_everything_that_is_declared_is_explained():
    for kind in DOCUMENT["components"]["schemas"].values():
        if not kind.get("title", "").startswith(("Page[", "Page_")):
            assert kind.get("description"), kind.get("title")


def test_who_has_no_key_reads_the_document_and_the_page(world):
    stranger = Client(None, world)
    document = stranger.get("/openapi.json")
    assert document.json == DOCUMENT
    page = stranger.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert b"http://" not in page.body, "it loads nothing from elsewhere"
    assert b"https://" not in page.body
    assert "connect-src 'self'" in page.headers["content-security-policy"]


def test_a_function_that_is_not_asked_for_it_does_not_load_it():
    code = "import functions.api.app, sys; print([m for m in sys.modules if 'openapi' in m])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


# ---------------------------------------------------------------- every answer


def test_every_route_was_answered_as_documented(world, acme):  # noqa: PLR0915 - a line a route
    """One success of each; the client holds it to the document."""
    file_id = acme.upload(requests(2)).json["id"]
    batch = acme.batch(requests(1))
    acme.get("/v1/files", order="asc", limit=3)
    acme.get(f"/v1/files/{file_id}")
    acme.get(f"/v1/files/{file_id}/content")
    acme.delete(f"/v1/files/{file_id}")
    upload = _upload(acme)
    part = acme.ask("POST", f"/v1/uploads/{upload}/parts", *_form_of_a_part()).json["id"]
    acme.post(f"/v1/uploads/{upload}/complete", {"part_ids": [part]})
    acme.post(f"/v1/uploads/{_upload(acme)}/cancel")
    acme.get("/v1/batches")
    for act in ("pause", "resume", "cancel"):
        acme.post(f"/v1/batches/{batch['id']}/{act}")
    acme.get(f"/v1/batches/{batch['id']}")
    for act, body in (("retry", None), ("retry-requests", {"request_ids": ["r-1"]})):
        failed = acme.batch(requests(1))
        world.finish(status=400)
        acme.post(f"/v1/batches/{failed['id']}/{act}", body)
    for about in ("results", "events"):
        acme.get(f"/v1/batches/{batch['id']}/{about}")
    acme.post("/v1/messages/count_tokens", CHAT_BODY)
    messages = ask(acme, "POST", MESSAGES).json["id"]
    acme.post(f"{MESSAGES}/{messages}/cancel")
    world.finish()
    world.tick(10)
    for path in ("", f"/{messages}", f"/{messages}/results", f"/{messages}/events"):
        acme.get(f"{MESSAGES}{path}")
    acme.delete(f"{MESSAGES}/{messages}")
    response = acme.post("/v1/responses", RESPONSE).json
    acme.post("/v1/responses/input_tokens", {"model": "tiny", "input": "hi"})
    world.finish()
    for path in ("", "/input_items"):
        acme.get(f"/v1/responses/{response['id']}{path}")
    other = acme.post("/v1/responses", RESPONSE).json
    acme.post(f"/v1/responses/{other['id']}/cancel")
    acme.delete(f"/v1/responses/{other['id']}")
    for path in (CHAT, "/v1/completions", "/v1/embeddings", "/v1/messages"):
        first = {**LATER, "x-stainless-retry-count": "0"}
        later = ask(acme, "POST", path, headers=first).json
        acme.get(f"/v1/requests/{later['id']}")
        world.finish()
        ask(acme, "POST", path, headers={"x-stainless-retry-count": "1"})
        acme.get(f"/v1/requests/{later['id']}")
        acme.get(f"/v1/requests/{later['id']}/status")
    again = ask(acme, "POST", CHAT, headers=LATER).json["id"]
    acme.post(f"/v1/requests/{again}/cancel")
    acme.get("/v1/requests")
    acme.delete(f"/v1/requests/{again}")
    _ask_about_webhooks(world, acme)
    for path in ("/v1/models", "/v1/models/tiny", "/v1/models/acme/large", "/v1/backlog"):
        acme.get(path)
    acme.post("/v1/estimates", BODIES["/v1/estimates"])
    _mails(world, acme)
    for path in ("/healthz", "/openapi.json", "/docs"):
        acme.get(path)
    raw = {"post_requests 200", "post_requests_request_id_start 200"}  # tests/web/test_raw.py
    ids = {one["operationId"] for _, _, one in ROUTES if "200" in one["responses"]}
    missing = {f"{name} 200" for name in ids} - world.seen - raw
    assert not missing, "add the new routes to this test"


def _mails(world: WebWorld, acme: Client) -> None:
    acme.get("/v1/mail")
    acme.post("/v1/mail", {"digest": "none"})
    link = links.to_unsubscribe(world.env, "acme", "ada@example.com")
    path, _, query = link.removeprefix("http://here").partition("?")
    stranger = Client(None, world)
    for method in ("GET", "POST"):
        stranger.ask(method, path, query=dict(parse_qsl(query)))
    (found,) = acme.get("/v1/mail/suppressions").json["data"]
    acme.delete(f"/v1/mail/suppressions/{found['id']}")


def _ask_about_webhooks(world: WebWorld, acme: Client) -> None:
    endpoint = f"{ENDPOINTS}/{acme.post(ENDPOINTS, ENDPOINT).json['id']}"
    for path, body in (("", {"name": "new"}), ("/rotate_secret", {}), ("/test", TESTED)):
        acme.post(endpoint + path, body)
    acme.post("/v1/x-callback-secret")
    told = acme.batch(requests(1))
    world.finish()
    (one, *_) = acme.get("/v1/x-deliveries", batch=told["id"]).json["data"]
    acme.get(f"/v1/x-deliveries/{one['id']}")
    acme.post(f"/v1/x-deliveries/{one['id']}/replay")
    acme.post("/v1/x-deliveries/replay", {"since": 0})
    for path in (endpoint, ENDPOINTS, "/v1/webhook_event_types"):
        acme.get(path)
    acme.delete(endpoint)


class _Broken:
    """A store that fails in some way."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        raise self._error


def ask(
    client: Client,
    method: str,
    path: str,
    *,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
    query: Mapping[str, str] | None = None,
) -> Answer:
    """A request that is right in itself, about things that are not there."""
    given = BODIES.get(path) if body is None and method == "POST" else body
    data, kind = encoded(given)
    path = re.sub(r"\{\w+\}", "none_of_these", path)
    return client.ask(
        method, path, data, {"content-type": kind, **(headers or {})}, query=query or {}
    )


def encoded(given: Any) -> tuple[bytes, str]:
    if isinstance(given, list):
        return form(given)
    data = given if isinstance(given, bytes) else json.dumps(given).encode() if given else b""
    return data, "application/json"


def provoke(  # noqa: PLR0911 - one return a status
    world: WebWorld, acme: Client, status: int, method: str, path: str
) -> Answer:
    """Have the route answer so."""
    match status:
        case 400:
            return _bad(world, acme, method, path)
        case 401:
            return ask(Client("wrong", world), method, path)
        case 404:
            return ask(acme, method, path, body=_of_no_model(path))
        case 413:
            return _too_large(world, acme, method, path)
        case 416:
            path = path.replace("{file_id}", acme.upload(b"x").json["id"])
            return ask(acme, method, path, headers={"range": "bytes=9-"})
        case 422:
            return _reused(acme, method, path)
        case 429:
            limited, _ = keys.create(world.env, "limited", quota=Quota(requests_per_minute=1))
            ask(Client(limited, world), method, path, headers=LATER)
            return ask(Client(limited, world), method, path)
        case 500 | 503 | 507:
            error = {500: RuntimeError("broken"), 503: Busy(), 507: StorageFull()}[status]
            bootstrap.install(replace(world.env, store=_Broken(error)))
            return ask(acme, method, path)
    raise AssertionError(f"nobody knows how {method} {path} answers {status}")


def _of_no_model(path: str) -> Any:
    """The route's body, of a model that is not there; None where it names none."""
    if path == "/v1/estimates":
        return {"models": {"none": {"requests": 1}}}
    body = BODIES.get(path)
    return body | {"model": "none"} if body and "model" in body else None


def _bad(world: WebWorld, acme: Client, method: str, path: str) -> Answer:
    if path in BODIES and method == "POST":
        path = path.replace("{upload_id}", _upload(acme))
        path = path.replace("{batch_id}", acme.batch(requests(1))["id"])
        path = path.replace("{endpoint_id}", acme.post(ENDPOINTS, ENDPOINT).json["id"])
        return acme.ask(method, path, b"[", {"content-type": "application/json"})
    operation = conformity.operation_of(method, path) or {}
    names = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"}
    if not names:
        return _in_a_state_that_forbids_it(world, acme, method, path)
    path = path.replace("{batch_id}", acme.batch(requests(1))["id"])
    path = path.replace("{file_id}", acme.upload(b"x").json["id"])
    path = path.replace("{response_id}", acme.post("/v1/responses", RESPONSE).json["id"])
    return ask(acme, method, path, query=dict.fromkeys(names, "\u20ac"))


def _upload(acme: Client) -> str:
    made: str = acme.post("/v1/uploads", BODIES["/v1/uploads"]).json["id"]
    return made


def _in_a_state_that_forbids_it(world: WebWorld, acme: Client, method: str, path: str) -> Answer:
    """Of a file while it is written, and results; of all else once it has ended."""
    if path.startswith(MESSAGES):
        messages = ask(acme, "POST", MESSAGES).json["id"]
        if path.endswith("/cancel"):
            world.finish()
        return ask(acme, method, path.replace("{batch_id}", messages))
    batch = acme.batch(requests(1))
    world.pump()
    running = acme.get(f"/v1/batches/{batch['id']}").json["output_file_id"]
    if "{file_id}" in path:
        return ask(acme, method, path.replace("{file_id}", running))
    response = acme.post("/v1/responses", RESPONSE).json["id"]
    request = ask(acme, "POST", CHAT, headers=LATER).json["id"]
    world.finish()
    upload = _upload(acme)
    part = acme.ask("POST", f"/v1/uploads/{upload}/parts", *_form_of_a_part()).json["id"]
    acme.post(f"/v1/uploads/{upload}/complete", {"part_ids": [part]})
    ids = {"batch_id": batch["id"], "response_id": response, "request_id": request}
    for name, known in {**ids, "upload_id": upload}.items():
        path = path.replace(f"{{{name}}}", known)
    return ask(acme, method, path)


def _form_of_a_part() -> tuple[bytes, dict[str, str]]:
    data, kind = encoded(BODIES["/v1/uploads/{upload_id}/parts"])
    return data, {"content-type": kind}


def _too_large(world: WebWorld, acme: Client, method: str, path: str) -> Answer:
    if method == "GET":
        line = acme.upload(b"x" * (4 * 1024 * 1024 + 1), spool="tmp/body").json["id"]
        return ask(acme, method, path.replace("{file_id}", line), query={"offset": "0"})
    if not isinstance(BODIES[path], list):
        return ask(acme, method, path, body=b"x" * 5_000_000)
    path = path.replace("{upload_id}", _upload(acme))
    bootstrap.install(replace(world.env, limits=Limits(file_bytes=3, part_bytes=3)))
    name = "file" if path == "/v1/files" else "data"
    return acme.ask(method, path, *_sent([("purpose", "batch"), (name, ("in", b"four"))]))


def _sent(parts: list[tuple[str, Any]]) -> tuple[bytes, dict[str, str]]:
    data, kind = form(parts)
    return data, {"content-type": kind}


def _reused(acme: Client, method: str, path: str) -> Answer:
    headers = {"idempotency-key": "order-66", **LATER}
    first, other = BODIES[path], OTHERS.get(path, {"temperature": 0.5})
    if path == "/v1/batches":
        first = first | {"input_file_id": acme.upload(requests(1)).json["id"]}
    path = path.replace("{endpoint_id}", acme.post(ENDPOINTS, ENDPOINT).json["id"])
    assert ask(acme, method, path, body=first, headers=headers).status < 300
    second = other if isinstance(other, list) else first | other
    return ask(acme, method, path, body=second, headers=headers)


DOCUMENTED = [
    (int(status), method, path)
    for method, path, operation in ROUTES
    for status in operation["responses"]
    if status.isdigit() and int(status) >= 400 and (method, path, int(status)) not in EXPLAINED
]


@pytest.mark.parametrize(
    ("status", "method", "path"),
    DOCUMENTED,
    ids=[f"{method} {path} {status}" for status, method, path in DOCUMENTED],
)
def test_every_documented_error_can_be_had(world, acme, status, method, path):
    answer = provoke(world, acme, status, method, path)
    assert answer.status == status, answer.body
    assert answer.json["error"]["message"]


def test_a_large_file_is_behind_a_link_as_documented(world, acme):
    file_id = acme.upload(b"x" * (4 * 1024 * 1024 + 1), spool="tmp/body").json["id"]
    acme.get(f"/v1/files/{file_id}/content")
    assert "get_files_file_id_content 302" in world.seen


# ---------------------------------------------------------------- the judge itself


def test_an_answer_of_another_shape_is_found():
    headers = {"x-request-id": "1", "request-id": "1", "content-type": "application/json"}
    fine = b'{"status":"ok"}'
    conformity.check("GET", "/healthz", 200, headers, fine)
    for status, sent, body in (
        (200, headers, b'{"status":"fine"}'),
        (200, headers, b'{"status":"ok","more":1}'),
        (200, headers, b"{}"),
        (404, headers, fine),
        (200, headers | {"content-type": "text/plain"}, fine),
    ):
        with pytest.raises(AssertionError):
            conformity.check("GET", "/healthz", status, sent, body)
