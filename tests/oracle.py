"""One oracle: what the design promises, by number, checked against a world.

`check_step` holds after every step of every handler, `check_end` once nothing is left to do. Both
tell all that is wrong at once, each with the number of the guarantee that it breaks.
"""

import base64
import hmac
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from backburner.domain.batch import RAW_ROUTE, Batch, BatchKind, BatchStatus
from backburner.domain.bundle import is_bundle
from backburner.domain.catalog import Model
from backburner.domain.errors import NotFound
from backburner.domain.shard import Shard, ShardStatus
from backburner.domain.slots import tenant_cap
from backburner.domain.webhook import Secret
from backburner.ports import Index, QueueName
from backburner.services import batches, capacity, files, results, shard_lines, webhooks
from backburner.services import records as keys
from backburner.wire.response_object import response_object
from tests.backend import content
from tests.memory import Posted
from tests.world import World

GRACE_SECONDS = 15 * 60.0

GUARANTEES = {
    1: "Accepted is durable.",
    2: "Every accepted line comes out exactly once.",
    3: "Nothing stays stuck.",
    4: "Slots never leak.",
    5: "Counts tell the truth.",
    6: "A finished line is never paid for twice.",
    7: "Every terminal state is told at least once, with one stable event id.",
    8: "A tenant sees only its own.",
    9: "Bad input gets a clear error.",
    10: "Duplicates and disorder change nothing.",
}


class BrokenError(AssertionError):
    """Guarantees that do not hold."""

    def __init__(self, complaints: list[str]) -> None:
        super().__init__("\n".join(complaints))
        self.complaints = complaints

    @property
    def numbers(self) -> set[int]:
        return {int(complaint.partition(".")[0]) for complaint in self.complaints}


def check_step(world: World) -> None:
    """What holds at any moment, whoever died in between."""
    _judge(_Scene(world), AT_ANY_MOMENT)


def check_end(world: World, *, tidy: bool = True, calm_since: float = 0.0) -> None:
    """All ten guarantees, once every timer has run out and every queue is empty.

    Args:
        world: at rest.
        tidy: whether no object may be left that nobody needs.
        calm_since: when the last fault ended, if that was so late that a batch may be late too.
    """
    scene = _Scene(world, calm_since)
    _judge(scene, AT_ANY_MOMENT + AT_THE_END)
    left = [
        stat.key
        for stat in world.blobs.list("batches/")
        if "/batch_" in stat.key or "/bundle_" in stat.key
    ]
    if tidy and left:
        raise AssertionError(f"Nobody needs what is left: {left}")


@dataclass
class _Scene:
    """A world, and all that is in it, read once."""

    world: World
    calm_since: float = 0.0

    @cached_property
    def batches(self) -> list[Batch]:
        return self.world.all_batches()

    @cached_property
    def shards(self) -> dict[str, list[Shard]]:
        return {batch.id: self.world.shards(batch) for batch in self.batches}

    @cached_property
    def bundles(self) -> list[Shard]:
        """Bundles in flight, as the backend sees them."""
        due = self.world.store.query(keys.DUE_SHARD, index=Index.DUE, limit=9999)
        return [keys.to_shard(item) for item in due if is_bundle(item["batch_id"])]

    @cached_property
    def files(self) -> list[Batch]:
        """Batches whose lines came out in files."""
        return [
            batch
            for batch in self.batches
            if not batch.is_single
            and batch.is_terminal
            and not _was_rejected(batch)
            and batch.total
        ]


def _was_rejected(batch: Batch) -> bool:
    failed = batch.status is BatchStatus.FAILED and batch.stopping is None
    return failed and not batch.is_single


Check = Callable[[_Scene], Iterator[str]]


def _judge(scene: _Scene, checks: list[tuple[int, Check]]) -> None:
    complaints = []
    for number, check in checks:
        try:
            found = list(check(scene))
        except (NotFound, LookupError, TypeError, ValueError) as error:
            found = [f"{check.__name__} could not even look: {error!r}"]
        complaints += [f"{number}. {GUARANTEES[number]} But: {what}" for what in found]
    if complaints:
        raise BrokenError(complaints)


