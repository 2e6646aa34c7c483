"""What the body of each OpenAI route must hold, and how much text of it the model reads."""

from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any

import msgspec

from backburner.domain.errors import InvalidRequest

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
EMBEDDINGS = "/v1/embeddings"
RESPONSES = "/v1/responses"

#: More tokens than any model can write; keeps the number small enough for every store.
MOST_TOKENS = 2**31 - 1

#: Templates write tools as indented JSON: at most so many times the bytes of the compact form.
_INDENTED = 4

_Text = Annotated[str, msgspec.Meta(min_length=1)]
_Limit = Annotated[int, msgspec.Meta(ge=1, le=MOST_TOKENS)]

#: Parts of a message that a model sees rather than reads: what they cost, only its server knows.
_SEEN = frozenset({"image_url"})

Body = dict[str, Any]

_write = msgspec.json.Encoder().encode


class _Turn(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A message of nothing but text."""

    role: _Text
    content: str


class _PlainChat(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A chat of such messages, with what most add: whatever is rarer is looked at by itself."""

    model: _Text
    messages: Annotated[list[_Turn], msgspec.Meta(min_length=1)]
    max_completion_tokens: _Limit | None = None
    max_tokens: _Limit | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stream: bool | None = None
    user: str | None = None


_read_plain_chat = msgspec.json.Decoder(_PlainChat).decode


class Measure(msgspec.Struct, frozen=True, gc=False):
    """How much a body asks for, and of which model."""

    model: str
    #: Bytes of text that the model reads, bounded from above; of several prompts, the longest.
    prompt_bytes: int
    message_count: int
    #: 0 if the body names no limit.
    max_tokens: int


def measure(route: str, body: Body) -> Measure:
    """Check a body; raises InvalidRequest naming the field that is wrong."""
    model = body.get("model")
    if type(model) is not str or not model:
        raise InvalidRequest("'model' must be the name of a model.", param="model")
    if (stream := body.get("stream")) is not None and stream is not False:
        raise InvalidRequest("'stream' must be false: nobody is there to read it.", param="stream")
    check = _CHECKS.get(route)
    if check is None:
        raise InvalidRequest(f"There is no route {route}.", param="url")
    return check(body)


def measure_plain(route: str, data: bytes | msgspec.Raw) -> Measure | None:
    """Check a body that is like most, as it is read; None: only `measure` can tell.

    It says the same of the object in these bytes, in twice the time.
    """
    if route != CHAT:
        return None
    try:
        chat = _read_plain_chat(data)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    if chat.stream:
        return None
    turns = chat.messages
    total = 0
    for turn in turns:
        content = turn.content
        total += len(content) if content.isascii() else len(content.encode())
    limit = chat.max_completion_tokens or chat.max_tokens or 0
    return Measure(chat.model, total, len(turns), limit)


def nesting(value: object) -> int:
    """Levels of lists and objects; 0 for a plain value."""
    depth = 0
    level: list[Any] = [value]
    while level := [item for item in level if type(item) is dict or type(item) is list]:
        depth += 1
        level = [
            child for item in level for child in (item.values() if type(item) is dict else item)
        ]
    return depth


def text(route: str, body: Body) -> str:
    """The text that the model reads; of several prompts, the longest."""
    if route == CHAT:
        return "\n".join(_chat_texts(body))
    if route == RESPONSES:
        found = body.get("input")
        rest = [body[name] for name in ("instructions", "tools") if body.get(name) is not None]
        return "\n".join(map(_as_text, [*rest, found]))
    prompts = body.get("prompt" if route == COMPLETIONS else "input")
    if isinstance(prompts, str):
        return prompts
    texts = [one for one in prompts or () if isinstance(one, str)]
    return max(texts, key=size, default="")


def size(given: str) -> int:
    """Bytes of a text in UTF-8."""
    return len(given) if given.isascii() else len(given.encode())


# ---------------------------------------------------------------- chat completions


def _chat(body: Body) -> Measure:
    messages = body.get("messages")
    if type(messages) is not list or not messages:
        raise InvalidRequest("'messages' must be a list of at least one message.", param="messages")
    total = 0
    for number, message in enumerate(messages):
        if type(message) is dict and len(message) == 2 and type(message.get("role")) is str:
            content = message.get("content")
            if type(content) is str:
                total += len(content) if content.isascii() else len(content.encode())
                continue
        total += _message(message, f"messages[{number}]")
    if "tools" in body or "functions" in body:
        total += _INDENTED * _json_size(body, ("tools", "functions"))
    if "response_format" in body or "documents" in body:
        total += _json_size(body, ("response_format", "documents"))
    limit = _max_tokens(body, ("max_completion_tokens", "max_tokens"))
    return Measure(body["model"], total, len(messages), limit)


def _message(message: Any, where: str) -> int:
    """Check one message; its JSON is never shorter than the text in it."""
    if not isinstance(message, dict):
        raise InvalidRequest(f"'{where}' must be an object.", param=where)
    role = message.get("role")
    if not isinstance(role, str) or not role:
        raise InvalidRequest(f"'{where}.role' must be a string.", param=f"{where}.role")
    content = message.get("content")
    unread = 0
    if isinstance(content, list):
        for number, part in enumerate(content):
            unread += _part(part, f"{where}.content[{number}]")
    elif content is None:
        if not (message.get("tool_calls") or message.get("function_call")):
            raise InvalidRequest(
                f"'{where}.content' is missing: a message without it must call a tool.",
                param=f"{where}.content",
            )
    elif not isinstance(content, str):
        raise InvalidRequest(
            f"'{where}.content' must be a string or a list of parts.", param=f"{where}.content"
        )
    return len(_write(message)) - unread


def _part(part: Any, where: str) -> int:
    """Check a part; returns its bytes if they are no text."""
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        raise InvalidRequest(f"'{where}' must be an object with a 'type'.", param=where)
    if part["type"] == "text" and not isinstance(part.get("text"), str):
        raise InvalidRequest(f"'{where}.text' must be a string.", param=f"{where}.text")
    return len(_write(part)) if part["type"] in _SEEN else 0


def _chat_texts(body: Body) -> Iterator[str]:
    for name in ("tools", "functions"):
        if body.get(name) is not None:
            yield _as_text(body[name])
    for message in body.get("messages", ()):
        content = message.get("content")
        if isinstance(content, str):
            yield content
        for part in content if isinstance(content, list) else ():
            if part.get("type") in _SEEN:
                continue
            text_of_part = part.get("text")
            yield text_of_part if isinstance(text_of_part, str) else _as_text(part)
        rest = {k: v for k, v in message.items() if k not in ("role", "content")}
        if rest:
            yield _as_text(rest)


# ---------------------------------------------------------------- the other routes


def _completions(body: Body) -> Measure:
    limit = _max_tokens(body, ("max_tokens",))
    return Measure(body["model"], _longest(body, "prompt"), 1, limit)


def _embeddings(body: Body) -> Measure:
    # An embedding has no answer: its one token is what `max_tokens` 0 stands for.
    return Measure(body["model"], _longest(body, "input"), 1, 0)


def _responses(body: Body) -> Measure:
    given = body.get("input")
    if not given or not isinstance(given, str | list):
        raise InvalidRequest("'input' must be a text or a list of items.", param="input")
    if isinstance(given, list) and not all(isinstance(item, dict) for item in given):
        raise InvalidRequest("Each item of 'input' must be an object.", param="input")
    total = size(given) if isinstance(given, str) else len(_write(given))
    total += _json_size(body, ("instructions",)) + _INDENTED * _json_size(body, ("tools",))
    count = 1 if isinstance(given, str) else len(given)
    limit = _max_tokens(body, ("max_output_tokens",))
    return Measure(body["model"], total, count + 1, limit)


_CHECKS: dict[str, Callable[[Body], Measure]] = {
    CHAT: _chat,
    COMPLETIONS: _completions,
    EMBEDDINGS: _embeddings,
    RESPONSES: _responses,
}


def _longest(body: Body, name: str) -> int:
    """Bytes of the longest prompt; a prompt of token ids counts one for each."""
    given = body.get(name)
    if given and isinstance(given, str):
        return size(given)
    if given and isinstance(given, list):
        if _are_tokens(given):
            return len(given)
        if all(isinstance(one, str) and one for one in given):
            return max(map(size, given))
        if all(isinstance(one, list) and one and _are_tokens(one) for one in given):
            return max(map(len, given))
    raise InvalidRequest(
        f"'{name}' must be a text, a list of texts, a list of tokens or a list of such lists; "
        "none of them empty.",
        param=name,
    )


def _are_tokens(given: Iterable[object]) -> bool:
    return all(type(one) is int and one >= 0 for one in given)


def _max_tokens(body: Body, names: tuple[str, ...]) -> int:
    found = 0
    for name in names:
        limit = body.get(name)
        if limit is None:
            continue
        if type(limit) is not int or not 0 < limit <= MOST_TOKENS:
            raise InvalidRequest(
                f"'{name}' must be an integer from 1 to {MOST_TOKENS}.", param=name
            )
        found = found or limit
    return found


def _json_size(body: Body, names: tuple[str, ...]) -> int:
    return sum(len(_write(body[name])) for name in names if body.get(name) is not None)


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else _write(value).decode()
