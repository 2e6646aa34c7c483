"""Write a batch's output and error files, in input order, and end it."""

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

import msgspec

from backburner.domain import reasons
from backburner.domain.batch import DROPPED_CODES, Batch, BatchKind, BatchStatus
from backburner.domain.errors import Conflict
from backburner.domain.file import FilePurpose, LineStarts, StoredFile
from backburner.domain.finding import Finding
from backburner.domain.request import Outcome
from backburner.ports import Environment, Is
from backburner.services import (
    batches,
    files,
    merging,
    mirror,
    outbox,
    results,
    transitions,
    webhooks,
)
from backburner.services.runs import Block

_logger = logging.getLogger(__name__)

#: The files that a batch may write; `True` is the number of the second.
_NAMES = ("errors", "output")


@dataclass(slots=True)
class _Written:
    """What came out: requests by their end, and where lines of each file begin."""

    completed: int = 0
    failed: int = 0
    dropped: int = 0
    #: The error file and the output file.
    files: tuple[LineStarts, LineStarts] = field(
        default_factory=lambda: (LineStarts(), LineStarts())
    )
    #: The file with the answers of earlier batches as well; no lines: there is none.
    merged: LineStarts = field(default_factory=LineStarts)
    #: Why requests failed, and how often.
    reasons: Counter[str] = field(default_factory=Counter)

    def add_block(self, block: Block) -> None:
        self.completed += len(block.lines)
        self.files[True].add_lines(block.data, len(block.lines))

    def count(self, outcome: Outcome) -> None:
        if outcome.is_success:
            self.completed += 1
        else:
            self.failed += 1
            self.dropped += outcome.code in DROPPED_CODES
            self.reasons[reasons.code_of(outcome)] += 1


def finalize(env: Environment, tenant: str, batch_id: str) -> None:
    """End a batch whose shards have all ended. Does nothing if it is not so far, or ended.

    One caller wins the way into `finalizing`. Should it die there, the next one writes the same
    files again; one wins the way out.
    """
    batch = batches.load(env, tenant, batch_id)
    if batch is not None and not batch.is_terminal:
        try:
            _finalize(env, batch)
        except (*results.UNREADABLE, Conflict):
            if not _has_ended(env, batch):  # else another one was faster, and has cleaned up
                raise
    batches.clean_up(env, tenant, batch_id)


def _finalize(env: Environment, batch: Batch) -> None:
    if batch.status is not BatchStatus.FINALIZING:
        try:
            env.store.transact(*transitions.begin_finalizing(batch, now=env.clock.now()))
        except Conflict:
            return
        batch = batches.find(env, batch.tenant, batch.id, kind=batch.kind)
    written = _write(env, batch)
    ended = _ended(env, batch, written)
    told = outbox.of_end(env, ended, webhooks.load(env, batch.tenant))
    mirror.publish(env, ended)
    with suppress(Conflict):
        env.store.transact(
            *transitions.end(
                batch,
                ended,
                files=_files(env, ended, written),
                deliveries=told,
                when=(Is("status", BatchStatus.FINALIZING),),
            )
        )
        outbox.send(env, told)


def _has_ended(env: Environment, batch: Batch) -> bool:
    return batches.find(env, batch.tenant, batch.id, kind=batch.kind).is_terminal


def _write(env: Environment, batch: Batch) -> _Written:
    """Write all files. What was lost may come back until the deadline; then they do without."""
    if batch.is_single:
        return _Written(
            completed=batch.completed,
            failed=batch.failed,
            dropped=batch.dropped,
            reasons=Counter(batch.reasons),
        )
    if not batch.total:
        return _Written()
    try:
        pieces = results.whole(env, batch, in_blocks=_has_blocks(env, batch))
        return _write_files(env, batch, pieces)
    except results.UNREADABLE:
        if env.clock.now() < batch.expires_at or _has_ended(env, batch):
            raise
        _logger.exception("batch.lost batch=%s/%s", batch.tenant, batch.id)
    return _write_files(env, batch, _recovered(env, batch))


