"""Templates: how a row of a table, or a text, becomes the body of a request.

| key | what it is |
|---|---|
| `prompt` | what the user says, with `{column}` for a cell; `{{` and `}}` are braces |
| `system` | what comes before it, in the same way |
| `model` | the model that is asked, if neither folder nor name of the file say |
| all else | goes into the body as it is: `max_tokens`, `temperature`, … |
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import msgspec

from backburner.domain.errors import InvalidLine, InvalidRequest
from backburner.wire import bodies
from backburner.wire.dropped.cells import as_text

_encode = msgspec.json.Encoder().encode

#: A brace that stands for itself, a column, or a brace that has no partner.
_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")

#: What only we may say of a request.
_OURS = frozenset({"messages", "input", "stream"})

#: A piece of text, and the column that comes after it.
Piece = tuple[str, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptTemplate:
    """A template that was checked."""

    model: str | None
    prompt: tuple[Piece, ...]
    system: tuple[Piece, ...]
    #: What else the body has.
    body: Mapping[str, Any]

    @classmethod
    def read(cls, given: bytes | Mapping[str, Any]) -> Self:
        """Read a TOML file or what the catalog holds; raises InvalidRequest that names the key."""
        found = dict(_parsed(given) if isinstance(given, bytes) else given)
        for name in ("prompt", "system", "model"):
            if not isinstance(found.get(name, ""), str):
                raise _bad(name, "must be a text")
        if not found.get("prompt"):
            raise _bad("prompt", "is missing")
        for name in _OURS & found.keys():
            raise _bad(name, "can't be set: the prompt makes it")
        try:
            _encode(found)
        except (TypeError, ValueError) as error:
            raise InvalidRequest(f"The template can't become JSON: {error}") from None
        return cls(
            prompt=_pieces(found.pop("prompt"), "prompt"),
            system=_pieces(found.pop("system", ""), "system"),
            model=found.pop("model", None) or None,
            body=found,
        )

    @property
    def columns(self) -> frozenset[str]:
        return frozenset(name for _, name in self.prompt + self.system if name is not None)

    def line(self, row: Mapping[str, object], *, custom_id: str, model: str, route: str) -> bytes:
        prompt, system = (_filled(pieces, row) for pieces in (self.prompt, self.system))
        body: dict[str, Any] = {"model": model}
        if route == bodies.CHAT:
            said = [("system", system)] if self.system else []
            body["messages"] = [
                {"role": role, "content": content} for role, content in [*said, ("user", prompt)]
            ]
        else:
            name = "prompt" if route == bodies.COMPLETIONS else "input"
            body[name] = f"{system}\n\n{prompt}" if self.system else prompt
        return _encode({"custom_id": custom_id, "url": route, "body": body | dict(self.body)})


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        return tomllib.loads(data.decode("utf-8-sig"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise InvalidRequest(f"The template is not valid TOML: {error}") from None


def _bad(name: str, problem: str) -> InvalidRequest:
    return InvalidRequest(f"'{name}' of the template {problem}.", param=name)


def _pieces(text: str, where: str) -> tuple[Piece, ...]:
    """The text, cut at its columns."""
    found: list[Piece] = []
    before, at = "", 0
    for token in _TOKEN.finditer(text):
        before += text[at : token.start()]
        at = token.end()
        if token[1] is not None:
            found.append((before, token[1].strip()))
            before = ""
        elif len(token[0]) == 2:
            before += token[0][0]
        else:
            raise _bad(where, f"has a '{token[0]}' alone: write '{token[0] * 2}' for a brace")
    rest = before + text[at:]
    return (*found, (rest, None)) if rest else tuple(found)


def _filled(pieces: tuple[Piece, ...], row: Mapping[str, object]) -> str:
    """The text of a row; raises InvalidLine."""
    found = []
    for before, name in pieces:
        if name is not None and name not in row:
            raise InvalidLine("missing_column", f"This row has no '{name}'.", param=name)
        found += [before, as_text(row[name], name) if name is not None else ""]
    return "".join(found)
