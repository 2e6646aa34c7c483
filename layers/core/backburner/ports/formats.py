"""Formats of lines and shards, as the services see them."""

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

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

    def outcomes(self, requests: Mapping[int, str], result: Iterator[bytes]) -> Iterator[Outcome]:
        """One outcome for each request (line number to custom_id), whatever the result holds.

        Lines that are missing, unreadable or nobody's come out as `missing_result`; of two
        outcomes of one line, the first stands.
        """

    def keep(self, outcome: Outcome) -> bytes:
        """One line of a result object, without the newline."""

    def kept(self, line: bytes) -> Outcome:
        """Read a line of a result object back."""


#: Counts the tokens of a text.
TokenCounter = Callable[[str], int]
