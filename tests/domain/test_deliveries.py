"""Deliveries that fail: when they are tried again, and when they are given up."""

import pytest
from msgspec.structs import replace

from backburner.domain.batch import BatchKind, BatchStatus, StopReason
from backburner.domain.delivery import (
    LONGEST_PAUSE_SECONDS,
    LONGEST_SECONDS,
    POLICIES,
    Channel,
    Delivery,
    address_id,
    doubling,
    event_type,
    next_pause,
)
from tests.domain.values import a_delivery, batch

HOUR = 3600.0

TOLD: Delivery = a_delivery(attempts=1)


def after(attempts: int) -> Delivery:
    return replace(TOLD, attempts=attempts)


@pytest.mark.parametrize(
    ("attempts", "seconds"), [(0, 30), (1, 30), (2, 60), (3, 120), (7, 1920), (8, 3600), (15, 3600)]
)
def test_pauses_double_up_to_an_hour(attempts, seconds):
    assert next_pause(after(attempts), now=0.0, chance=0.0) == seconds


def test_doubling_ends_at_the_longest():
    assert doubling(30.0, longest=100.0, count=4) == (30.0, 60.0, 100.0, 100.0)


@pytest.mark.parametrize(("chance", "seconds"), [(0.0, 60), (0.5, 66), (1.0, 72)])
def test_chance_makes_a_pause_longer_by_a_fifth_at_most(chance, seconds):
    assert next_pause(after(2), now=0.0, chance=chance) == pytest.approx(seconds)


@pytest.mark.parametrize("channel", list(Channel))
def test_after_the_last_attempt_there_is_none(channel):
    last = replace(TOLD, channel=channel, attempts=POLICIES[channel].max_attempts)
    assert next_pause(last, now=0.0, chance=0.0) is None
    assert next_pause(replace(last, attempts=last.attempts - 1), now=0.0, chance=0.0)


@pytest.mark.parametrize(
    ("channel", "least", "most"),
    [(Channel.EMAIL, 9, 11), (Channel.EVENTS, 9, 11), (Channel.WEBHOOK, 59.7, 72)],
)
def test_attempts_go_on_for_hours(channel, least, most):
    policy = POLICIES[channel]
    assert sum(policy.pauses) / HOUR == pytest.approx(least, abs=0.1)
    assert sum(policy.pauses) * (1 + policy.jitter) / HOUR < most


@pytest.mark.parametrize(
    ("asked", "now", "seconds"),
    [
        (10.0, 0.0, 30.0),  # less than our own pause
        (500.0, 0.0, 500.0),
        (1e9, 0.0, LONGEST_PAUSE_SECONDS),
        (1e9, LONGEST_SECONDS - HOUR, HOUR),  # the last attempt is in time
        (500.0, LONGEST_SECONDS, None),
        (0.0, LONGEST_SECONDS - 1, 30.0),
    ],
)
def test_a_target_may_ask_for_a_longer_pause_within_limits(asked, now, seconds):
    assert next_pause(TOLD, now=now, chance=0.0, asked=asked) == seconds


def test_what_was_asked_for_anew_is_tried_as_long_again():
    late = replace(TOLD, tried_since=LONGEST_SECONDS)
    assert next_pause(late, now=LONGEST_SECONDS, chance=0.0) == 30.0


@pytest.mark.parametrize(
    ("status", "changes", "called"),
    [
        (BatchStatus.EXPIRED, {}, "batch.expired"),
        (BatchStatus.EXPIRED, {"kind": BatchKind.REQUEST}, "request.expired"),
        (BatchStatus.EXPIRED, {"kind": BatchKind.RESPONSE}, "response.failed"),
        (
            BatchStatus.COMPLETED,
            {"kind": BatchKind.RESPONSE, "response_status": "incomplete"},
            "response.incomplete",
        ),
        (
            BatchStatus.CANCELLED,
            {"kind": BatchKind.RESPONSE, "stopping": StopReason.CANCELLED},
            "response.cancelled",
        ),
    ],
)
def test_an_end_is_called_by_the_status_that_the_batchs_clients_see(status, changes, called):
    assert event_type(batch(status, **changes)) == called


def test_targets_of_a_channel_have_names_of_their_own_which_hide_the_address():
    one, other = (
        replace(TOLD, channel=Channel.EMAIL, target_id=address_id(address), target=address)
        for address in ("ada@example.com", "bob@example.com")
    )
    assert one.name != other.name
    assert one.name.startswith("email/")
    assert "ada" not in one.name
    assert TOLD.name == "events/topic"
