"""Rows of tables, and texts: a template makes requests of them.

The template is `_template.toml` beside the object, else that of its model in the catalog, else the
column `prompt` or the text is what the user says.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import groupby
from typing import Any, BinaryIO

from backburner.domain.catalog import Model
from backburner.domain.dropped import Asked, Source, template_key
from backburner.domain.errors import InvalidLine, InvalidRequest, NotFound, TooLarge
from backburner.domain.finding import Finding
from backburner.ports import DropFormats, Environment, Table, Template
from backburner.services import submit
from backburner.services.drops import taking
from backburner.services.drops.ranges import Ranges
from backburner.services.drops.taking import Dropped, Replaced

#: Routes that a prompt can be asked on, the best first.
ROUTES = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings")

#: Column that names the request of a row; without it, its number does.
ID_COLUMN = "custom_id"

_ROWS: Mapping[str, Any] = {"prompt": "{prompt}"}
_TEXT: Mapping[str, Any] = {"prompt": "{text}"}

#: Most texts of one batch, which are noted in one transaction, and about as many bytes.
GROUP, _GROUP_BYTES = 50, 16_000_000

_TEMPLATE_BYTES = 64 * 1024
#: Most characters of a custom_id.
_NAME_LENGTH = 512


def take_rows(env: Environment, one: Dropped, formats: DropFormats) -> None:
    """Make a batch of a table's rows.

    Raises:
        Rejected: the table or its template is wrong, before any row is run.
        Replaced: it is not what was seen.
        Unfit: some rows are wrong.
    """
    template, model, route = _plan(env, one, formats, _ROWS)
    new = taking.new_batch(one, route=route)
    submit.check(new)
    with ExitStack() as stack:
        limit = env.limits.line_bytes
        table = formats.table(one.source, _stream(env, one, stack), cell_bytes=limit)
        _check_columns(table, template, one)
        lines = _lines(table, template, model, route)
        file = taking.made_file(env, one, lines)
    taking.accept(env, [one], file, new)


def together(texts: Sequence[Dropped]) -> Iterator[list[Dropped]]:
    """Texts that become one batch: told of at once, of one folder, and asking for the same."""

    def like(one: Dropped) -> tuple[str, bool, Asked]:
        return template_key(one.key), _can_name(one), one.asked

    for (_, can_name, _), some in groupby(sorted(texts, key=lambda one: str(like(one))), like):
        group: list[Dropped] = []
        size = 0
        for one in some:
            is_full = len(group) == GROUP or size + one.stat.size > _GROUP_BYTES or not can_name
            if group and is_full:
                yield group
                group, size = [], 0
            group.append(one)
            size += one.stat.size
        yield group


def take_texts(env: Environment, some: Sequence[Dropped], formats: DropFormats) -> None:
    """Make a batch of texts of one folder, each a request; what is wrong with one costs no other.

    Raises:
        Rejected: their template is wrong.
    """
    template, model, route = _plan(env, some[0], formats, _TEXT)
    new = taking.new_batch(some[0], route=route, on_invalid="skip")
    submit.check(new)
    found: list[tuple[Dropped, bytes]] = []
    for one in some:
        try:
            found.append((one, _text_line(env, one, template, model, route)))
        except Replaced:
            taking.note_replaced(one)
        except InvalidLine as error:
            finding = Finding(code=error.code, message=error.message, param=error.param)
            taking.reject(env, one, [finding])
    if not found:
        return
    group, lines = [one for one, _ in found], [line for _, line in found]
    key, named = group[0].key, group[0].metadata()
    if len(group) > 1:
        key = key.rpartition("/")[0] + "/"
        named |= {"dropped": f"{len(group)} texts"}
    new = replace(new, dropped_key=key, metadata=named)
    taking.accept(env, group, taking.made_file(env, group[0], lines), new)


def _plan(
    env: Environment, one: Dropped, formats: DropFormats, default: Mapping[str, Any]
) -> tuple[Template, Model, str]:
    """The template, the model and its route."""
    try:
        data = env.blobs.get(template_key(one.key), length=_TEMPLATE_BYTES + 1)
    except NotFound:
        data = b""
    if len(data) > _TEMPLATE_BYTES:
        raise TooLarge(f"A template has at most {_TEMPLATE_BYTES} bytes.")
    beside = formats.template(data) if data else None
    model = one.model
    if model is None and beside is not None and beside.model is not None:
        model = env.catalog.get(beside.model)
        if model is None:
            raise submit.no_model(beside.model)
    if model is None:
        model = taking.only_model(env, *ROUTES)
    route = next((route for route in ROUTES if route in model.routes), None)
    if route is None:
        raise InvalidRequest(f"The model '{model.name}' takes no prompts.", param="model")
    return beside or formats.template(model.template or default), model, route


def _stream(env: Environment, one: Dropped, stack: ExitStack) -> BinaryIO:
    """The table's bytes; those of Parquet are not read in their order."""
    if one.source is Source.PARQUET:
        return io.BufferedReader(stack.enter_context(Ranges(env.blobs, one.stat)))
    return stack.enter_context(taking.opened(env, one))


def _check_columns(table: Table, template: Template, one: Dropped) -> None:
    missing = sorted(set(template.columns) - set(table.columns))
    if missing:
        names = ", ".join(repr(name) for name in missing)
        there = ", ".join(repr(name) for name in table.columns[:50])
        raise InvalidRequest(
            f"The template needs {names}, and the columns are {there}. Put a template for them "
            f"at '{template_key(one.key)}', then the file again.",
            param=missing[0],
            code="missing_column",
        )


def _lines(
    table: Table, template: Template, model: Model, route: str
) -> Iterator[bytes | InvalidLine]:
    for number, row in enumerate(table.rows({*template.columns, ID_COLUMN}), 1):
        if isinstance(row, InvalidLine):
            yield row
            continue
        given = row.get(ID_COLUMN)
        custom_id = str(number if given is None else given)
        try:
            yield template.line(row, custom_id=custom_id, model=model.name, route=route)
        except InvalidLine as error:
            yield error


def _text_line(
    env: Environment, one: Dropped, template: Template, model: Model, route: str
) -> bytes:
    """The request of a text; raises InvalidLine."""
    limit = env.limits.line_bytes
    if one.stat.size > limit:
        raise InvalidLine("line_too_long", f"A text has at most {limit} bytes.")
    with taking.opened(env, one) as stream:
        data = stream.read()
    if not taking.is_as_seen(env, one):
        raise Replaced
    try:
        text = data.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise InvalidLine("invalid_text", "The file is not valid UTF-8.") from None
    if not text:
        raise InvalidLine("empty_text", "The file has no text.")
    row = {"text": text, "name": one.name}
    custom_id = one.name if _can_name(one) else "1"
    line = template.line(row, custom_id=custom_id, model=model.name, route=route)
    if len(line) > limit:  # planning would no more know whose it is
        raise InvalidLine("line_too_long", f"The text's request has more than {limit} bytes.")
    return line


def _can_name(one: Dropped) -> bool:
    """Whether its name can be that of its request, by which a batch of several finds it again."""
    return len(one.name) <= _NAME_LENGTH and one.name.isprintable()
