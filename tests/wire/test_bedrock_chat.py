"""A chat completion's body is read once, and what no model on Bedrock can be told is refused."""

from typing import Any

import pytest

from backburner.domain.errors import InvalidRequest
from backburner.wire.bedrock import chat as read
from backburner.wire.bedrock.chat import Call, Image, Result, Text, Turn
from tests.wire.bedrock import PIXEL, WEATHER, called, chat, picture, told, user


def refused(body: dict[str, Any]) -> tuple[str | None, str | None]:
    with pytest.raises(InvalidRequest) as raised:
        read.read(body)
    assert raised.value.message.startswith(f"'{raised.value.param}' ")
    return raised.value.param, raised.value.code


def test_messages_become_turns_that_take_turns():
    asked = read.read(
        chat(
            {"role": "system", "content": "Be terse."},
            user("One."),
            user("Two."),
            {"role": "assistant", "content": "Aha."},
            {"role": "developer", "content": [{"type": "text", "text": "And kind."}]},
            user("Three."),
        )
    )
    assert asked.system == "Be terse.\nAnd kind."
    assert asked.turns == [
        Turn("user", [Text("One."), Text("Two.")]),
        Turn("assistant", [Text("Aha.")]),
        Turn("user", [Text("Three.")]),
    ]


def test_blank_text_is_left_out_as_bedrock_takes_none():
    asked = read.read(chat(user("Hi"), {"role": "assistant", "content": " \n"}, user("Well?")))
    assert asked.turns == [Turn("user", [Text("Hi"), Text("Well?")])]


def test_an_image_comes_as_it_is_in_its_url():
    (turn,) = read.read(chat(picture())).turns
    assert turn.parts == [Text("What is it?"), Image("png", PIXEL)]
    (turn,) = read.read(chat(picture(f"data:image/jpg;base64,{PIXEL}"))).turns
    assert turn.parts[1] == Image("jpeg", PIXEL)


def test_calls_of_tools_and_their_results_are_turns():
    asked = read.read(chat(user("Rain?"), called(), told(), tools=[WEATHER]))
    assert asked.turns[1:] == [
        Turn("assistant", [Call("call_1", "weather", {"city": "Graz"})]),
        Turn("user", [Result("call_1", "rain")]),
    ]
    assert asked.tools == [WEATHER["function"]]
    assert asked.uses_tools


def test_parameters_are_read():
    asked = read.read(
        chat(
            max_completion_tokens=7,
            max_tokens=9,
            temperature=0.5,
            top_p=1,
            top_k=40,
            stop="END",
            reasoning_effort="low",
        )
    )
    assert (asked.max_tokens, asked.temperature, asked.top_p, asked.top_k) == (7, 0.5, 1, 40)
    assert (asked.stop, asked.effort) == (["END"], "low")


@pytest.mark.parametrize(
    "parameters",
    [
        {"n": 1},
        {"logprobs": False},
        {"frequency_penalty": 0, "presence_penalty": 0.0},
        {"logit_bias": {}, "tools": [], "functions": None},
        {"modalities": ["text"], "response_format": {"type": "text"}},
        {"user": "u", "seed": 1, "metadata": {"a": "b"}, "store": True, "stream": False},
        {"echo": False, "x_mine": 1},
    ],
)
def test_what_asks_for_nothing_is_no_reason_to_refuse(parameters):
    assert read.read(chat(**parameters)) == read.read(chat())


@pytest.mark.parametrize(
    "parameters",
    [
        {"n": 2},
        {"logprobs": True},
        {"top_logprobs": 3},
        {"frequency_penalty": 0.1},
        {"logit_bias": {"50256": -100}},
        {"modalities": ["audio"]},
        {"functions": [{"name": "f"}]},
        {"guided_json": {"type": "object"}},
        {"response_format": {"type": "json_object"}},
    ],
    ids=lambda given: next(iter(given)),
)
def test_what_bedrock_can_t_do_is_refused_by_its_name(parameters):
    assert refused(chat(**parameters)) == (next(iter(parameters)), "unsupported_parameter")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (chat(temperature=1.5), "temperature"),
        (chat(top_p="1"), "top_p"),
        (chat(max_tokens=0), "max_tokens"),
        (chat(top_k=1.5), "top_k"),
        (chat(stop=["a", ""]), "stop"),
        (chat(tools=[{"type": "retrieval"}]), "tools[0]"),
        (chat(tool_choice="required"), "tool_choice"),
        (chat(tools=[WEATHER], tool_choice={"function": {"name": "f"}}), "tool_choice"),
        (chat(reasoning_effort=3), "reasoning_effort"),
        (
            chat(response_format={"type": "json_schema", "json_schema": {}}),
            "response_format.json_schema",
        ),
        ({"messages": "Hi"}, "messages"),
        (chat("Hi"), "messages[0]"),
        (chat({"role": "robot", "content": "Hi"}), "messages[0].role"),
        (chat(user("")), "messages"),
        (chat({"role": "assistant", "content": "Hi"}), "messages"),
        (chat({"role": "user", "content": 3}), "messages[0].content"),
        (chat({"role": "user", "content": [{"type": "text"}]}), "messages[0].content[0].text"),
        (chat(user("Hi"), {"role": "tool", "content": "x"}), "messages[1].tool_call_id"),
        (chat(user("Hi"), called("[1]")), "messages[1].tool_calls[0].function.arguments"),
        (chat(user("Hi"), called("{")), "messages[1].tool_calls[0].function.arguments"),
        (chat(user("Hi"), {"role": "assistant", "tool_calls": [{}]}), "messages[1].tool_calls[0]"),
    ],
)
def test_what_is_wrong_is_refused_by_its_place(body, param):
    assert refused(body) == (param, "invalid_value")


@pytest.mark.parametrize(
    ("message", "param"),
    [
        (picture("https://example.com/a.png"), "messages[0].content[1].image_url"),
        (picture("data:image/bmp;base64,AAAA"), "messages[0].content[1].image_url"),
        (
            {"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]},
            "messages[0].content[0].type",
        ),
        ({**picture(), "role": "system"}, "messages[0].content"),
    ],
)
def test_what_a_job_can_t_be_shown_is_refused(message, param):
    assert refused(chat(message, user("Hi"))) == (param, "unsupported_parameter")
