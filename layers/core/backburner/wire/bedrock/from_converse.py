"""A body of Bedrock's Converse in, the body of a chat completion out; text alone.

Members: Bedrock API reference, "Converse".
"""

from typing import Any

from backburner.domain.errors import InvalidRequest
from backburner.wire.bodies import Body

#: Members of `inferenceConfig`, and what chat completions call them.
_CONFIG = {
    "maxTokens": "max_tokens",
    "temperature": "temperature",
    "topP": "top_p",
    "topK": "top_k",
    "stopSequences": "stop",
}
_READ = frozenset(
    {"messages", "system", "inferenceConfig", "additionalModelRequestFields", "schemaVersion"}
)
#: Members that change nothing about the answer.
_HINTS = frozenset({"requestMetadata", "performanceConfig", "serviceTier"})

_ROLES = ("user", "assistant")


def is_converse(body: Body) -> bool:
    """Whether it is a body of Converse: its content is in blocks that have no type."""
    if body.keys() & (_READ - {"messages"}):
        return True
    messages = body.get("messages")
    first = messages[0] if isinstance(messages, list) and messages else None
    content = first.get("content") if isinstance(first, dict) else None
    block = content[0] if isinstance(content, list) and content else None
    return isinstance(block, dict) and "type" not in block


def chat_body(body: Body) -> Body:
    """The chat completion that asks the same, without a model; raises InvalidRequest."""
    for name, value in body.items():
        if name not in _READ | _HINTS and value not in (None, [], {}):
            raise _bad(name[:64], "is not supported")
    turns = body.get("messages")
    if not isinstance(turns, list) or not turns:
        raise _bad("messages", "must be a list of at least one message")
    messages = [_message(turn, f"messages[{number}]") for number, turn in enumerate(turns)]
    system = body.get("system")
    if system:
        messages.insert(0, {"role": "system", "content": _text(system, "system")})
    more = _object(body, "additionalModelRequestFields")
    if "messages" in more or "model" in more:
        raise _bad("additionalModelRequestFields", "can't have 'messages' or 'model'")
    config = _object(body, "inferenceConfig")
    unknown = next((name for name in config if name not in _CONFIG), None)
    if unknown is not None:
        raise _bad(f"inferenceConfig.{unknown[:64]}", "is not supported")
    asked = {_CONFIG[name]: value for name, value in config.items() if value not in (None, [])}
    return {"messages": messages} | asked | more


def _message(turn: Any, where: str) -> Body:
    if not isinstance(turn, dict) or turn.get("role") not in _ROLES:
        raise _bad(f"{where}.role", f"must be one of {', '.join(_ROLES)}")
    return {"role": turn["role"], "content": _text(turn.get("content"), f"{where}.content")}


def _text(blocks: Any, where: str) -> str:
    """The text of blocks, which must have nothing else."""
    if not isinstance(blocks, list) or not blocks:
        raise _bad(where, "must be a list of at least one block")
    texts = []
    for number, block in enumerate(blocks):
        text = block.get("text") if isinstance(block, dict) else None
        if not isinstance(text, str):
            raise _bad(f"{where}[{number}]", "must be a block of text; others are not supported")
        texts.append(text)
    return "\n".join(texts)


def _object(body: Body, name: str) -> Body:
    given = body.get(name)
    if given is not None and not isinstance(given, dict):
        raise _bad(name, "must be an object")
    return given or {}


def _bad(where: str, problem: str) -> InvalidRequest:
    return InvalidRequest(f"'{where}' {problem}.", param=where)
