"""One mail for all that end within an hour, where a tenant wants that.

A delivery that would be a mail joins the digest of its address and hour, in one transaction that
also sees that the digest was not begun. The digest is a delivery of its own, with an id of its own,
which reap has sent once the hour is over; its members ask it how it went.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from backburner.domain.batch import Batch
from backburner.domain.delivery import Delivery, DeliveryStatus, address_id
from backburner.domain.errors import Conflict
from backburner.domain.mailing import Digest
from backburner.domain.request import Instant
from backburner.ports import Absent, Check, Environment, Is, Missing, Put, Update
from backburner.services import mailing, records
from backburner.services.mails import sending

_HOUR = 3600.0

#: After this long the members of a digest ask how it went.
_ASK_SECONDS = 120.0


#: Batches that are loaded at once.
_PAGE = 100


def joined(env: Environment, told: Delivery) -> bool:
    """Whether a digest makes the delivery: then nobody else does."""
    if told.digest_id is not None:
        _ask(env, told, told.digest_id)
        return True
    if mailing.settings(env, told.tenant).digest is not Digest.HOURLY:
        return False
    with suppress(Conflict):  # it was begun just now: reap asks again
        _join(env, told)
    return True


def send(env: Environment, digest: Delivery) -> None:
    """Send the mail about all members that are still there; none: nothing."""
    found = list(_batches(env, digest))
    if found:
        sending.send(env, digest, found)


def _join(env: Environment, told: Delivery) -> None:
    now = env.clock.now()
    ends_at = (now // _HOUR + 1) * _HOUR
    digest = _digest(told, ends_at)
    key = records.key_of(digest)
    with suppress(Conflict):  # others have joined it
        env.store.transact(Put(key, records.delivery_item(digest), when=(Absent(),)))
    later = ends_at + _ASK_SECONDS
    changes = {"digest_id": digest.batch_id, "not_before": later}
    env.store.transact(
        Check(key, when=(Is("status", DeliveryStatus.PENDING), Is("attempts", 0))),
        Update(
            records.key_of(told),
            set=changes | records.delivery_due(told, later),
            when=(
                Is("status", DeliveryStatus.PENDING),
                Is("attempts", told.attempts),
                Missing("digest_id"),
            ),
        ),
        Put(
            records.member_key(digest.tenant, digest.batch_id, told.batch_id),
            records.attributes({"batch_id": told.batch_id, "ttl": told.ttl}),
        ),
    )


def _digest(told: Delivery, ends_at: Instant) -> Delivery:
    """The delivery that all of one tenant's to one address within an hour are made by."""
    whose = address_id(f"{told.tenant}/{told.target}")
    name = f"digest_{whose}_{int(ends_at)}"
    return Delivery(
        tenant=told.tenant,
        batch_id=name,
        channel=told.channel,
        target_id=told.target_id,
        target=told.target,
        event_id=f"evt_{name}",
        event_type="batch.digest",
        created_at=ends_at,
        tried_since=ends_at,
        due_at=ends_at,
        not_before=ends_at,
        ttl=told.ttl,
    )


def _ask(env: Environment, told: Delivery, digest_id: str) -> None:
    """Note of a member how its digest went. One that died may be joined anew, by another try."""
    (item,) = env.store.get(records.delivery_key(told.tenant, digest_id, told.name))
    digest = records.to_delivery(item) if item is not None else None
    changes: dict[str, Any]
    if digest is None or digest.status is DeliveryStatus.DEAD:
        reason = digest.last_error if digest is not None else "Its digest was lost."
        changes = {"status": DeliveryStatus.DEAD, "last_error": reason, "digest_id": None}
        changes |= records.delivery_dead(told, env.clock.now())
    elif digest.status is DeliveryStatus.DELIVERED:
        changes = {"status": DeliveryStatus.DELIVERED, "due_key": None, "due_sort": None}
    else:
        later = max(env.clock.now(), digest.not_before) + _ASK_SECONDS
        changes = {"not_before": later, **records.delivery_due(told, later)}
    with suppress(Conflict):
        env.store.transact(
            Update(
                records.key_of(told),
                set=records.attributes(changes),
                when=(Is("status", DeliveryStatus.PENDING), Is("digest_id", digest_id)),
            )
        )


def _batches(env: Environment, digest: Delivery) -> Iterator[Batch]:
    """What is told of, in the order of its making; what was deleted meanwhile is left out."""
    after: str | None = None
    while members := env.store.query(
        records.member_partition(digest.tenant, digest.batch_id),
        prefix=records.MEMBER,
        after=after,
        limit=_PAGE,
    ):
        keys = [records.batch_key(digest.tenant, one["batch_id"]) for one in members]
        yield from (records.to_batch(item) for item in env.store.get(*keys) if item is not None)
        after = f"{records.MEMBER}{members[-1]['batch_id']}"