# ---------------------------------------------------------------- 1 accepted is durable


def _accepted_is_there(scene: _Scene) -> Iterator[str]:
    found = {(batch.tenant, batch.id) for batch in scene.batches} | scene.world.removed
    for tenant, batch_id in sorted(scene.world.accepted - found):
        yield f"{tenant}'s {batch_id} is gone"


def _of_what_was_removed_nothing_is_left(scene: _Scene) -> Iterator[str]:
    world = scene.world
    for tenant, batch_id in sorted(world.removed):
        if world.store.get(keys.batch_key(tenant, batch_id)) != [None]:
            yield f"{batch_id} was removed, and is there"
        left = [stat.key for stat in world.blobs.list(f"batches/{tenant}/{batch_id}/")]
        result = files.blob_key(tenant, files.result_id(batch_id, "output"))
        if left or world.blobs.stat(result) is not None:
            yield f"{batch_id} was removed, and its results or {left} are there"


# ---------------------------------------------------------------- 2 every line once


def _every_line_came_out_once(scene: _Scene) -> Iterator[str]:
    for batch in scene.files:
        asked = input_lines(scene.world, batch)
        came_out: list[int] = []
        for lines in (scene.world.output(batch), scene.world.errors(batch)):
            numbers = [_number(line) for line in lines]
            if numbers != sorted(numbers):
                yield f"a file of {batch.id} is not in input order: {numbers}"
            for number, line in zip(numbers, lines, strict=True):
                yield from _is_answer(batch, number, asked.get(number), line)
            came_out += numbers
        if batch.kind is BatchKind.FILE:
            yield from _each_is_in_its_file(scene.world, batch)
        if sorted(came_out) != sorted(asked):
            yield f"of {batch.id}, lines {sorted(asked)} went in and {sorted(came_out)} came out"


def _each_is_in_its_file(world: World, batch: Batch) -> Iterator[str]:
    for is_output, lines in ((True, world.output(batch)), (False, world.errors(batch))):
        for line in lines:
            where = f"line {_number(line)} of {batch.id}"
            if (line["response"] is None) is (line["error"] is None):
                yield f"{where} has a response and an error, or neither"
            if is_output is not _is_success(line):
                yield f"{where} is in the wrong file"


def _is_answer(batch: Batch, number: int, request: Any, line: Any) -> Iterator[str]:
    """Whether the line answers its own request, as the model did."""
    where = f"line {number} of {batch.id}"
    if request is None:
        if _is_success(line):
            yield f"{where} was answered and is no request"
        return
    is_skipped = batch.skipped and _error(line)
    if not is_skipped and line["custom_id"] != request["custom_id"]:
        yield f"{where} came out as {line['custom_id']} of {request['custom_id']}"
    if _is_success(line):
        said, asked = _said(line), request.get("body") or request["params"]
        if said != content(asked["messages"][-1]["content"]):
            yield f"{where} has another's answer: {said}"


# What a line of a result file says, of a batch or of a Message Batch.


def _is_success(line: Any) -> bool:
    if "result" in line:
        return bool(line["result"]["type"] == "succeeded")
    return line["response"] is not None and line["response"]["status_code"] == 200


def _said(line: Any) -> Any:
    if "result" in line:
        return line["result"]["message"]["content"][0]["text"]
    return line["response"]["body"]["choices"][0]["message"]["content"]


def _error(line: Any) -> Any:
    if "result" in line:
        return line["result"].get("error", {}).get("error")
    return line["error"]


def _number(line: Any) -> int:
    return int(line["x_line"] if "result" in line else line["id"].rpartition("-")[2])


