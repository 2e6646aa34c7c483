"""Each format asks as its model is asked, and its answers become OpenAI's.

Shapes of what goes out and comes back: reference page `bedrock.md` §2. That of Converse is held
against botocore's own description of it.
"""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backburner.domain.errors import InvalidRequest
from backburner.wire.anthropic import params
from backburner.wire.bedrock import anthropic
from backburner.wire.bedrock.fields import OddAnswer
from backburner.wire.bedrock.formats import FORMATS
from backburner.wire.bodies import CHAT
from backburner.wire.catalog import BEDROCK_FORMATS
from tests.wire.bedrock import PIXEL, WEATHER, called, chat, picture, problems, told, user

SYSTEM = {"role": "system", "content": "Be terse."}
TALK = (SYSTEM, user("Hi"), {"role": "assistant", "content": "Yes?"}, user("Bye"))
LIMITS = {"max_tokens": 5, "temperature": 0.5, "top_p": 0.9}
SCHEMA = {
    "type": "json_schema",
    "json_schema": {"name": "city", "schema": {"type": "object"}, "strict": True},
}
CHATS = [name for name, one in FORMATS.items() if one.route == CHAT]


def ask(name: str, body: dict[str, Any]) -> dict[str, Any]:
    return FORMATS[name].ask(body)


def message(name: str, output: dict[str, Any]) -> tuple[dict[str, Any], str, dict[str, Any] | None]:
    """Message, finish reason and usage of an answer."""
    body = FORMATS[name].answer(output)
    assert body["object"] == "chat.completion"
    (choice,) = body["choices"]
    return choice["message"], choice["finish_reason"], body.get("usage")


def test_the_catalog_knows_the_formats():
    assert frozenset(FORMATS) == BEDROCK_FORMATS


def test_only_converse_makes_jobs_of_its_type():
    assert {name for name, one in FORMATS.items() if one.invocation == "Converse"} == {"converse"}


# ---------------------------------------------------------------- asking


def test_converse_is_asked():
    asked = ask("converse", chat(*TALK, **LIMITS, top_k=40, stop=["END"]))
    assert asked == {
        "system": [{"text": "Be terse."}],
        "messages": [
            {"role": "user", "content": [{"text": "Hi"}]},
            {"role": "assistant", "content": [{"text": "Yes?"}]},
            {"role": "user", "content": [{"text": "Bye"}]},
        ],
        "inferenceConfig": {
            "maxTokens": 5,
            "temperature": 0.5,
            "topP": 0.9,
            "stopSequences": ["END"],
        },
        "additionalModelRequestFields": {"top_k": 40},
    }
    assert problems(asked) == ""


def test_converse_is_shown_images_and_told_a_schema_as_text():
    asked = ask("converse", chat(picture(), response_format=SCHEMA, reasoning_effort="low"))
    (turn,) = asked["messages"]
    assert turn["content"][1] == {"image": {"format": "png", "source": {"bytes": PIXEL}}}
    assert asked["outputConfig"] == {
        "textFormat": {
            "type": "json_schema",
            "structure": {"jsonSchema": {"schema": '{"type":"object"}', "name": "city"}},
        },
        "effort": "low",
    }
    assert problems(asked) == ""


TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
MESSAGES = st.lists(
    st.builds(
        lambda role, text: {"role": role, "content": text},
        st.sampled_from(["system", "user", "assistant"]),
        TEXTS,
    ),
    max_size=6,
)


@given(
    messages=MESSAGES,
    parameters=st.fixed_dictionaries(
        {},
        optional={
            "max_tokens": st.integers(1, 9999),
            "temperature": st.floats(0, 1),
            "top_p": st.floats(0, 1),
            "stop": st.lists(TEXTS.filter(bool), max_size=2),
            "seed": st.integers(),
        },
    ),
)
def test_whatever_converse_is_asked_is_as_bedrock_describes_it(messages, parameters):
    asked = ask("converse", chat(user("!"), *messages, user("?"), **parameters))
    assert problems(asked) == ""
    roles = [turn["role"] for turn in asked["messages"]]
    assert roles == [("user", "assistant")[number % 2] for number in range(len(roles))]
    said = [m["content"] for m in messages if m["role"] == "user" and m["content"].strip()]
    shown = [b["text"] for t in asked["messages"] if t["role"] == "user" for b in t["content"]]
    assert shown == ["!", *said, "?"]


