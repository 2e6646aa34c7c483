"""Limits of tenants, held by counters that change together with what they count.

Requests a minute are counted by leases: whoever answers takes some of the minute's requests at
once, and counts those by itself. So the limit is never passed, however many answer; one write and
one read pay for a fiftieth of it. What is leased and not used is lost to the others, until the
minute ends.
"""

import math

from backburner.domain.errors import Conflict, OverQuota, RateLimited
from backburner.domain.quota import MINUTE, Quota, Rate, minute_of
from backburner.ports import Below, Environment, Lease, Update, Write
from backburner.services import records

#: Parts that a minute's requests are leased in.
_PARTS = 50


def take_request(env: Environment, tenant: str, quota: Quota) -> Rate | None:
    """Count one request; None: nothing is counted, as the tenant has no such limit.

    Raises:
        RateLimited: the minute's requests are used up.
    """
    limit = quota.requests_per_minute
    if not limit:
        return None
    with env.leases.lock:
        minute, reset = minute_of(env.clock.now())
        lease = env.leases.of.get(tenant)
        if lease is None or lease.minute != minute or lease.limit != limit or lease.is_used_up:
            lease = _leased(env, tenant, minute, limit, lease)
            env.leases.of[tenant] = lease
        if lease.left == 0:
            raise RateLimited(
                f"Rate limit of {limit} requests a minute. Try again in {reset} s.",
                limit=limit,
                retry_after_seconds=reset,
            )
        lease.left -= 1
        remaining = max(0, limit - lease.taken) + lease.left
    return Rate(limit=limit, remaining=remaining, reset_seconds=reset)


def _leased(env: Environment, tenant: str, minute: int, limit: int, before: Lease | None) -> Lease:
    """Some of the minute's requests, or none: then the store isn't asked again."""
    if before is not None and before.minute == minute and before.is_spent:
        return before
    key = records.rate_key(tenant, minute)
    for size in dict.fromkeys((max(1, limit // _PARTS), 1)):
        taking = Update(
            key,
            set={"ttl": math.ceil((minute + 2) * MINUTE)},
            add={"taken": size},
            when=(Below("taken", limit - size + 1),),
        )
        try:
            env.store.transact(taking)
        except Conflict:
            continue
        (counted,) = env.store.get(key)
        taken = int(counted["taken"]) if counted is not None else size
        return Lease(minute=minute, limit=limit, left=size, taken=taken)
    return Lease(minute=minute, limit=limit, left=0, taken=limit, is_spent=True)


def store_file(tenant: str, size: int, *, quota: Quota | None = None) -> Write:
    """Count a file; with a quota, only if there is room for it."""
    limit = quota.stored_bytes if quota is not None else 0
    return Update(
        records.usage_key(tenant),
        add={"stored_bytes": size},
        when=(Below("stored_bytes", limit - size + 1),) if limit else (),
    )


def check_room(
    env: Environment, tenant: str, size: int, quota: Quota, *, what: str = "The file has"
) -> None:
    """Raise OverQuota if the tenant's files have no room for so many bytes more."""
    if not quota.stored_bytes:
        return
    (usage,) = env.store.get(records.usage_key(tenant))
    stored = int(usage.get("stored_bytes", 0)) if usage is not None else 0
    if stored + size > quota.stored_bytes:
        raise OverQuota(
            f"{what} {size} bytes, and your files have {stored}; the limit is "
            f"{quota.stored_bytes} bytes. Delete files, or wait until some expire.",
            param="file",
        )


def check_waiting(env: Environment, tenant: str, quota: Quota, *, pool: str | None = None) -> None:
    """Take no more work from a tenant of whose requests too many wait for one model.

    Args:
        env: the world.
        tenant: who asks.
        quota: its limits.
        pool: only this one; None: any.

    Raises:
        OverQuota: so many wait.
    """
    limit = quota.waiting_lines
    if not limit:
        return
    shares = (
        env.store.query(f"{tenant}/pools")
        if pool is None
        else filter(None, env.store.get(records.share_key(tenant, pool)))
    )
    for share in shares:
        waiting = int(share.get("waiting_lines", 0))
        if waiting >= limit:
            raise OverQuota(
                f"{waiting} of your requests wait for one model; the limit is {limit}. "
                "Try again when some have run."
            )
