"""Parquet, a piece of a row group at a time."""

from collections.abc import Collection, Iterator
from typing import BinaryIO

import pyarrow
import pyarrow.parquet

from backburner.domain.errors import InvalidRequest
from backburner.ports import Row, Table
from backburner.wire.dropped.columns import checked

#: Rows that are in memory at once.
_ROWS = 1024
#: Bytes of a column that are read at once.
_BUFFER_BYTES = 1 << 20

#: What the reader raises for a file that is none, or broken.
_BROKEN = (pyarrow.ArrowException, OSError, ValueError, ArithmeticError, KeyError)


def table(stream: BinaryIO) -> Table:
    """Read the file's footer.

    Args:
        stream: that can seek.

    Raises:
        InvalidRequest: it is no Parquet file; or, while rows are read, it is broken.
    """
    try:
        file = pyarrow.parquet.ParquetFile(stream, pre_buffer=False, buffer_size=_BUFFER_BYTES)
        columns = checked(file.schema_arrow.names)
    except _BROKEN as error:
        raise InvalidRequest(f"The file is no Parquet file that can be read: {error}") from None
    return Table(columns=columns, rows=lambda wanted: _rows(file, wanted))


def _rows(file: pyarrow.parquet.ParquetFile, wanted: Collection[str]) -> Iterator[Row]:
    number = 0
    names = [name for name in file.schema_arrow.names if name in wanted]
    if not names:  # rows that nothing is asked of
        yield from ({} for _ in range(file.metadata.num_rows))
        return
    try:
        for piece in file.iter_batches(_ROWS, columns=names, use_threads=False):
            cells = {name: piece.column(name).to_pylist() for name in names}
            for at in range(piece.num_rows):
                number += 1
                yield {name: values[at] for name, values in cells.items()}
    except _BROKEN as error:
        raise InvalidRequest(f"Row {number + 1} can't be read: {error}") from None