def test_nova_is_asked_and_may_use_tools():
    asked = ask(
        "nova",
        chat(user("Rain?"), called(), told(), tools=[WEATHER], tool_choice="required", top_k=9),
    )
    assert asked["schemaVersion"] == "messages-v1"
    assert asked["inferenceConfig"] == {"topK": 9}
    assert [turn["content"] for turn in asked["messages"]] == [
        [{"text": "Rain?"}],
        [{"toolUse": {"toolUseId": "call_1", "name": "weather", "input": {"city": "Graz"}}}],
        [{"toolResult": {"toolUseId": "call_1", "content": [{"text": "rain"}]}}],
    ]
    (tool,) = asked["toolConfig"]["tools"]
    assert tool["toolSpec"]["inputSchema"] == {"json": WEATHER["function"]["parameters"]}
    assert asked["toolConfig"]["toolChoice"] == {"any": {}}


def test_anthropic_is_asked():
    asked = ask("anthropic", chat(*TALK, **LIMITS, top_k=40, stop="END"))
    assert asked == {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 5,
        "system": "Be terse.",
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 40,
        "stop_sequences": ["END"],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "Yes?"}]},
            {"role": "user", "content": [{"type": "text", "text": "Bye"}]},
        ],
    }


def test_anthropic_must_have_a_limit_and_gets_one():
    assert ask("anthropic", chat())["max_tokens"] == anthropic.DEFAULT_MAX_TOKENS


def test_anthropic_may_use_tools_see_images_and_follow_a_schema():
    asked = ask(
        "anthropic",
        chat(
            picture(),
            called(),
            told(),
            tools=[WEATHER],
            tool_choice={"type": "function", "function": {"name": "weather"}},
            parallel_tool_calls=False,
            response_format=SCHEMA,
        ),
    )
    shown, use, result = (turn["content"] for turn in asked["messages"])
    source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
    assert shown[1] == {"type": "image", "source": source}
    assert use == [
        {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Graz"}}
    ]
    assert result == [{"type": "tool_result", "tool_use_id": "call_1", "content": "rain"}]
    assert asked["tools"][0]["input_schema"] == WEATHER["function"]["parameters"]
    assert asked["tool_choice"] == {
        "type": "tool",
        "name": "weather",
        "disable_parallel_tool_use": True,
    }
    assert asked["output_config"] == {
        "format": {"type": "json_schema", "schema": {"type": "object"}}
    }


def test_a_message_of_anthropic_s_client_reaches_anthropic_s_model_as_it_was():
    question = {"role": "user", "content": [{"type": "text", "text": "Rain?"}]}
    use = {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Graz"}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": "rain"}
    message: dict[str, Any] = {
        "max_tokens": 50,
        "system": "Be terse.",
        "messages": [
            question,
            {"role": "assistant", "content": [{"type": "text", "text": "Let me see."}, use]},
            {"role": "user", "content": [result, {"type": "text", "text": "Well?"}]},
        ],
        "tools": [{"name": "weather", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        "temperature": 0.1,
        "top_k": 5,
        "stop_sequences": ["END"],
        "output_config": {
            "format": {"type": "json_schema", "schema": {"type": "object"}},
            "effort": "low",
        },
    }
    hints = {"model": "m", "metadata": {"user_id": "u"}}
    asked = ask("anthropic", params.chat_body(message | hints))
    assert asked == message | {"anthropic_version": "bedrock-2023-05-31"}


def test_mistral_is_asked_for_text():
    assert ask("mistral_text", chat(*TALK, **LIMITS, top_k=40, stop="END")) == {
        "prompt": "<s>[INST] Be terse.\n\nHi [/INST] Yes?</s>[INST] Bye [/INST]",
        "max_tokens": 5,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 40,
        "stop": ["END"],
    }


def test_an_answer_that_is_begun_is_gone_on_with():
    begun = chat(user("Count."), {"role": "assistant", "content": "One,"})
    assert ask("mistral_text", begun)["prompt"] == "<s>[INST] Count. [/INST] One,"
    assert ask("llama", begun)["prompt"].endswith("assistant<|end_header_id|>\n\nOne,")


def test_mistral_is_asked_for_a_chat():
    body = chat(SYSTEM, user("Rain?"), called(), told(), tools=[WEATHER], tool_choice="required")
    asked = ask("mistral_chat", body)
    assert asked["tool_choice"] == "any"
    assert asked["tools"] == [WEATHER]
    assert [one["role"] for one in asked["messages"]] == ["system", "user", "assistant", "tool"]
    (call,) = asked["messages"][2]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"city": "Graz"}


def test_llama_is_asked():
    head = "<|start_header_id|>{}<|end_header_id|>\n\n{}"
    talk = [("system", "Be terse."), ("user", "Hi"), ("assistant", "Yes?"), ("user", "Bye")]
    assert ask("llama", chat(*TALK, **LIMITS)) == {
        "prompt": "<|begin_of_text|>"
        + "".join(head.format(*turn) + "<|eot_id|>" for turn in talk)
        + head.format("assistant", ""),
        "max_gen_len": 5,
        "temperature": 0.5,
        "top_p": 0.9,
    }


@pytest.mark.parametrize("name", CHATS)
def test_every_format_says_what_was_said(name):
    asked = json.dumps(ask(name, chat(*TALK)))
    assert all(text in asked for text in ("Be terse.", "Hi", "Yes?", "Bye"))


#: What a format can't express: names of the parameters that it refuses.
TOOLS = {"tools": [WEATHER]}
CANT: dict[str, list[dict[str, Any]]] = {
    "converse": [TOOLS],
    "anthropic": [],
    "nova": [{"response_format": SCHEMA}, {"reasoning_effort": "low"}],
    "mistral_text": [TOOLS, {"response_format": SCHEMA}, {"reasoning_effort": "low"}],
    "mistral_chat": [{"stop": ["END"]}, {"top_k": 3}, {"reasoning_effort": "low"}],
    "llama": [
        TOOLS,
        {"response_format": SCHEMA},
        {"stop": ["END"]},
        {"top_k": 3},
        {"reasoning_effort": "low"},
    ],
}
ALL: list[dict[str, Any]] = [
    TOOLS,
    {"response_format": SCHEMA},
    {"stop": ["END"]},
    {"top_k": 3},
    {"reasoning_effort": "low"},
]
CAN = {name: [one for one in ALL if one not in CANT[name]] for name in CHATS}


@pytest.mark.parametrize(
    ("name", "parameters"), [(name, one) for name in CHATS for one in CANT[name]]
)
def test_what_a_format_can_t_express_is_refused_by_its_name(name, parameters):
    with pytest.raises(InvalidRequest) as raised:
        ask(name, chat(**parameters))
    assert raised.value.param == next(iter(parameters))
    assert raised.value.code == "unsupported_parameter"


@pytest.mark.parametrize(
    ("name", "parameters"), [(name, one) for name in CHATS for one in CAN[name]]
)
def test_what_a_format_can_express_is_in_what_is_asked(name, parameters):
    assert ask(name, chat(**parameters)) != ask(name, chat())


@pytest.mark.parametrize("name", ["converse", "mistral_text", "llama"])
def test_talk_of_tools_is_refused_where_there_are_none(name):
    with pytest.raises(InvalidRequest) as raised:
        ask(name, chat(user("Rain?"), called(), told()))
    assert raised.value.param == "messages"


@pytest.mark.parametrize("name", ["mistral_text", "mistral_chat", "llama"])
def test_models_of_words_are_shown_no_images(name):
    with pytest.raises(InvalidRequest, match="can't have images"):
        ask(name, chat(picture()))


# ---------------------------------------------------------------- answers


USAGE = {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14}
TEXT = {"role": "assistant", "content": "Dry."}


def converse_output(*content: dict[str, Any], stop: str = "end_turn") -> dict[str, Any]:
    return {
        "output": {"message": {"role": "assistant", "content": list(content)}},
        "stopReason": stop,
        "usage": {"inputTokens": 10, "outputTokens": 4, "totalTokens": 14},
        "metrics": {"latencyMs": 1},
    }


def anthropic_output(*content: dict[str, Any], stop: str = "end_turn") -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "content": list(content),
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 4},
    }


