"""Read a batch's file once: check every line, group by model, cut into shards."""

from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import BinaryIO

from msgspec.structs import replace

from backburner.domain.batch import Batch, Step, next_step
from backburner.domain.catalog import Model
from backburner.domain.errors import Conflict, InvalidLine, NotFound
from backburner.domain.finding import Finding
from backburner.domain.request import Outcome, Request
from backburner.domain.shard import Shard, ShardDraft, shard_id
from backburner.domain.webhook import PROGRESS
from backburner.ports import MAX_WRITES, Environment
from backburner.services import (
    batches,
    capacity,
    files,
    manifest,
    pausing,
    routing,
    transitions,
    webhooks,
)
from backburner.services.reading import Reader, Routes, numbered_lines, survey

#: Shards released in one transaction; beside them stand the check, and a pool and a
#: share each at most.
RELEASE_SHARDS = (MAX_WRITES - 1) // 3

#: Shards whose requests are written at once: each write waits for the disk, or for S3.
_WRITTEN_AT_ONCE = 16
#: Bytes of requests that are held for that.
_WRITTEN_BYTES = 8_000_000


@dataclass(slots=True)
class _Reading:
    """What has been found while the file is read."""

    env: Environment
    batch: Batch
    #: Of the objects that this run writes.
    prefix: str
    reader: Reader
    #: Where each model's requests run.
    routes: Routes
    #: The shard that is being filled, by model.
    drafts: dict[str, ShardDraft] = field(default_factory=dict)
    planned: list[Shard] = field(default_factory=list)
    #: Requests of planned shards that are not written yet, by key.
    unwritten: dict[str, bytes] = field(default_factory=dict)
    unwritten_bytes: int = 0
    findings: list[Finding] = field(default_factory=list)
    invalid: int = 0
    #: Where outcomes of bad lines go, if these are skipped.
    skipped: BinaryIO | None = None
    total: int = 0

    @property
    def fails(self) -> bool:
        """Whether the batch can't run any more: what is left of the file is only checked."""
        return bool(self.invalid) and self.batch.on_invalid == "fail"


def plan(env: Environment, tenant: str, batch_id: str) -> None:
    """Plan a batch that is validating, or release the rest of one whose canary passed.

    May run twice, also at once: each run writes objects of its own, and one wins.
    """
    batch = batches.load(env, tenant, batch_id)
    if batch is None:
        return
    threshold = env.limits.canary_threshold
    step = next_step(batch, now=env.clock.now(), canary_threshold=threshold)
    if step is Step.PLAN:
        _plan(env, batch)
    elif step is Step.RELEASE:
        release(env, batch)
    elif step is Step.REQUEUE:
        pausing.requeue(env, batch)
    elif batch.paused:
        pausing.go_on_pausing(env, batch)
    else:
        batches.advance(env, tenant, batch_id)
    batches.clean_up(env, tenant, batch_id)


def _plan(env: Environment, batch: Batch) -> None:
    prefix = f"{batch.blob_prefix}plans/{env.ids.new('plan')}/"
    stat = env.blobs.stat(batch.input_key or "")
    if stat is None:
        gone = Finding(code="invalid_request", message="The input file was deleted.")
        batches.reject(env, batch, [gone])
        return
    try:
        routes = survey(env, batch, stat.key)
        reading = _Reading(env, batch, prefix, Reader(env, batch, routes=routes), routes)
        found = _read(reading, stat.key)
    except NotFound:
        if batch.retry_of is None:
            raise
        message = "A result file of the batch that is retried was deleted."
        batches.reject(env, batch, [Finding(code="invalid_request", message=message)])
        return
    if found is not None:
        _fail(env, reading, found)
    elif reading.fails:
        _fail(env, reading)
    else:
        _start(env, reading)


