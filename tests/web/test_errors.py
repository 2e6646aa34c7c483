"""One table of errors, in two shapes."""

import json

import pytest

from backburner.domain.errors import (
    BackendThrottled,
    Busy,
    Conflict,
    InvalidRequest,
    Lost,
    NotFound,
    StateConflict,
    StorageFull,
    TooLarge,
    Unauthenticated,
)
from backburner.web import errors

ERRORS = [
    (Unauthenticated(), 401, "authentication_error", "authentication_error"),
    (NotFound(), 404, "invalid_request_error", "not_found_error"),
    (
        errors.MethodNotAllowed("no", allowed="GET"),
        405,
        "invalid_request_error",
        "invalid_request_error",
    ),
    (TooLarge(), 413, "invalid_request_error", "request_too_large"),
    (InvalidRequest("no", param="a"), 400, "invalid_request_error", "invalid_request_error"),
    (StateConflict(), 400, "invalid_request_error", "invalid_request_error"),
    (StorageFull(), 507, "server_error", "api_error"),
    (Busy(), 503, "server_error", "overloaded_error"),
    (Conflict(), 503, "server_error", "overloaded_error"),
    (BackendThrottled(), 503, "server_error", "overloaded_error"),
    (Lost("acme/secret"), 500, "server_error", "api_error"),
    (RuntimeError("acme/secret"), 500, "server_error", "api_error"),
]


@pytest.mark.parametrize("row", ERRORS, ids=lambda row: type(row[0]).__name__)
def test_every_error_has_a_status_and_two_shapes(row):
    error, status, openai_type, anthropic_type = row
    for_openai = errors.to_answer(error, path="/v1/batches", request_id="req_1")
    for_anthropic = errors.to_answer(error, path="/v1/messages/batches", request_id="req_1")
    assert for_openai.status == for_anthropic.status == status
    assert for_openai.headers == for_anthropic.headers
    shown = json.loads(for_openai.to_event("req_1")["body"])
    assert shown.keys() == {"error"}
    assert shown["error"]["type"] == openai_type
    other = json.loads(for_anthropic.to_event("req_1")["body"])
    assert (other["type"], other["request_id"]) == ("error", "req_1")
    assert (other["error"]["type"], other["error"]["message"]) == (
        anthropic_type,
        shown["error"]["message"],
    )
    assert "secret" not in shown["error"]["message"]


def test_a_code_is_among_the_details():
    answer = errors.to_answer(StorageFull(), path="/v1/messages")
    body = json.loads(answer.to_event("req_1")["body"])
    assert body["error"]["details"] == {"error_code": "insufficient_storage"}


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/nothing", "/v1/messages/batches/"])
def test_below_messages_even_an_unknown_path_is_told_in_anthropics_shape(acme, path):
    answer = acme.ask("PUT", path)
    assert answer.status in (404, 405)
    assert (answer.json["type"], answer.json["request_id"]) == ("error", "req_test")


def test_beside_messages_errors_keep_openais_shape(acme):
    assert acme.get("/v1/messagesx").json.keys() == {"error"}
