"""Records are read and answered in the format of the model that the job names."""

import math
from typing import Any

import pytest

from backburner_local.emulators.bedrock.families import FAMILIES, Answer
from tests.emulators import botocore_shapes as shapes
from tests.emulators.bedrock.stage import CLAUDE, MISTRAL, Stage, ask, record

NOVA = "amazon.nova-micro-v1:0"
MISTRAL_SMALL = "mistral.mistral-small-2402-v1:0"
LLAMA = "meta.llama3-1-8b-instruct-v1:0"
GPT_OSS = "openai.gpt-oss-20b-1:0"
TITAN = "amazon.titan-embed-text-v2:0"
COHERE = "cohere.embed-english-v3"

ANTHROPIC: dict[str, Any] = {
    "anthropic_version": "bedrock-2023-05-31",
    "max_tokens": 1024,
    "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
}
INVOKE = {"modelInvocationType": "InvokeModel"}


def lines(stage: Stage, model: str, *bodies: Any, **changes: Any) -> list[dict[str, Any]]:
    """The output lines of a job with these bodies, in their order."""
    given = [record(number, body) for number, body in enumerate(bodies)]
    arn = stage.create(given, modelId=model, **{**INVOKE, **changes})
    assert stage.until(arn)["status"] == "Completed"
    return sorted(stage.output(arn), key=lambda line: str(line["recordId"]))


def output(stage: Stage, model: str, body: Any, **changes: Any) -> dict[str, Any]:
    (line,) = lines(stage, model, body, **changes)
    told: dict[str, Any] = line["modelOutput"]
    return told


def errors(stage: Stage, model: str, *bodies: Any, **changes: Any) -> list[str]:
    told = [line["error"] for line in lines(stage, model, *bodies, **changes)]
    assert {error["errorCode"] for error in told} == {400}
    return [error["errorMessage"] for error in told]


# ---- Converse


def test_converse_answers_as_bedrock_runtime_does(shared):
    body = {
        **ask("hi", maxTokens=10, temperature=0.2, topP=0.9, stopSequences=["##"]),
        "system": [{"text": "You are terse."}],
        "additionalModelRequestFields": {"top_k": 50},
    }
    named = {"modelId": MISTRAL, **body}
    assert shapes.request_problems("bedrock-runtime", "Converse", named) == []
    told = output(shared, MISTRAL, body, modelInvocationType="Converse")
    assert shapes.response_problems("bedrock-runtime", "Converse", told) == []
    assert told["output"]["message"] == {"role": "assistant", "content": [{"text": "hi"}]}
    assert told["stopReason"] == "end_turn"
    usage = told["usage"]
    assert usage["totalTokens"] == usage["inputTokens"] + usage["outputTokens"] > 0


@pytest.mark.parametrize("model", [CLAUDE, NOVA, MISTRAL_SMALL, LLAMA, GPT_OSS])
def test_every_model_that_chats_takes_converse(shared, model):
    told = output(shared, model, ask("hi"), modelInvocationType="Converse")
    assert told["output"]["message"]["content"][0]["text"] == "hi"


def test_what_converse_refuses(shared):
    tools = {"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": {}}}}]}
    image = {"image": {"format": "png", "source": {"s3Location": {"uri": "s3://b/k"}}}}
    told = errors(
        shared,
        MISTRAL,
        {**ask("hi"), "toolConfig": tools},
        {**ask("hi"), "modelId": MISTRAL},
        {"messages": []},
        {"messages": [{"role": "assistant", "content": [{"text": "hi"}]}]},
        {"messages": [{"role": "user"}]},
        ask("hi", maxTokens=0),
        ask("hi", temperature=1.5),
        ask("hi", maxTokens="10"),
        {"messages": [{"role": "user", "content": [image]}]},
        "text",
        modelInvocationType="Converse",
    )
    complaints = [
        "tool calling",
        "extraneous key [modelId]",
        "start with a user message",
        "start with a user message",
        "required key [content]",
        "maxTokens: 0 is not greater",
        "temperature: 1.5 is not less",
        "maxTokens: expected type: integer, found: str",
        "not image",
        "expected type: object",
    ]
    assert [part in one for part, one in zip(complaints, told, strict=True)] == [True] * 10


def test_a_schema_for_the_answer_is_handed_on(shared):
    schema = {"schema": '{"type": "object"}', "name": "answer"}
    structure = {"type": "json_schema", "structure": {"jsonSchema": schema}}
    body = {**ask("hi"), "outputConfig": {"textFormat": structure}}
    named = {"modelId": MISTRAL, **body}
    assert shapes.request_problems("bedrock-runtime", "Converse", named) == []
    told = output(shared, MISTRAL, body, modelInvocationType="Converse")
    assert told["stopReason"] == "end_turn"
    schema["schema"] = "{"
    (error,) = errors(shared, MISTRAL, body, modelInvocationType="Converse")
    assert "not JSON" in error


