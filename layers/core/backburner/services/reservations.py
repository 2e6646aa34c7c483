"""Room for bodies of raw requests that are uploaded before their requests are started.

What a link takes is not known before it has come. So each counts as the most that it can take with
the files of its tenant, until its request is started or its day is over.
"""

from contextlib import suppress

from backburner.domain.errors import Conflict
from backburner.domain.quota import Quota
from backburner.domain.upload import Reservation
from backburner.ports import Environment
from backburner.services import quotas, raw, records
from backburner.services.transitions import reservation as transitions

#: How long there is room for a body. Its link works for less: who began in time may finish.
SECONDS = 86400.0


def reserve(env: Environment, tenant: str, request_id: str, quota: Quota) -> Reservation:
    """Make room for the body of a request; raises OverQuota if the tenant has none."""
    made = Reservation(
        tenant=tenant,
        id=request_id,
        size=env.limits.raw_bytes,
        expires_at=env.clock.now() + SECONDS,
    )
    counted = quotas.store_file(tenant, made.size, quota=quota)
    try:
        env.store.transact(*transitions.create(made), counted)
    except Conflict:
        quotas.check_room(env, tenant, made.size, quota, what="The link takes up to")
        raise
    return made


def load(env: Environment, tenant: str, request_id: str) -> Reservation | None:
    """The tenant's reservation; None: there was none, or it was used, or its day is over."""
    (item,) = env.store.get(records.reservation_key(tenant, request_id))
    return records.to_reservation(item) if item is not None else None


def clean_up(env: Environment, reservation: Reservation) -> None:
    """Remove what was put there and never started, and give its room back."""
    with suppress(Conflict):  # it ends already, or its request was started
        env.store.transact(*transitions.end(reservation))
    left = load(env, reservation.tenant, reservation.id)
    if left is not None and left.is_ending:
        env.blobs.delete(raw.body_key(left.tenant, left.id))
        with suppress(Conflict):  # another one was faster
            env.store.transact(*transitions.cleaned_up(left))
