"""Cells of tables as text."""

from datetime import date, datetime, time, timedelta
from decimal import Decimal

import msgspec

from backburner.domain.errors import InvalidLine

_encode = msgspec.json.Encoder().encode


def as_text(value: object, column: str) -> str:
    """What a prompt says for a cell: an empty one is no text. Raises InvalidLine.

    Args:
        value: of the cell.
        column: that it is in.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float | Decimal | timedelta):
        return str(value)
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    try:
        return value.decode() if isinstance(value, bytes) else _encode(value).decode()
    except (UnicodeDecodeError, TypeError, ValueError):
        raise InvalidLine(
            "invalid_cell", f"The cell in column '{column}' is no text.", param=column
        ) from None