# ---- the models' own bodies


def test_anthropic(shared):
    told = output(shared, CLAUDE, {**ANTHROPIC, "system": "Be terse.", "top_k": 5})
    usage = told.pop("usage")
    assert usage.keys() == {"input_tokens", "output_tokens"}
    assert told.pop("id").startswith("msg_bdrk_")
    assert told == {
        "type": "message",
        "role": "assistant",
        "model": "claude-3-haiku-20240307",
        "content": [{"type": "text", "text": "hi"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
    }


def test_what_anthropic_refuses(shared):
    def without(name: str) -> dict[str, Any]:
        return {key: value for key, value in ANTHROPIC.items() if key != name}

    told = errors(
        shared,
        CLAUDE,
        without("anthropic_version"),
        without("max_tokens"),
        without("messages"),
        {**ANTHROPIC, "model": "claude"},
        {**ANTHROPIC, "stream": False},
        {**ANTHROPIC, "anthropic_version": "2023-06-01"},
        {**ANTHROPIC, "max_tokens": "many"},
    )
    assert told == [
        "anthropic_version: Field required",
        "max_tokens: Field required",
        "messages: Field required",
        "model: Extra inputs are not permitted",
        "stream: Extra inputs are not permitted",
        "anthropic_version: Input should be 'bedrock-2023-05-31'",
        "max_tokens: Input should be a valid integer",
    ]


def test_anthropic_takes_tools_where_converse_does_not(shared):
    tool = {"name": "f", "description": "d", "input_schema": {"type": "object"}}
    assert output(shared, CLAUDE, {**ANTHROPIC, "tools": [tool]})["content"][0]["text"] == "hi"


@pytest.mark.parametrize(
    "config",
    [
        {"maxTokens": 512, "temperature": 0.0, "topP": 0.99, "topK": 50, "stopSequences": []},
        {"max_new_tokens": 512, "temperature": 0.0, "top_p": 0.99, "top_k": 50},
    ],
)
def test_nova(shared, config):
    body = {"schemaVersion": "messages-v1", "inferenceConfig": config, **ask("hi")}
    told = output(shared, NOVA, body)
    assert told["output"]["message"]["content"] == [{"text": "hi"}]
    assert told.keys() == {"output", "stopReason", "usage"}


def test_what_nova_refuses(shared):
    wrong = {"textGenerationConfig": {}, "systemPrompt": "x", **ask("hi")}
    version = {**ask("hi"), "schemaVersion": "2"}
    told = errors(shared, NOVA, wrong, version, {"messages": [{"role": "user", "content": "hi"}]})
    assert "extraneous key [textGenerationConfig]" in told[0]
    assert "schemaVersion" in told[1]
    assert "expected type: array" in told[2]


def test_the_older_dialect_of_mistral(shared):
    body = {
        "prompt": "<s>[INST] say one [/INST]one</s>[INST] say two [/INST]",
        "max_tokens": 500,
        "temperature": 0.2,
        "top_p": 0.9,
        "top_k": 50,
        "stop": [],
    }
    assert output(shared, MISTRAL_SMALL, body) == {
        "outputs": [{"text": "say two", "stop_reason": "stop"}]
    }
    (plain,) = output(shared, MISTRAL_SMALL, {"prompt": "no template"})["outputs"]
    assert plain["text"] == "no template"


def test_the_newer_dialect_of_mistral(shared):
    body = {
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 500,
        "tools": [],
        "tool_choice": "auto",
    }
    assert output(shared, MISTRAL, body) == {
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "hi", "tool_calls": []},
                "stop_reason": "stop",
            }
        ]
    }


def test_each_dialect_of_mistral_refuses_the_other(shared):
    messages = {"messages": [{"role": "user", "content": "hi"}]}
    prompt = {"prompt": "<s>[INST] hi [/INST]"}
    (old,) = errors(shared, MISTRAL_SMALL, messages)
    (new,) = errors(shared, MISTRAL, prompt)
    assert ("[prompt] not found" in old, "[messages] not found" in new) == (True, True)


def test_llama(shared):
    prompt = (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe terse.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )
    told = output(shared, LLAMA, {"prompt": prompt, "max_gen_len": 512, "temperature": 0.5})
    assert told.pop("prompt_token_count") > 0
    assert told.pop("generation_token_count") > 0
    assert told == {"generation": "hi", "stop_reason": "stop"}
    (error,) = errors(shared, LLAMA, {"prompt": "x", "max_tokens": 5})
    assert "extraneous key [max_tokens]" in error


