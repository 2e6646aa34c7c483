"""API keys: only their hashes are kept."""

from dataclasses import replace

import pytest

from backburner.domain.errors import InvalidRequest, NotFound, Unauthenticated
from backburner.ports import KnownKey
from backburner.services import keys


def test_a_key_opens_its_tenant_and_nothing_else(world):
    secret, key = keys.create(world.env, "acme")
    other, _ = keys.create(world.env, "zeta")
    assert keys.authenticate(world.env, secret).tenant == "acme"
    assert keys.authenticate(world.env, other).tenant == "zeta"
    for wrong in (None, "", "x", secret[:-1], secret + "x", key.digest, key.hint):
        with pytest.raises(Unauthenticated):
            keys.authenticate(world.env, wrong)


def test_the_secret_is_stored_nowhere(world):
    secret, _ = keys.create(world.env, "acme")
    assert secret not in str(world.store.query("keys"))


@pytest.mark.parametrize("tenant", ["", "a" * 24, "A", "a/b", "-a", "a_b", "ä", "a b", "a\n"])
def test_a_tenant_has_a_name_that_fits_into_keys(world, tenant):
    with pytest.raises(InvalidRequest, match="tenant") as caught:
        keys.create(world.env, tenant)
    assert caught.value.param == "tenant"


def test_a_key_that_was_revoked_opens_nothing(world):
    secret, key = keys.create(world.env, "acme")
    keys.revoke(world.env, key.hint)
    with pytest.raises(Unauthenticated):
        keys.authenticate(world.env, secret)
    with pytest.raises(NotFound):
        keys.revoke(world.env, key.hint)


def test_keys_are_listed_oldest_first_and_revoked_only_by_an_unmistakable_beginning(world):
    made = []
    for name in ("one", "two", "twenty"):
        world.advance(1)
        made.append(keys.create(world.env, name, secret=f"bb-{name}-secret")[1])
    assert keys.all_keys(world.env) == made
    with pytest.raises(NotFound, match="2 keys begin with 'bb-tw'") as several:
        keys.revoke(world.env, "bb-tw")
    with pytest.raises(InvalidRequest, match="at least 5 characters") as nothing:
        keys.revoke(world.env, "")
    assert several.value.param == nothing.value.param == "key"
    assert keys.revoke(world.env, "bb-two").tenant == "two"


def test_all_keys_are_listed_however_many(world):
    for number in range(1001):
        keys.create(world.env, "acme", secret=f"bb-{number}")
    assert len(keys.all_keys(world.env)) == 1001


# ---------------------------------------------------------------- keys that are believed


@pytest.fixture
def cached(world):
    """The world, where a good key is believed for 30 seconds."""
    world.set_env(replace(world.untapped, limits=replace(world.env.limits, key_cache_seconds=30.0)))
    return world


def looks(world) -> int:
    return list(world.tap.calls).count("store.get")


def test_a_good_key_is_looked_up_once_in_a_while(cached):
    secret, _ = keys.create(cached.env, "acme")
    for _ in range(3):
        assert keys.authenticate(cached.env, secret).tenant == "acme"
    assert looks(cached) == 1
    cached.advance(29)
    keys.authenticate(cached.env, secret)
    assert looks(cached) == 1
    cached.advance(1)
    keys.authenticate(cached.env, secret)
    assert looks(cached) == 2


def test_a_revoked_key_is_dead_after_that_while_and_stays_dead(cached):
    secret, key = keys.create(cached.env, "acme")
    keys.authenticate(cached.env, secret)
    keys.revoke(cached.env, key.hint)
    assert keys.authenticate(cached.env, secret).tenant == "acme"
    cached.advance(30)
    for _ in range(2):
        with pytest.raises(Unauthenticated):
            keys.authenticate(cached.env, secret)
    assert not cached.env.known_keys


def test_a_clock_that_is_set_back_keeps_no_revoked_key_alive(cached):
    secret, key = keys.create(cached.env, "acme")
    keys.authenticate(cached.env, secret)
    keys.revoke(cached.env, key.hint)
    cached.advance(-3600)
    with pytest.raises(Unauthenticated):
        keys.authenticate(cached.env, secret)


def test_a_wrong_key_is_never_remembered_so_that_a_new_one_works_at_once(cached):
    for _ in range(2):
        with pytest.raises(Unauthenticated):
            keys.authenticate(cached.env, "bb-later")
    keys.create(cached.env, "acme", secret="bb-later")
    assert keys.authenticate(cached.env, "bb-later").tenant == "acme"


def test_the_keys_that_are_remembered_are_bounded_and_hold_no_secret(cached):
    known = cached.env.known_keys
    for number in range(keys.MAX_KNOWN):
        known[f"digest-{number}"] = KnownKey(tenant="other", seen_at=cached.clock.now())
    secret, key = keys.create(cached.env, "acme")
    keys.authenticate(cached.env, secret)
    assert list(known) == [key.digest]
    assert secret not in str(known)


def test_without_a_while_nothing_is_remembered(world):
    secret, key = keys.create(world.env, "acme")
    keys.authenticate(world.env, secret)
    assert not world.env.known_keys
    keys.revoke(world.env, key.hint)
    with pytest.raises(Unauthenticated):
        keys.authenticate(world.env, secret)
