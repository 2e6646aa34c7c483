"""The run of a job: its records, asked of the local model side by side, and what became of them."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import secrets
import string
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import msgspec

from backburner_local.emulators.bedrock.families import (
    Answer,
    BadRecord,
    family_of,
)
from backburner_local.emulators.bedrock.inputs import InputFile, Record, read_record
from backburner_local.emulators.bedrock.job import Job
from backburner_local.emulators.bedrock.knobs import Knobs, is_chosen
from backburner_local.emulators.bedrock.ledger import Ledger, Ran, digest
from backburner_local.emulators.bedrock.lines import open_lines, read_lines
from backburner_local.emulators.bedrock.local_model import LocalModel, ModelUnavailable
from backburner_local.emulators.bedrock.models import FoundationModel
from backburner_local.emulators.bedrock.output import write_output
from backburner_local.emulators.objects import Objects, ObjectUnavailable
from backburner_local.emulators.wire import Message

_ID_LETTERS = string.ascii_uppercase + string.digits
_ID_LENGTH = 11

#: Output is written again when there is this much more of it: all in all, a few times its size.
_GROWTH = 1.3


class Line(msgspec.Struct, omit_defaults=True):
    """One line of the output."""

    recordId: str  # noqa: N815 - AWS's names
    modelInput: msgspec.Raw  # noqa: N815
    modelOutput: Message | None = None  # noqa: N815
    error: Message | None = None


class _Processed(msgspec.Struct):
    """A record that was processed, as the spool keeps it."""

    number: int
    is_success: bool
    input_tokens: int
    output_tokens: int
    #: Null: it is missing in the output.
    line: msgspec.Raw


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What runs share."""

    knobs: Callable[[], Knobs]
    objects: Objects
    model: LocalModel
    ledger: Ledger
    #: How many records are asked at once, over all jobs.
    limit: asyncio.Semaphore


_MISSING = msgspec.Raw(b"null")
_read_processed = msgspec.json.Decoder(_Processed).decode


