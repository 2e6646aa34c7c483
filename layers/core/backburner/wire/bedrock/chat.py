"""The body of a chat completion, read once for all formats.

| parameter | what becomes of it |
|---|---|
| `messages` | text, images as data: URLs, calls of tools and their results |
| `max_completion_tokens`, `max_tokens`, `temperature`, `top_p`, `top_k`, `stop` | reach the model |
| `tools`, `tool_choice`, `response_format`, `reasoning_effort` | reach models that can be told |
| `user`, `metadata`, `seed`, `store`, `service_tier`, … | hints: ignored |
| `x_…` | for others: ignored |
| all else | refused, unless it is null, empty, or asks for nothing, as `n` of 1 does |
"""

import re
from dataclasses import dataclass, field
from typing import Any

import msgspec

from backburner.wire.bedrock.fields import bad, count, number, refuse_others, unsupported
from backburner.wire.bodies import Body

#: Parameters that are read here.
_READ = frozenset(
    {
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "model",
        "parallel_tool_calls",
        "reasoning_effort",
        "response_format",
        "stop",
        "temperature",
        "tool_choice",
        "tools",
        "top_k",
        "top_p",
    }
)
#: Parameters that never promise a certain answer. Those of the last line are servers' words for
#: going on from the assistant's last message, which Bedrock's models do by themselves.
_HINTS = frozenset(
    {
        *("metadata", "prompt_cache_key", "prompt_cache_retention", "safety_identifier", "seed"),
        *("service_tier", "store", "stream", "stream_options", "user", "verbosity"),
        *("add_generation_prompt", "continue_final_message"),
    }
)
_KNOWN = _READ | _HINTS

#: Values of other parameters that ask for nothing.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "function_call": ("none",),
    "logprobs": (False,),
    "min_p": (0,),
    "modalities": (["text"],),
    "n": (1,),
    "presence_penalty": (0,),
    "repetition_penalty": (1,),
    "top_logprobs": (0,),
}

_SYSTEM = ("system", "developer")
_DATA_URL = re.compile(r"data:image/(png|jpeg|jpg|gif|webp);base64,([A-Za-z0-9+/]+={0,2})")

_read = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True)
class Text:
    """Words of a message."""

    text: str


@dataclass(frozen=True, slots=True)
class Image:
    """An image in a message."""

    #: `png`, `jpeg`, `gif` or `webp`.
    format: str
    base64: str


@dataclass(frozen=True, slots=True)
class Call:
    """A model's call of a tool."""

    id: str
    name: str
    arguments: Body


@dataclass(frozen=True, slots=True)
class Result:
    """What a tool gave."""

    call_id: str
    text: str


Part = Text | Image | Call | Result


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side says until it is the other's turn; never nothing."""

    #: `user` or `assistant`.
    role: str
    parts: list[Part]

    @property
    def text(self) -> str:
        return "\n".join(part.text for part in self.parts if isinstance(part, Text))


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """What a chat completion asks for."""

    system: str
    #: In turn, the user's first.
    turns: list[Turn]
    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    top_k: int | None
    stop: list[str]
    #: Functions, as OpenAI has them: `name`, `description`, `parameters`, `strict`.
    tools: list[Body] = field(default_factory=list)
    #: `auto`, `none`, `required`, or the name of a function after a colon.
    tool_choice: str = "auto"
    #: Whether the model may call several tools at once.
    is_parallel: bool = True
    #: JSON schema that the answer must follow, as OpenAI has it: `name`, `schema`, `description`.
    schema: Body | None = None
    effort: str | None = None

    @property
    def uses_tools(self) -> bool:
        """Whether it names tools, or tells of calls of them."""
        spoken = (part for turn in self.turns for part in turn.parts)
        return bool(self.tools) or any(isinstance(part, Call | Result) for part in spoken)

    @property
    def has_images(self) -> bool:
        return any(isinstance(part, Image) for turn in self.turns for part in turn.parts)


def read(body: Body) -> Chat:
    """Read a body; raises InvalidRequest, also for what no model on Bedrock can be told."""
    refuse_others(body, known=_KNOWN, neutral=_NEUTRAL)
    system, turns = _messages(body.get("messages"))
    limit = count(body, "max_completion_tokens") or count(body, "max_tokens")
    tools = _tools(body.get("tools"))
    effort = body.get("reasoning_effort")
    if effort is not None and not isinstance(effort, str):
        raise bad("reasoning_effort", "must be a string.")
    return Chat(
        system=system,
        turns=turns,
        max_tokens=limit,
        temperature=number(body, "temperature"),
        top_p=number(body, "top_p"),
        top_k=count(body, "top_k"),
        stop=_stop(body.get("stop")),
        tools=tools,
        tool_choice=_tool_choice(body.get("tool_choice"), tools),
        is_parallel=body.get("parallel_tool_calls") is not False,
        schema=_schema(body.get("response_format")),
        effort=effort,
    )


# ---------------------------------------------------------------- messages


