"""Which state follows which, as a table: no clock, no records."""

import math
from typing import Any

import pytest

from backburner_local.emulators.bedrock.job import (
    OVER,
    Dwell,
    Facts,
    Fate,
    Job,
    Status,
    due_at,
    enter,
    following,
)

DWELL = Dwell(submitted=1, validating=2, scheduled=3, in_progress=4, stopping=5)
SINCE, EXPIRES = 100.0, 1000.0
FINE, WRONG, PENDING = Facts(verdict=""), Facts(verdict="bad"), Facts()
BUSY = Facts(is_at_rest=False)
DONE = Facts(is_processed=True)


def job(status: Status, **changes: Any) -> Job:
    values: dict[str, Any] = {
        "id": "a" * 12,
        "arn": "arn",
        "request": {"jobName": "j"},
        "model_arn": "arn",
        "base_model": "m",
        "slot_key": "m",
        "account_id": "1",
        "submitted_at": 0.0,
        "expires_at": EXPIRES,
        "since": SINCE,
        "changed_at": SINCE,
        "status": status,
    }
    return Job(**(values | changes))


STUCK, PARTIAL, FAILING = Fate(is_stuck=True), Fate(partial_at=0.5), Fate(failure="broken")
LATE = EXPIRES + 1


@pytest.mark.parametrize(
    ("status", "fate", "facts", "now", "next_status"),
    [
        (Status.SUBMITTED, Fate(), PENDING, SINCE, None),
        (Status.SUBMITTED, Fate(), PENDING, SINCE + 1, Status.VALIDATING),
        (Status.VALIDATING, Fate(), PENDING, SINCE + 99, None),
        (Status.VALIDATING, Fate(), FINE, SINCE, None),
        (Status.VALIDATING, Fate(), FINE, SINCE + 2, Status.SCHEDULED),
        (Status.VALIDATING, Fate(), WRONG, SINCE + 2, Status.FAILED),
        (Status.SCHEDULED, Fate(), FINE, SINCE, None),
        (Status.SCHEDULED, Fate(), FINE, SINCE + 3, Status.IN_PROGRESS),
        (Status.SCHEDULED, STUCK, FINE, SINCE + 3, None),
        (Status.SCHEDULED, STUCK, FINE, LATE, Status.EXPIRED),
        (Status.SCHEDULED, Fate(), FINE, LATE, Status.EXPIRED),
        (Status.IN_PROGRESS, Fate(), BUSY, SINCE + 4, None),
        (Status.IN_PROGRESS, Fate(), DONE, SINCE, None),
        (Status.IN_PROGRESS, Fate(), DONE, SINCE + 4, Status.COMPLETED),
        (Status.IN_PROGRESS, Fate(), DONE, LATE, Status.COMPLETED),
        (Status.IN_PROGRESS, PARTIAL, DONE, SINCE + 4, Status.PARTIALLY_COMPLETED),
        (Status.IN_PROGRESS, FAILING, DONE, SINCE + 4, Status.FAILED),
        (Status.IN_PROGRESS, Fate(), BUSY, LATE, None),
        (Status.IN_PROGRESS, Fate(), Facts(), LATE, Status.PARTIALLY_COMPLETED),
        (Status.STOPPING, Fate(), Facts(), SINCE, None),
        (Status.STOPPING, Fate(), BUSY, SINCE + 5, None),
        (Status.STOPPING, Fate(), Facts(), SINCE + 5, Status.STOPPED),
        *[(status, Fate(), DONE, LATE, None) for status in sorted(OVER)],
    ],
)
def test_what_follows(status, fate, facts, now, next_status):
    assert following(job(status, fate=fate), now, facts, DWELL) is next_status


@pytest.mark.parametrize(
    ("status", "fate", "now", "moment"),
    [
        (Status.SUBMITTED, Fate(), SINCE, SINCE + 1),
        (Status.VALIDATING, Fate(), SINCE, SINCE + 2),
        (Status.VALIDATING, Fate(), SINCE + 2, math.inf),
        (Status.SCHEDULED, Fate(), SINCE, SINCE + 3),
        (Status.SCHEDULED, STUCK, SINCE, EXPIRES),
        (Status.IN_PROGRESS, Fate(), SINCE, SINCE + 4),
        (Status.IN_PROGRESS, Fate(), SINCE + 4, EXPIRES),
        (Status.IN_PROGRESS, Fate(), LATE, math.inf),
        (Status.STOPPING, Fate(), SINCE, SINCE + 5),
        *[(status, Fate(), SINCE, math.inf) for status in sorted(OVER)],
    ],
)
def test_when_time_alone_changes_something(status, fate, now, moment):
    assert due_at(job(status, fate=fate), now, DWELL) == moment


def test_an_expired_job_ended_when_its_validation_did():
    one = job(Status.VALIDATING)
    enter(one, Status.SCHEDULED, 200.0)
    assert (one.ended_at, one.changed_at) == (None, 200.0)
    enter(one, Status.EXPIRED, 900.0)
    assert (one.ended_at, one.changed_at) == (200.0, 900.0)


@pytest.mark.parametrize("status", sorted(OVER - {Status.EXPIRED}))
def test_every_other_job_ends_when_it_ends(status):
    one = job(Status.IN_PROGRESS)
    enter(one, status, 900.0)
    assert one.ended_at == one.changed_at == 900.0
