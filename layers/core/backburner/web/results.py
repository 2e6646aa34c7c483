"""What went in and what came out of a batch, request by request."""

import heapq
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from typing import Any

import msgspec

from backburner.domain.batch import Batch
from backburner.domain.errors import InvalidRequest, NotFound
from backburner.domain.file import StoredFile
from backburner.services import batches, files, reading, results
from backburner.services.inputs import Inputs
from backburner.web.answer import Answer
from backburner.web.call import Call
from backburner.web.content import Wanted, answer_lines
from backburner.wire import result

#: Most bytes of results that stand in a batch itself.
INLINE_BYTES = 1024 * 1024

#: What `status` may ask for, and whether that is a success.
_STATUSES = {"completed": True, "failed": False}


def page(call: Call, batch_id: str) -> Answer:
    """`GET /v1/batches/{id}/results`: requests and what became of them, as far as it is known."""
    wanted = Wanted.of(call, offset="skip")
    asked = call.query("status")
    if asked is not None and asked not in _STATUSES:
        raise InvalidRequest("'status' must be 'completed' or 'failed'.", param="status")
    successes = _STATUSES[asked] if asked is not None else None
    batch = batches.find(call.env, call.tenant, batch_id)
    if not batch.is_terminal:
        try:
            return answer_lines(_running(call, batch, wanted, successes), wanted, is_running=True)
        except NotFound:  # it ended meanwhile, and what it was made of is gone
            batch = batches.find(call.env, call.tenant, batch_id)
    with ExitStack() as stack:
        lines = _ended(call, batch, wanted, successes, stack)
        return answer_lines(lines, wanted, is_running=False)


def small(call: Call, batch: Batch) -> list[Any] | None:
    """Results of a batch that has ended, in input order, if they are few; else None."""
    if not batch.is_terminal:
        return None
    found = [file for _, file in _files(call, batch)]
    if sum(file.size for file in found) > INLINE_BYTES:
        return None
    with ExitStack() as stack:
        return [msgspec.json.decode(line) for _, line, _ in _merged(call, batch, found, stack)]


def _running(
    call: Call,
    batch: Batch,
    wanted: Wanted,
    successes: bool | None,  # noqa: FBT001 - as in `outcomes`
) -> Iterator[bytes]:
    env, inputs = call.env, Inputs(call.env, batch)
    skip = wanted.offset or 0
    found = results.outcomes(env, batch, successes=successes, skip=0 if wanted.search else skip)
    if wanted.search:
        named = (one for one in found if results.is_named(wanted.search, one.custom_id))
        found = iter(islice(named, skip, None))
    dialect = env.dialects[batch.dialect]
    for outcome in found:
        line = dialect.render(outcome, batch_id=batch.id)
        yield result.merged(line, inputs.find(outcome.line), is_success=outcome.is_success)


def _ended(
    call: Call,
    batch: Batch,
    wanted: Wanted,
    successes: bool | None,  # noqa: FBT001 - as in `outcomes`
    stack: ExitStack,
) -> Iterator[bytes]:
    head = call.env.dialects[batch.dialect].head
    asked = [file for kind, file in _files(call, batch) if successes in (None, kind)]
    found = (
        one
        for one in _merged(call, batch, asked, stack)
        if not wanted.search or results.is_named(wanted.search, head(one[1])[1])
    )
    inputs = _input_lines(call, batch, stack)
    read, data = 0, None
    for number, line, is_success in islice(found, wanted.offset or 0, None):
        while read < number and (following := next(inputs, None)) is not None:
            read, data = following
        body = data if read == number else None
        yield result.merged(line, body, is_success=is_success)


def _files(call: Call, batch: Batch) -> Iterator[tuple[bool, StoredFile]]:
    """The files that the batch wrote and that are still there, with whether of successes."""
    for kind, file_id in ((True, batch.output_file_id), (False, batch.error_file_id)):
        if file_id is not None:
            try:
                yield kind, files.find(call.env, call.tenant, file_id)
            except NotFound:  # deleted, or expired
                continue


def _merged(
    call: Call, batch: Batch, found: list[StoredFile], stack: ExitStack
) -> Iterator[tuple[int, bytes, bool]]:
    """Lines of files in input order, with their numbers there, and whether they are successes."""
    head = call.env.dialects[batch.dialect].head

    def numbered(file: StoredFile) -> Iterator[tuple[int, bytes, bool]]:
        key = file.key or files.blob_key(file.tenant, file.id)
        is_output = files.batch_id_of(file.id) == (file.batch_id, "output")
        for line in stack.enter_context(call.env.blobs.read(key)):
            yield head(line)[0], line, is_output

    return heapq.merge(*map(numbered, found))


def _input_lines(call: Call, batch: Batch, stack: ExitStack) -> Iterator[tuple[int, bytes | None]]:
    """Numbered lines of the input file; none if it was deleted."""
    try:
        stream = stack.enter_context(call.env.blobs.read(batch.input_key or ""))
    except NotFound:
        return
    yield from reading.numbered_lines(stream, call.env.limits.line_bytes)
