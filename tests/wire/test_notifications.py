"""Notifications: what is ours is read, and nothing else can do harm."""

import json
from typing import Any

import pytest

from backburner.domain.shard import AttemptRef
from backburner.wire.notifications import async_results, uploaded_keys

OURS: dict[str, Any] = {
    "eventName": "InferenceResult",
    "invocationStatus": "Completed",
    "inferenceId": "acme/batch_1/00001/2",
    "responseParameters": {"outputLocation": "s3://bucket/async/output/x.out"},
}
REF = AttemptRef(tenant="acme", batch_id="batch_1", shard_id="00001", attempt=2)


def told(message: Any) -> list[tuple[AttemptRef, str | None]]:
    text = message if isinstance(message, str) else json.dumps(message)
    event = {"Records": [{"Sns": {"Message": text}}]}
    return [(one.ref, one.output_location) for one in async_results(event)]


def test_a_result_names_its_attempt_and_its_object():
    assert told(OURS) == [(REF, "s3://bucket/async/output/x.out")]


@pytest.mark.parametrize(
    "changes",
    [
        {"invocationStatus": "Failed"},
        {"responseParameters": None},
        {"responseParameters": "s3://bucket/x"},
        {"responseParameters": {}},
    ],
)
def test_a_result_without_an_object_is_a_failure(changes):
    assert told(OURS | changes) == [(REF, None)]


@pytest.mark.parametrize(
    "message",
    [
        "",
        "no JSON",
        "[]",
        "7",
        {"eventName": "TestNotification"},
        OURS | {"inferenceId": None},
        OURS | {"inferenceId": "8a80ed4e-1111-2222-3333-444455556666"},
        OURS | {"inferenceId": "a/b/c/d"},
        OURS | {"inferenceId": "a/b/c/1/2"},
    ],
)
def test_what_is_not_ours_is_left_out(message):
    assert told(message) == []


def test_keys_of_uploads_come_decoded():
    def record(key: str, name: str = "ObjectCreated:Put") -> dict[str, Any]:
        return {"eventName": name, "s3": {"object": {"key": key}}}

    records = [record("drop/a+b%2Bc%C3%A9.jsonl"), record("drop/gone", "ObjectRemoved:Delete")]
    assert list(uploaded_keys({"Records": records})) == ["drop/a b+cé.jsonl"]
    assert list(uploaded_keys({"Event": "s3:TestEvent"})) == []