def _has_blocks(env: Environment, batch: Batch) -> bool:
    """Whether what is kept as it is written need not be looked at line by line."""
    is_written = batch.dialect == env.shards.written_dialect
    return is_written and batch.retry_of is None and not mirror.answers_each(batch)


def _recovered(env: Environment, batch: Batch) -> Iterator[Outcome]:
    yield from results.recovered(env, batch)
    if _has_ended(env, batch):
        raise Conflict("Whoever ended the batch removed what seemed lost.")


def _write_files(env: Environment, batch: Batch, pieces: Iterator[Outcome | Block]) -> _Written:
    """Stream the files out in one pass; they appear once the last outcome was read."""
    dialect = env.dialects[batch.dialect]
    written = _Written()
    with ExitStack() as stack:
        streams = {
            number: stack.enter_context(
                env.blobs.write(_key(batch, name), content_type="application/jsonl")
            )
            for number, name in enumerate(_NAMES)
            if dialect.has_error_file or name == "output"
        }
        merged = stack.enter_context(merging.Merged(env, batch, written.merged))
        answers = stack.enter_context(mirror.answers(env, batch))
        for outcome in pieces:
            if isinstance(outcome, Block):
                streams[True].write(outcome.data)
                written.add_block(outcome)
                continue
            data = dialect.render(outcome, batch_id=batch.id) + b"\n"
            kind = outcome.is_success or not dialect.has_error_file
            streams[kind].write(data)
            written.files[kind].add(len(data))
            written.count(outcome)
            if answers is not None:
                answers.add(outcome)
            if kind:
                merged.add(outcome.line, data)
    return written


def _key(batch: Batch, name: str) -> str:
    return files.blob_key(batch.tenant, files.result_id(batch.id, name))


def _ended(env: Environment, batch: Batch, written: _Written) -> Batch:
    missing = 0 if batch.is_single else batch.total - written.completed - written.failed
    if missing:
        batch = _incomplete(env, batch, missing)
    errors, output = (
        files.result_id(batch.id, name) if lines.line_count else None
        for name, lines in zip(_NAMES, written.files, strict=True)
    )
    single = results.single(env, batch) if batch.kind is BatchKind.RESPONSE else None
    return transitions.ended_as(
        batch,
        BatchStatus.FAILED if missing else transitions.terminal_status(batch),
        now=env.clock.now(),
        completed=written.completed,
        failed=written.failed,
        dropped=written.dropped,
        reasons=reasons.most(written.reasons),
        output_file_id=output,
        error_file_id=errors,
        response_status=env.shards.response_status(single) if single is not None else None,
        merged_file_id=files.result_id(batch.id, "merged") if written.merged.line_count else None,
    )


def _incomplete(env: Environment, batch: Batch, missing: int) -> Batch:
    """The batch with the reason why it fails: not even the numbers of some lines are known."""
    failure = f"{missing} of the batch's {batch.total} requests were lost."
    _logger.error("batch.incomplete batch=%s/%s missing=%d", batch.tenant, batch.id, missing)
    findings = [Finding(code="result_lost", message=failure)]
    env.blobs.put(batches.errors_key(batch), msgspec.json.encode(findings))
    return msgspec.structs.replace(batch, failure=failure)


def _files(env: Environment, ended: Batch, written: _Written) -> list[StoredFile]:
    now = env.clock.now()
    kept = ended.output_expires_seconds or env.limits.output_expires_seconds
    return [
        StoredFile(
            tenant=ended.tenant,
            id=file_id,
            filename=f"{ended.id}_{name}.jsonl",
            purpose=FilePurpose.BATCH_OUTPUT,
            size=lines.size,
            line_count=lines.line_count,
            line_starts=tuple(lines.starts),
            line_stride=lines.stride,
            created_at=now,
            expires_at=now + kept if kept else None,
            key=files.blob_key(ended.tenant, file_id),
            batch_id=ended.id,
        )
        for file_id, name, lines in (
            (ended.output_file_id, "output", written.files[1]),
            (ended.error_file_id, "errors", written.files[0]),
            (ended.merged_file_id, "merged", written.merged),
        )
        if file_id is not None
    ]