def _read(reading: _Reading, key: str) -> Finding | None:
    """Take every line of the file; returns why the file as a whole can't be run, if so."""
    blobs, limits = reading.env.blobs, reading.env.limits
    with ExitStack() as stack:
        if reading.batch.on_invalid == "skip":
            reading.skipped = stack.enter_context(blobs.write(manifest.skipped_key(reading.prefix)))
        stream = stack.enter_context(blobs.read(key))
        for number, data in numbered_lines(stream, limits.line_bytes):
            if reading.total + reading.invalid >= limits.file_lines:
                message = f"The file has more than {limits.file_lines} requests."
                return Finding(line=number, code="too_many_tasks", message=message)
            _take(reading, number, data)
    for draft in list(reading.drafts.values()):
        if not _join(reading, draft):
            _cut(reading, draft)
    _write(reading)
    if missing := reading.reader.chosen.missing():
        reading.findings[:0] = missing[1 : limits.reported_errors]
        return missing[0]
    if reading.total + reading.invalid == 0:
        return Finding(code="empty_batch", message="The input file has no requests.")
    return None


def _take(reading: _Reading, number: int, data: bytes | None) -> None:
    reader = reading.reader
    try:
        request, model = reader.understand(number, data)
    except InvalidLine as finding:
        if reader.chosen.has(number):
            _reject(reading, number, finding)
    else:
        if reader.chosen.are_all or reader.chosen.has(number):
            reading.total += 1
            if not reading.fails:
                _add(reading, request, model)


def _reject(reading: _Reading, number: int, finding: InvalidLine) -> None:
    reading.invalid += 1
    if reading.skipped is not None:
        outcome = Outcome(
            line=number,
            custom_id=finding.custom_id or f"line-{number}",
            code=finding.code,
            message=finding.message,
        )
        reading.skipped.write(reading.env.shards.keep([outcome]))
    elif len(reading.findings) < reading.env.limits.reported_errors:
        reading.findings.append(
            Finding(line=number, code=finding.code, message=finding.message, param=finding.param)
        )


def _add(reading: _Reading, request: Request, model: Model) -> None:
    line = reading.env.shards.encode(request) + b"\n"
    draft = reading.drafts.get(model.name)
    if draft is None or not draft.add(request, line):
        if draft is not None:
            _cut(reading, draft)
        _, cut = reading.routes.of(model)
        draft = reading.drafts[model.name] = ShardDraft(model=model.name, cut=cut)
        draft.add(request, line)
    if len(draft.lines) == reading.routes.canary_lines and _is_canary(reading, draft):
        _cut(reading, draft)


def _is_canary(reading: _Reading, draft: ShardDraft) -> bool:
    """Whether the draft's requests are the first of those whose first are the canary."""
    routes = reading.routes
    if routes.canary_model is None:
        return not reading.planned
    is_of_model = draft.model == routes.canary_model
    return is_of_model and all(shard.model != draft.model for shard in reading.planned)


def _cut(reading: _Reading, draft: ShardDraft) -> None:
    """End a model's current shard: put its requests aside, note it for the manifest."""
    del reading.drafts[draft.model]
    batch, model = reading.batch, reading.env.catalog.models[draft.model]
    place, _ = reading.routes.of(model)
    place = routing.place_of_rest(reading.env, model.name, place.pool, draft.line_count) or place
    name = shard_id(len(reading.planned) + 1)
    shard = Shard(
        tenant=batch.tenant,
        batch_id=batch.id,
        id=name,
        model=model.name,
        pool=place.pool,
        first_line=draft.first_line,
        last_line=draft.last_line,
        line_count=draft.line_count,
        size=draft.size,
        tokens=draft.tokens,
        created_at=batch.created_at,
        deadline=batch.expires_at,
        priority=batch.priority,
        is_budgeted=batch.has_budget,
        input_key=f"{reading.prefix}{name}.jsonl",
        ttl=batch.ttl,
    )
    reading.planned.append(shard)
    reading.unwritten[shard.input_key or ""] = b"".join(draft.lines)
    reading.unwritten_bytes += draft.size
    if len(reading.unwritten) >= _WRITTEN_AT_ONCE or reading.unwritten_bytes >= _WRITTEN_BYTES:
        _write(reading)