def _messages(given: Any) -> tuple[str, list[Turn]]:
    """The system's words, and the turns: messages of one role that follow each other are one."""
    if not isinstance(given, list):
        raise bad("messages", "must be a list.")
    system: list[str] = []
    turns: list[Turn] = []
    for index, message in enumerate(given):
        where = f"messages[{index}]"
        if not isinstance(message, dict):
            raise bad(where, "must be an object.")
        role = message.get("role")
        if role in _SYSTEM:
            system += [part.text for part in _texts(message, where)]
            continue
        spoken, parts = _spoken(message, where)
        if turns and turns[-1].role == spoken:
            turns[-1].parts.extend(parts)
        elif parts:
            turns.append(Turn(spoken, parts))
    if not turns or turns[0].role != "user":
        raise bad("messages", "must begin with a message of the user that is not blank.")
    return "\n".join(system), turns


def _spoken(message: Body, where: str) -> tuple[str, list[Part]]:
    """Whose turn a message is part of, and what it says."""
    match message.get("role"):
        case "user":
            return "user", _parts(message, where)
        case "tool":
            call_id = message.get("tool_call_id")
            if not isinstance(call_id, str) or not call_id:
                raise bad(f"{where}.tool_call_id", "must be the id of a call.")
            said = "\n".join(part.text for part in _texts(message, where))
            return "user", [Result(call_id, said)]
        case "assistant":
            return "assistant", [*_texts(message, where), *_calls(message, where)]
    raise bad(f"{where}.role", "must be 'system', 'developer', 'user', 'assistant' or 'tool'.")


def _texts(message: Body, where: str) -> list[Text]:
    parts = _parts(message, where)
    texts = [part for part in parts if isinstance(part, Text)]
    if len(texts) < len(parts):
        raise unsupported(f"{where}.content", "may show images only in the user's messages.")
    return texts


def _parts(message: Body, where: str) -> list[Part]:
    """What a message says, without what is blank: Bedrock takes no blank text."""
    content = message.get("content")
    if isinstance(content, str) or content is None:
        content = [{"type": "text", "text": content or ""}]
    if not isinstance(content, list):
        raise bad(f"{where}.content", "must be a string or a list of parts.")
    parts = [_part(part, f"{where}.content[{index}]") for index, part in enumerate(content)]
    return [part for part in parts if not isinstance(part, Text) or part.text.strip()]


def _part(part: Any, where: str) -> Text | Image:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in ("text", "refusal"):
        if not isinstance(part.get(kind), str):
            raise bad(f"{where}.{kind}", "must be a string.")
        return Text(part[kind])
    if kind == "image_url":
        given = part.get("image_url")
        url = given.get("url") if isinstance(given, dict) else given
        match = _DATA_URL.fullmatch(url) if isinstance(url, str) else None
        if match is None:
            raise unsupported(
                f"{where}.image_url",
                "must be a data: URL of a PNG, JPEG, GIF or WebP image in base64: batch jobs fetch "
                "no other.",
            )
        return Image(match[1].replace("jpg", "jpeg"), match[2])
    raise unsupported(f"{where}.type", "must be 'text' or 'image_url' for this model.")


def _calls(message: Body, where: str) -> list[Call]:
    calls: list[Call] = []
    for index, call in enumerate(message.get("tool_calls") or ()):
        place = f"{where}.tool_calls[{index}]"
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(call.get("id"), str):
            raise bad(place, "must have an 'id' and a 'function'.")
        if not isinstance(function.get("name"), str):
            raise bad(f"{place}.function.name", "must be a string.")
        calls.append(Call(call["id"], function["name"], _arguments(function, place)))
    return calls


def _arguments(function: Body, where: str) -> Body:
    given = function.get("arguments") or "{}"
    try:
        value = _read(given) if isinstance(given, str) else given
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        value = None
    if not isinstance(value, dict):
        raise bad(f"{where}.function.arguments", "must be a JSON object.")
    return value


# ---------------------------------------------------------------- the rest


def _stop(given: Any) -> list[str]:
    stops = [given] if isinstance(given, str) else given or []
    if not isinstance(stops, list) or not all(isinstance(one, str) and one for one in stops):
        raise bad("stop", "must be a text or a list of texts, none of them empty.")
    return stops


def _tools(given: Any) -> list[Body]:
    tools: list[Body] = []
    for index, tool in enumerate(given or ()):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise bad(f"tools[{index}]", "must be a function with a 'name'.")
        tools.append(function)
    return tools


def _tool_choice(given: Any, tools: list[Body]) -> str:
    if given is None or given in ("auto", "none"):
        return given or "auto"
    if given == "required" and tools:
        return "required"
    function = given.get("function") if isinstance(given, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if name is None or all(tool["name"] != name for tool in tools):
        raise bad("tool_choice", "must be 'auto', 'none', 'required' or one of 'tools'.")
    return f":{name}"


def _schema(given: Any) -> Body | None:
    kind = given.get("type") if isinstance(given, dict) else given
    if kind in (None, "text"):
        return None
    if kind != "json_schema":
        raise unsupported("response_format", "must be of type 'text' or 'json_schema' here.")
    schema = given.get("json_schema")
    if not isinstance(schema, dict) or not isinstance(schema.get("schema"), dict):
        raise bad("response_format.json_schema", "must have a 'schema'.")
    return schema
