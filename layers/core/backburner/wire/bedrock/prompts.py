"""Mistral's and Llama's own bodies.

Facts: user guide, "Mistral AI text completion", "Mistral AI chat completion" and "Meta Llama
models"; reference page `bedrock.md` §2.2. Mistral's answers do not tell of tokens: Converse does.
"""

from typing import Any

import msgspec

from backburner.wire.bedrock import answers, chat
from backburner.wire.bedrock.chat import Call, Chat, Result, Turn
from backburner.wire.bedrock.fields import OddAnswer, entries, obj, unsupported
from backburner.wire.bodies import Body

_write = msgspec.json.Encoder().encode

_REASONS = {
    "stop": "stop",
    "length": "length",
    "model_length": "length",
    "tool_calls": "tool_calls",
}


# ---------------------------------------------------------------- Mistral, text completion


def ask_mistral_text(body: Body) -> Body:
    """The `modelInput` of Mistral 7B, Mixtral, Large 24.02 and Small; raises InvalidRequest."""
    asked = _words_only(chat.read(body))
    given = {
        "prompt": _mistral_prompt(asked),
        "max_tokens": asked.max_tokens,
        "stop": asked.stop or None,
        "temperature": asked.temperature,
        "top_p": asked.top_p,
        "top_k": asked.top_k,
    }
    return _told(given)


def answer_mistral_text(output: Body) -> Body:
    """The completion that a `modelOutput` stands for; raises OddAnswer."""
    said = next(iter(entries(output.get("outputs"))), {})
    if not isinstance(said.get("text"), str):
        raise OddAnswer
    return answers.completion(
        text=said["text"].removeprefix(" "),
        finish_reason=answers.reason(said.get("stop_reason"), _REASONS),
        usage=None,
    )


def _mistral_prompt(asked: Chat) -> str:
    """The system's words stand before the user's first ones: they have no place of their own."""
    written = ["<s>"]
    before = f"{asked.system}\n\n" if asked.system else ""
    for turn in asked.turns:
        if turn.role == "user":
            written.append(f"[INST] {before}{turn.text} [/INST]")
            before = ""
        else:
            is_begun = turn is asked.turns[-1]
            written.append(f" {turn.text}" + ("" if is_begun else "</s>"))
    return "".join(written)


# ---------------------------------------------------------------- Mistral, chat completion


def ask_mistral_chat(body: Body) -> Body:
    """The `modelInput` of Mistral Large 2 (24.07) and later ones; raises InvalidRequest."""
    asked = chat.read(body)
    _refuse(asked, images=asked.has_images, stop=asked.stop, top_k=asked.top_k)
    _refuse(asked, reasoning_effort=asked.effort)
    if asked.turns[-1].role == "assistant":
        raise unsupported("messages", "must end with the user's for this model.")
    messages = [{"role": "system", "content": asked.system}] if asked.system else []
    for turn in asked.turns:
        messages += _mistral_messages(turn)
    given = {
        "messages": messages,
        "max_tokens": asked.max_tokens,
        "temperature": asked.temperature,
        "top_p": asked.top_p,
        "response_format": body.get("response_format") if asked.schema else None,
    }
    if asked.tools:
        given["tools"] = [{"type": "function", "function": tool} for tool in asked.tools]
        given["tool_choice"] = _mistral_choice(asked)
    return _told(given)


def answer_mistral_chat(output: Body) -> Body:
    """The completion that a `modelOutput` stands for; raises OddAnswer."""
    choice = next(iter(entries(output.get("choices"))), {})
    message = choice.get("message")
    if not isinstance(message, dict):
        raise OddAnswer
    calls = [
        answers.call(one.get("id"), obj(one.get("function")).get("name"), _arguments(one))
        for one in entries(message.get("tool_calls"))
    ]
    text = message.get("content")
    reason = choice.get("stop_reason") or choice.get("finish_reason")
    return answers.completion(
        text=text if isinstance(text, str) and (text or not calls) else None,
        finish_reason=answers.reason(reason, _REASONS),
        usage=_openai_usage(output.get("usage")),
        calls=calls,
    )


def _mistral_messages(turn: Turn) -> list[Body]:
    calls = [part for part in turn.parts if isinstance(part, Call)]
    results = [part for part in turn.parts if isinstance(part, Result)]
    messages: list[Body] = [
        {"role": "tool", "tool_call_id": one.call_id, "content": one.text} for one in results
    ]
    if calls:
        return [{"role": "assistant", "content": turn.text, "tool_calls": list(map(_call, calls))}]
    return [*messages, {"role": turn.role, "content": turn.text}] if turn.text else messages


def _call(call: Call) -> Body:
    function = {"name": call.name, "arguments": _write(call.arguments).decode()}
    return {"id": call.id, "function": function}


def _mistral_choice(asked: Chat) -> str:
    if asked.tool_choice.startswith(":"):
        raise unsupported("tool_choice", "can't name one tool for this model.")
    return {"required": "any"}.get(asked.tool_choice, asked.tool_choice)


def _arguments(one: Body) -> Any:
    return obj(one.get("function")).get("arguments")


def _openai_usage(usage: Any) -> Body | None:
    if not isinstance(usage, dict):
        return None
    return answers.used(usage.get("prompt_tokens"), usage.get("completion_tokens"))


# ---------------------------------------------------------------- Llama


def ask_llama(body: Body) -> Body:
    """The `modelInput` of Llama 3; raises InvalidRequest. For other Llamas, Converse knows how."""
    asked = _words_only(chat.read(body))
    _refuse(asked, stop=asked.stop, top_k=asked.top_k)
    given = {
        "prompt": _llama_prompt(asked),
        "max_gen_len": asked.max_tokens,
        "temperature": asked.temperature,
        "top_p": asked.top_p,
    }
    return _told(given)


def answer_llama(output: Body) -> Body:
    """The completion that a `modelOutput` stands for; raises OddAnswer."""
    if not isinstance(output.get("generation"), str):
        raise OddAnswer
    return answers.completion(
        text=output["generation"],
        finish_reason=answers.reason(output.get("stop_reason"), _REASONS),
        usage=answers.used(output.get("prompt_token_count"), output.get("generation_token_count")),
    )


def _llama_prompt(asked: Chat) -> str:
    system = [_llama_turn("system", asked.system) + "<|eot_id|>"] if asked.system else []
    turns = [_llama_turn(turn.role, turn.text) for turn in asked.turns]
    if asked.turns[-1].role == "user":
        turns.append(_llama_turn("assistant", ""))
    return "<|begin_of_text|>" + "".join(system) + "<|eot_id|>".join(turns)


def _llama_turn(role: str, text: str) -> str:
    return f"<|start_header_id|>{role}<|end_header_id|>\n\n{text}"


# ---------------------------------------------------------------- both


def _words_only(asked: Chat) -> Chat:
    """The chat; raises InvalidRequest if it asks for more than text."""
    _refuse(
        asked,
        images=asked.has_images,
        tools=asked.uses_tools,
        response_format=asked.schema,
        reasoning_effort=asked.effort,
    )
    return asked


def _refuse(asked: Chat, **given: Any) -> None:
    """Refuse what is there of these."""
    for name, value in given.items():
        if value:
            where = (
                "messages" if name == "images" or (name == "tools" and not asked.tools) else name
            )
            what = f"can't have {name}" if where == "messages" else "can't be told"
            raise unsupported(where, f"{what} in this model's own format.")


def _told(given: Body) -> Body:
    return {name: value for name, value in given.items() if value is not None}
