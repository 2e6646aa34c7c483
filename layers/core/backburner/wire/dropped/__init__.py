"""What users drop, besides files that can be run as they are: read by streaming, in little memory.

Only the function that takes dropped objects imports this.
"""

from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from backburner.domain.dropped import Source
from backburner.ports import Shape, Table
from backburner.wire import json_stream
from backburner.wire.dropped import lines
from backburner.wire.dropped.template import PromptTemplate


class Dropped:
    """The formats of the drop folder."""

    def shape(self, line: bytes, *, may_be_body: bool) -> Shape:
        return lines.shape(line, may_be_body=may_be_body)

    def addressed(self, line: bytes, shape: Shape, *, number: int, model: str | None) -> bytes:
        return lines.addressed(line, shape, number=number, model=model)

    def items(self, stream: BinaryIO, *, item_bytes: int) -> Iterator[bytes | None]:
        return json_stream.read_items(stream, value_bytes=item_bytes)

    def table(self, source: Source, stream: BinaryIO, *, cell_bytes: int) -> Table:
        if source is Source.PARQUET:
            from backburner.wire.dropped import parquet  # its reader takes half a second

            return parquet.table(stream)
        from backburner.wire.dropped import csv_file

        return csv_file.table(stream, cell_bytes=cell_bytes)

    def template(self, given: bytes | Mapping[str, Any]) -> PromptTemplate:
        return PromptTemplate.read(given)
