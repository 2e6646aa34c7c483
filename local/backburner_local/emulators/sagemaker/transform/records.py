"""Records of an object: split into payloads, filtered, joined with their answers, put together.

Rules: developer guide, "Use Batch Transform" and "Associate Prediction Results with Input Records".
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from backburner_local.emulators.sagemaker.transform import paths
from backburner_local.emulators.sagemaker.transform.checks import media_type

MEGABYTE = 1024 * 1024

INPUT, OUTPUT = "SageMakerInput", "SageMakerOutput"


class BadRecord(Exception):  # noqa: N818 - told in the job's log
    """A record can't be sent, or its answer not be used."""


@dataclass(frozen=True, slots=True)
class Payload:
    """What one invocation sends, and the records that it is of, as they are in the object."""

    body: bytes
    records: tuple[bytes, ...]

    @property
    def is_large(self) -> bool:
        """Whether to send it in one piece would hold up everything else."""
        return len(self.body) > MEGABYTE // 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Handling:
    """How a job wants its records handled."""

    is_split: bool
    is_many: bool
    #: Bytes of the largest payload; None: there is no limit.
    payload_bytes: int | None
    adds_newlines: bool
    content_type: str | None
    input_filter: paths.Path
    output_filter: paths.Path
    is_joined: bool

    @property
    def is_read(self) -> bool:
        """Whether records are looked into."""
        return bool(self.input_filter or self.output_filter or self.is_joined)

    def payloads(self, data: bytes) -> Iterator[Payload]:
        """What is sent of an object, in order.

        Raises:
            BadRecord: a record is larger than a payload may be, or can't be filtered.
        """
        if not self.is_split:
            yield self._payload([data], [self._sent(data)])
            return
        records: list[bytes] = []
        bodies: list[bytes] = []
        size = 0
        for record in data.split(b"\n"):
            if not record.strip():
                continue
            body = self._sent(record)
            if records and (not self.is_many or not self._fits(size + len(body) + 1)):
                yield self._payload(records, bodies)
                records, bodies, size = [], [], 0
            records.append(record)
            bodies.append(body)
            size += len(body) + 1
        if records:
            yield self._payload(records, bodies)

    def answered(self, payload: Payload, answer: bytes) -> bytes:
        """What goes into the output for a payload.

        Raises:
            BadRecord: the answer has not one record for each that was sent, or can't be read.
        """
        if not self.is_read:
            return answer + b"\n" if self.adds_newlines else answer
        answers = [answer]
        if self.is_split and len(payload.records) > 1:
            answers = [one for one in answer.split(b"\n") if one.strip()]
        if len(answers) != len(payload.records):
            raise BadRecord(
                f"{len(answers)} answers came for {len(payload.records)} records: they can't be"
                " joined"
            )
        end = b"\n" if self.adds_newlines else b""
        return b"".join(
            self._joined(record, one) + end
            for record, one in zip(payload.records, answers, strict=True)
        )

    def _payload(self, records: Sequence[bytes], bodies: Sequence[bytes]) -> Payload:
        body = b"\n".join(bodies)
        if not self._fits(len(body)):
            raise BadRecord(f"A record of {len(body)} bytes is larger than MaxPayloadInMB")
        return Payload(body, tuple(records))

    def _fits(self, size: int) -> bool:
        return self.payload_bytes is None or size <= self.payload_bytes

    def _sent(self, record: bytes) -> bytes:
        if not self.input_filter:
            return record
        return self._write(_select(self.input_filter, self._read(record)))

    def _joined(self, record: bytes, answer: bytes) -> bytes:
        value = self._read(answer)
        if self.is_joined:
            value = self._join(self._read(record), value)
        return self._write(_select(self.output_filter, value))

    def _join(self, asked: Any, answer: Any) -> Any:
        if self._is_csv:
            return [*asked, *answer]
        if isinstance(asked, dict):
            return {**asked, OUTPUT: answer}
        return {INPUT: asked, OUTPUT: answer}

    @property
    def _is_csv(self) -> bool:
        return media_type(self.content_type) == "text/csv"

    def _read(self, record: bytes) -> Any:
        try:
            if self._is_csv:
                return next(csv.reader([record.decode()]), [])
            return msgspec.json.decode(record)
        except (UnicodeDecodeError, csv.Error, msgspec.DecodeError) as error:
            raise BadRecord(f"A record can't be read: {error}") from error

    def _write(self, value: Any) -> bytes:
        if not self._is_csv:
            return msgspec.json.encode(value)
        row = io.StringIO()
        csv.writer(row, lineterminator="").writerow(value if isinstance(value, list) else [value])
        return row.getvalue().encode()


def _select(path: paths.Path, value: Any) -> Any:
    try:
        return paths.select(path, value)
    except paths.NotThere as error:
        raise BadRecord(str(error)) from error
