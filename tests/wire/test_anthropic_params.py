"""The parameters of a Message, as the chat completion that the model gets."""

import itertools
import json
import sys
from collections import Counter
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backburner.domain.errors import InvalidRequest
from backburner.wire.anthropic import message, params
from tests.effort import tried

USER = {"role": "user", "content": "hi"}
TEXT = {"type": "text", "text": "a"}
URL_IMAGE = {"type": "image", "source": {"type": "url", "url": "https://there/cat.png"}}
BASE64_IMAGE = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": "xx"},
}
URL_PART = {"type": "image_url", "image_url": {"url": "https://there/cat.png"}}
BASE64_PART = {"type": "image_url", "image_url": {"url": "data:image/png;base64,xx"}}
TOOL = {"name": "f", "description": "does f", "input_schema": {"type": "object"}}
FUNCTION = {
    "type": "function",
    "function": {"name": "f", "description": "does f", "parameters": {"type": "object"}},
}
USE = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"x": 1}}
CALL = {"id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "42"}
SCHEMA = {"type": "object", "properties": {"x": {"type": "integer"}}}


def body(**members: Any) -> dict[str, Any]:
    whole = {"model": "tiny", "max_tokens": 9, "messages": [USER], **members}
    return {name: value for name, value in whole.items() if value is not ...}


def chat(**members: Any) -> dict[str, Any]:
    return params.chat_body(body(**members))


def test_a_request_holds_the_chat_completion_and_how_much_it_asks_for():
    request = params.parse(body(), line=7, custom_id="mine")
    assert json.loads(request.body) == {
        "model": "tiny",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 9,
    }
    assert (request.line, request.custom_id, request.model) == (7, "mine", "tiny")
    assert (request.route, request.prompt_bytes, request.max_tokens) == (
        "/v1/chat/completions",
        2,
        9,
    )
    assert not request.has_images


PARAMETERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "sampling": (
        {"temperature": 0, "top_p": 0.5, "top_k": 40},
        {"temperature": 0, "top_p": 0.5, "top_k": 40},
    ),
    "top_k of none": ({"top_k": 0}, {}),
    "stop sequences": ({"stop_sequences": ["a", "b"]}, {"stop": ["a", "b"]}),
    "no stop sequences": ({"stop_sequences": []}, {}),
    "a user": ({"metadata": {"user_id": "u1"}}, {"user": "u1"}),
    "a schema": (
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True},
            }
        },
    ),
    "a schema, as in the beta": (
        {"output_format": {"type": "json_schema", "schema": SCHEMA}},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True},
            }
        },
    ),
    "effort": ({"output_config": {"effort": "max"}}, {"reasoning_effort": "high"}),
    "hints": (
        {
            "cache_control": {"type": "ephemeral"},
            "service_tier": "auto",
            "speed": "fast",
            "thinking": {"type": "adaptive"},
            "stream": False,
            "x_mine": 1,
        },
        {},
    ),
    "nothing of what is not supported": ({"container": None, "mcp_servers": []}, {}),
    "tools": ({"tools": [TOOL]}, {"tools": [FUNCTION]}),
    "a custom tool, with hints": (
        {
            "tools": [
                {**TOOL, "type": "custom", "strict": True, "cache_control": {"type": "ephemeral"}}
            ]
        },
        {
            "tools": [
                {"type": "function", "function": {**FUNCTION["function"], "strict": True}}  # type: ignore[dict-item]
            ]
        },
    ),
    "any tool": (
        {"tools": [TOOL], "tool_choice": {"type": "any", "disable_parallel_tool_use": True}},
        {"tools": [FUNCTION], "tool_choice": "required", "parallel_tool_calls": False},
    ),
    "this tool": (
        {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "f"}},
        {
            "tools": [FUNCTION],
            "tool_choice": {"type": "function", "function": {"name": "f"}},
        },
    ),
    "no tool": (
        {"tools": [TOOL], "tool_choice": {"type": "none"}},
        {"tools": [FUNCTION], "tool_choice": "none"},
    ),
    "any tool of none": ({"tools": [], "tool_choice": {"type": "auto"}}, {}),
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_reach_the_model_in_its_words(name: str):
    given_, expected = PARAMETERS[name]
    assert chat(**given_) == chat() | expected