class Run:
    """Processes a job's records until all are processed, or it is halted."""

    def __init__(
        self,
        job: Job,
        base_model: FoundationModel,
        files: list[InputFile],
        around: Surroundings,
        spool: Path,
    ) -> None:
        self._job = job
        self._base_model = base_model
        self._files = files
        self._around = around
        self._spool = spool
        #: Places of all records: file, and line in the file.
        self._places = [(f, n) for f, file in enumerate(files) for n in range(len(file.lines))]
        self._results: list[dict[int, bytes]] = [{} for _ in files]
        self._is_halted = False
        #: Whether a record was left because of that.
        self._was_cut_short = False
        self._is_worked_off = asyncio.Event()
        self._flushed = 0

    def halt(self) -> None:
        """Process no more records; those that the model works on are finished."""
        self._is_halted = True

    async def go(self) -> bool:
        """Process, write the output, and tell whether all that should be is processed.

        Raises:
            ObjectUnavailable: the output can't be written.
        """
        waiting = iter(self._waiting(self._take_up()))
        workers = min(self._around.knobs().concurrency, len(self._places))
        with open_lines(self._spool) as spool:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keep_flushing())
                tasks = [group.create_task(self._work(waiting, spool)) for _ in range(workers)]
                await asyncio.gather(*tasks)
                self._is_worked_off.set()
        counts = self._job.counts
        if counts.processed < counts.total and self._around.knobs().early_total == "processed":
            counts.total = counts.processed
        await self._flush()
        return next(waiting, None) is None and not self._was_cut_short

    def _waiting(self, done: set[int]) -> Iterator[int]:
        """Numbers of the records to process, until the job's time is over."""
        part = self._job.fate.partial_at
        most = len(self._places) if part is None else int(len(self._places) * part)
        left = most - len(done)
        for number in range(len(self._places)):
            if left <= 0:
                return
            if number not in done:
                left -= 1
                yield number

    def _take_up(self) -> set[int]:
        """Take over what an earlier run of the job processed; returns the records' numbers."""
        counts = self._job.counts
        counts.processed = counts.succeeded = counts.failed = 0
        counts.input_tokens = counts.output_tokens = 0
        done: set[int] = set()
        for line in read_lines(self._spool):
            processed = _read_processed(line)
            done.add(processed.number)
            self._count(processed)
        return done

    async def _work(self, waiting: Iterator[int], spool: FileIO) -> None:
        for number in waiting:
            async with self._around.limit:
                if self._is_halted:
                    self._was_cut_short = True
                    return
                processed, ran = await self._process(number)
            spool.write(msgspec.json.encode(processed) + b"\n")
            if ran is not None:  # last: a kill before it must not look like a record paid twice
                self._around.ledger.note(ran)
            self._count(processed)

    def _count(self, processed: _Processed) -> None:
        counts = self._job.counts
        counts.processed += 1
        counts.succeeded += processed.is_success
        counts.failed += not processed.is_success
        counts.input_tokens += processed.input_tokens
        counts.output_tokens += processed.output_tokens
        if processed.line != _MISSING:
            file, line = self._places[processed.number]
            self._results[file][line] = bytes(processed.line)

    # ---- one record

    async def _process(self, number: int) -> tuple[_Processed, Ran | None]:
        """What became of a record, and what the model was paid for, if it was."""
        file, line = self._places[number]
        record = read_record(self._files[file].lines[line])
        knobs = self._around.knobs()
        record_id = record.recordId or _new_record_id()
        if knobs.seconds_per_record:
            await asyncio.sleep(knobs.seconds_per_record * knobs.time_scale)
        told = Line(recordId=record_id, modelInput=record.modelInput)
        if is_chosen(number, knobs.fail_records_percent):
            told.error = _error(knobs.record_failure_code, knobs.record_failure)
            return _failed(number, told), None
        answer = await self._answer(record, told)
        if answer is None:
            return _failed(number, told), None
        is_missing = is_chosen(number, knobs.drop_records_percent)
        processed = _Processed(
            number,
            is_success=True,
            input_tokens=answer.input_tokens,
            output_tokens=answer.output_tokens,
            line=_MISSING if is_missing else _raw(told),
        )
        return processed, Ran(self._job.id, record_id, digest(record.modelInput))

    async def _answer(self, record: Record, told: Line) -> Answer | None:
        """The model's answer, which is put into the line; None: the line got an error."""
        seconds = self._around.knobs().record_timeout_seconds
        started_at = time.perf_counter()
        try:
            body = msgspec.json.decode(record.modelInput)
            if not isinstance(body, dict):
                raise BadRecord("Malformed input request: #: expected type: object.")
            family = family_of(self._base_model.family, is_converse=self._job.is_converse)
            asked = msgspec.json.encode(family.read(body))
            async with asyncio.timeout(seconds):
                status, said = await self._around.model.answer(family.route, asked)
            if status >= 300:
                told.error = _error(_code(status), _complaint(said))
                return None
            latency_ms = round((time.perf_counter() - started_at) * 1000)
            answer = Answer(msgspec.json.decode(said), latency_ms, self._base_model.id)
            told.modelOutput = family.write(body, answer)
        except BadRecord as error:
            told.error = _error(400, str(error))
        except ModelUnavailable as error:
            told.error = _error(503, str(error))
        except TimeoutError:
            told.error = _error(424, "The model took too long to answer.")
        except (msgspec.DecodeError, KeyError, IndexError, TypeError, AttributeError) as error:
            told.error = _error(500, f"The model's answer could not be read: {error!r}")
        else:
            return answer
        return None

    # ---- output

    async def _keep_flushing(self) -> None:
        while self._around.knobs().output_while_running:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._around.knobs().flush_seconds):
                    await self._is_worked_off.wait()
                    return
            processed = self._job.counts.processed
            if processed and processed >= self._flushed * _GROWTH:
                with contextlib.suppress(ObjectUnavailable):  # the last one tells
                    await self._flush()

    async def _flush(self) -> None:
        counts = copy.copy(self._job.counts)
        self._flushed = counts.processed
        await asyncio.to_thread(
            write_output,
            self._around.objects,
            self._job,
            counts,
            self._files,
            [dict(lines) for lines in self._results],
            is_flat=self._around.knobs().nested_outputs == "flat",
        )


def _new_record_id() -> str:
    return "".join(secrets.choice(_ID_LETTERS) for _ in range(_ID_LENGTH))


def _failed(number: int, told: Line) -> _Processed:
    return _Processed(number, is_success=False, input_tokens=0, output_tokens=0, line=_raw(told))


def _raw(line: Line) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(line))


def _error(code: int, message: str) -> Message:
    return {"errorCode": code, "errorMessage": message}


def _code(status: int) -> int:
    """The code of a record's error for a status of the local model."""
    if status in {408, 504}:
        return 424
    return status if status in {400, 429, 503} else 400 if status < 500 else 500


def _complaint(body: bytes) -> str:
    try:
        error = msgspec.json.decode(body)["error"]
        return str(error["message"] if isinstance(error, dict) else error)
    except (msgspec.DecodeError, KeyError, TypeError):
        return body[:500].decode(errors="replace")
