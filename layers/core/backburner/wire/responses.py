"""OpenAI's Responses API: a background response in, as a chat completion for the model."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from backburner.domain.errors import InvalidRequest
from backburner.domain.request import Request
from backburner.wire import bodies
from backburner.wire.bodies import Body

#: What a response's only request is called.
CUSTOM_ID = "response"

#: Window of a response that names none, or asks for the soonest: the shorter it is, the sooner a
#: slot is given to it, and the sooner it expires where there is none.
SOONEST = "1h"

#: Parameters that reach the model under another name, or under their own.
_PASSED = {
    "max_output_tokens": "max_completion_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "parallel_tool_calls": "parallel_tool_calls",
}
#: Parameters that are read here.
_READ = frozenset(
    {
        "background",
        "background_options",
        "callback_url",
        "completion_window",
        "input",
        "instructions",
        "metadata",
        "model",
        "previous_response_id",
        "priority",
        "reasoning",
        "store",
        "stream",
        "text",
        "tool_choice",
        "tools",
        "truncation",
        "x_callback_url",
        "x_priority",
    }
)
#: Parameters that may change how OpenAI works, but never what comes out.
_HINTS = frozenset(
    {
        "include",
        "max_tool_calls",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "stream_options",
        "user",
    }
)

_write = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True, kw_only=True)
class NewResponse:
    """What a client asks for; metadata and priority are checked by others."""

    request: Request
    completion_window: Any
    metadata: Any
    priority: Any


def parse(body: Body) -> NewResponse:
    """Read the body of `POST /v1/responses`; raises InvalidRequest naming what is wrong."""
    _check_background(body)
    return NewResponse(
        request=to_request(body),
        completion_window=_window(body),
        metadata=body.get("metadata"),
        priority=body.get("priority", body.get("x_priority")),
    )


def to_request(body: Body) -> Request:
    """What the model is asked; raises InvalidRequest naming what is wrong."""
    _check_support(body)
    chat: Body = {"model": body.get("model"), "messages": _messages(body)}
    for name, chat_name in _PASSED.items():
        if body.get(name) is not None:
            chat[chat_name] = body[name]
    _check_number(body, "temperature", 2)
    _check_number(body, "top_p", 1)
    _add_format(chat, body.get("text"))
    _add_tools(chat, body)
    effort = _object(body, "reasoning").get("effort")
    if effort is not None:
        chat["reasoning_effort"] = effort
    try:
        asked = bodies.measure(bodies.CHAT, chat)
    except InvalidRequest as error:
        raise _in_our_words(error) from None
    return Request(
        line=1,
        custom_id=CUSTOM_ID,
        model=chat["model"],
        route=bodies.CHAT,
        body=_write(chat),
        prompt_bytes=asked.prompt_bytes,
        message_count=asked.message_count,
        max_tokens=asked.max_tokens,
    )


def _in_our_words(error: InvalidRequest) -> InvalidRequest:
    """Name a field as the Responses API does, where the chat body calls it otherwise."""
    if error.param == "max_completion_tokens":
        message = error.message.replace("max_completion_tokens", "max_output_tokens")
        return InvalidRequest(message, param="max_output_tokens")
    return error


def _check_background(body: Body) -> None:
    if body.get("background") is not True:
        raise InvalidRequest(
            "'background' must be true: responses are made in the background here, and read with "
            "GET /v1/responses/{id}.",
            param="background",
        )
    if body.get("store") is False:
        raise InvalidRequest("'store' can't be false: 'background' needs it.", param="store")


def _check_support(body: Body) -> None:
    """Refuse what would have no effect, rather than ignore it."""
    if body.get("stream"):
        raise InvalidRequest("'stream' is not supported.", param="stream")
    if body.get("truncation") not in (None, "disabled"):
        raise InvalidRequest("'truncation' must be 'disabled'.", param="truncation")
    known = _READ | _HINTS | _PASSED.keys()
    for name, value in body.items():
        if name not in known and not name.startswith("x_") and value not in (None, 0, False):
            raise InvalidRequest(
                f"'{name[:64]}' is not supported.",
                param=name[:64],
                code="unsupported_parameter",
            )


def _check_number(body: Body, name: str, most: int) -> None:
    value = body.get(name)
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise InvalidRequest(f"'{name}' must be a number from 0 to {most}.", param=name)


def _object(body: Body, name: str) -> Body:
    value = body.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidRequest(f"'{name}' must be an object.", param=name)
    return value


def _window(body: Body) -> Any:
    window = _object(body, "background_options").get("completion_window")
    if window is None:
        window = body.get("completion_window")
    return SOONEST if window in (None, "soonest") else window


# ---------------------------------------------------------------- input


def _messages(body: Body) -> list[Body]:
    instructions = body.get("instructions")
    if instructions is not None and not isinstance(instructions, str):
        raise InvalidRequest("'instructions' must be a string.", param="instructions")
    messages = [{"role": "system", "content": instructions}] if instructions else []
    given = body.get("input")
    if isinstance(given, str) and given:
        return [*messages, {"role": "user", "content": given}]
    if not isinstance(given, list) or not given:
        raise InvalidRequest(
            "'input' must be a text or a list of at least one item.", param="input"
        )
    for number, item in enumerate(given):
        _add_item(messages, item, f"input[{number}]")
    if not messages:
        raise InvalidRequest("'input' has no message.", param="input")
    return messages


def _add_item(messages: list[Body], item: Any, where: str) -> None:
    """Turn one input item into a message, or into a part of the one before."""
    kind = item.get("type", "message") if isinstance(item, dict) else None
    match kind:
        case "message":
            messages.append(_message(item, where))
        case "function_call":
            _add_call(messages, item, where)
        case "function_call_output":
            messages.append(
                {
                    "role": "tool",
                    "tool_call_id": _text(item, "call_id", where),
                    "content": _content(item.get("output"), f"{where}.output"),
                }
            )
        case "reasoning":  # what a model thought before is not shown to it again
            pass
        case _:
            raise InvalidRequest(
                f"'{where}' must be a message, a function_call or a function_call_output.",
                param=where,
            )


def _message(item: Body, where: str) -> Body:
    role = _text(item, "role", where)
    if role not in ("user", "assistant", "system", "developer"):
        raise InvalidRequest(
            f"'{where}.role' must be 'user', 'assistant', 'system' or 'developer'.",
            param=f"{where}.role",
        )
    content = _content(item.get("content"), f"{where}.content")
    return {"role": "system" if role == "developer" else role, "content": content}


def _add_call(messages: list[Body], item: Body, where: str) -> None:
    call = {
        "id": _text(item, "call_id", where),
        "type": "function",
        "function": {
            "name": _text(item, "name", where),
            "arguments": _text(item, "arguments", where),
        },
    }
    last = messages[-1] if messages else {}
    if last.get("role") == "assistant":
        last.setdefault("tool_calls", []).append(call)
    else:
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})


def _content(given: Any, where: str) -> str | list[Body]:
    """A message's content; one that is all text becomes a string, which every template takes."""
    if isinstance(given, str):
        return given
    if not isinstance(given, list) or not given:
        raise InvalidRequest(f"'{where}' must be a text or a list of parts.", param=where)
    parts = [_part(part, f"{where}[{number}]") for number, part in enumerate(given)]
    if all(part["type"] == "text" for part in parts):
        return "\n".join(part["text"] for part in parts)
    return parts


