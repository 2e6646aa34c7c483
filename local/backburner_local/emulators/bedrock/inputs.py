"""The input of a job: its files, and what validation finds wrong with them before it runs.

Only the files and the frame of each line are looked at; what a model is asked is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from backburner_local.emulators.bedrock.job import Job
from backburner_local.emulators.bedrock.knobs import Knobs
from backburner_local.emulators.bedrock.models import FoundationModel
from backburner_local.emulators.bedrock.quotas import Quotas
from backburner_local.emulators.objects import Objects, ObjectUnavailable, split_location

_SUFFIX = ".jsonl"


class InvalidInput(Exception):  # noqa: N818 - an outcome of the job
    """Why the job fails; its text becomes the job's `message`.

    The sentence on too few records was seen on AWS; the others are ours, in its manner.
    """


class Record(msgspec.Struct):
    """One line of the input; other members are left aside."""

    #: What the model is asked, exactly as it came.
    modelInput: msgspec.Raw  # noqa: N815 - AWS's name
    recordId: str | None = None  # noqa: N815


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file of the input."""

    #: Relative to the folder that the job names; of a file that it names, its last part.
    name: str
    lines: list[bytes]


_read_record = msgspec.json.Decoder(Record).decode


def read_record(line: bytes) -> Record:
    """The record of a line that was validated."""
    return _read_record(line)


def read_files(objects: Objects, job: Job) -> list[InputFile]:
    """The job's files, unchecked.

    Raises:
        InvalidInput: there are none, or they can't be read.
    """
    bucket, _ = split_location(job.input_uri)
    try:
        return [
            InputFile(name, _lines(objects.get(bucket, key)))
            for name, key in _found(objects, job.input_uri)
        ]
    except ObjectUnavailable as error:
        raise InvalidInput(_unreadable(job.input_uri)) from error


def validate(
    objects: Objects, job: Job, model: FoundationModel, quotas: Quotas, knobs: Knobs
) -> int:
    """Check all that AWS checks before a job is scheduled; returns the number of records.

    Raises:
        InvalidInput: the job fails.
    """
    _check_access(job, knobs)
    bucket, _ = split_location(job.input_uri)
    found = list(_found(objects, job.input_uri))
    _check_sizes(objects, bucket, [key for _, key in found], model, quotas)
    total = 0
    for file in read_files(objects, job):
        if len(file.lines) > quotas.max_records_per_file(model):
            raise InvalidInput(
                f"Input file {file.name} contains more records ({len(file.lines)}) than the"
                f" allowed maximum of: {quotas.max_records_per_file(model)}"
            )
        _check_lines(file, knobs.longest_record_id)
        total += len(file.lines)
    _check_total(total, model, quotas)
    return total


def _check_access(job: Job, knobs: Knobs) -> None:
    for uri, actions in ((job.input_uri, "GetObject"), (job.output_uri, "PutObject")):
        bucket, _ = split_location(uri)
        if bucket in knobs.denied_buckets:
            raise InvalidInput(f"Failed to validate {actions} permission on bucket {bucket}.")


def _found(objects: Objects, uri: str) -> Iterator[tuple[str, str]]:
    """Names and keys of the files that a location means: one, or those in a folder."""
    bucket, key = split_location(uri)
    try:
        if key.endswith(_SUFFIX) and objects.exists(bucket, key):
            yield key.rpartition("/")[2], key
            return
        folder = f"{key.rstrip('/')}/" if key.rstrip("/") else ""
        keys = objects.keys(bucket, folder)
    except ObjectUnavailable as error:
        raise InvalidInput(_unreadable(uri)) from error
    files = [key for key in keys if key.endswith(_SUFFIX)]
    if not keys:
        raise InvalidInput(_unreadable(uri))
    if not files:
        raise InvalidInput(f"No {_SUFFIX} file was found at {uri}.")
    for key in files:
        yield key.removeprefix(folder), key


def _check_sizes(
    objects: Objects, bucket: str, keys: list[str], model: FoundationModel, quotas: Quotas
) -> None:
    sizes = {key: objects.size(bucket, key) for key in keys}
    for key, size in sizes.items():
        if size > quotas.max_file_bytes(model):
            raise InvalidInput(
                f"Input file {key} is larger ({size} bytes) than the allowed maximum of:"
                f" {quotas.max_file_bytes(model)} bytes"
            )
    total = sum(sizes.values())
    if total > quotas.max_job_bytes(model):
        raise InvalidInput(
            f"Batch job is larger ({total} bytes) than the allowed maximum of:"
            f" {quotas.max_job_bytes(model)} bytes"
        )


def _check_lines(file: InputFile, longest_id: int) -> None:
    for number, line in enumerate(file.lines, start=1):
        try:
            record = _read_record(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidInput(
                f"Line {number} of input file {file.name} is no valid record: {error}"
            ) from error
        if longest_id and len(record.recordId or "") > longest_id:
            raise InvalidInput(
                f"Line {number} of input file {file.name}: the recordId is longer than"
                f" {longest_id} characters"
            )


def _check_total(total: int, model: FoundationModel, quotas: Quotas) -> None:
    least, most = quotas.min_records(model), quotas.max_records(model)
    if total < least:
        raise InvalidInput(
            f"Batch job contains less records ({total}) than the required minimum of: {least}"
        )
    if total > most:
        raise InvalidInput(
            f"Batch job contains more records ({total}) than the allowed maximum of: {most}"
        )


def _lines(body: bytes) -> list[bytes]:
    return [line for line in body.split(b"\n") if line.strip()]


def _unreadable(uri: str) -> str:
    return (
        f"Failed to validate GetObject and ListBucket on {uri}: the bucket or the object does not"
        " exist, or the service role has no access to it."
    )
