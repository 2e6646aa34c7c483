"""Bedrock's records as lines of a batch."""

import json
from typing import Any

import pytest

from backburner.domain.errors import InvalidLine
from backburner.domain.request import Outcome
from backburner.wire.bedrock.dialect import BedrockDialect
from backburner.wire.bodies import CHAT

DIALECT = BedrockDialect()
CONVERSE = {"messages": [{"role": "user", "content": [{"text": "a"}, {"text": "b"}]}]}


def record(given: Any, **members: Any) -> bytes:
    return json.dumps({"recordId": "R1", "modelId": "m", "modelInput": given} | members).encode()


def parsed(given: Any) -> Any:
    request = DIALECT.parse(3, record(given), route=CHAT)
    assert (request.line, request.custom_id, request.model) == (3, "R1", "m")
    body = json.loads(request.body)
    assert body.pop("model") == "m"
    return body


@pytest.mark.parametrize(
    ("given", "body"),
    [
        (CONVERSE, {"messages": [{"role": "user", "content": "a\nb"}]}),
        (
            CONVERSE
            | {
                "system": [{"text": "s"}],
                "inferenceConfig": {
                    "maxTokens": 5,
                    "temperature": 0,
                    "topP": 1,
                    "stopSequences": ["x"],
                },
                "additionalModelRequestFields": {"top_k": 3},
                "requestMetadata": {"a": "b"},
            },
            {
                "messages": [
                    {"role": "system", "content": "s"},
                    {"role": "user", "content": "a\nb"},
                ],
                "max_tokens": 5,
                "temperature": 0,
                "top_p": 1,
                "stop": ["x"],
                "top_k": 3,
            },
        ),
        (
            {
                "anthropic_version": "bedrock-2023-05-31",
                "max_tokens": 9,
                "system": "s",
                "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}],
            },
            {
                "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "a"}],
                "max_tokens": 9,
            },
        ),
        (
            {"messages": [{"role": "user", "content": "a"}], "max_tokens": 4},
            {"messages": [{"role": "user", "content": "a"}], "max_tokens": 4},
        ),
    ],
    ids=["converse", "converse with all", "anthropic", "chat completion"],
)
def test_bodies_of_all_forms_ask_for_a_chat_completion(given, body):
    assert parsed(given) == body


@pytest.mark.parametrize(
    ("given", "param"),
    [
        (5, "modelInput"),
        ({}, "modelInput.messages"),
        ({"inputText": "x"}, "modelInput.messages"),
        (CONVERSE | {"toolConfig": {"tools": [1]}}, "modelInput.toolConfig"),
        (CONVERSE | {"system": [{"cachePoint": {}}]}, "modelInput.system[0]"),
        (CONVERSE | {"system": [], "messages": []}, "modelInput.messages"),
        (CONVERSE | {"inferenceConfig": {"x": 1}}, "modelInput.inferenceConfig.x"),
        (CONVERSE | {"inferenceConfig": {"maxTokens": -1}}, "modelInput.max_tokens"),
        (CONVERSE | {"inferenceConfig": 1}, "modelInput.inferenceConfig"),
        (
            CONVERSE | {"additionalModelRequestFields": {"model": "other"}},
            "modelInput.additionalModelRequestFields",
        ),
        (
            {"messages": [{"role": "user", "content": [{"image": {}}]}]},
            "modelInput.messages[0].content[0]",
        ),
        ({"messages": [{"role": "x", "content": [{"text": ""}]}]}, "modelInput.messages[0].role"),
        (
            {"system": [{"text": "s"}], "messages": [{"role": "user"}]},
            "modelInput.messages[0].content",
        ),
        ({"anthropic_version": "x", "messages": []}, "modelInput.messages"),
    ],
)
def test_what_is_wrong_with_a_record_is_named(given, param):
    with pytest.raises(InvalidLine) as error:
        DIALECT.parse(1, record(given), route=CHAT)
    assert (error.value.param, error.value.custom_id) == (param, "R1")


@pytest.mark.parametrize("record_id", [None, "", 5, "x" * 513, "a\nb"])
def test_a_record_needs_an_id(record_id):
    with pytest.raises(InvalidLine) as error:
        DIALECT.parse(1, record(CONVERSE, recordId=record_id), route=CHAT)
    assert error.value.param == "recordId"


def test_deep_nesting_is_refused():
    deep: Any = {}
    for _ in range(200):
        deep = {"a": deep}
    with pytest.raises(InvalidLine, match="nested deeper"):
        DIALECT.parse(1, record(CONVERSE | {"requestMetadata": deep}), route=CHAT)


@pytest.mark.parametrize(
    ("outcome", "result"),
    [
        ({"status_code": 200, "body": b'{"a":\n1}'}, {"modelOutput": {"a": 1}}),
        (
            {"status_code": 400, "body": b'{"error":{"message":"no"}}'},
            {"error": {"errorCode": 400, "errorMessage": "no"}},
        ),
        (
            {"status_code": 500, "body": b'{"error":"odd"}'},
            {"error": {"errorCode": 500, "errorMessage": "The request failed."}},
        ),
        (
            {"code": "batch_expired", "message": "too late"},
            {"error": {"errorCode": 408, "errorMessage": "too late"}},
        ),
        (
            {"code": "invalid_request", "message": "bad"},
            {"error": {"errorCode": 400, "errorMessage": "bad"}},
        ),
    ],
)
def test_results_are_records_that_tell_whose_they_are(outcome, result):
    line = DIALECT.render(Outcome(line=4, custom_id="R1", **outcome), batch_id="batch_1")
    assert json.loads(line) == {"recordId": "R1", "x_line": 4} | result
    assert b"\n" not in line
    assert DIALECT.head(line) == (4, "R1")
