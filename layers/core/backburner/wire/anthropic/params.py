"""The parameters of Anthropic's Messages API in, the body of a chat completion out.

| parameter | what becomes of it |
|---|---|
| `system`, `messages`, `tools`, `tool_choice` | translated: see `turns` and `tools` |
| `max_tokens`, `stop_sequences`, `temperature`, `top_p`, `top_k` | reach the model |
| `metadata.user_id` | reaches the model as `user` |
| `output_config`, `output_format` | a JSON schema and the effort reach the model |
| `thinking` | `disabled` and `adaptive` change nothing; others are refused |
| `cache_control`, `service_tier`, `speed`, `diagnostics` | hints: ignored |
| `x_…` | for others: ignored |
| all else | refused, unless it is null or empty |
"""

from typing import Any

import msgspec

from backburner.domain.errors import InvalidRequest
from backburner.domain.request import Request
from backburner.wire import bodies
from backburner.wire.anthropic import tools, turns
from backburner.wire.anthropic.fields import bad, entries, number, obj, text
from backburner.wire.bodies import Body

#: Parameters that are read here.
_READ = frozenset(
    {
        "max_tokens",
        "messages",
        "metadata",
        "model",
        "output_config",
        "output_format",
        "stop_sequences",
        "stream",
        "system",
        "temperature",
        "thinking",
        "tool_choice",
        "tools",
        "top_k",
        "top_p",
    }
)
#: Parameters that may change how Anthropic works, but never what comes out.
_HINTS = frozenset({"cache_control", "diagnostics", "service_tier", "speed"})

#: Anthropic's words for effort that servers of other models don't know.
_EFFORTS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}

_write = msgspec.json.Encoder().encode


def parse(params: Body, *, line: int, custom_id: str) -> Request:
    """Read what `POST /v1/messages` takes.

    Args:
        params: the body, or the `params` of a batch's request.
        line: number of the request in its batch, from 1.
        custom_id: the client's name for it.

    Raises:
        InvalidRequest: a field is wrong; `param` and message name it as Anthropic does.
    """
    chat = chat_body(params)
    asked = bodies.measure(bodies.CHAT, chat)
    return Request(
        line=line,
        custom_id=custom_id,
        model=chat["model"],
        route=bodies.CHAT,
        body=_write(chat),
        prompt_bytes=asked.prompt_bytes,
        message_count=asked.message_count,
        max_tokens=asked.max_tokens,
        has_images=turns.have_images(chat["messages"]),
    )


def chat_body(params: Body) -> Body:
    """The body of the chat completion that says the same; raises InvalidRequest."""
    _check_support(params)
    chat: Body = {
        "model": text(params, "model"),
        "messages": turns.messages(params),
        "max_tokens": _max_tokens(params),
    }
    _add_sampling(chat, params)
    _add_output(chat, params)
    tools.add(chat, params)
    turns.add_prefill(chat)
    return chat


def _check_support(params: Body) -> None:
    """Refuse what would have no effect, rather than ignore it."""
    known = _READ | _HINTS
    for name, value in params.items():
        if name not in known and not name.startswith("x_") and value not in (None, [], {}):
            raise bad(name[:64], "this parameter is not supported.")
    if params.get("stream"):
        raise bad("stream", "must be false: nobody is there to read it.")
    kind = obj(params, "thinking").get("type", "disabled")
    if kind not in ("disabled", "adaptive"):
        raise bad(
            "thinking.type",
            "must be 'disabled' or 'adaptive': a budget for thinking is not supported.",
        )


def _max_tokens(params: Body) -> int:
    given = params.get("max_tokens")
    if type(given) is not int or not 0 < given <= bodies.MOST_TOKENS:
        problem = "is required" if given is None else "is wrong"
        raise bad("max_tokens", f"{problem}: an integer from 1 to {bodies.MOST_TOKENS}.")
    return given


def _add_sampling(chat: Body, params: Body) -> None:
    for name in ("temperature", "top_p"):
        value = number(params, name, most=1)
        if value is not None:
            chat[name] = value
    top_k = params.get("top_k")
    if top_k is not None:
        if type(top_k) is not int or not 0 <= top_k <= bodies.MOST_TOKENS:
            raise bad("top_k", "must be an integer from 0.")
        if top_k:
            chat["top_k"] = top_k
    stops = entries(params, "stop_sequences")
    if not all(isinstance(stop, str) and stop for stop in stops):
        raise bad("stop_sequences", "must be a list of texts, none of them empty.")
    if stops:
        chat["stop"] = stops
    user = obj(params, "metadata").get("user_id")
    if user is not None:
        if not isinstance(user, str):
            raise bad("metadata.user_id", "must be a string.")
        chat["user"] = user


def _add_output(chat: Body, params: Body) -> None:
    """The form of the answer, under its name of today or that of its beta."""
    config = obj(params, "output_config")
    where = "output_config.format"
    form: Any = config.get("format")
    if form is None:
        where, form = "output_format", params.get("output_format")
    if form is not None:
        schema = form.get("schema") if isinstance(form, dict) else None
        if not isinstance(schema, dict) or form.get("type") != "json_schema":
            raise bad(where, "must be of type json_schema, with a 'schema'.")
        named = {"name": "answer", "schema": schema, "strict": True}
        chat["response_format"] = {"type": "json_schema", "json_schema": named}
    effort = config.get("effort")
    if effort is not None:
        if effort not in _EFFORTS:
            raise bad("output_config.effort", f"must be one of {', '.join(_EFFORTS)}.")
        chat["reasoning_effort"] = _EFFORTS[effort]
    unknown = next((name for name in config if name not in ("format", "effort")), None)
    if unknown is not None:
        raise bad(f"output_config.{unknown[:64]}", "this parameter is not supported.")


def explained(error: InvalidRequest, *, index: int) -> InvalidRequest:
    """The error of a batch's request, named by its place in the batch."""
    where = f"requests.{index}.params."
    return InvalidRequest(where + error.message, param=where + (error.param or ""))