ANSWERS = [
    ("converse", converse_output({"text": "Dry."}), USAGE),
    ("nova", converse_output({"text": "Dr"}, {"text": "y."}), USAGE),
    ("anthropic", anthropic_output({"type": "text", "text": "Dry."}), USAGE),
    ("mistral_text", {"outputs": [{"text": " Dry.", "stop_reason": "stop"}]}, None),
    ("mistral_chat", {"choices": [{"index": 0, "message": TEXT, "stop_reason": "stop"}]}, None),
    (
        "llama",
        {
            "generation": "Dry.",
            "prompt_token_count": 10,
            "generation_token_count": 4,
            "stop_reason": "stop",
        },
        USAGE,
    ),
]


@pytest.mark.parametrize(("name", "output", "usage"), ANSWERS, ids=[one[0] for one in ANSWERS])
def test_an_answer_becomes_a_completion(name, output, usage):
    assert message(name, output) == (TEXT, "stop", usage)


@pytest.mark.parametrize(
    ("name", "output", "reason"),
    [
        ("converse", converse_output({"text": "a"}, stop="max_tokens"), "length"),
        ("converse", converse_output({"text": "a"}, stop="stop_sequence"), "stop"),
        ("converse", converse_output({"text": "a"}, stop="guardrail_intervened"), "content_filter"),
        ("converse", converse_output({"text": "a"}, stop="content_filtered"), "content_filter"),
        (
            "converse",
            converse_output({"text": "a"}, stop="model_context_window_exceeded"),
            "length",
        ),
        ("anthropic", anthropic_output(stop="refusal"), "content_filter"),
        ("anthropic", anthropic_output(stop="max_tokens"), "length"),
        ("mistral_text", {"outputs": [{"text": "a", "stop_reason": "length"}]}, "length"),
        ("llama", {"generation": "a", "stop_reason": "length"}, "length"),
    ],
)
def test_why_an_answer_ended_is_said_in_openai_s_words(name, output, reason):
    assert message(name, output)[1] == reason


