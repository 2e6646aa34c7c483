"""Secrets of webhooks, what they sign, and what endpoints may be."""

import base64
from dataclasses import replace
from typing import Any

import pytest

from backburner.domain.errors import InvalidRequest, NotFound
from backburner.domain.webhook import (
    EVENT_TYPES,
    MOST_NAME,
    MOST_SECRETS,
    OLD_SECRET_SECONDS,
    Endpoint,
    Hooks,
    Secret,
    checked_event_types,
    checked_name,
    headers,
    new_secret,
    rotated,
)

DAY = OLD_SECRET_SECONDS


def secret(name: str) -> Secret:
    return new_secret(name * 32)


def signatures(secrets: tuple[Secret, ...], *, now: float) -> int:
    signed = headers("evt_1", b"{}", secrets, now=now)["webhook-signature"]
    return len(signed.split(" ")) if signed else 0


def test_a_secret_is_of_a_length_that_receivers_take_and_shown_by_a_hint_alone():
    made = secret("a")
    key = base64.b64decode(made.value.removeprefix("whsec_"))
    assert 24 <= len(key) <= 64
    assert made.hint == f"whsec_…{made.value[-4:]}"
    assert made.value not in repr(made)


def test_who_keeps_the_old_secret_has_it_sign_for_a_day():
    both = rotated((secret("a"),), secret("b"), now=0.0, keeps_old=True)
    assert [signatures(both, now=at) for at in (0.0, DAY - 1, DAY)] == [2, 2, 1]
    assert rotated(both, secret("c"), now=1.0, keeps_old=False) == (secret("c"),)
    assert rotated((), secret("a"), now=0.0, keeps_old=True) == (secret("a"),)


def test_who_replaces_a_secret_twice_in_a_day_keeps_the_first_for_its_day_too():
    first = rotated((secret("a"),), secret("b"), now=0.0, keeps_old=True)
    second = rotated(first, secret("c"), now=DAY / 2, keeps_old=True)
    assert [signatures(second, now=at) for at in (DAY / 2, DAY, DAY * 1.5)] == [3, 2, 1]
    late = rotated(second, secret("d"), now=2 * DAY, keeps_old=True)
    assert [one.value for one in late] == [secret("d").value, secret("c").value]


def test_no_more_than_so_many_sign_at_once():
    secrets: tuple[Secret, ...] = ()
    for name in "abcdefgh":
        secrets = rotated(secrets, secret(name), now=0.0, keeps_old=True)
    assert signatures(secrets, now=0.0) == MOST_SECRETS
    assert secrets[0] == secret("h")


def test_an_old_secret_signs_no_longer_than_a_day():
    first = rotated((secret("a"),), secret("b"), now=0.0, keeps_old=True)
    assert len(rotated(first, secret("c"), now=DAY - 1, keeps_old=True)) == 3
    assert len(rotated(first, secret("c"), now=DAY, keeps_old=True)) == 2


def test_an_endpoint_is_found_and_changed_by_its_id_alone():
    settings: dict[str, Any] = {"url": "https://a.b", "event_types": (), "secrets": ()}
    settings |= {"name": "n", "created_at": 0.0, "updated_at": 0.0}
    one, other = Endpoint(id="we_1", **settings), Endpoint(id="we_2", **settings)
    hooks = Hooks(endpoints=(one, other))
    changed = replace(other, name="changed")
    assert hooks.having(changed).endpoints == (one, changed)
    assert hooks.find("we_2") is other
    with pytest.raises(NotFound, match="we_3") as refused:
        hooks.find("we_3")
    assert refused.value.param == "id"


def test_the_error_says_what_is_no_event_type_as_far_as_a_line_goes():
    with pytest.raises(InvalidRequest) as refused:
        checked_event_types(["x" * 65])
    assert f"'{'x' * 64}'" in refused.value.message


@pytest.mark.parametrize("name", ["n", "n" * MOST_NAME])
def test_a_name_has_so_many_characters_at_most(name):
    assert checked_name(name) == name


@pytest.mark.parametrize("given", ["", "n" * (MOST_NAME + 1), "two\nlines", None, 7])
def test_what_is_no_name_is_refused_with_the_limit(given):
    with pytest.raises(InvalidRequest, match=f"'name' must be .* 1 to {MOST_NAME} ") as refused:
        checked_name(given)
    assert refused.value.param == "name"


def test_event_types_are_each_once_in_one_order():
    assert checked_event_types(["response.failed", "batch.failed", "batch.failed"]) == (
        "batch.failed",
        "response.failed",
    )
    assert checked_event_types(list(EVENT_TYPES)) == EVENT_TYPES


@pytest.mark.parametrize("given", [None, [], "batch.failed", ["batch.done"], [None], {}])
def test_what_is_no_list_of_event_types_is_refused(given):
    with pytest.raises(InvalidRequest, match="event_types"):
        checked_event_types(given)
