"""Secrets of webhooks, what they sign, and what endpoints may be."""

import base64

import pytest

from backburner.domain.errors import InvalidRequest
from backburner.domain.webhook import (
    EVENT_TYPES,
    MOST_SECRETS,
    OLD_SECRET_SECONDS,
    Secret,
    checked_event_types,
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