def input_lines(world: World, batch: Batch) -> dict[int, Any]:
    """The batch's lines by number; None for those that are no requests."""
    meant = _retried_lines(world, batch) if batch.retry_of else None
    found = {}
    for number, data in enumerate(world.input_of(batch).removeprefix(b"\xef\xbb\xbf").split(b"\n")):
        if not data.strip() or (meant is not None and number + 1 not in meant):
            continue
        try:
            found[number + 1] = json.loads(data)
        except ValueError:
            found[number + 1] = None
    return found


def _family(world: World, batch: Batch) -> list[Batch]:
    """The first batch and its retries up to this one."""
    first = batches.find(world.untapped, batch.tenant, batch.retry_of or "")
    before = first.retries[: first.retries.index(batch.id)]
    return [first, *(batches.find(world.untapped, batch.tenant, one) for one in before), batch]


def _retried_lines(world: World, batch: Batch) -> set[int]:
    """What failed in the first batch, and has succeeded in no retry before this one."""
    first, *before, _ = _family(world, batch)
    done = {_number(line) for one in before for line in world.output(one)}
    asked = world.asked_again.get(batch.id)
    failed = [line for line in world.errors(first) if asked is None or line["custom_id"] in asked]
    return {_number(line) for line in failed} - done


def _what_was_retried_is_merged(scene: _Scene) -> Iterator[str]:
    for batch in scene.files:
        if batch.retry_of is not None:
            answers = [a for one in _family(scene.world, batch) for a in scene.world.output(one)]
            merged = scene.world.merged(batch)
            if merged != sorted(answers, key=_number):
                yield f"the merged file of {batch.id} has {len(merged)} of {len(answers)} answers"


def _every_single_request_came_out(scene: _Scene) -> Iterator[str]:
    for batch in scene.batches:
        if not batch.is_single or not batch.is_terminal:
            continue
        outcome = results.single(scene.world.untapped, batch)
        succeeded = outcome is not None and outcome.is_success
        expected = {BatchStatus.COMPLETED: True, BatchStatus.FAILED: False}
        if succeeded is not expected.get(batch.status, batch.completed == 1):
            yield f"{batch.id} is {batch.status} and its outcome is {outcome}"
        if outcome is None and batch.stopping is None:
            yield f"{batch.id} has no outcome"
        if batch.route == RAW_ROUTE and succeeded:
            yield from _raw_answer_is_its_own(scene.world, batch)


def _raw_answer_is_its_own(world: World, batch: Batch) -> Iterator[str]:
    """The model got its bytes as they were, and what is kept is what it answered."""
    mine = [one for one in world.backend.submissions if one.shard.batch_id == batch.id]
    asked = world.input_of(batch) or world.blobs.get(batch.dropped_key or "")
    if any(one.body != asked for one in mine):
        yield f"{batch.id} came to the model with another body"
    kept = results.raw_answer(world.untapped, batch)
    if kept is None or world.blobs.stat(kept.key) is None:
        yield f"{batch.id} was answered, and the answer is gone"
    elif world.blobs.get(kept.key) not in [data for one in mine for data in one.results]:
        yield f"{batch.id} has another's answer"


def _files_are_recorded(scene: _Scene) -> Iterator[str]:
    for batch in scene.files:
        ids = (batch.output_file_id, batch.error_file_id, batch.merged_file_id)
        for file_id in filter(None, ids):
            (item,) = scene.world.store.get(keys.file_key(batch.tenant, file_id))
            stat = scene.world.blobs.stat(files.blob_key(batch.tenant, file_id))
            if item is None or stat is None or not stat.size == item["size"] > 0:
                yield f"{file_id} is {stat}, and recorded as {item}"


# ---------------------------------------------------------------- 3 nothing stays stuck


def _all_is_over_in_time(scene: _Scene) -> Iterator[str]:
    for batch in scene.batches:
        latest = max(batch.expires_at, scene.calm_since) + GRACE_SECONDS
        if not batch.is_terminal or batch.ended_at is None:
            yield f"{batch.id} is {batch.status}"
        elif batch.ended_at > latest:
            yield f"{batch.id} ended {batch.ended_at - latest:.0f} s too late"
        for shard in scene.shards[batch.id]:
            if shard.is_open:
                yield f"{shard.ref} is {shard.status}"