def _join(reading: _Reading, tail: ShardDraft) -> bool:
    """Add a tail that is too small for a job to its model's last shard; False: it is none."""
    place, _ = reading.routes.of(reading.env.catalog.models[tail.model])
    place = routing.place_of_rest(reading.env, tail.model, place.pool, tail.line_count) or place
    if place.jobs is None or tail.line_count >= place.jobs.least_lines:
        return False
    numbers = range(len(reading.planned) - 1, -1, -1)
    last = next((one for one in numbers if reading.planned[one].model == tail.model), None)
    if last is None:
        return False
    shard = reading.planned[last]
    key = shard.input_key or ""
    data = reading.unwritten.get(key) or reading.env.blobs.get(key)
    reading.unwritten[key] = data + b"".join(tail.lines)
    reading.planned[last] = replace(
        shard,
        last_line=tail.last_line,
        line_count=shard.line_count + tail.line_count,
        size=shard.size + tail.size,
        tokens=shard.tokens + tail.tokens,
    )
    del reading.drafts[tail.model]
    return True


def _write(reading: _Reading) -> None:
    """Write the requests of the shards that were cut."""
    if reading.unwritten:
        reading.env.blobs.put_all(reading.unwritten)
    reading.unwritten.clear()
    reading.unwritten_bytes = 0


def _start(env: Environment, reading: _Reading) -> None:
    batch = reading.batch
    manifest.save(env, reading.prefix, reading.planned)
    models = {shard.model for shard in reading.planned}
    pools = {shard.pool for shard in reading.planned}
    usual = {env.catalog.models[name].pool for name in models}
    planned = transitions.Planned(
        total=reading.total + reading.invalid,
        skipped=reading.invalid,
        shards=len(reading.planned),
        prefix=reading.prefix,
        output_file_id=files.result_id(batch.id, "output"),
        error_file_id=files.result_id(batch.id, "errors"),
        tells_progress=_tells_progress(env, batch.tenant),
        is_priced=all(
            place is not None and place.has_price
            for shard in reading.planned
            for place in (env.catalog.running(shard.model, shard.pool),)
        ),
        model=models.pop() if len(models) == 1 else None,
        pool=pools.pop() if len(pools) == 1 and pools != usual else None,
    )
    is_small = reading.total < env.limits.canary_from_lines
    has_canary = bool(reading.routes.canary_lines) and not is_small
    has_canary = has_canary or len(reading.planned) > RELEASE_SHARDS
    canary = [shard for shard in reading.planned if reading.routes.is_canary(shard)][:1]
    first = (canary or reading.planned[:1]) if has_canary else reading.planned
    with suppress(Conflict):  # cancelled meanwhile, or planned by another
        env.store.transact(*transitions.start(batch, planned, first, now=env.clock.now()))
    for pool in {shard.pool for shard in first}:
        capacity.kick_for_new(env, pool)
    batches.advance(env, batch.tenant, batch.id)


def _tells_progress(env: Environment, tenant: str) -> bool:
    """Whether an endpoint of the tenant wants to know how its batches go on."""
    return any(one.is_enabled for one in webhooks.load(env, tenant).wanting(PROGRESS))


def release(env: Environment, batch: Batch) -> None:
    """Queue every planned shard that is not queued yet."""
    rest = manifest.unreleased(env, batch, batches.shards(env, batch))
    with suppress(Conflict):  # stopping, or released by another
        for start in range(0, len(rest), RELEASE_SHARDS):
            env.store.transact(*transitions.release(batch, rest[start : start + RELEASE_SHARDS]))
        env.store.transact(*transitions.released(batch))
    for pool in {shard.pool for shard in rest}:
        capacity.kick_for_new(env, pool)


def _fail(env: Environment, reading: _Reading, *findings: Finding) -> None:
    batches.reject(env, reading.batch, [*findings, *reading.findings])