def test_thoughts_before_the_text_are_no_part_of_it():
    reasoned = {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "s"}}}
    said, _, _ = message("converse", converse_output(reasoned, {"text": "Dry."}))
    assert said == TEXT | {"reasoning_content": "Hm."}
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "s"}
    said, _, _ = message("anthropic", anthropic_output(thought, {"type": "text", "text": "Dry."}))
    assert said == TEXT | {"reasoning_content": "Hm."}


CALL = {"id": "t1", "type": "function", "function": {"name": "weather", "arguments": '{"a":1}'}}


@pytest.mark.parametrize(
    ("name", "output"),
    [
        (
            "nova",
            converse_output(
                {"toolUse": {"toolUseId": "t1", "name": "weather", "input": {"a": 1}}},
                stop="tool_use",
            ),
        ),
        (
            "anthropic",
            anthropic_output(
                {"type": "tool_use", "id": "t1", "name": "weather", "input": {"a": 1}},
                stop="tool_use",
            ),
        ),
        (
            "mistral_chat",
            {
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": "", "tool_calls": [CALL]},
                        "stop_reason": "tool_calls",
                    }
                ]
            },
        ),
    ],
)
def test_a_call_of_a_tool_becomes_one_of_openai_s(name, output):
    said, reason, _ = message(name, output)
    assert said == {"role": "assistant", "content": None, "tool_calls": [CALL]}
    assert reason == "tool_calls"


def test_tokens_of_a_cache_count_as_read():
    output = converse_output({"text": "a"})
    output["usage"] |= {"cacheReadInputTokens": 3, "cacheWriteInputTokens": 2}
    assert message("converse", output)[2] == {
        "prompt_tokens": 15,
        "completion_tokens": 4,
        "total_tokens": 19,
        "prompt_tokens_details": {"cached_tokens": 3},
    }


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    "output",
    [{}, {"output": {}}, {"outputs": []}, {"choices": [{}]}, {"embedding": 3}, {"embeddings": [3]}],
    ids=str,
)
def test_an_answer_that_is_none_of_the_format_is_found_odd(name, output):
    with pytest.raises(OddAnswer):
        FORMATS[name].answer(output)


# ---------------------------------------------------------------- embeddings


def test_titan_embeds_one_text():
    asked = ask("titan", {"model": "m", "input": ["Hi"], "dimensions": 256, "user": "u"})
    assert asked == {"inputText": "Hi", "dimensions": 256}
    output = {"embedding": [0.1, 0.2], "embeddingsByType": {"float": [0.1, 0.2]}}
    assert FORMATS["titan"].answer(output | {"inputTextTokenCount": 8}) == {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}],
        "usage": {"prompt_tokens": 8, "total_tokens": 8},
    }


@pytest.mark.parametrize(
    "output", [{"embeddings": [[0.1], [0.2]]}, {"embeddings": {"float": [[0.1], [0.2]]}}]
)
def test_cohere_embeds_several_texts(output):
    asked = ask("cohere", {"model": "m", "input": ["a", "b"], "input_type": "search_query"})
    assert asked == {
        "texts": ["a", "b"],
        "input_type": "search_query",
        "embedding_types": ["float"],
    }
    body = FORMATS["cohere"].answer(output)
    assert [one["embedding"] for one in body["data"]] == [[0.1], [0.2]]
    assert "usage" not in body


@pytest.mark.parametrize(
    ("name", "body", "param"),
    [
        ("titan", {"input": ["a", "b"]}, "input"),
        ("titan", {"input": [1, 2]}, "input"),
        ("titan", {"input": "a", "encoding_format": "base64"}, "encoding_format"),
        ("cohere", {"input": ["a"] * 97}, "input"),
        ("cohere", {"input": []}, "input"),
        ("cohere", {"input": "a", "dimensions": 0}, "dimensions"),
    ],
)
def test_embeddings_that_can_t_be_made_are_refused(name, body, param):
    with pytest.raises(InvalidRequest) as raised:
        ask(name, {"model": "m"} | body)
    assert raised.value.param == param