def _part(part: Any, where: str) -> Body:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in ("input_text", "output_text", "text"):
        return {"type": "text", "text": _text(part, "text", where)}
    if kind == "refusal":
        return {"type": "text", "text": _text(part, "refusal", where)}
    if kind == "input_image" and isinstance(part.get("image_url"), str):
        image = {"url": part["image_url"]}
        if isinstance(part.get("detail"), str):
            image["detail"] = part["detail"]
        return {"type": "image_url", "image_url": image}
    raise InvalidRequest(
        f"'{where}' must be a part of type input_text, or input_image with an image_url.",
        param=where,
    )


def _text(item: Body, name: str, where: str) -> str:
    value = item.get(name)
    if not isinstance(value, str):
        raise InvalidRequest(f"'{where}.{name}' must be a string.", param=f"{where}.{name}")
    return value


# ---------------------------------------------------------------- format and tools


def _add_format(chat: Body, text: Any) -> None:
    form = text.get("format") if isinstance(text, dict) else text
    if form is None:
        return
    if not isinstance(form, dict):
        form = {}
    kind = form.get("type")
    if kind == "json_object":
        chat["response_format"] = {"type": "json_object"}
    elif kind == "json_schema":
        if not isinstance(form.get("schema"), dict) or not isinstance(form.get("name"), str):
            raise InvalidRequest(
                "'text.format' needs a 'name' and a 'schema'.", param="text.format"
            )
        schema = {name: form[name] for name in _SCHEMA if form.get(name) is not None}
        chat["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif kind != "text":
        raise InvalidRequest(
            "'text.format' must be of type text, json_object or json_schema.", param="text.format"
        )


_SCHEMA = ("name", "description", "schema", "strict")
_FUNCTION = ("name", "description", "parameters", "strict")


def _add_tools(chat: Body, body: Body) -> None:
    tools = body.get("tools")
    if tools is None:
        tools = []
    if not isinstance(tools, list):
        raise InvalidRequest("'tools' must be a list.", param="tools")
    if tools:
        chat["tools"] = list(map(_tool, tools, _numbers("tools", tools)))
    choice = body.get("tool_choice")
    if choice is None or (not tools and choice in ("auto", "none")):
        return
    if isinstance(choice, dict) and choice.get("type") == "function":
        name = _text(choice, "name", "tool_choice")
        choice = {"type": "function", "function": {"name": name}}
    elif choice not in ("auto", "none", "required"):
        raise InvalidRequest(
            "'tool_choice' must be 'auto', 'none', 'required' or a function.", param="tool_choice"
        )
    chat["tool_choice"] = choice


def _tool(tool: Any, where: str) -> Body:
    if not isinstance(tool, dict) or tool.get("type") != "function":
        raise InvalidRequest(f"'{where}' must be a tool of type function.", param=where)
    _text(tool, "name", where)
    function = {name: tool[name] for name in _FUNCTION if tool.get(name) is not None}
    return {"type": "function", "function": function}


def _numbers(name: str, values: list[Any]) -> Iterable[str]:
    return (f"{name}[{number}]" for number in range(len(values)))