def _nothing_is_left_to_do(scene: _Scene) -> Iterator[str]:
    world = scene.world
    for due in (keys.DUE_BATCH, keys.DUE_SHARD, keys.DUE_DELIVERY):
        for item in world.store.query(due, index=Index.DUE):
            yield f"{item.get('id') or item.get('batch_id')} is still {due}"
    for queue in QueueName:
        counts = world.queue.counts(queue)
        if counts.waiting or counts.in_flight:
            yield f"{counts} of {queue}"


# ---------------------------------------------------------------- 4 slots never leak


def _slots_are_those_of_the_shards(scene: _Scene) -> Iterator[str]:
    world = scene.world
    shards = [shard for some in scene.shards.values() for shard in some]
    for model in world.env.catalog.each():
        mine = [one for one in shards if one.pool == model.pool]
        running = [one for one in mine if one.status is ShardStatus.IN_FLIGHT]
        holding = [
            one for one in (*mine, *scene.bundles) if one.pool == model.pool and one.has_slot
        ]
        waiting = [one for one in mine if one.status is ShardStatus.WAITING]
        pool = capacity.load(world.untapped, model.pool)
        slots = _most_slots(world, model)
        if not 0 <= pool.in_flight <= slots or pool.in_flight != len(holding):
            yield f"{pool.in_flight} of {slots} slots for {len(holding)} in flight"
        lines = [sum(one.line_count for one in some) for some in (running, waiting)]
        if [pool.running_lines, pool.waiting_lines] != lines:
            yield f"{pool}, but {lines} lines run and wait"
        queued = world.store.query(model.pool, index=Index.QUEUE, limit=999)
        if sorted(item["id"] for item in queued) != sorted(one.id for one in waiting):
            yield f"the queue of {model.name} has {len(queued)} for {len(waiting)} that wait"
        held = Counter(one.tenant for one in holding)
        cap = tenant_cap(capacity=slots, share=world.env.limits.tenant_share)
        if held and max(held.values()) > cap:
            yield f"{held} in flight; a tenant's share is {cap} of {slots}"
        waits: Counter[str] = Counter()
        for one in waiting:
            waits[one.tenant] += one.line_count
        tenants = sorted(world.tenants)
        shares = world.store.get(*(keys.share_key(tenant, model.pool) for tenant in tenants))
        for tenant, share in zip(tenants, shares, strict=True):
            counts = [(share or {}).get(name, 0) for name in ("in_flight", "waiting_lines")]
            if counts != [held[tenant], waits[tenant]]:
                yield f"{tenant} has {counts}, runs {held[tenant]} and {waits[tenant]} wait"


def _most_slots(world: World, model: Model) -> int:
    """Slots that a pool ever had: of jobs, by what the account was known to leave."""
    if model.jobs is None:
        return model.slots
    known = [room.limit - room.others for room in world.backend.rooms if room.limit is not None]
    return min(model.slots, max([model.jobs.usual_slots, *known]))


def _no_slot_is_taken(scene: _Scene) -> Iterator[str]:
    for model in scene.world.env.catalog.each():
        pool = capacity.load(scene.world.untapped, model.pool)
        if (pool.in_flight, pool.waiting_lines, pool.running_lines) != (0, 0, 0):
            yield f"nothing runs, and {pool}"


def _stored_bytes_are_those_of_the_files(scene: _Scene) -> Iterator[str]:
    store = scene.world.store
    for tenant in sorted(scene.world.tenants):
        (usage,) = store.get(keys.usage_key(tenant))
        counted = usage["stored_bytes"] if usage else 0
        stored = sum(
            item["size"]
            for kind in ("files", "reservations")
            for item in store.query(f"{tenant}/{kind}", limit=9999)
        )
        if counted != stored:
            yield f"{tenant} stores {stored} bytes, and {counted} are counted"


