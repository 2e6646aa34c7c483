"""What was told, and what could not be: listed, and made again."""

import re
from collections.abc import Iterator

from backburner.domain.delivery import Channel, Delivery, DeliveryStatus
from backburner.domain.errors import Conflict, InvalidRequest, NotFound
from backburner.domain.request import Instant
from backburner.ports import Environment, Index, Item, Key
from backburner.services import outbox, records, transitions

#: Deliveries that one call has made again, and how many it looks at for each: a client waits.
REPLAYED_A_CALL, LOOKS = 200, 10

#: Batch, channel and target.
_ID = re.compile(r"([a-z0-9_]+)-([a-z]+)-([a-z0-9_]+)")


def id_of(delivery: Delivery) -> str:
    """What clients call it."""
    return f"{delivery.batch_id}-{delivery.channel}-{delivery.target_id}"


def find(env: Environment, tenant: str, delivery_id: str) -> Delivery:
    """Raises NotFound."""
    item = _load(env, tenant, delivery_id)
    if item is None:
        raise NotFound(f"No such Delivery object: {delivery_id}", param="id")
    return records.to_delivery(item)


def page_of_dead(
    env: Environment, tenant: str, *, after: str | None, limit: int
) -> tuple[list[Delivery], bool]:
    """What was given up of a tenant, the latest first, and whether there is more.

    Raises InvalidRequest if the delivery that the page begins after is dead no more.
    """
    start = None
    if after is not None:
        item = _load(env, tenant, after)
        if item is None or item["status"] != DeliveryStatus.DEAD:
            raise InvalidRequest("'after' must be the id of a dead delivery.", param="after")
        start = str(item["due_sort"])
    found = env.store.query(
        records.dead_partition(tenant),
        index=Index.DUE,
        after=start,
        limit=limit + 1,
        newest_first=True,
    )
    return [records.to_delivery(item) for item in found[:limit]], len(found) > limit


def replay(env: Environment, tenant: str, delivery_id: str) -> Delivery:
    """Have a delivery made again, with the same event id; one that is pending stays as it is.

    Raises:
        Conflict: it was just changing.
        NotFound: the tenant has no such delivery.
    """
    seen = find(env, tenant, delivery_id)
    if seen.status is not DeliveryStatus.PENDING:
        _replay(env, seen)
    return find(env, tenant, delivery_id)


def replay_since(
    env: Environment,
    tenant: str,
    *,
    since: Instant,
    endpoint_id: str | None = None,
    at_most: int = REPLAYED_A_CALL,
) -> tuple[int, Instant | None]:
    """Have made again what was given up since then, oldest first: all, or of one endpoint.

    Returns:
        How many are made again, and since when to go on with what is left; None: nothing is.
    """
    count = looked = 0
    for item in _dead_since(env, tenant, since, page=at_most):
        if count == at_most or looked == LOOKS * at_most:
            return count, int(str(item["due_sort"]).partition("/")[0]) / 1000
        looked += 1
        dead = records.to_delivery(item)
        if endpoint_id in (None, dead.target_id if dead.channel is Channel.WEBHOOK else ""):
            try:
                _replay(env, dead)
            except Conflict:  # the index lags: it was asked for already
                continue
            count += 1
    return count, None


def _dead_since(env: Environment, tenant: str, since: Instant, *, page: int) -> Iterator[Item]:
    after = records.due_sort(since)
    while items := env.store.query(
        records.dead_partition(tenant), index=Index.DUE, after=after, limit=page
    ):
        yield from items
        after = str(items[-1]["due_sort"])


def _replay(env: Environment, seen: Delivery) -> None:
    now = env.clock.now()
    due_at = now + outbox.MESSAGE_SECONDS
    env.store.transact(*transitions.replay(seen, now=now, due_at=due_at))
    outbox.send(env, [find(env, seen.tenant, id_of(seen))])


def _load(env: Environment, tenant: str, delivery_id: str) -> Item | None:
    key = _key(tenant, delivery_id)
    return env.store.get(key)[0] if key is not None else None


def _key(tenant: str, delivery_id: str) -> Key | None:
    found = _ID.fullmatch(delivery_id)
    if found is None:
        return None
    return records.delivery_key(tenant, found[1], f"{found[2]}/{found[3]}")