TURNS: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    "several turns": (
        [USER, {"role": "assistant", "content": "yes?"}, USER],
        [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "yes?"},
            {"role": "user", "content": "hi"},
        ],
    ),
    "turns of one role are one": (
        [USER, {"role": "user", "content": [TEXT, URL_IMAGE]}, USER],
        [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "hi"},
                    TEXT,
                    URL_PART,
                    {"type": "text", "text": "hi"},
                ],
            }
        ],
    ),
    "blocks of text are one": (
        [
            {
                "role": "user",
                "content": [{**TEXT, "cache_control": {"type": "ephemeral"}}, TEXT],
            }
        ],
        [{"role": "user", "content": "a\na"}],
    ),
    "instructions between turns": (
        [USER, {"role": "system", "content": [TEXT]}],
        [{"role": "user", "content": "hi"}, {"role": "system", "content": "a"}],
    ),
    "images": (
        [{"role": "user", "content": [BASE64_IMAGE, URL_IMAGE]}],
        [{"role": "user", "content": [BASE64_PART, URL_PART]}],
    ),
    "a document of text": (
        [
            {
                "role": "user",
                "content": [
                    {
                        "type": "document",
                        "title": "Rules",
                        "source": {"type": "text", "media_type": "text/plain", "data": "none"},
                    }
                ],
            }
        ],
        [{"role": "user", "content": "Rules\nnone"}],
    ),
    "a tool's use and its result": (
        [
            USER,
            {
                "role": "assistant",
                "content": [{"type": "thinking", "thinking": "hm", "signature": "s"}, TEXT, USE],
            },
            {"role": "user", "content": [RESULT, TEXT]},
        ],
        [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "a", "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "toolu_1", "content": "42"},
            {"role": "user", "content": "a"},
        ],
    ),
    "a tool that failed": (
        [
            USER,
            {"role": "assistant", "content": [USE]},
            {"role": "user", "content": [{**RESULT, "content": [TEXT], "is_error": True}]},
        ],
        [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "toolu_1", "content": "Error: a"},
        ],
    ),
    "a tool that shows an image": (
        [
            USER,
            {"role": "assistant", "content": [USE]},
            {"role": "user", "content": [{**RESULT, "content": [TEXT, URL_IMAGE]}]},
        ],
        [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "toolu_1", "content": "a"},
            {"role": "user", "content": [URL_PART]},
        ],
    ),
    "a tool that says nothing": (
        [
            USER,
            {"role": "assistant", "content": [USE]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1"}]},
        ],
        [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "toolu_1", "content": ""},
        ],
    ),
}


@pytest.mark.parametrize("name", TURNS)
def test_turns_become_messages(name: str):
    turns, expected = TURNS[name]
    assert chat(messages=turns)["messages"] == expected


@pytest.mark.parametrize("system", ["a\na", [TEXT, {**TEXT, "cache_control": {}}]])
def test_the_system_prompt_comes_first(system: Any):
    assert chat(system=system)["messages"][0] == {"role": "system", "content": "a\na"}


def test_an_empty_system_prompt_is_none():
    assert chat(system="") == chat(system=[]) == chat()


def test_the_answer_goes_on_from_an_answer_that_has_begun():
    begun = chat(messages=[USER, {"role": "assistant", "content": "The answer is ("}])
    assert begun["messages"][-1] == {"role": "assistant", "content": "The answer is ("}
    assert begun["continue_final_message"] is True
    assert begun["add_generation_prompt"] is False


def test_images_of_turns_that_follow_each_other_stay_in_their_order():
    turns = [{"role": "user", "content": content} for content in ("a", [URL_IMAGE], "b", "c")]
    (shown,) = chat(messages=turns)["messages"]
    texts = [{"type": "text", "text": text} for text in "abc"]
    assert shown["content"] == [texts[0], URL_PART, *texts[1:]]


def test_many_calls_of_tools_cost_no_more_each_than_a_few():
    few, many = _calls_to_read(50), _calls_to_read(500)
    assert many < 12 * few


def _calls_to_read(count: int) -> int:
    """Calls of functions and steps of generators that a chat of so many calls of tools takes."""
    uses = [{**USE, "id": f"toolu_{number}"} for number in range(count)]
    results = [{**RESULT, "tool_use_id": use["id"]} for use in uses]
    sent = [{"role": "assistant", "content": uses}, {"role": "user", "content": results}]
    seen: Counter[str] = Counter()
    before = sys.getprofile()
    sys.setprofile(lambda _, event, __: seen.update((event,)))
    try:
        chat(messages=sent)
    finally:
        sys.setprofile(before)
    return seen["call"]


@pytest.mark.parametrize("turns", [TURNS["images"][0], TURNS["a tool that shows an image"][0]])
def test_a_request_tells_that_it_shows_images(turns: list[dict[str, Any]]):
    assert params.parse(body(messages=turns), line=1, custom_id="c").has_images