# ---------------------------------------------------------------- 5 counts tell the truth


def _counts_are_those_of_the_shards(scene: _Scene) -> Iterator[str]:
    for batch in scene.batches:
        shards = scene.shards[batch.id]
        if batch.completed + batch.failed > batch.total:
            yield f"{batch.id}: {batch.completed} + {batch.failed} of {batch.total}"
        if batch.ended_at is not None and not batch.is_terminal:
            yield f"{batch.id} is {batch.status} and ended"
        planned = sum("-" not in one.id for one in shards)
        unreleased = 0 if batch.is_released else batch.planned_shards - planned
        still_open = sum([one.is_open for one in shards]) + unreleased
        if batch.open_shards != still_open or (batch.is_terminal and still_open):
            yield f"{batch.id} is {batch.status}, {batch.open_shards} open, {still_open} found"
        aside = sum(one.status is ShardStatus.PAUSED for one in shards)
        if batch.paused_shards != aside or (batch.is_terminal and batch.paused):
            yield f"{batch.id} counts {batch.paused_shards} paused shards, {aside} found"
        budgeted = [
            one for one in shards if one.status is ShardStatus.IN_FLIGHT and one.is_budgeted
        ]
        running = sum(one.line_count for one in budgeted)
        if batch.running_lines != running:
            yield f"{batch.id} counts {batch.running_lines} running lines, {running} found"
        if not batch.is_single and not batch.is_terminal:
            yield from _ended_lines_are_counted(scene.world, batch, shards)


def _ended_lines_are_counted(world: World, batch: Batch, shards: list[Shard]) -> Iterator[str]:
    done = [one for one in shards if one.status is ShardStatus.DONE]
    ended = [
        outcome.is_success
        for one in done
        for outcome in shard_lines.kept_outcomes(world.untapped, one)
    ]
    if batch.completed != sum(ended):
        yield f"{batch.id} counts {batch.completed} completed of {sum(ended)}"
    if batch.stopping is None and batch.failed - batch.skipped != len(ended) - sum(ended):
        yield f"{batch.id} counts {batch.failed} failed of {len(ended) - sum(ended)}"


def _counts_are_those_of_the_files(scene: _Scene) -> Iterator[str]:
    for batch in scene.batches:
        counts = (batch.total, batch.completed, batch.failed)
        if batch.is_single:
            if batch.is_terminal and (batch.total, batch.completed + batch.failed) != (1, 1):
                yield f"{batch.id} counts {counts}"
        elif batch in scene.files:
            lines = [*scene.world.output(batch), *scene.world.errors(batch)]
            out = sum(map(_is_success, lines))
            bad = len(lines) - out
            if counts != (len(input_lines(scene.world, batch)), out, bad):
                yield f"{batch.id} counts {counts}, its files have {out} and {bad}"
        elif batch.is_terminal and not _was_rejected(batch):
            is_stopped = batch.status in (BatchStatus.EXPIRED, BatchStatus.CANCELLED)
            if not is_stopped or batch.total or scene.shards[batch.id]:
                yield f"{batch.id} was never planned, and is {batch.status} with {counts}"


# ---------------------------------------------------------------- 6 never paid for twice


def _no_line_was_paid_for_twice(scene: _Scene) -> Iterator[str]:
    yield from scene.world.backend.violations
    for batch in scene.batches:
        if batch.retry_of is not None and scene.shards[batch.id]:
            meant = _retried_lines(scene.world, batch)
            for one in scene.world.backend.submissions:
                ran = {request["line"] for request in one.requests}
                if one.shard.batch_id == batch.id and not ran <= meant:
                    yield f"{batch.id} ran {ran - meant}, which had succeeded"


# ---------------------------------------------------------------- 7 told


