"""Find whatever got no word in time, and move it on: nothing ever stays stuck."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from backburner.domain.batch import Batch
from backburner.domain.errors import Conflict
from backburner.domain.request import Instant
from backburner.ports import Environment, Index, Is, Item, Key, Update
from backburner.services import (
    batches,
    capacity,
    files,
    looks,
    outbox,
    records,
    rehoming,
    reservations,
    uploads,
)

#: Things of one kind that are looked at before it is the next kind's turn.
_PAGE = 25

#: A batch that has not ended so long after it expired is stuck.
STUCK_SECONDS = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """One kind of things that can be due."""

    #: Partition of the due index.
    partition: str
    key: Callable[[Item], Key]
    look: Callable[[Environment, Item], None]
    #: Seconds until the next look.
    pause: float
    #: Instants of the thing at which it is looked at in any case.
    own: tuple[str, ...] = ()
    #: Attribute that holds the instant of the next look beside the index.
    note: str | None = None


def reap(env: Environment) -> int:
    """Look at what is due, soonest first, the kinds in turn, until the time is spent.

    One thing that can't be moved on does not keep the others waiting: each is set due again before
    it is looked at, so that it isn't first again should the process die of it.

    Returns:
        How many things were looked at.

    Raises:
        ExceptionGroup: what went wrong, after everything was looked at.
    """
    ends_at = env.clock.now() + env.limits.reap_seconds
    looked = stuck = 0
    errors: list[Exception] = []
    for kind, item in _in_turn(env, _kinds(env)):
        if env.clock.now() >= ends_at:
            break
        try:
            if _set_due_again(env, kind, item):
                looked += 1
                stuck += _is_stuck(env, kind, item)
                kind.look(env, item)
        except Exception as error:  # noqa: BLE001 - the others come first
            errors.append(error)
    for model in env.catalog.each():
        # Batches belong to no endpoint: its name only tells one deployment from another.
        env.metrics.publish({"StuckBatches": stuck}, {"EndpointName": model.endpoint or model.pool})
    if env.catalog.has_idle_endpoint:  # silence would be an alarm
        env.metrics.publish({"StuckBatches": stuck}, {"EndpointName": env.catalog.own_endpoint})
    try:
        _see_to_pools(env, ends_at=ends_at)
    except Exception as error:  # noqa: BLE001 - as above
        errors.append(error)
    if errors:
        raise ExceptionGroup("reap could not move everything on", errors)
    return looked


def _see_to_pools(env: Environment, *, ends_at: Instant) -> None:
    """Have every queue looked at in which something waits; who left the catalog has no other."""
    for pool in capacity.pools(env):
        if pool.waiting_lines <= 0:
            continue
        if env.catalog.of_pool(pool.id) is not None:
            capacity.kick(env, pool.id)
        else:
            rehoming.rehome(env, pool.id, ends_at=ends_at)


def _kinds(env: Environment) -> list[_Kind]:
    limits = env.limits
    return [
        _Kind(
            partition=records.DUE_SHARD,
            key=lambda item: records.shard_key(item["tenant"], item["batch_id"], item["id"]),
            look=lambda env, item: looks.look(env, records.to_shard(item).ref),
            pause=limits.look_seconds,
            own=("lease_ends_at",),
            note="look_at",
        ),
        _Kind(
            partition=records.DUE_BATCH,
            key=lambda item: records.batch_key(item["tenant"], item["id"]),
            look=lambda env, item: _batch(env, records.to_batch(item)),
            pause=limits.batch_check_seconds,
            own=("expires_at", "grace_ends_at"),
        ),
        _Kind(
            partition=records.DUE_DELIVERY,
            key=lambda item: records.delivery_key(
                item["tenant"], item["batch_id"], f"{item['channel']}/{item['target_id']}"
            ),
            look=lambda env, item: outbox.send(env, [records.to_delivery(item)]),
            pause=limits.batch_check_seconds,
            note="due_at",
        ),
        _Kind(
            partition=records.DUE_FILE,
            key=_file_key,
            look=_file,
            pause=limits.batch_check_seconds,
        ),
    ]


def _in_turn(env: Environment, kinds: list[_Kind]) -> Iterator[tuple[_Kind, Item]]:
    """What is due now, a page of each kind after the other, and each thing once."""
    now = records.due_sort(env.clock.now()) + "~"
    turns: deque[tuple[_Kind, str | None]] = deque((kind, None) for kind in kinds)
    while turns:
        kind, after = turns.popleft()
        items = env.store.query(
            kind.partition, index=Index.DUE, after=after, up_to=now, limit=_PAGE
        )
        yield from ((kind, item) for item in items)
        if len(items) == _PAGE:
            turns.append((kind, str(items[-1]["due_sort"])))


def _set_due_again(env: Environment, kind: _Kind, item: Item) -> bool:
    """Move the next look at it forward. False: someone else did, or it needs none any more.

    Reads nothing that may be broken but what it needs to.
    """
    now = env.clock.now()
    at = min([now + kind.pause, *(item[own] for own in kind.own if item.get(own, 0.0) > now)])
    before = str(item["due_sort"])
    changes: dict[str, str | float] = {"due_sort": records.due_sort(at, *before.split("/")[1:])}
    if kind.note is not None:
        changes[kind.note] = at
    try:
        env.store.transact(Update(kind.key(item), set=changes, when=(Is("due_sort", before),)))
    except Conflict:
        return False
    return True


def _is_stuck(env: Environment, kind: _Kind, item: Item) -> bool:
    """Whether it is a batch that should have ended long ago."""
    is_batch = kind.partition == records.DUE_BATCH
    return is_batch and env.clock.now() >= item["expires_at"] + STUCK_SECONDS


def _file_key(item: Item) -> Key:
    """Of a file, an upload or a reservation: all of them expire."""
    keys = {"upload": records.upload_key, "request": records.reservation_key}
    return keys.get(_kind_of(item), records.file_key)(item["tenant"], item["id"])


def _file(env: Environment, item: Item) -> None:
    match _kind_of(item):
        case "upload":
            uploads.clean_up(env, records.to_upload(item))
        case "request":
            reservations.clean_up(env, records.to_reservation(item))
        case _:
            files.forget(env, records.to_file(item))


def _kind_of(item: Item) -> str:
    return str(item["id"]).partition("_")[0]


def _batch(env: Environment, batch: Batch) -> None:
    current = batches.load(env, batch.tenant, batch.id)
    if current is None or current.is_terminal:
        return
    busy_until = batches.busy_until(env, current)
    if env.clock.now() < busy_until:
        batches.look_again(env, current, at=busy_until)
    else:
        batches.advance(env, batch.tenant, batch.id)
