"""Between OpenAI's bodies and OpenVINO GenAI: prompts, generation settings, completions."""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import openvino_genai as genai

from backburner_model.engines.chat import Body, ChatBody
from backburner_model.wire import Answer, bad_request, write_json

if TYPE_CHECKING:
    import openvino

#: The longest prompt and answer of a model whose config does not say.
CONTEXT_TOKENS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What the model's own files say."""

    #: Prompt and answer together.
    context_tokens: int
    #: Greedy, unless the model's `generation_config.json` says otherwise.
    temperature: float
    top_p: float
    end_tokens: frozenset[int]

    @classmethod
    def from_folder(cls, folder: Path) -> Self:
        generation = _read_json(folder, "generation_config.json")
        ends = generation.get("eos_token_id", [])
        return cls(
            context_tokens=int(
                _read_json(folder, "config.json").get("max_position_embeddings", CONTEXT_TOKENS)
            ),
            temperature=float(generation.get("temperature") or 0.0),
            top_p=float(generation.get("top_p") or 1.0),
            end_tokens=frozenset([ends] if isinstance(ends, int) else ends),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A prompt in tokens, and how many may follow it."""

    tokens: openvino.Tensor
    token_count: int
    max_new_tokens: int


def read_prompt(tokenizer: genai.Tokenizer, body: Body, defaults: Defaults) -> Prompt | Answer:
    """Turn messages into tokens; refuse what does not fit."""
    if isinstance(body, ChatBody):
        text = tokenizer.apply_chat_template(body.turns, add_generation_prompt=True)
        # The template has written the special tokens itself.
        tokens = tokenizer.encode(text, add_special_tokens=False).input_ids
    else:
        tokens = tokenizer.encode(body.text).input_ids
    param = "messages" if isinstance(body, ChatBody) else "prompt"
    token_count = int(tokens.shape[1])
    room = defaults.context_tokens - token_count
    wanted = body.token_limit
    if token_count == 0:
        return bad_request("The prompt is empty.", param=param)
    if room < (wanted or 1):
        asked = f" and {wanted} for the answer" if wanted else ""
        return bad_request(
            f"This model's maximum context length is {defaults.context_tokens} tokens, "
            f"but the prompt has {token_count}{asked}.",
            param=param,
            code="context_length_exceeded",
        )
    return Prompt(tokens=tokens, token_count=token_count, max_new_tokens=wanted or room)


def generation_config(body: Body, prompt: Prompt, defaults: Defaults) -> genai.GenerationConfig:
    temperature = defaults.temperature if body.temperature is None else body.temperature
    options: dict[str, Any] = {
        "max_new_tokens": prompt.max_new_tokens,
        "ignore_eos": bool(body.ignore_eos),
        "stop_token_ids": set(defaults.end_tokens),
        "stop_strings": set(body.stops),
        "frequency_penalty": body.frequency_penalty,
        "presence_penalty": body.presence_penalty,
        "repetition_penalty": body.repetition_penalty,
        "min_new_tokens": body.min_tokens,
        "logprobs": 1 if body.wants_logprobs else None,
    }
    if temperature > 0:
        options |= {
            "do_sample": True,
            "temperature": temperature,
            "top_p": body.top_p or defaults.top_p,
            "min_p": body.min_p,
            "top_k": body.top_k if body.top_k and body.top_k > 0 else None,
            "rng_seed": secrets.randbits(32) if body.seed is None else body.seed & 0xFFFFFFFF,
        }
    if schema := body.json_schema:
        options["structured_output_config"] = genai.StructuredOutputConfig(json_schema=schema)
    given = {name: value for name, value in options.items() if value is not None}
    config = genai.GenerationConfig(**given)
    if defaults.end_tokens:
        config.set_eos_token_id(min(defaults.end_tokens))
    config.validate()
    return config


def before_stop(text: str, stops: list[str]) -> str:
    """Text up to the first stop string, which may lie inside a token: the engine ends at tokens."""
    ends = [at for stop in stops if (at := text.find(stop)) >= 0]
    return text[: min(ends)] if ends else text


def completion(
    tokenizer: genai.Tokenizer,
    body: Body,
    prompt: Prompt,
    output: genai.GenerationOutput,
    model_name: str,
) -> Answer:
    """The OpenAI object of a finished generation."""
    is_chat = isinstance(body, ChatBody)
    tokens = output.generated_ids
    is_cut = output.finish_reason == genai.GenerationFinishReason.LENGTH
    text = before_stop(tokenizer.decode(tokens), body.stops)
    choice: dict[str, Any] = {
        "index": 0,
        "logprobs": _logprobs(tokenizer, output) if body.wants_logprobs else None,
        "finish_reason": "length" if is_cut else "stop",
    }
    if is_chat:
        choice["message"] = {"role": "assistant", "content": text}
    else:
        choice["text"] = text
    reply = {
        "id": f"{'chatcmpl' if is_chat else 'cmpl'}-{secrets.token_hex(12)}",
        "object": "chat.completion" if is_chat else "text_completion",
        "created": int(time.time()),
        "model": model_name,
        "choices": [choice],
        "usage": {
            "prompt_tokens": prompt.token_count,
            "completion_tokens": len(tokens),
            "total_tokens": prompt.token_count + len(tokens),
        },
    }
    return Answer(200, write_json(reply))


def _logprobs(tokenizer: genai.Tokenizer, output: genai.GenerationOutput) -> dict[str, Any]:
    pieces = [
        tokenizer.decode([token], skip_special_tokens=False) for token in output.generated_ids
    ]
    return {
        "content": [
            {
                "token": piece,
                "logprob": logprob,
                "bytes": list(piece.encode()),
                "top_logprobs": [],
            }
            for piece, logprob in zip(pieces, output.generated_log_probs, strict=True)
        ]
    }


def _read_json(folder: Path, name: str) -> dict[str, Any]:
    """The file beside the OpenVINO form, or else of the model that this was made from."""
    for path in (folder / name, folder.parent / name):
        if path.is_file():
            found: dict[str, Any] = json.loads(path.read_bytes())
            return found
    return {}
