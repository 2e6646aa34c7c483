"""API keys: whose request it is. Only the hash of a key is stored."""

import hashlib
import re
from dataclasses import dataclass

import msgspec

from backburner.domain.errors import InvalidRequest, NotFound, Unauthenticated
from backburner.domain.quota import Quota
from backburner.domain.request import Instant
from backburner.ports import Absent, Delete, Environment, KnownKey, Put
from backburner.services import records

#: Tenants are parts of keys, and of the 64 characters of an attempt's name at SageMaker.
TENANT = re.compile(r"[a-z0-9][a-z0-9-]{0,22}")

#: Keys that are read at once, and characters by which one is named at least: all begin alike.
_PAGE, _LEAST_HINT = 1000, 5

#: Most keys that an environment remembers.
MAX_KNOWN = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """What is known about a key."""

    #: Begins like the key itself, to tell keys apart.
    hint: str
    tenant: str
    created_at: Instant
    digest: str
    #: Its own limits; None: those of the operator.
    quota: Quota | None = None


def digest_of(secret: str) -> str:
    """SHA-256 in hex; enough for a secret of 192 random bits."""
    return hashlib.sha256(secret.encode()).hexdigest()


def create(
    env: Environment, tenant: str, *, secret: str | None = None, quota: Quota | None = None
) -> tuple[str, ApiKey]:
    """Make a key for a tenant; the secret is returned here and never again.

    Args:
        env: the world.
        tenant: whose it is.
        secret: the key itself; None draws one.
        quota: limits of what comes with this key; None: those of the operator.

    Raises:
        InvalidRequest: not a tenant's name.
    """
    if not TENANT.fullmatch(tenant):
        raise InvalidRequest(
            "A tenant's name has 1 to 23 characters of a-z, 0-9 and '-'.", param="tenant"
        )
    secret = secret or f"bb-{env.ids.secret()}"
    key = ApiKey(
        hint=secret[:8],
        tenant=tenant,
        created_at=env.clock.now(),
        digest=digest_of(secret),
        quota=quota,
    )
    item = msgspec.to_builtins(key)
    env.store.transact(Put(records.api_key_key(key.digest), item, when=(Absent(),)))
    return secret, key


def authenticate(env: Environment, secret: str | None) -> KnownKey:
    """The key, and the tenant that it belongs to; raises Unauthenticated.

    A key that was good is believed for `Limits.key_cache_seconds`, so that not each request reads
    the store. A wrong one is always looked up: a new key works at once.
    """
    if not secret:
        raise Unauthenticated
    digest = digest_of(secret)
    known = env.known_keys.get(digest)
    if known is not None and 0 <= env.clock.now() - known.seen_at < env.limits.key_cache_seconds:
        return known
    (item,) = env.store.get(records.api_key_key(digest))
    if item is None:
        env.known_keys.pop(digest, None)
        raise Unauthenticated("The API key is not valid.")
    quota = msgspec.convert(item.get("quota"), Quota | None)
    known = KnownKey(tenant=str(item["tenant"]), quota=quota, seen_at=env.clock.now())
    if env.limits.key_cache_seconds:
        _remember(env, digest, known)
    return known


def _remember(env: Environment, digest: str, known: KnownKey) -> None:
    """Several threads may do so at once: each step is one operation of a dict."""
    if len(env.known_keys) >= MAX_KNOWN:
        env.known_keys.clear()
    env.known_keys[digest] = known


def all_keys(env: Environment) -> list[ApiKey]:
    """Every key, of every tenant; for the operator."""
    found: list[ApiKey] = []
    after = None
    while items := env.store.query("keys", after=after, limit=_PAGE):
        found += (msgspec.convert(item, ApiKey) for item in items)
        after = found[-1].digest
    return sorted(found, key=lambda key: key.created_at)


def revoke(env: Environment, hint: str) -> ApiKey:
    """Remove the one key that begins so.

    Raises:
        InvalidRequest: too little to tell keys apart by.
        NotFound: none or several begin so.
    """
    if len(hint) < _LEAST_HINT:
        raise InvalidRequest(f"Give at least {_LEAST_HINT} characters of the key.", param="key")
    found = [key for key in all_keys(env) if key.hint.startswith(hint) or hint.startswith(key.hint)]
    if len(found) != 1:
        raise NotFound(f"{len(found)} keys begin with '{hint}'.", param="key")
    env.store.transact(Delete(records.api_key_key(found[0].digest)))
    return found[0]
