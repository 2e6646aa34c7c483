"""The body of a background response, as the chat completion that the model gets."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backburner.domain.errors import InvalidRequest
from backburner.wire import responses
from tests.effort import tried

TEXT_PART = {"type": "input_text", "text": "a"}
IMAGE_PART = {"type": "input_image", "image_url": "data:image/png;base64,xx", "detail": "low"}
CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
TOOL = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}


def body(**members: Any) -> dict[str, Any]:
    whole = {"model": "tiny", "input": "hi", "background": True, **members}
    return {name: value for name, value in whole.items() if value is not ...}


def chat(**members: Any) -> Any:
    return json.loads(responses.parse(body(**members)).request.body)


def test_a_text_becomes_a_message_of_the_user():
    new = responses.parse(body())
    assert json.loads(new.request.body) == {
        "model": "tiny",
        "messages": [{"role": "user", "content": "hi"}],
    }
    assert (new.request.line, new.request.route) == (1, "/v1/chat/completions")
    assert (new.request.prompt_bytes, new.request.max_tokens) == (2, 0)
    assert new.completion_window == "1h"


def test_parameters_reach_the_model_under_its_names():
    sent = chat(
        instructions="be brief",
        max_output_tokens=9,
        temperature=0,
        top_p=0.5,
        parallel_tool_calls=False,
        reasoning={"effort": "low"},
    )
    assert sent == {
        "model": "tiny",
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "hi"},
        ],
        "max_completion_tokens": 9,
        "temperature": 0,
        "top_p": 0.5,
        "parallel_tool_calls": False,
        "reasoning_effort": "low",
    }


ITEMS = {
    "a message": ([{"role": "user", "content": "a"}], [{"role": "user", "content": "a"}]),
    "a typed message": (
        [{"type": "message", "role": "assistant", "content": "a"}],
        [{"role": "assistant", "content": "a"}],
    ),
    "a developer": ([{"role": "developer", "content": "a"}], [{"role": "system", "content": "a"}]),
    "parts of text": (
        [{"role": "user", "content": [TEXT_PART, {"type": "output_text", "text": "b"}]}],
        [{"role": "user", "content": "a\nb"}],
    ),
    "a refusal": (
        [{"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}],
        [{"role": "assistant", "content": "no"}],
    ),
    "an image": (
        [{"role": "user", "content": [TEXT_PART, IMAGE_PART]}],
        [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "a"},
                    {
                        "type": "image_url",
                        "image_url": {"url": "data:image/png;base64,xx", "detail": "low"},
                    },
                ],
            }
        ],
    ),
    "an image alone": (
        [{"role": "user", "content": [{"type": "input_image", "image_url": "u"}]}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u"}}]}],
    ),
    "calls and what they gave": (
        [
            {"role": "user", "content": "a"},
            {"type": "reasoning", "id": "rs_1", "summary": []},
            CALL,
            {**CALL, "call_id": "c2"},
            {"type": "function_call_output", "call_id": "c1", "output": "42"},
            {"type": "function_call_output", "call_id": "c2", "output": [TEXT_PART]},
        ],
        [
            {"role": "user", "content": "a"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": name,
                        "type": "function",
                        "function": {"name": "f", "arguments": "{}"},
                    }
                    for name in ("c1", "c2")
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "42"},
            {"role": "tool", "tool_call_id": "c2", "content": "a"},
        ],
    ),
}


@pytest.mark.parametrize(("items", "messages"), ITEMS.values(), ids=ITEMS)
def test_items_become_messages(items, messages):
    assert chat(input=items)["messages"] == messages


def test_a_schema_becomes_the_response_format():
    form = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}
    assert chat(text={"format": form})["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True},
    }
    assert chat(text={"format": {"type": "json_object"}})["response_format"] == {
        "type": "json_object"
    }


@pytest.mark.parametrize("text", [None, {}, {"format": None}, {"format": {"type": "text"}}])
def test_plain_text_needs_no_format(text):
    assert "response_format" not in chat(text=text)


def test_functions_become_tools():
    sent = chat(tools=[TOOL], tool_choice={"type": "function", "name": "f"})
    assert sent["tools"] == [
        {
            "type": "function",
            "function": {"name": "f", "parameters": {"type": "object"}, "strict": True},
        }
    ]
    assert sent["tool_choice"] == {"type": "function", "function": {"name": "f"}}
    assert chat(tools=[TOOL], tool_choice="required")["tool_choice"] == "required"
    assert "tool_choice" not in chat(tools=[], tool_choice="auto")


WINDOWS = [
    ({}, "1h"),
    ({"background_options": {"completion_window": "soonest"}}, "1h"),
    ({"background_options": {"completion_window": "8h"}}, "8h"),
    ({"background_options": {}, "completion_window": "2d"}, "2d"),
]


@pytest.mark.parametrize(("members", "window"), WINDOWS)
def test_the_window_comes_either_way(members, window):
    assert responses.parse(body(**members)).completion_window == window


def test_hints_and_extensions_are_accepted():
    sent = chat(user="u", service_tier="flex", store=True, include=["x"], x_mine=1, seed=None)
    assert set(sent) == {"model", "messages"}


BAD = {
    "no background": ({"background": ...}, "background"),
    "background false": ({"background": False}, "background"),
    "background a string": ({"background": "true"}, "background"),
    "stream": ({"stream": True}, "stream"),
    "store false": ({"store": False}, "store"),
    "truncation": ({"truncation": "auto"}, "truncation"),
    "a conversation": ({"conversation": "conv_1"}, "conversation"),
    "a prompt template": ({"prompt": {"id": "p"}}, "prompt"),
    "something unknown": ({"seed": 1}, "seed"),
    "no model": ({"model": ...}, "model"),
    "model a number": ({"model": 1}, "model"),
    "no input": ({"input": ...}, "input"),
    "input empty": ({"input": ""}, "input"),
    "no items": ({"input": []}, "input"),
    "input a number": ({"input": 1}, "input"),
    "nothing but thoughts": ({"input": [{"type": "reasoning"}]}, "input"),
    "an item a string": ({"input": ["hi"]}, "input[0]"),
    "an item of files": ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0]"),
    "no role": ({"input": [{"content": "a"}]}, "input[0].role"),
    "a strange role": ({"input": [{"role": "tool", "content": "a"}]}, "input[0].role"),
    "no content": ({"input": [{"role": "user"}]}, "input[0].content"),
    "no parts": ({"input": [{"role": "user", "content": []}]}, "input[0].content"),
    "a part a string": (
        {"input": [{"role": "user", "content": ["a"]}]},
        "input[0].content[0]",
    ),
    "a file part": (
        {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
        "input[0].content[0]",
    ),
    "a part without text": (
        {"input": [{"role": "user", "content": [{"type": "input_text"}]}]},
        "input[0].content[0].text",
    ),
    "a call without name": ({"input": [{**CALL, "name": None}]}, "input[0].name"),
    "instructions a list": ({"instructions": ["a"]}, "instructions"),
    "tokens 0": ({"max_output_tokens": 0}, "max_output_tokens"),
    "temperature high": ({"temperature": 3}, "temperature"),
    "temperature true": ({"temperature": True}, "temperature"),
    "top_p a string": ({"top_p": "1"}, "top_p"),
    "text a string": ({"text": "json"}, "text.format"),
    "a strange format": ({"text": {"format": {"type": "xml"}}}, "text.format"),
    "a format a string": ({"text": {"format": "json_object"}}, "text.format"),
    "a schema without name": (
        {"text": {"format": {"type": "json_schema", "schema": {}}}},
        "text.format",
    ),
    "reasoning a string": ({"reasoning": "high"}, "reasoning"),
    "tools an object": ({"tools": {}}, "tools"),
    "a web search": ({"tools": [{"type": "web_search"}]}, "tools[0]"),
    "a tool without name": ({"tools": [{"type": "function"}]}, "tools[0].name"),
    "a strange choice": ({"tools": [TOOL], "tool_choice": "any"}, "tool_choice"),
    "a choice without name": ({"tool_choice": {"type": "function"}}, "tool_choice.name"),
    "options a string": ({"background_options": "2h"}, "background_options"),
}


@pytest.mark.parametrize(("members", "param"), BAD.values(), ids=BAD)
def test_what_would_have_no_effect_or_no_sense_is_refused_by_name(members, param):
    with pytest.raises(InvalidRequest) as caught:
        responses.parse(body(**members))
    assert caught.value.param == param
    assert "'" + param in caught.value.message


LEAF = st.sampled_from([None, True, 0, 1, 1.5, "", "text", "json_schema", "function"])
LISTS = st.lists(LEAF, max_size=2)
JSON = LEAF | LISTS | st.dictionaries(st.sampled_from(["type", "name", "format"]), LEAF | LISTS)
NAMES = ("instructions", "text", "tools", "tool_choice", "reasoning", "temperature")
ITEM = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["message", "function_call", "function_call_output"]) | JSON,
        "role": st.just("user") | JSON,
        "content": JSON,
        "output": JSON,
        "call_id": JSON,
    },
)


@settings(max_examples=tried(25, long=1000), deadline=None)
@given(
    members=st.fixed_dictionaries(
        {"input": JSON | st.lists(ITEM | JSON, max_size=3)}, optional=dict.fromkeys(NAMES, JSON)
    )
)
def test_any_body_is_a_request_or_refused(members):
    with suppress(InvalidRequest):
        assert json.loads(responses.parse(body(**members)).request.body)["messages"]
