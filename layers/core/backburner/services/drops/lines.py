"""Files of lines, and JSON: run as they are, or made into lines that name their model."""

from collections.abc import Iterable, Iterator
from typing import BinaryIO

from backburner.domain.dropped import Source
from backburner.domain.errors import InvalidLine
from backburner.domain.finding import Finding
from backburner.ports import DropFormats, Environment, Shape
from backburner.services import submit
from backburner.services.drops import taking
from backburner.services.drops.taking import Dropped, Unfit
from backburner.services.reading import numbered_lines

#: Route of what names none.
ROUTE = "/v1/chat/completions"

#: So many lines are searched for one that can be read.
_LOOKED_AT = 1000

#: Lines and their numbers; None stands for one that is too long.
Numbered = Iterator[tuple[int, bytes | None]]


def take(env: Environment, one: Dropped, formats: DropFormats) -> None:
    """Make a batch of the object's lines or items; the first tells whose format all are in.

    Raises:
        Rejected: it asks for something that is not there.
        Replaced: it is not what was seen.
        Unfit: its lines can't be run.
    """
    shape = _shape(env, one, formats)
    new = taking.new_batch(one, route=shape.route or ROUTE)
    submit.check(new)
    model = one.model
    if model is None and not shape.has_model:
        model = taking.only_model(env, new.route)
    if one.source is Source.LINES and model is None:
        file = taking.copied_file(env, one)
    else:
        name = model.name if model is not None else None
        with taking.opened(env, one) as stream:
            found = _numbered(env, one, formats, stream)
            file = taking.made_file(env, one, _addressed(env, formats, found, shape, name))
    taking.accept(env, [one], file, new, dialect=shape.dialect)


def _shape(env: Environment, one: Dropped, formats: DropFormats) -> Shape:
    """Of the first line that can be read; what has none is left to planning to explain."""
    with taking.opened(env, one) as stream:
        for number, data in _numbered(env, one, formats, stream):
            if number > _LOOKED_AT:
                break
            try:
                return formats.shape(data or b"", may_be_body=one.source is Source.JSON)
            except InvalidLine as error:
                if error.code == "unknown_format":
                    finding = Finding(line=number, code=error.code, message=error.message)
                    raise Unfit([finding]) from None
    return Shape(dialect="openai", has_model=True)


def _numbered(env: Environment, one: Dropped, formats: DropFormats, stream: BinaryIO) -> Numbered:
    if one.source is Source.LINES:
        return numbered_lines(stream, env.limits.line_bytes)
    return enumerate(formats.items(stream, item_bytes=env.limits.line_bytes), 1)


def _addressed(
    env: Environment, formats: DropFormats, found: Numbered, shape: Shape, model: str | None
) -> Iterable[bytes | InvalidLine]:
    """A line for each number: findings name those of the file."""
    last = 0
    for number, data in found:
        yield from [b""] * (number - last - 1)
        last = number
        if data is None:
            limit = env.limits.line_bytes
            yield InvalidLine("line_too_long", f"This line is longer than {limit} bytes.")
        else:
            yield formats.addressed(data, shape, number=number, model=model)
