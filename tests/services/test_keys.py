"""API keys: only their hashes are kept."""

import pytest

from backburner.domain.errors import InvalidRequest, NotFound, Unauthenticated
from backburner.services import keys


def test_a_key_opens_its_tenant_and_nothing_else(world):
    secret, key = keys.create(world.env, "acme")
    other, _ = keys.create(world.env, "zeta")
    assert keys.authenticate(world.env, secret) == "acme"
    assert keys.authenticate(world.env, other) == "zeta"
    for wrong in (None, "", "x", secret[:-1], secret + "x", key.digest, key.hint):
        with pytest.raises(Unauthenticated):
            keys.authenticate(world.env, wrong)


def test_the_secret_is_stored_nowhere(world):
    secret, _ = keys.create(world.env, "acme")
    assert secret not in str(world.store.query("keys"))


@pytest.mark.parametrize("tenant", ["", "a" * 24, "A", "a/b", "-a", "a_b", "ä", "a b", "a\n"])
def test_a_tenant_has_a_name_that_fits_into_keys(world, tenant):
    with pytest.raises(InvalidRequest, match="tenant"):
        keys.create(world.env, tenant)


def test_a_key_that_was_revoked_opens_nothing(world):
    secret, key = keys.create(world.env, "acme")
    keys.revoke(world.env, key.hint)
    with pytest.raises(Unauthenticated):
        keys.authenticate(world.env, secret)
    with pytest.raises(NotFound):
        keys.revoke(world.env, key.hint)


def test_keys_are_listed_oldest_first_and_revoked_only_by_an_unmistakable_beginning(world):
    made = []
    for name in ("one", "two", "six"):
        world.advance(1)
        made.append(keys.create(world.env, name, secret=f"bb-{name}-secret")[1])
    assert keys.all_keys(world.env) == made
    with pytest.raises(NotFound, match="3 keys"):
        keys.revoke(world.env, "bb-")
    assert keys.revoke(world.env, "bb-tw").tenant == "two"
