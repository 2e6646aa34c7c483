"""Comma-separated values, row by row."""

import csv
import io
from collections.abc import Collection, Iterator
from typing import BinaryIO

from backburner.domain.errors import InvalidLine, InvalidRequest
from backburner.ports import Row, Table
from backburner.wire.dropped.columns import checked

#: What may stand between cells; a header shows which.
_DELIMITERS = ",;\t"


def table(stream: BinaryIO, *, cell_bytes: int) -> Table:
    """Read the header; cells may be in quotes, and have line ends in them.

    Args:
        stream: UTF-8, with a BOM or without.
        cell_bytes: most characters of a cell.

    Raises:
        InvalidRequest: the header is unfit; or, while rows are read, the file breaks off.
    """
    csv.field_size_limit(cell_bytes)
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
    try:
        header = text.readline(cell_bytes)
    except UnicodeDecodeError:
        raise _not_text(0) from None
    delimiter = max(_DELIMITERS, key=header.count)
    names = next(csv.reader([header], delimiter=delimiter), [])
    columns = checked([name.strip() for name in names])
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    return Table(columns=columns, rows=lambda wanted: _rows(reader, columns, wanted))


def _rows(
    reader: Iterator[list[str]], columns: list[str], wanted: Collection[str]
) -> Iterator[Row]:
    number = 0
    try:
        for cells in reader:
            if cells:
                number += 1
                yield _row(cells, columns, wanted)
    except csv.Error as error:
        raise InvalidRequest(f"Row {number + 1} can't be read: {error}.") from None
    except UnicodeDecodeError:
        raise _not_text(number) from None


def _row(cells: list[str], columns: list[str], wanted: Collection[str]) -> Row:
    if len(cells) > len(columns):
        return InvalidLine(
            "invalid_row", f"This row has {len(cells)} cells, the header {len(columns)}."
        )
    return {name: cell for name, cell in zip(columns, cells, strict=False) if name in wanted}


def _not_text(number: int) -> InvalidRequest:
    return InvalidRequest(f"The file is not valid UTF-8, in row {number + 1} or soon after.")
