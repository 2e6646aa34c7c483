"""The Response object in each of its states."""

import json
from typing import Any

import pytest
from msgspec import structs
from msgspec.structs import replace

from backburner.domain.batch import Batch, BatchKind, BatchStatus, StopReason
from backburner.domain.request import Outcome, Usage
from backburner.wire.response_object import response_object

BATCH = Batch(
    tenant="acme",
    id="resp_1",
    kind=BatchKind.RESPONSE,
    status=BatchStatus.IN_PROGRESS,
    route="/v1/chat/completions",
    model="tiny",
    completion_window="1h",
    created_at=1000.5,
    expires_at=4600.5,
    metadata={"a": "b"},
)
DONE = replace(BATCH, status=BatchStatus.COMPLETED, completed_at=1010.5)
FAILED = replace(BATCH, status=BatchStatus.FAILED, failed_at=1010.5)
ORIGINAL = b'{"model":"tiny","input":"hi","background":true}'


def answer(message: Any = None, *, finish: Any = "stop", **members: Any) -> Outcome:
    body = {
        "choices": [{"message": message or {"content": "hi"}, "finish_reason": finish}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2},
        **members,
    }
    return Outcome(
        line=1,
        custom_id="response",
        status_code=200,
        body=json.dumps(body).encode(),
        usage=Usage(input_tokens=3, output_tokens=2),
    )


def test_a_completed_response_is_whole():
    assert response_object(DONE, ORIGINAL, answer()) == {
        "id": "resp_1",
        "object": "response",
        "created_at": 1000,
        "completed_at": 1010,
        "status": "completed",
        "background": True,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "metadata": {"a": "b"},
        "model": "tiny",
        "output": [
            {
                "type": "message",
                "id": "msg_1",
                "status": "completed",
                "role": "assistant",
                "content": [
                    {"type": "output_text", "text": "hi", "annotations": [], "logprobs": []}
                ],
            }
        ],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "store": True,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_logprobs": 0,
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": {
            "input_tokens": 3,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": 2,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 5,
        },
        "user": None,
        "x_completion_window": "1h",
        "x_expires_at": 4600,
    }


def test_the_request_is_echoed():
    asked = {
        "instructions": "be brief",
        "temperature": 0,
        "top_p": 0.5,
        "tools": [{"type": "function", "name": "f"}],
        "parallel_tool_calls": False,
    }
    shown = response_object(BATCH, json.dumps(asked).encode())
    assert {name: shown[name] for name in asked} == asked


STATES = {
    "waiting": ({}, False, "queued"),
    "running": ({}, True, "in_progress"),
    "expiring": ({"stopping": StopReason.EXPIRED}, False, "queued"),
    "cancelling": (
        {"status": BatchStatus.CANCELLING, "stopping": StopReason.CANCELLED},
        True,
        "cancelled",
    ),
    "cancelled": (
        {"status": BatchStatus.CANCELLED, "stopping": StopReason.CANCELLED},
        False,
        "cancelled",
    ),
}


@pytest.mark.parametrize(("changes", "is_running", "status"), STATES.values(), ids=STATES)
def test_without_an_outcome_there_is_a_status_and_an_empty_output(changes, is_running, status):
    shown = response_object(replace(BATCH, **changes), ORIGINAL, is_running=is_running)
    assert (shown["status"], shown["output"], shown["usage"]) == (status, [], None)


@pytest.mark.parametrize(
    ("finish", "reason"),
    [("length", "max_output_tokens"), ("content_filter", "content_filter")],
)
def test_an_answer_that_was_cut_is_incomplete(finish, reason):
    shown = response_object(DONE, ORIGINAL, answer(finish=finish))
    assert shown["status"] == "incomplete"
    assert shown["incomplete_details"] == {"reason": reason}
    assert shown["output"][0]["content"][0]["text"] == "hi"


def test_calls_of_tools_are_items_of_the_output():
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    shown = response_object(DONE, ORIGINAL, answer({"content": None, "tool_calls": [call]}))
    assert shown["output"] == [
        {
            "type": "function_call",
            "id": "fc_1_0",
            "call_id": "c1",
            "name": "f",
            "arguments": "{}",
            "status": "completed",
        }
    ]


def test_thoughts_and_refusals_are_shown():
    message = {"content": None, "reasoning_content": "hm", "refusal": "no"}
    thought, said = response_object(DONE, ORIGINAL, answer(message))["output"]
    assert thought["content"] == [{"type": "reasoning_text", "text": "hm"}]
    assert said["content"] == [{"type": "refusal", "refusal": "no"}]


STRANGE = [
    b"{}",
    b"[]",
    b"nonsense",
    b'{"choices":{}}',
    b'{"choices":[]}',
    b'{"choices":[1]}',
    b'{"choices":[{"message":null}]}',
]


@pytest.mark.parametrize("body", STRANGE)
def test_an_answer_without_a_message_is_a_failure(body):
    shown = response_object(DONE, ORIGINAL, structs.replace(answer(), body=body))
    assert (shown["status"], shown["error"]["code"]) == ("failed", "server_error")


@pytest.mark.parametrize(
    "members",
    [
        {"usage": None},
        {"usage": []},
        {"usage": {"prompt_tokens_details": 1, "completion_tokens_details": None}},
        {"message": {"tool_calls": {}}},
        {"message": {"tool_calls": [None, {"function": 1}]}},
        {"finish": ["odd"]},
    ],
)
def test_odd_members_of_an_answer_do_no_harm(members):
    shown = response_object(DONE, ORIGINAL, answer(**members))
    assert shown["status"] == "completed"
    assert shown["usage"]["total_tokens"] == 5


REASONS = {
    "no answer": (
        Outcome(line=1, custom_id="r", code="attempt_lost", message="Lost."),
        ("attempt_lost", "Lost."),
    ),
    "the model's own": (
        Outcome(
            line=1,
            custom_id="r",
            status_code=400,
            body=b'{"error":{"message":"Too long.","code":"context_length_exceeded"}}',
        ),
        ("context_length_exceeded", "Too long."),
    ),
    "throttled": (
        Outcome(line=1, custom_id="r", status_code=429, body=b'{"error":{}}'),
        ("rate_limit_exceeded", "The model's server answered with status 429."),
    ),
    "broken": (
        Outcome(line=1, custom_id="r", status_code=500, body=b"<html>"),
        ("server_error", "The model's server answered with status 500."),
    ),
    "text": (
        Outcome(line=1, custom_id="r", status_code=400, body=b'{"error":"no"}'),
        ("invalid_prompt", "no"),
    ),
    "gone": (None, ("server_error", "The result is not kept any more.")),
}


@pytest.mark.parametrize(("outcome", "reason"), REASONS.values(), ids=REASONS)
def test_a_failure_says_why(outcome, reason):
    shown = response_object(FAILED, ORIGINAL, outcome)
    assert shown["status"] == "failed"
    assert (shown["error"]["code"], shown["error"]["message"]) == reason


def test_an_expired_response_failed():
    expired = replace(BATCH, status=BatchStatus.EXPIRED, stopping=StopReason.EXPIRED)
    shown = response_object(expired, ORIGINAL)
    assert (shown["status"], shown["error"]["code"]) == ("failed", "expired")
