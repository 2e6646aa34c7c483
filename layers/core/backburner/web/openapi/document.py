"""The OpenAPI 3.1 document, made of the table of routes and of what is declared beside it."""

import re
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec

from backburner.web import gateway
from backburner.web.openapi import (
    batches,
    estimates,
    files,
    mail,
    messages,
    models,
    open_routes,
    requests,
    responses,
    uploads,
    webhooks,
)
from backburner.web.openapi.operation import AnthropicError, Error, Operation

Object = dict[str, Any]

#: What each route does, by its method and rule.
OPERATIONS: dict[str, Operation] = {
    **files.OPERATIONS,
    **uploads.OPERATIONS,
    **batches.OPERATIONS,
    **responses.OPERATIONS,
    **requests.OPERATIONS,
    **messages.OPERATIONS,
    **mail.OPERATIONS,
    **webhooks.OPERATIONS,
    **models.OPERATIONS,
    **estimates.OPERATIONS,
}

_REF = "#/components/schemas/{name}"

_DESCRIPTIONS = {
    201: "Where the body may be sent.",
    202: "It goes on; read the result at `Location`.",
    204: "All was told: there will be nothing new.",
    206: "The bytes that were asked for.",
    302: "The content is at this link, which needs no key.",
    400: "The request is wrong; the message names the field and the limit.",
    401: "No key, or one that nobody knows.",
    404: "There is no such thing for this tenant.",
    413: "Larger than the limit that the message names.",
    416: "The file has no such bytes.",
    422: "The Idempotency-Key was given to another request.",
    429: "The tenant's quota, or its requests of this minute, are used up.",
    500: "An error of the server, which was logged.",
    503: "Too much is going on: come back after `Retry-After` seconds.",
    507: "The disk is full (on one machine only).",
}

#: What any route with a key may answer.
_COMMON = (401, 429, 500, 503)

_IDEMPOTENCY_KEY: Object = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "A second request with the same key gets the first one's answer, for 24 hours. "
    "An empty one is none.",
    "schema": {"type": "string", "pattern": "^[ -~]{0,255}$"},
}
_REQUEST_ID: Object = {
    "description": "Names the request in logs; also sent as `request-id`.",
    "schema": {"type": "string"},
}
_LOCATION: Object = {"schema": {"type": "string"}}
_RANGE: Object = {
    "name": "Range",
    "in": "header",
    "required": False,
    "description": "One range of bytes (RFC 9110).",
    "schema": {"type": "string", "examples": ["bytes=0-999"]},
}
_LATER: Object = {"retry-after": {"schema": {"type": "string"}}, "location": _LOCATION}
_PREFER: Object = {
    "name": "Prefer",
    "in": "header",
    "required": False,
    "description": "`respond-async`: 202 at once. `wait=n`: 202 after n seconds (RFC 7240).",
    "schema": {"type": "string"},
}
_WAIT: Object = _PREFER | {"description": "`wait=n`: n seconds at most (RFC 7240)."}
_LAST_EVENT_ID: Object = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "description": "The id of the event that was seen last: what came after it is told.",
    "schema": {"type": "string", "examples": ["in_progress-120"]},
}
_RETRY_AFTER: Object = {
    "description": "Seconds until it is worth asking again.",
    "schema": {"type": "integer", "minimum": 1, "maximum": 60},
}


def document(server: str = "") -> Object:
    """The whole document.

    Args:
        server: URL that the paths are below; empty: wherever the document came from.
    """
    schemas = _Schemas()
    paths: Object = {}
    declared = [
        (method, rule, OPERATIONS[f"{method} {rule}"])
        for method, rule, _ in gateway.ROUTES
        if f"{method} {rule}" in OPERATIONS  # a test insists on it
    ]
    declared += [
        (method, rule, mail.SIGNED[f"{method} {rule}"]) for method, rule, _ in gateway.SIGNED
    ]
    declared += [("GET", path, one) for path, one in open_routes.OPERATIONS.items()]
    for method, rule, operation in declared:
        path = re.sub(r"<(\w+)>", r"{\1}", rule)
        paths.setdefault(path, {})[method.lower()] = _operation(method, rule, operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Backburner",
            "summary": "Asynchronous LLM inference: hand in requests, come back for the results.",
            "description": "Compatible with OpenAI's API and, below `/v1/messages`, with "
            "Anthropic's. `/openai/v1` is an alias of `/v1`.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "version": _version(),
        },
        "servers": [{"url": server or "/"}],
        "security": [{"bearer": []}, {"x-api-key": []}, {"api-key": []}],
        "paths": paths,
        "components": {
            "schemas": schemas.components(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
                "api-key": {"type": "apiKey", "in": "header", "name": "api-key"},
            },
        },
    }


@cache
def to_json() -> bytes:
    """The document as it is served; the same as long as the process lives."""
    return msgspec.json.encode(document())


