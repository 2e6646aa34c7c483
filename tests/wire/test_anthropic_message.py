"""Chat completions as Anthropic's Messages, and errors in its shape."""

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backburner.wire.anthropic import message
from tests.effort import tried
from tests.late import Late

if TYPE_CHECKING:
    import anthropic
else:
    anthropic = Late("anthropic")


def answered(
    said: Any = ..., *, choice: dict[str, Any] | None = None, **members: Any
) -> dict[str, Any]:
    """The Message that a completion becomes."""
    whole = {
        "model": "tiny",
        "choices": [
            {
                "message": {"role": "assistant", "content": "yes"} if said is ... else said,
                "finish_reason": "stop",
                **(choice or {}),
            }
        ],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2},
        **members,
    }
    shown = message.message_object(json.dumps(whole).encode(), message_id="msg_1")
    assert shown is not None
    anthropic.types.Message.model_validate(shown)  # what the client's own types insist on
    return shown


def call(arguments: Any, **members: Any) -> dict[str, Any]:
    function = {"name": "f", "arguments": arguments}
    return {"id": "c1", "type": "function", "function": function, **members}


def test_a_completion_becomes_a_message():
    assert answered() == {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "tiny",
        "content": [{"type": "text", "text": "yes"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 5,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 2,
            "service_tier": "standard",
        },
    }


CALLED = {"content": None, "tool_calls": [call("{}")]}
STOPPED: dict[str, tuple[Any, dict[str, Any], tuple[str, str | None]]] = {
    "at its end": (..., {}, ("end_turn", None)),
    "at the limit": (..., {"finish_reason": "length"}, ("max_tokens", None)),
    "for a tool": (CALLED, {"finish_reason": "tool_calls"}, ("tool_use", None)),
    "for a tool that had to be": (CALLED, {"finish_reason": "stop"}, ("tool_use", None)),
    "in a tool's call": (CALLED, {"finish_reason": "length"}, ("max_tokens", None)),
    "at a stop sequence": (..., {"stop_reason": "END"}, ("stop_sequence", "END")),
    "at a token": (..., {"stop_reason": 2}, ("end_turn", None)),
    "by a filter": (..., {"finish_reason": "content_filter"}, ("refusal", None)),
    "as it refuses": ({"content": None, "refusal": "no"}, {}, ("refusal", None)),
    "nobody knows why": (..., {"finish_reason": None}, ("end_turn", None)),
}


@pytest.mark.parametrize("name", STOPPED)
def test_why_it_stopped_is_told_in_anthropics_words(name: str):
    said, choice, expected = STOPPED[name]
    shown = answered(said, choice=choice)
    assert (shown["stop_reason"], shown["stop_sequence"]) == expected


CONTENT: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "nothing": ({"content": None}, [{"type": "text", "text": ""}]),
    "text and a call": (
        {"content": "so", "tool_calls": [call('{"x": [1]}')]},
        [
            {"type": "text", "text": "so"},
            {"type": "tool_use", "id": "c1", "name": "f", "input": {"x": [1]}},
        ],
    ),
    "calls without ids": (
        {"content": "", "tool_calls": [call("", id=None), call({"y": 1}, id=None)]},
        [
            {"type": "tool_use", "id": "toolu_1_0", "name": "f", "input": {}},
            {"type": "tool_use", "id": "toolu_1_1", "name": "f", "input": {"y": 1}},
        ],
    ),
    "a call with broken arguments": (
        {"content": None, "tool_calls": [call('{"x": ')]},
        [{"type": "tool_use", "id": "c1", "name": "f", "input": {"INVALID_JSON": '{"x": '}}],
    ),
    "a call with a list": (
        {"content": None, "tool_calls": [call("[1]")]},
        [{"type": "tool_use", "id": "c1", "name": "f", "input": {"INVALID_JSON": "[1]"}}],
    ),
    "a refusal": ({"content": None, "refusal": "no"}, [{"type": "text", "text": "no"}]),
}


@pytest.mark.parametrize("name", CONTENT)
def test_what_it_said_becomes_blocks(name: str):
    said, expected = CONTENT[name]
    assert answered(said)["content"] == expected


def test_what_it_thought_stays_out_of_the_content():
    shown = answered({"content": "yes", "reasoning_content": "hm"})
    assert shown["content"] == [{"type": "text", "text": "yes"}]
    assert shown["x_reasoning"] == "hm"


def test_tokens_from_a_cache_are_counted_apart():
    details = {"prompt_tokens_details": {"cached_tokens": 3}}
    usage = answered(usage={"prompt_tokens": 5, "completion_tokens": 2, **details})["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"]) == (2, 3)


@pytest.mark.parametrize(
    "answer", [b"", b"[]", b"{", b"{}", b'{"choices":[]}', b'{"choices":[{"message":"yes"}]}']
)
def test_an_answer_without_a_message_is_none(answer: bytes):
    assert message.message_object(answer, message_id="msg_1") is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@given(
    st.fixed_dictionaries(
        {
            "choices": st.lists(
                st.fixed_dictionaries(
                    {"message": st.dictionaries(st.sampled_from(["content", "tool_calls"]), JSON)},
                    optional={"finish_reason": JSON, "stop_reason": JSON},
                ),
                min_size=1,
                max_size=2,
            )
        },
        optional={"usage": JSON, "model": JSON},
    )
)
@settings(max_examples=tried(50, long=600), deadline=None)
def test_whatever_a_server_says_clients_can_read(completion: dict[str, Any]):
    shown = message.message_object(json.dumps(completion).encode(), message_id="msg_1")
    assert shown is not None
    anthropic.types.Message.model_validate(shown)
    assert shown["content"]


ERRORS: list[tuple[int, bytes, str, str]] = [
    (400, b'{"error":{"message":"no"}}', "invalid_request_error", "no"),
    (422, b'{"error":"no"}', "invalid_request_error", "no"),
    (429, b"{}", "rate_limit_error", "The model's server answered with status 429."),
    (500, b'{"error":{"message":""}}', "api_error", "The model's server answered with status 500."),
    (503, b"busy", "overloaded_error", "The model's server answered with status 503."),
]


@pytest.mark.parametrize(("status", "body", "kind", "said"), ERRORS)
def test_a_servers_error_is_told_in_anthropics_shape(
    status: int, body: bytes, kind: str, said: str
):
    assert message.server_error(status, body) == {
        "type": "error",
        "error": {"type": kind, "message": said},
        "request_id": None,
    }
