"""OpenAI's bodies of what models on Bedrock answer."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from backburner.wire.bedrock.fields import OddAnswer, tokens
from backburner.wire.bodies import Body

_write = msgspec.json.Encoder().encode


def completion(
    *,
    text: str | None,
    finish_reason: str,
    usage: Body | None,
    reasoning: str = "",
    calls: Iterable[Body] = (),
) -> Body:
    """A chat completion, but for its id, time and model.

    Args:
        text: what the model said.
        finish_reason: in OpenAI's words.
        usage: see `used`; None: the format does not tell.
        reasoning: what the model thought.
        calls: of tools, as `call` makes them.
    """
    message: Body = {"role": "assistant", "content": text}
    if reasoning:
        message["reasoning_content"] = reasoning
    called = list(calls)
    if called:
        message["tool_calls"] = called
    body: Body = {
        "object": "chat.completion",
        "choices": [
            {"index": 0, "message": message, "finish_reason": finish_reason, "logprobs": None}
        ],
    }
    return body | ({"usage": usage} if usage is not None else {})


def call(call_id: Any, name: Any, arguments: Any) -> Body:
    """A call of a tool; its arguments become the text that OpenAI has them as."""
    if not isinstance(name, str):
        raise OddAnswer
    text = arguments if isinstance(arguments, str) else _write(arguments or {}).decode()
    return {
        "id": str(call_id or ""),
        "type": "function",
        "function": {"name": name, "arguments": text},
    }


def used(read: Any, written: Any, *, cached: Any = 0, kept: Any = 0) -> Body:
    """Tokens of a chat completion.

    Args:
        read: tokens of the prompt, without those that a cache had.
        written: tokens of the answer.
        cached: tokens of the prompt that were in a cache.
        kept: tokens of the prompt that were put into one.
    """
    prompt, answer = tokens(read) + tokens(cached) + tokens(kept), tokens(written)
    usage: Body = {
        "prompt_tokens": prompt,
        "completion_tokens": answer,
        "total_tokens": prompt + answer,
    }
    if tokens(cached):
        usage["prompt_tokens_details"] = {"cached_tokens": tokens(cached)}
    return usage


def reason(given: Any, words: Mapping[str, str]) -> str:
    """Why an answer ended, in OpenAI's words; what nobody knows counts as its natural end."""
    return words.get(given, "stop") if isinstance(given, str) else "stop"


def embeddings(vectors: Iterable[Any], *, read: int | None) -> Body:
    """A list of embeddings, but for its model; `read` is the tokens, None: nobody tells."""
    data = [
        {"object": "embedding", "index": index, "embedding": vector}
        for index, vector in enumerate(vectors)
    ]
    if not data or not all(isinstance(one["embedding"], list) for one in data):
        raise OddAnswer
    body: Body = {"object": "list", "data": data}
    if read is not None:
        body["usage"] = {"prompt_tokens": read, "total_tokens": read}
    return body