def _all_were_told(scene: _Scene) -> Iterator[str]:
    """At least once, always as the same event, and never anything but the end."""
    for batch in scene.batches:
        told = [one for one in scene.world.told if one.event["data"]["id"] == batch.id]
        if not told:
            yield f"nobody was told of {batch.id}"
        counts = {"total": batch.total, "completed": batch.completed, "failed": batch.failed}
        for one in told:
            said = (one.event["id"], one.event["type"], one.event["data"]["request_counts"])
            if said != (f"evt_{batch.id}", _what_ended(scene.world, batch), counts):
                yield f"{batch.id} is {batch.status} with {counts}, and was told as {said}"
        address = batch.metadata.get("notify_email")
        if address is not None and set(scene.world.mailed(f"evt_{batch.id}")) != {address}:
            yield f"{address} got no mail of {batch.id}"


def _what_ended(world: World, batch: Batch) -> str:
    """Type of the event, with the status that clients see."""
    if batch.kind is not BatchKind.RESPONSE:
        return f"{batch.kind.noun}.{batch.status}"
    asked = batch.input_inline or world.blobs.get(batch.input_key or "")
    outcome = results.single(world.untapped, batch)
    return f"response.{response_object(batch, asked, outcome)['status']}"


def _webhooks_were_told(scene: _Scene) -> Iterator[str]:
    """Each that asked for it, signed so that its owner can tell; and what was not is dead."""
    world = scene.world
    for batch in scene.batches:
        kind, hooks = _what_ended(world, batch), webhooks.load(world.untapped, batch.tenant)
        told = {one.target_id: one for one in world.deliveries(batch) if one.channel == "webhook"}
        asked = {
            one.id: (one.url, one.secrets)
            for one in hooks.wanting(kind)
            if one.created_at <= (batch.ended_at or 0.0)
        }
        if batch.callback_url is not None:
            asked["callback"] = (batch.callback_url, hooks.callback_secrets)
        for name, (url, secrets) in asked.items():
            if name not in told:
                yield f"nothing is known of telling {name} of {batch.id}"
            elif told[name].status == "delivered":
                heard = [one for one in world.receiver.posted if _is_told(one, batch, url, kind)]
                if not any(is_signed(one, secrets) for one in heard if one.is_taken):
                    yield f"{url} was not told of {batch.id}, or not so that it would believe it"


def _is_told(posted: Posted, batch: Batch, url: str, kind: str) -> bool:
    said = (posted.event["id"], posted.headers["webhook-id"], posted.event["type"])
    return posted.url == url and said == (f"evt_{batch.id}", f"evt_{batch.id}", kind)


def is_signed(posted: Posted, secrets: tuple[Secret, ...]) -> bool:
    """Whether one of the secrets has signed it, by Standard Webhooks."""
    headers = posted.headers
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + posted.body
    for secret in secrets:
        key = base64.b64decode(secret.value.removeprefix("whsec_"))
        made = base64.b64encode(hmac.new(key, signed, "sha256").digest()).decode()
        if f"v1,{made}" in headers["webhook-signature"].split(" "):
            return True
    return False


# ---------------------------------------------------------------- 8 only its own


def _no_other_tenant_sees_it(scene: _Scene) -> Iterator[str]:
    world = scene.world
    for batch in scene.batches:
        for one in world.told:
            if one.event["data"]["id"] == batch.id and one.attributes["tenant"] != batch.tenant:
                yield f"{one.attributes['tenant']} was told of {batch.tenant}'s {batch.id}"
        urls = {one.url for one in webhooks.load(world.untapped, batch.tenant).endpoints}
        for posted in world.receiver.posted:
            if posted.event["data"]["tenant"] != batch.tenant and posted.url in urls:
                yield f"{batch.tenant} was told of another's {posted.event['data']['id']}"
        for attempt in world.backend.submissions:
            if attempt.shard.batch_id == batch.id and attempt.shard.tenant != batch.tenant:
                yield f"{batch.id} ran for {attempt.shard.tenant}"
        for stranger in sorted(world.tenants - {batch.tenant} | {"stranger"}):
            for what in _seen_by(world, stranger, batch):
                yield f"{stranger} sees {batch.tenant}'s {what}"