def test_models_that_take_openais_body(shared):
    body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
    told = output(shared, GPT_OSS, body)
    assert told["choices"][0]["message"]["content"] == "hi"
    assert told["model"] == GPT_OSS
    refused = errors(shared, GPT_OSS, {"prompt": "x"}, {**body, "stream": True})
    assert ["messages" in refused[0], "stream" in refused[1]] == [True, True]


# ---- embeddings


@pytest.mark.parametrize("dimensions", [256, 512, 1024])
def test_titans_embeddings(shared, dimensions):
    body = {"inputText": "hello", "dimensions": dimensions, "normalize": True}
    told = output(shared, TITAN, body)
    assert told["inputTextTokenCount"] > 0
    assert len(told["embedding"]) == dimensions
    assert math.isclose(sum(number**2 for number in told["embedding"]), 1.0, rel_tol=1e-6)
    assert told["embeddingsByType"] == {"float": told["embedding"]}


def test_titans_embeddings_as_bits_and_what_is_refused(shared):
    told = output(shared, TITAN, {"inputText": "hello", "embeddingTypes": ["binary"]})
    assert len(told["embedding"]) == 1024
    assert set(told["embeddingsByType"]["binary"]) <= {0, 1}
    refused = errors(shared, TITAN, {"inputText": "x", "dimensions": 100}, {"texts": ["x"]}, {
        "inputText": ""})  # fmt: skip
    assert "dimensions" in refused[0]
    assert "[inputText] not found" in refused[1]


def test_coheres_embeddings(shared):
    body = {"texts": ["one", "two"], "input_type": "search_document"}
    told = output(shared, COHERE, body)
    assert told["response_type"] == "embeddings_floats"
    assert [len(vector) for vector in told["embeddings"]] == [1024, 1024]
    by_type = output(shared, COHERE, {**body, "embedding_types": ["float", "int8"]})
    assert by_type["embeddings"].keys() == {"float", "int8"}
    assert all(-128 <= number <= 127 for number in by_type["embeddings"]["int8"][0])
    refused = errors(shared, COHERE, {"texts": ["x"]}, {**body, "texts": ["x"] * 97})
    assert "[input_type]" in refused[0]
    assert "96" in refused[1]


@pytest.mark.parametrize("model", [TITAN, COHERE])
def test_embeddings_cannot_be_asked_for_by_converse(shared, model):
    (error,) = errors(shared, model, ask("hi"), modelInvocationType="Converse")
    assert "doesn't support the model" in error


def test_images_are_handed_on_as_bytes():
    content = [{"text": "see"}, {"image": {"format": "png", "source": {"bytes": "aGk="}}}]
    source = {"type": "base64", "media_type": "image/png", "data": "aGk="}
    blocks = [{"type": "text", "text": "see"}, {"type": "image", "source": source}]
    asked = [
        FAMILIES["converse"].read({"messages": [{"role": "user", "content": content}]}),
        FAMILIES["anthropic"].read(
            {**ANTHROPIC, "messages": [{"role": "user", "content": blocks}]}
        ),
    ]
    parts = [
        {"type": "text", "text": "see"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
    ]
    assert [one["messages"] for one in asked] == [[{"role": "user", "content": parts}]] * 2


def test_what_is_asked_reaches_the_model_whole():
    config = {"maxTokens": 7, "temperature": 0.5, "topP": 0.9, "stopSequences": ["#"]}
    body = {
        **ask("hi", **config),
        "system": [{"text": "Be terse."}],
        "additionalModelRequestFields": {"top_k": 5},
    }
    assert FAMILIES["converse"].read(body) == {
        "messages": [
            {"role": "system", "content": "Be terse."},
            {"role": "user", "content": "hi"},
        ],
        "max_tokens": 7,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 5,
        "stop": ["#"],
    }


@pytest.mark.parametrize(
    ("finish_reason", "told"),
    [
        ("stop", ["end_turn", "end_turn", "end_turn", "stop", "stop", "stop"]),
        ("length", ["max_tokens", "max_tokens", "max_tokens", "length", "length", "length"]),
    ],
)
def test_why_an_answer_ended_is_told_in_each_formats_words(finish_reason, told):
    choice = {"message": {"content": "hi"}, "finish_reason": finish_reason}
    answer = Answer({"choices": [choice]}, 1, CLAUDE)
    written = {name: family.write({}, answer) for name, family in FAMILIES.items()
               if family.route.endswith("completions")}  # fmt: skip
    assert [
        written["converse"]["stopReason"],
        written["nova"]["stopReason"],
        written["anthropic"]["stop_reason"],
        written["mistral_text"]["outputs"][0]["stop_reason"],
        written["mistral_chat"]["choices"][0]["stop_reason"],
        written["llama"]["stop_reason"],
    ] == told