def _version() -> str:
    try:
        return version("backburner")
    except PackageNotFoundError:  # in a layer of Lambda no package is installed
        return "0"


# ---------------------------------------------------------------- operations


def _operation(method: str, rule: str, operation: Operation, schemas: "_Schemas") -> Object:
    names = re.findall(r"<(\w+)>", rule)
    made: Object = {
        "operationId": _operation_id(method, rule),
        "summary": operation.summary,
        "tags": [rule.split("/")[2] if rule.startswith("/v1/") else "service"],
        "responses": _responses(rule, operation, schemas),
    }
    parameters = [_path_parameter(name) for name in names]
    parameters += _query_parameters(operation)
    if operation.is_idempotent:
        parameters.append(_IDEMPOTENCY_KEY)
    if operation.takes_ranges:
        parameters.append(_RANGE)
    if operation.others and operation.body is not None:
        parameters.append(_PREFER)
    if operation.tells_news:
        parameters += [_LAST_EVENT_ID, _WAIT]
    if parameters:
        made["parameters"] = parameters
    if operation.body is not None:
        content = {operation.body_type: {"schema": schemas.of(operation.body)}}
        made["requestBody"] = {"required": operation.needs_body, "content": content}
    if operation.is_public:
        made["security"] = []
    return made


def _operation_id(method: str, rule: str) -> str:
    words = re.findall(r"\w+", rule.removeprefix("/v1"))
    return "_".join([method.lower(), *words])


def _path_parameter(name: str) -> Object:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _query_parameters(operation: Operation) -> list[Object]:
    if operation.query is None:
        return []
    _, components = msgspec.json.schema_components([operation.query])
    properties = components[operation.query.__name__].get("properties", {})
    return [
        {"name": name, "in": "query", "required": False, "schema": schema}
        for name, schema in properties.items()
    ]


def _responses(rule: str, operation: Operation, schemas: "_Schemas") -> Object:
    found: Object = {}
    if operation.answer is not None:
        schema = {} if operation.answer is bytes else schemas.of(operation.answer)
        found["200"] = {
            "description": operation.summary,
            "headers": {"x-request-id": _REQUEST_ID},
            "content": {operation.answer_type: {"schema": schema}},
        }
    for status, answer in operation.others.items():
        found[str(status)] = {
            "description": _DESCRIPTIONS[status],
            "headers": {"x-request-id": _REQUEST_ID} | (_LATER if status == 202 else {}),
        }
        if answer is not None:
            content = {"application/json": {"schema": schemas.of(answer)}}
            found[str(status)]["content"] = content
    if operation.takes_ranges:
        found["206"] = {
            "description": _DESCRIPTIONS[206],
            "headers": {
                "x-request-id": _REQUEST_ID,
                "content-range": {"schema": {"type": "string"}},
            },
            "content": {operation.answer_type: {"schema": {}}},
        }
    if operation.may_redirect:
        found[str(operation.redirect_status)] = {
            "description": _DESCRIPTIONS[302],
            "headers": {"location": _LOCATION},
        }
    shape = AnthropicError if rule.startswith("/v1/messages") else Error
    for status in sorted(statuses(operation)):
        headers = {"x-request-id": _REQUEST_ID}
        if status in (429, 503, 507):
            headers["retry-after"] = _RETRY_AFTER
        found[str(status)] = {
            "description": _DESCRIPTIONS[status],
            "headers": headers,
            "content": {"application/json": {"schema": _error(operation, schemas.of(shape))}},
        }
    for some in ("4XX", "5XX") if operation.relays else ():
        found[some] = {
            "description": "What the model's server answered, or why there is no answer of it.",
            "headers": {"x-request-id": _REQUEST_ID},
            "content": {"application/json": {"schema": {}}},
        }
    return found


def _error(operation: Operation, shape: Object) -> Object:
    """The body of an error; with the model's server behind the route, it may be that one's own."""
    if not operation.relays:
        return shape
    return {"anyOf": [shape, {"description": "What the model's server answered."}]}


def statuses(operation: Operation) -> set[int]:
    """Statuses of errors that a route may answer."""
    if operation.is_public:
        return set(operation.errors)
    found = {*_COMMON, *operation.errors}
    if operation.body is not None or operation.query is not None:
        found.add(400)
    if operation.body is not None:
        found |= {413}
    if operation.is_idempotent:
        found |= {400, 422, 507}
    return found


class _Schemas:
    """Collects the types that operations name, and then makes all of them at once."""

    def __init__(self) -> None:
        self._types: dict[Any, None] = {}

    def of(self, kind: Any) -> Object:
        self._types[kind] = None
        (schema,), _ = msgspec.json.schema_components([kind], ref_template=_REF)
        return schema

    def components(self) -> Object:
        _, found = msgspec.json.schema_components(self._ordered(), ref_template=_REF)
        return dict(sorted(found.items()))

    def _ordered(self) -> Iterable[Any]:
        return list(self._types)
