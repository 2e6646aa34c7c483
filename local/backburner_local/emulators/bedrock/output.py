"""The objects that a job writes: a file of results for each input file, and the manifest."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import msgspec

from backburner_local.emulators.bedrock.inputs import InputFile
from backburner_local.emulators.bedrock.job import Counts, Job
from backburner_local.emulators.objects import Objects, split_location

MANIFEST = "manifest.json.out"


def write_output(
    objects: Objects,
    job: Job,
    counts: Counts,
    files: Sequence[InputFile],
    results: Sequence[Mapping[int, bytes]],
    *,
    is_flat: bool,
) -> None:
    """Write all of the job's objects anew.

    Args:
        objects: where.
        job: whose.
        counts: of the job when the results were taken.
        files: of its input.
        results: for each file, lines by the number of the input line.
        is_flat: whether the output of files in folders is not in folders.

    Raises:
        ObjectUnavailable: they can't be written.
    """
    bucket, prefix = split_location(job.output_uri)
    for file, lines in zip(files, results, strict=True):
        name = file.name.rpartition("/")[2] if is_flat else file.name
        body = b"".join(_shuffled(lines, seed=f"{job.id}/{file.name}", count=len(file.lines)))
        objects.put(bucket, f"{prefix}{name}.out", body, "application/octet-stream")
    manifest = msgspec.json.encode(
        {
            "totalRecordCount": counts.total,
            "processedRecordCount": counts.processed,
            "successRecordCount": counts.succeeded,
            "errorRecordCount": counts.failed,
            "inputTokenCount": counts.input_tokens,
            "outputTokenCount": counts.output_tokens,
        }
    )
    objects.put(bucket, f"{prefix}{MANIFEST}", manifest, "application/json")


def _shuffled(lines: Mapping[int, bytes], *, seed: str, count: int) -> list[bytes]:
    """The lines in an order that has nothing to do with the input's, always the same for a job."""
    order = list(range(count))
    random.Random(seed).shuffle(order)  # noqa: S311 - nothing secret
    return [lines[number] + b"\n" for number in order if number in lines]
