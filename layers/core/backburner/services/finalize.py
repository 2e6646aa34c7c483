"""Write a batch's output and error files, in input order, and end it."""

from contextlib import ExitStack, suppress
from dataclasses import dataclass

from backburner.domain.batch import Batch, BatchKind, BatchStatus
from backburner.domain.errors import Conflict, NotFound
from backburner.domain.file import FilePurpose, StoredFile
from backburner.ports import Environment, Is
from backburner.services import batches, files, mirror, results, transitions


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    output_lines: int
    output_bytes: int
    error_lines: int
    error_bytes: int


def finalize(env: Environment, tenant: str, batch_id: str) -> None:
    """End a batch whose shards have all ended. Does nothing if it is not so far, or ended.

    One caller wins the way into `finalizing`. Should it die there, the next one writes the same
    files again; one wins the way out.
    """
    batch = batches.load(env, tenant, batch_id)
    if batch is not None and not batch.is_terminal:
        try:
            _finalize(env, batch)
        except NotFound:
            after = batches.find(env, tenant, batch_id, kind=batch.kind)
            if not after.is_terminal:  # else another one was faster, and has cleaned up
                raise
    batches.clean_up(env, tenant, batch_id)


def _finalize(env: Environment, batch: Batch) -> None:
    if batch.status is not BatchStatus.FINALIZING:
        try:
            env.store.transact(*transitions.begin_finalizing(batch, now=env.clock.now()))
        except Conflict:
            return
        batch = batches.find(env, batch.tenant, batch.id, kind=batch.kind)
    written = _write_files(env, batch)
    ended = _ended(env, batch, written)
    told = batches.deliveries(env, ended)
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
        batches.tell(env, told)


def _write_files(env: Environment, batch: Batch) -> _Written:
    """Stream both files out in one pass over the outcomes."""
    if batch.kind is BatchKind.RESPONSE or not batch.output_file_id or not batch.error_file_id:
        return _Written(output_lines=0, output_bytes=0, error_lines=0, error_bytes=0)
    dialect = env.dialects[batch.dialect]
    lines, sizes = [0, 0], [0, 0]
    keys = [
        files.blob_key(batch.tenant, name) for name in (batch.error_file_id, batch.output_file_id)
    ]
    with ExitStack() as stack:
        streams = [
            stack.enter_context(env.blobs.write(key, content_type="application/jsonl"))
            for key in keys
        ]
        for outcome in results.outcomes(env, batch):
            data = dialect.render(outcome, batch_id=batch.id) + b"\n"
            streams[outcome.is_success].write(data)
            lines[outcome.is_success] += 1
            sizes[outcome.is_success] += len(data)
    if sum(lines) != batch.total:
        raise AssertionError(f"{batch.id}: {sum(lines)} lines came out of {batch.total}; not ended")
    return _Written(
        output_lines=lines[1], output_bytes=sizes[1], error_lines=lines[0], error_bytes=sizes[0]
    )


def _ended(env: Environment, batch: Batch, written: _Written) -> Batch:
    is_response = batch.kind is BatchKind.RESPONSE
    return transitions.ended_as(
        batch,
        transitions.terminal_status(batch),
        now=env.clock.now(),
        completed=batch.completed if is_response else written.output_lines,
        failed=batch.failed if is_response else written.error_lines,
        output_file_id=batch.output_file_id if written.output_lines else None,
        error_file_id=batch.error_file_id if written.error_lines else None,
    )


def _files(env: Environment, ended: Batch, written: _Written) -> list[StoredFile]:
    now = env.clock.now()
    kept = ended.output_expires_seconds or env.limits.output_expires_seconds
    return [
        StoredFile(
            tenant=ended.tenant,
            id=file_id,
            filename=f"{ended.id}_{name}.jsonl",
            purpose=FilePurpose.BATCH_OUTPUT,
            size=size,
            created_at=now,
            expires_at=now + kept if kept else None,
            key=files.blob_key(ended.tenant, file_id),
            batch_id=ended.id,
        )
        for file_id, name, size in (
            (ended.output_file_id, "output", written.output_bytes),
            (ended.error_file_id, "errors", written.error_bytes),
        )
        if file_id is not None
    ]