PDF = {"type": "document", "source": {"type": "base64", "data": "xx"}}
CITED = {
    "type": "document",
    "source": {"type": "text", "data": "a"},
    "citations": {"enabled": True},
}
FILE = {"type": "image", "source": {"type": "file", "file_id": "file_1"}}
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no model": ({"model": ...}, "model"),
    "no limit": ({"max_tokens": ...}, "max_tokens"),
    "a limit of none": ({"max_tokens": 0}, "max_tokens"),
    "a limit that is a flag": ({"max_tokens": True}, "max_tokens"),
    "a huge limit": ({"max_tokens": 2**31}, "max_tokens"),
    "no messages": ({"messages": ...}, "messages"),
    "an empty list": ({"messages": []}, "messages"),
    "a text for messages": ({"messages": "hi"}, "messages"),
    "a text for a message": ({"messages": ["hi"]}, "messages.0"),
    "a role of nobody": ({"messages": [USER, {"role": "tool"}]}, "messages.1.role"),
    "no content": ({"messages": [{"role": "user"}]}, "messages.0.content"),
    "empty content": ({"messages": [{"role": "user", "content": []}]}, "messages.0.content"),
    "a text for a block": (
        {"messages": [{"role": "user", "content": ["hi"]}]},
        "messages.0.content.0",
    ),
    "no text": (
        {"messages": [{"role": "user", "content": [TEXT, {"type": "text"}]}]},
        "messages.0.content.1.text",
    ),
    "a block of nobody": (
        {"messages": [{"role": "user", "content": [{"type": "search_result"}]}]},
        "messages.0.content.0.type",
    ),
    "a PDF": (
        {"messages": [{"role": "user", "content": [PDF]}]},
        "messages.0.content.0.source.type",
    ),
    "citations": (
        {"messages": [{"role": "user", "content": [CITED]}]},
        "messages.0.content.0.citations",
    ),
    "an image in a file": (
        {"messages": [{"role": "user", "content": [FILE]}]},
        "messages.0.content.0.source.type",
    ),
    "an image without data": (
        {"messages": [{"role": "user", "content": [{"type": "image"}]}]},
        "messages.0.content.0.source.type",
    ),
    "an image that the assistant shows": (
        {"messages": [{"role": "assistant", "content": [URL_IMAGE]}]},
        "messages.0.content",
    ),
    "an image in the system prompt": ({"system": [URL_IMAGE]}, "system"),
    "a system prompt of numbers": ({"system": 1}, "system"),
    "a call without input": (
        {"messages": [{"role": "assistant", "content": [{**USE, "input": "{}"}]}]},
        "messages.0.content.0.input",
    ),
    "a call without id": (
        {"messages": [{"role": "assistant", "content": [{**USE, "id": ""}]}]},
        "messages.0.content.0.id",
    ),
    "a result of no call": (
        {"messages": [{"role": "user", "content": [RESULT]}]},
        "messages.0.content.0.tool_use_id",
    ),
    "a call at the end": (
        {"messages": [USER, {"role": "assistant", "content": [USE]}]},
        "messages",
    ),
    "streaming": ({"stream": True}, "stream"),
    "a budget for thinking": (
        {"thinking": {"type": "enabled", "budget_tokens": 1024}},
        "thinking.type",
    ),
    "a hot temperature": ({"temperature": 1.5}, "temperature"),
    "a temperature in words": ({"temperature": "hot"}, "temperature"),
    "top_p beyond 1": ({"top_p": 2}, "top_p"),
    "a negative top_k": ({"top_k": -1}, "top_k"),
    "an empty stop sequence": ({"stop_sequences": ["a", ""]}, "stop_sequences"),
    "a text for stop sequences": ({"stop_sequences": "a"}, "stop_sequences"),
    "a user of numbers": ({"metadata": {"user_id": 1}}, "metadata.user_id"),
    "a text for metadata": ({"metadata": "a"}, "metadata"),
    "a form without schema": (
        {"output_config": {"format": {"type": "json_schema"}}},
        "output_config.format",
    ),
    "unknown effort": ({"output_config": {"effort": "all"}}, "output_config.effort"),
    "unknown output": ({"output_config": {"colour": 1}}, "output_config.colour"),
    "a text for tools": ({"tools": "f"}, "tools"),
    "a text for a tool": ({"tools": ["f"]}, "tools.0"),
    "a tool without name": ({"tools": [TOOL, {**TOOL, "name": ""}]}, "tools.1.name"),
    "a tool without schema": ({"tools": [{"name": "f"}]}, "tools.0.input_schema"),
    "a tool of servers": (
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        "tools.0.type",
    ),
    "a choice among none": ({"tool_choice": {"type": "any"}}, "tool_choice"),
    "a choice of nobody": (
        {"tools": [TOOL], "tool_choice": {"type": "some"}},
        "tool_choice.type",
    ),
    "a choice without name": (
        {"tools": [TOOL], "tool_choice": {"type": "tool"}},
        "tool_choice.name",
    ),
    "a choice of another tool": (
        {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "g"}},
        "tool_choice.name",
    ),
    "servers of tools": ({"mcp_servers": [{"url": "u"}]}, "mcp_servers"),
    "a container": ({"container": "c1"}, "container"),
    "what nobody knows": ({"temprature": 1}, "temprature"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_named_as_anthropic_does(name: str):
    members, param = BAD[name]
    with pytest.raises(InvalidRequest) as raised:
        chat(**members)
    assert raised.value.param == param
    assert raised.value.message.startswith(f"{param}: ")


def test_in_a_batch_the_place_of_the_request_comes_first():
    with pytest.raises(InvalidRequest) as raised:
        chat(max_tokens=...)
    error = params.explained(raised.value, index=3)
    assert error.param == "requests.3.params.max_tokens"
    assert error.message.startswith("requests.3.params.max_tokens: is required")


# ---------------------------------------------------------------- whatever is sent

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(0, 2) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
NAMES = st.sampled_from(["toolu_1", "f", "text", "image", "tool_use", "tool_result", "user", "a"])
BLOCKS = st.dictionaries(
    st.sampled_from(["type", "text", "id", "name", "input", "tool_use_id", "content", "source"]),
    NAMES | JSON,
)
ANY = st.fixed_dictionaries(
    {},
    optional={
        "model": NAMES | JSON,
        "max_tokens": st.integers(0, 9) | JSON,
        "system": st.text() | st.lists(BLOCKS) | JSON,
        "messages": st.lists(
            st.fixed_dictionaries(
                {
                    "role": st.sampled_from(["user", "assistant", "system"]) | JSON,
                    "content": st.text() | st.lists(BLOCKS, max_size=3) | JSON,
                }
            )
            | JSON,
            max_size=3,
        ),
        "tools": st.lists(BLOCKS) | JSON,
        "tool_choice": BLOCKS | JSON,
        "metadata": JSON,
        "output_config": JSON,
        "thinking": JSON,
        "stop_sequences": JSON,
    },
)


@given(ANY)
@settings(max_examples=tried(50, long=600), deadline=None)
def test_whatever_is_sent_is_translated_or_refused_with_its_field(sent: dict[str, Any]):
    with suppress(InvalidRequest):
        request = params.parse(sent, line=1, custom_id="c")
        assert request.model == sent["model"]
        assert request.max_tokens == sent["max_tokens"]


TEXTS = st.text(min_size=1, max_size=20)
CALLS = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.from_regex(r"[a-zA-Z0-9_-]{1,20}", fullmatch=True),
            "name": TEXTS,
            "input": st.dictionaries(st.text(max_size=3), JSON, max_size=3),
        }
    ),
    max_size=3,
)