def _seen_by(world: World, stranger: str, batch: Batch) -> Iterator[str]:
    try:
        batches.find(world.untapped, stranger, batch.id, kind=batch.kind)
        yield batch.id
    except NotFound:
        pass
    for file_id in filter(None, (batch.input_file_id, batch.output_file_id, batch.error_file_id)):
        try:
            files.find(world.untapped, stranger, file_id)
            yield file_id
        except NotFound:
            pass


# ---------------------------------------------------------------- 9 bad input


def _bad_lines_were_named(scene: _Scene) -> Iterator[str]:
    for batch in scene.batches:
        if _was_rejected(batch):
            yield from _rejection_is_clear(scene, batch)
        elif batch.skipped:
            wrong = [n for n, one in input_lines(scene.world, batch).items() if one is None]
            lines = [*scene.world.output(batch), *scene.world.errors(batch)]
            named = {_number(line): _error(line) for line in lines}
            for number in wrong:
                error = named.get(number) or {}
                code = error.get("code") or error.get("type")
                if not (code and error.get("message")):
                    yield f"line {number} of {batch.id} was skipped without a reason: {error}"


def _rejection_is_clear(scene: _Scene, batch: Batch) -> Iterator[str]:
    if (batch.output_file_id, batch.error_file_id) != (None, None) or scene.shards[batch.id]:
        yield f"{batch.id} was rejected, and has files or shards"
    findings = batches.findings(scene.world.untapped, batch)
    if not findings or not all(one.code and one.message for one in findings):
        yield f"{batch.id} was rejected without clear reasons: {findings}"
    lines = input_lines(scene.world, batch)
    named = {one.line for one in findings}
    if not named - {None} <= set(lines):
        yield f"{batch.id} was rejected for lines {named} of {sorted(lines)}"
    is_whole = None not in named and len(findings) < scene.world.env.limits.reported_errors
    unnamed = [number for number, one in lines.items() if one is None and number not in named]
    if is_whole and unnamed:
        yield f"of {batch.id}, the bad lines {unnamed} are not named"


# ---------------------------------------------------------------- 10 duplicates and disorder


def _what_ended_did_not_change(scene: _Scene) -> Iterator[str]:
    """A state is left only for one that may follow, and what ended stays as it is."""
    yield from scene.world.store.violations


def _what_was_dropped_once_ran_once(scene: _Scene) -> Iterator[str]:
    taken = Counter(batch.dropped_key for batch in scene.batches if batch.dropped_key)
    for key, times in taken.items():
        if key.endswith("/"):  # several texts of a folder
            continue
        if times > scene.world.dropped[key]:
            yield f"{key} was put {scene.world.dropped[key]} times, and taken {times} times"


AT_ANY_MOMENT: list[tuple[int, Check]] = [
    (4, _slots_are_those_of_the_shards),
    (4, _stored_bytes_are_those_of_the_files),
    (5, _counts_are_those_of_the_shards),
    (6, _no_line_was_paid_for_twice),
    (10, _what_ended_did_not_change),
    (10, _what_was_dropped_once_ran_once),
]
AT_THE_END: list[tuple[int, Check]] = [
    (1, _accepted_is_there),
    (1, _of_what_was_removed_nothing_is_left),
    (2, _every_line_came_out_once),
    (2, _what_was_retried_is_merged),
    (2, _every_single_request_came_out),
    (2, _files_are_recorded),
    (3, _all_is_over_in_time),
    (3, _nothing_is_left_to_do),
    (4, _no_slot_is_taken),
    (5, _counts_are_those_of_the_files),
    (7, _all_were_told),
    (7, _webhooks_were_told),
    (8, _no_other_tenant_sees_it),
    (9, _bad_lines_were_named),
]
