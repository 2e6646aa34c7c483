"""Write what a batch and its retries answered into one file, in input order."""

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import BinaryIO, Self

from backburner.domain.batch import Batch
from backburner.domain.errors import NotFound
from backburner.domain.file import LineStarts
from backburner.ports import Environment
from backburner.services import files, retrying


class Merged:
    """The file that a retry writes beside its own output; nothing for any other batch.

    Without all outputs of the batches before, there is none: it would look complete.
    """

    def __init__(self, env: Environment, batch: Batch, noted: LineStarts) -> None:
        self._env = env
        self._batch = batch
        self._stack = ExitStack()
        self._stream: BinaryIO | None = None
        self._earlier: Iterator[tuple[int, bytes]] = iter(())
        self._next: tuple[int, bytes] | None = None
        #: Where its lines begin; without lines, there is no such file.
        self._noted = noted

    @property
    def file_id(self) -> str:
        return files.result_id(self._batch.id, "merged")

    def __enter__(self) -> Self:
        if self._batch.retry_of is not None:
            with suppress(NotFound):
                self._earlier = retrying.earlier_answers(self._env, self._batch)
                self._next = next(self._earlier, None)
                key = files.blob_key(self._batch.tenant, self.file_id)
                write = self._env.blobs.write(key, content_type="application/jsonl")
                self._stream = self._stack.enter_context(write)
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            self._before(None)
        self._stack.__exit__(*error)  # type: ignore[arg-type]

    def add(self, line: int, data: bytes) -> None:
        """Take a line of the batch's own output; they come in order."""
        if self._stream is not None:
            self._before(line)
            self._write(data)

    def _before(self, line: int | None) -> None:
        """Write the earlier answers that come before this line, or all that are left."""
        while self._next is not None and (line is None or self._next[0] < line):
            self._write(self._next[1])
            self._next = next(self._earlier, None)

    def _write(self, data: bytes) -> None:
        if self._stream is not None:
            self._stream.write(data)
            self._noted.add(len(data))