@given(said=TEXTS | st.none(), calls=CALLS)
@settings(max_examples=tried(40, long=400), deadline=None)
def test_what_a_model_said_comes_back_to_it_as_it_said_it(said: str | None, calls: Any):
    """A client sends the Message that it got as its next turn."""
    spoken = {
        "role": "assistant",
        "content": said,
        "tool_calls": [
            {
                "id": one["id"],
                "type": "function",
                "function": {"name": one["name"], "arguments": json.dumps(one["input"])},
            }
            for one in calls
        ],
    }
    completion = {"model": "m", "choices": [{"message": spoken, "finish_reason": "stop"}]}
    shown = message.message_object(json.dumps(completion).encode(), message_id="msg_1")
    assert shown is not None
    results = [{"type": "tool_result", "tool_use_id": one["id"]} for one in calls]
    after = [{"role": "user", "content": results}] if results else [USER]
    sent = [USER, {"role": "assistant", "content": shown["content"]}, *after]
    again = chat(messages=sent)["messages"][1]
    assert (again["content"] or None) == said
    for call, one in zip(again.get("tool_calls", []), calls, strict=True):
        assert (call["id"], call["function"]["name"]) == (one["id"], one["name"])
        assert json.loads(call["function"]["arguments"]) == one["input"]


@given(st.lists(st.tuples(st.sampled_from(["user", "assistant"]), TEXTS), min_size=1, max_size=6))
@settings(max_examples=tried(40, long=400), deadline=None)
def test_no_text_is_lost_and_roles_take_turns(turns: list[tuple[str, str]]):
    sent = [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in turns]
    got = chat(messages=sent)["messages"]
    assert "\n".join(one["content"] for one in got) == "\n".join(text for _, text in turns)
    roles = [one["role"] for one in got]
    assert all(first != second for first, second in itertools.pairwise(roles))
