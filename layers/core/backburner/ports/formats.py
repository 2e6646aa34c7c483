"""Formats of lines and shards, as the services see them."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

from backburner.domain.dropped import Source
from backburner.domain.errors import InvalidLine
from backburner.domain.request import Outcome, Request


class Dialect(Protocol):
    """The format of a batch's lines and results: a wire format, seen from inside."""

    @property
    def member(self) -> str:
        """Member of a line that holds what the model is asked, for findings to name."""

    @property
    def has_error_file(self) -> bool:
        """Whether what failed comes out in a file of its own."""

    def parse(self, line: int, data: bytes, *, route: str) -> Request:
        """Read one line of an input file; raises InvalidLine."""

    def prompt(self, request: Request) -> str:
        """The text that the model will read."""

    def render(self, outcome: Outcome, *, batch_id: str) -> bytes:
        """Write one line of a result file, without the newline."""

    def head(self, line: bytes) -> tuple[int, str]:
        """Line number and custom_id of a line that `render` wrote."""


class ShardFormat(Protocol):
    """The format in which shards travel to a model's container and come back."""

    def encode(self, request: Request) -> bytes:
        """One line of a shard, without the newline."""

    def head(self, line: bytes) -> tuple[int, str]:
        """Line number and custom_id of a shard's line."""

    def names(self, lines: Iterable[bytes]) -> dict[int, str]:
        """The custom_ids of a shard's lines, by line number."""

    def numbered(self, line: bytes, number: int) -> bytes:
        """A shard's line with another line number, without the newline."""

    def outcomes(self, requests: Mapping[int, str], result: Iterator[bytes]) -> Iterator[Outcome]:
        """One outcome for each request (line number to custom_id), whatever the result holds.

        Lines that are missing, unreadable or nobody's come out as `missing_result`; of two
        outcomes of one line, the first stands.
        """

    def response_status(self, outcome: Outcome) -> str:
        """Status of the response whose outcome it is: `completed`, `incomplete` or `failed`."""

    @property
    def written_dialect(self) -> str:
        """The dialect whose lines of output files are kept as they are."""

    def keep(self, outcomes: Iterable[Outcome], *, batch_id: str | None = None) -> bytes:
        """Lines of a result object.

        With the id of the batch, a success is the line of its output file in `written_dialect`.
        """

    def written(self, data: bytes, batch_id: str) -> list[int]:
        """Numbers of lines that are kept as they are written; none if not all of these are."""

    def kept(self, line: bytes) -> Outcome:
        """Read a line of a result object back."""

    def text(self, body: bytes) -> str | None:
        """What the model says in an answer, or None: it says no text, or more than text."""


#: Counts the tokens of a text.
TokenCounter = Callable[[str], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What one line or item of a dropped file shows of all: whose format they are in."""

    dialect: str
    #: That the line names; None: it names none.
    route: str | None = None
    #: Whether the line names a model.
    has_model: bool = False


#: Cells by column, or what is wrong with the row.
Row = Mapping[str, object] | InvalidLine


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of a dropped file."""

    columns: Sequence[str]
    #: Reads these columns, row by row; raises InvalidRequest where the file breaks off.
    rows: Callable[[Collection[str]], Iterator[Row]]


class Template(Protocol):
    """How rows and texts become requests."""

    @property
    def model(self) -> str | None:
        """The model that it names."""

    @property
    def columns(self) -> Collection[str]:
        """The columns that it needs."""

    def line(self, row: Mapping[str, object], *, custom_id: str, model: str, route: str) -> bytes:
        """The request of a row, as a line of OpenAI's; raises InvalidLine."""


class DropFormats(Protocol):
    """What users drop, besides files that can be run as they are."""

    def shape(self, line: bytes, *, may_be_body: bool) -> Shape:
        """Recognise a line; raises InvalidLine. A bare body is one of OpenAI's."""

    def addressed(self, line: bytes, shape: Shape, *, number: int, model: str | None) -> bytes:
        """The line for this model, named by its number if it has no name.

        What can't be read is returned as it is, for its dialect to say why.
        """

    def items(self, stream: BinaryIO, *, item_bytes: int) -> Iterator[bytes | None]:
        """Items of a JSON list, or the one object, a line each; None stands for one too long.

        Raises InvalidRequest.
        """

    def table(self, source: Source, stream: BinaryIO, *, cell_bytes: int) -> Table:
        """Open a file of rows; a Parquet file must be able to seek. Raises InvalidRequest."""

    def template(self, given: bytes | Mapping[str, Any]) -> Template:
        """Read a template: a TOML file, or what the catalog holds; raises InvalidRequest."""
