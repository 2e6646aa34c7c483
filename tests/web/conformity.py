"""Holds answers to the OpenAPI document: no other status, and no body of another shape."""

import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from backburner.web import gateway, openapi

METHODS = ("get", "post", "put", "patch", "delete")


@cache
def document() -> dict[str, Any]:
    made: dict[str, Any] = json.loads(openapi.to_json())
    return made


@cache
def operations() -> list[tuple[str, re.Pattern[str], dict[str, Any]]]:
    """Method, pattern of the path, operation; literal paths come first, as in the table."""
    found = [
        (method.upper(), re.compile(re.sub(r"\{\w+\}", "[^/]+", path)), path, operation)
        for path, methods in document()["paths"].items()
        for method, operation in methods.items()
    ]
    found.sort(key=lambda one: one[2].count("{"))
    return [(method, pattern, operation) for method, pattern, _, operation in found]


def operation_of(method: str, path: str) -> dict[str, Any] | None:
    path = path.removeprefix("/openai")
    for known, pattern, operation in operations():
        if method == known and pattern.fullmatch(path):
            return operation
    return None


@cache
def _validator(operation_id: str, status: str) -> Draft202012Validator:
    (operation,) = (one for _, _, one in operations() if one["operationId"] == operation_id)
    content = operation["responses"][status]["content"]
    (schema,) = (one["schema"] for one in content.values())
    return Draft202012Validator({**schema, "components": document()["components"]})


def check(method: str, path: str, status: int, headers: Mapping[str, str], body: bytes) -> str:
    """The operation's id and the status; fails if the document knows no such answer."""
    operation = operation_of(method, path)
    is_routed = gateway._ROUTES.find(method, path.removeprefix("/openai"))[0] is not None
    if operation is None and is_routed:
        return "undeclared"  # which a test of its own tells
    if operation is None:
        assert status in (404, 405), f"{method} {path} is not documented, and answers {status}"
        return f"{status}"
    where = f"{operation['operationId']} {status}"
    answers = operation["responses"]
    found = str(status) if str(status) in answers else f"{status // 100}XX"
    documented = answers.get(found)
    assert documented is not None, f"{where} is not documented: {body[:300]!r}"
    assert headers["x-request-id"] == headers["request-id"]
    for name in documented.get("headers", {}):
        assert name in headers, f"{where} has no {name}"
    kinds = list(documented.get("content", ()))
    if kinds and kinds != ["*/*"]:
        assert headers["content-type"].partition(";")[0] in kinds, f"{where}: {headers}"
    if kinds == ["application/json"]:
        wrong = list(_validator(operation["operationId"], found).iter_errors(json.loads(body)))
        assert not wrong, f"{where}: {wrong[0].message} at {wrong[0].json_path}"
    return where
