"""OpenAI's chat and completion bodies, as far as a local engine understands them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from backburner_model.wire import Answer, bad_request

Probability = Annotated[float, Meta(gt=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
TokenCount = Annotated[int, Meta(ge=1)]


class Part(msgspec.Struct):
    """A piece of a message; only text is understood."""

    type: Literal["text"]
    text: str


class Message(msgspec.Struct):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part]


class JsonSchema(msgspec.Struct):
    """The schema that an answer must follow."""

    schema_: dict[str, Any] = msgspec.field(name="schema")
    name: str = ""


class ResponseFormat(msgspec.Struct):
    """The form that an answer must have."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class Sampling(msgspec.Struct, kw_only=True):
    """How tokens are chosen, and when to stop; the last five are vLLM's."""

    model: str | None = None
    max_tokens: TokenCount | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Probability | None = None
    seed: int | None = None
    stop: str | Annotated[list[str], Meta(max_length=16)] | None = None
    n: int | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    logit_bias: dict[str, float] | None = None
    response_format: ResponseFormat | None = None
    ignore_eos: bool | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    min_tokens: Annotated[int, Meta(ge=0)] | None = None
    repetition_penalty: Annotated[float, Meta(gt=0)] | None = None
    top_k: int | None = None

    @property
    def stops(self) -> list[str]:
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return [text for text in stop if text]

    @property
    def json_schema(self) -> str | None:
        wanted = self.response_format
        if wanted is None or wanted.type == "text":
            return None
        schema = wanted.json_schema.schema_ if wanted.json_schema else {"type": "object"}
        return msgspec.json.encode(schema).decode()


class ChatBody(Sampling, kw_only=True):
    """A body of `/v1/chat/completions`."""

    messages: Annotated[list[Message], Meta(min_length=1)]
    max_completion_tokens: TokenCount | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    tools: list[Any] | None = None

    @property
    def token_limit(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens

    @property
    def wants_logprobs(self) -> bool:
        return bool(self.logprobs)

    @property
    def turns(self) -> list[dict[str, str]]:
        """The conversation as chat templates read it."""
        return [
            {
                "role": "system" if message.role == "developer" else message.role,
                "content": _text(message.content),
            }
            for message in self.messages
        ]


class CompletionBody(Sampling, kw_only=True):
    """A body of `/v1/completions`."""

    prompt: str | Annotated[list[str], Meta(min_length=1, max_length=1)]
    logprobs: int | None = None
    echo: bool | None = None

    @property
    def token_limit(self) -> int | None:
        return self.max_tokens or 16  # OpenAI's default on this route

    @property
    def wants_logprobs(self) -> bool:
        return False

    @property
    def text(self) -> str:
        return self.prompt if isinstance(self.prompt, str) else self.prompt[0]


Body = ChatBody | CompletionBody

read_chat = msgspec.json.Decoder(ChatBody).decode
read_completion = msgspec.json.Decoder(CompletionBody).decode


def refuse(body: Body, model_name: str) -> Answer | None:
    """Why a well-formed body cannot be answered here, if so."""
    if body.model and body.model != model_name:
        return bad_request(
            f"The model {body.model!r} does not exist; this server has {model_name!r}.",
            param="model",
            code="model_not_found",
            status_code=404,
        )
    wanted = body.response_format
    checks: list[tuple[str, bool, str]] = [
        ("n", body.n not in {None, 1}, "must be 1"),
        ("logit_bias", bool(body.logit_bias), "is not supported"),
        (
            "response_format",
            wanted is not None and wanted.type == "json_schema" and wanted.json_schema is None,
            "needs `json_schema`",
        ),
    ]
    if isinstance(body, ChatBody):
        checks += [
            ("tools", bool(body.tools), "is not supported"),
            ("top_logprobs", bool(body.top_logprobs), "is not supported beyond 0"),
        ]
    else:
        checks += [
            ("logprobs", body.logprobs is not None, "is not supported on this route"),
            ("echo", bool(body.echo), "is not supported"),
        ]
    for param, is_wrong, why in checks:
        if is_wrong:
            return bad_request(f"`{param}` {why}.", param=param, code="unsupported_value")
    return None


def _text(content: str | list[Part]) -> str:
    return content if isinstance(content, str) else "\n".join(part.text for part in content)
