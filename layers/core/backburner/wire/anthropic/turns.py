"""Anthropic's turns of content blocks, as the messages of a chat completion.

| block | becomes |
|---|---|
| `text`, `document` of plain text | text |
| `image` (base64, url) | an `image_url` part |
| `tool_use` | one of the message's `tool_calls` |
| `tool_result` | a message of the role `tool`; its images come after it, in a message of the user |
| `thinking`, `redacted_thinking` | nothing: what a model thought is not shown to it again |
| all else | refused |
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from backburner.wire.anthropic.fields import bad, entries, obj, text
from backburner.wire.bodies import Body

_ROLES = ("user", "assistant", "system")

#: What stands before a tool's result that is an error: chat completions have no mark for it.
_ERROR = "Error: "

_write = msgspec.json.Encoder().encode


def messages(params: Body) -> list[Body]:
    """The messages of the chat; raises InvalidRequest naming what is wrong.

    Turns of one role that follow each other are one message, as Anthropic has it: many templates
    insist that roles take turns.
    """
    found: list[Body] = []
    called: set[str] = set()
    system = _system(params.get("system"))
    if system:
        found.append({"role": "system", "content": system})
    turns = entries(params, "messages")
    if not turns:
        raise bad("messages", "must be a list of at least one message.")
    for number, turn in enumerate(turns):
        _add_turn(found, called, turn, f"messages.{number}")
    if "tool_calls" in found[-1]:
        raise bad("messages", "the last message calls a tool; its tool_result must follow.")
    return found


def add_prefill(chat: Body) -> None:
    """Have the answer go on from the last message if that is the assistant's.

    vLLM's words; llama.cpp and Ollama do so by themselves.
    """
    if chat["messages"][-1]["role"] == "assistant":
        chat |= {"continue_final_message": True, "add_generation_prompt": False}


def have_images(found: Iterable[Body]) -> bool:
    """Whether one of the messages shows an image."""
    contents = (message["content"] for message in found)
    return any(
        part["type"] == "image_url"
        for content in contents
        if isinstance(content, list)
        for part in content
    )


def _system(given: Any) -> str:
    if given is None or isinstance(given, str):
        return given or ""
    if not isinstance(given, list):
        raise bad("system", "must be a string or a list of text blocks.")
    parts = _parts(given, "system")
    return _joined(parts, "system")


def _add_turn(found: list[Body], called: set[str], turn: Any, where: str) -> None:
    """Add a turn; `called` holds the ids of all calls of tools so far."""
    if not isinstance(turn, dict):
        raise bad(where, "must be an object.")
    role = turn.get("role")
    if role not in _ROLES:
        raise bad(f"{where}.role", "must be 'user', 'assistant' or 'system'.")
    where = f"{where}.content"
    content = turn.get("content")
    if isinstance(content, str):
        _append(found, role, [_text_part(content)])
        return
    if not isinstance(content, list) or not content:
        raise bad(where, "must be a string or a list of at least one block.")
    if role == "assistant":
        _add_answer(found, called, content, where)
    elif role == "user":
        _add_question(found, called, content, where)
    else:
        _append(found, role, [_text_part(_joined(_parts(content, where), where))])


def _add_answer(found: list[Body], called: set[str], blocks: list[Any], where: str) -> None:
    calls, rest = [], []
    for number, block in enumerate(blocks):
        place = f"{where}.{number}"
        if _kind(block, place) == "tool_use":
            calls.append(_call(block, place))
        elif block["type"] not in ("thinking", "redacted_thinking"):
            rest.append(_part(block, place))
    if rest or not calls:
        _append(found, "assistant", [_text_part(_joined(rest, where))])
    if calls:
        if not found or found[-1]["role"] != "assistant":
            found.append({"role": "assistant", "content": None})
        found[-1].setdefault("tool_calls", []).extend(calls)
        called.update(call["id"] for call in calls)


def _call(block: Body, where: str) -> Body:
    arguments = block.get("input")
    if not isinstance(arguments, dict):
        raise bad(f"{where}.input", "must be an object.")
    return {
        "id": text(block, "id", f"{where}."),
        "type": "function",
        "function": {
            "name": text(block, "name", f"{where}."),
            "arguments": _write(arguments).decode(),
        },
    }


def _add_question(found: list[Body], called: set[str], blocks: list[Any], where: str) -> None:
    """What a user sends: first what the tools gave, then the rest."""
    parts: list[Body] = []
    for number, block in enumerate(blocks):
        place = f"{where}.{number}"
        if _kind(block, place) == "tool_result":
            parts += _add_result(found, called, block, place)
        else:
            parts.append(_part(block, place))
    if parts:
        _append(found, "user", parts)


def _add_result(found: list[Body], called: set[str], block: Body, where: str) -> list[Body]:
    """Add what a tool gave; returns its images."""
    name = text(block, "tool_use_id", f"{where}.")
    if name not in called:
        raise bad(f"{where}.tool_use_id", "names no tool_use of an earlier message.")
    given = block.get("content")
    parts = [_text_part(given)] if isinstance(given, str) else []
    if given is not None and not parts:
        parts = _parts(entries(block, "content", f"{where}."), f"{where}.content")
    images = [part for part in parts if part["type"] == "image_url"]
    said = "\n".join(part["text"] for part in parts if part["type"] == "text")
    content = _ERROR + said if block.get("is_error") else said
    found.append({"role": "tool", "tool_call_id": name, "content": content})
    return images


# ---------------------------------------------------------------- blocks


def _kind(block: Any, where: str) -> str:
    kind = block.get("type") if isinstance(block, dict) else None
    if not isinstance(kind, str):
        raise bad(where, "must be an object with a 'type'.")
    return kind


def _parts(blocks: list[Any], where: str) -> list[Body]:
    return [_part(block, f"{where}.{number}") for number, block in enumerate(blocks)]


def _part(block: Any, where: str) -> Body:
    kind = _kind(block, where)
    if kind == "text":
        if not isinstance(block.get("text"), str):
            raise bad(f"{where}.text", "must be a string.")
        return _text_part(block["text"])
    if kind == "image":
        return {"type": "image_url", "image_url": {"url": _image(block, f"{where}.source")}}
    if kind == "document":
        return _document(block, where)
    raise bad(f"{where}.type", f"'{kind[:64]}' is not supported here.")


def _image(block: Body, where: str) -> str:
    source = obj(block, "source", where.removesuffix("source"))
    kind = source.get("type")
    if kind == "url":
        return text(source, "url", f"{where}.")
    if kind == "base64":
        media = text(source, "media_type", f"{where}.")
        return f"data:{media};base64,{text(source, 'data', f'{where}.')}"
    raise bad(f"{where}.type", "must be 'base64' or 'url'.")


def _document(block: Body, where: str) -> Body:
    """A document of plain text; the model reads its title and context as lines before it."""
    source = obj(block, "source", f"{where}.")
    if source.get("type") != "text":
        raise bad(f"{where}.source.type", "must be 'text': other documents are not supported.")
    if obj(block, "citations", f"{where}.").get("enabled"):
        raise bad(f"{where}.citations", "citations are not supported.")
    lines = [block[name] for name in ("title", "context") if isinstance(block.get(name), str)]
    return _text_part("\n".join([*lines, text(source, "data", f"{where}.source.")]))


def _text_part(given: str) -> Body:
    return {"type": "text", "text": given}


def _joined(parts: list[Body], where: str) -> str:
    """The text of parts that must all be text."""
    if any(part["type"] != "text" for part in parts):
        raise bad(where, "must be text only.")
    return "\n".join(part["text"] for part in parts)


def _append(found: list[Body], role: str, parts: list[Body]) -> None:
    """Add parts to the last message if it is of this role, else as a message.

    Content that is all text becomes a string, which every template takes.
    """
    if found and found[-1]["role"] == role and "tool_calls" not in found[-1]:
        before = found[-1]["content"]
        if isinstance(before, list):
            before += parts
            return
        found.pop()
        parts = [_text_part(before), *parts]
    is_text = all(part["type"] == "text" for part in parts)
    content = "\n".join(part["text"] for part in parts) if is_text else parts
    found.append({"role": role, "content": content})
