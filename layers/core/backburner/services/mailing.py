"""Who may be mailed: tenants' settings, and addresses that get no mail any more."""

import logging
from contextlib import suppress as suppressing
from typing import Any

import msgspec

from backburner.domain.delivery import is_address
from backburner.domain.errors import Conflict, InvalidRequest, NotFound
from backburner.domain.mailing import (
    WHY,
    Cause,
    Digest,
    MailSettings,
    Suppression,
    suppression_id,
)
from backburner.ports import Delete, Environment, Is, Update
from backburner.services import records

_logger = logging.getLogger(__name__)


def settings(env: Environment, tenant: str) -> MailSettings:
    """What the tenant wants of its mails."""
    (item,) = env.store.get(records.mail_settings_key(tenant))
    return msgspec.convert(item, MailSettings) if item is not None else MailSettings()


def change(env: Environment, tenant: str, changes: dict[str, Any]) -> MailSettings:
    """Change some of the settings; raises InvalidRequest that names the field."""
    for name in changes:
        if name not in _CHECKS:
            known = ", ".join(f"'{one}'" for one in _CHECKS)
            raise InvalidRequest(f"'{name[:64]}' is none of {known}.", param=name[:64])
        _CHECKS[name](changes[name])
    if changes:
        key = records.mail_settings_key(tenant)
        env.store.transact(Update(key, set=records.attributes(changes)))
    return settings(env, tenant)


def check(env: Environment, tenant: str, address: str) -> MailSettings:
    """What the tenant wants of this mail.

    Raises:
        InvalidRequest: the address gets no mail, of this tenant or of any.
    """
    item, *suppressed = env.store.get(
        records.mail_settings_key(tenant),
        records.suppression_key(tenant, suppression_id(address)),
        records.suppression_key(None, suppression_id(address)),
    )
    wanted = msgspec.convert(item, MailSettings) if item is not None else MailSettings()
    if not wanted.enabled:
        raise InvalidRequest("The tenant has turned its mails off.")
    for found in suppressed:
        if found is not None:
            raise InvalidRequest(WHY[Cause(found["cause"])])
    return wanted


# ---------------------------------------------------------------- addresses


def suppress(env: Environment, address: str, cause: Cause, *, tenant: str | None = None) -> None:
    """Have the address get no mail any more; None: of no tenant at all."""
    found = Suppression(
        id=suppression_id(address), address=address, cause=cause, created_at=env.clock.now()
    )
    key = records.suppression_key(tenant, found.id)
    env.store.transact(Update(key, set=records.attributes(msgspec.to_builtins(found))))
    _logger.info("mail.suppressed cause=%s tenant=%s", cause, tenant or "*")


def allow(env: Environment, given_id: str, *, tenant: str | None = None) -> None:
    """Let an address have mail again; raises NotFound."""
    key = records.suppression_key(tenant, given_id)
    try:
        env.store.transact(Delete(key, when=(Is("id", given_id),)))
    except Conflict:
        raise NotFound(f"No such suppression: {given_id}", param="id") from None


def suppressions(
    env: Environment, tenant: str | None, *, after: str | None = None, limit: int = 1000
) -> tuple[list[Suppression], bool]:
    """A page of the addresses that get no mail of the tenant, or of any; whether there are more."""
    items = env.store.query(
        records.mail_partition(tenant), prefix="addr_", after=after, limit=limit + 1
    )
    found = [msgspec.convert(item, Suppression) for item in items]
    return found[:limit], len(found) > limit


def resubscribe(env: Environment, tenant: str, address: str) -> None:
    """Let an address have the tenant's mails again; no error if it has them."""
    with suppressing(NotFound):
        allow(env, suppression_id(address), tenant=tenant)


# ---------------------------------------------------------------- settings


def _check_enabled(given: Any) -> None:
    if not isinstance(given, bool):
        raise InvalidRequest("'enabled' must be true or false.", param="enabled")


def _check_address(given: Any) -> None:
    if given is not None and not (isinstance(given, str) and is_address(given)):
        raise InvalidRequest("'address' must be one email address, or null.", param="address")


def _check_digest(given: Any) -> None:
    if given not in tuple(Digest):
        raise InvalidRequest(f"'digest' must be one of {', '.join(Digest)}.", param="digest")


_CHECKS = {"enabled": _check_enabled, "address": _check_address, "digest": _check_digest}
