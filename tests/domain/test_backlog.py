"""How many instances the work is worth, as tables."""

from typing import Any

import pytest

from backburner.domain.backlog import Backlog, measured_rate, wanted_instances
from tests.domain.values import pool


@pytest.mark.parametrize(
    ("backlog", "rate", "deadline", "wanted"),
    [
        (0, 1.0, 1000, 0),
        (1, 0.0, 1000, 1),
        (100, 0.0, 1000, 1),
        (100, 1.0, None, 1),
        (100, 1.0, 1000, 1),
        (1000, 1.0, 1000, 1),
        (1001, 1.0, 1000, 2),
        (2500, 1.0, 1000, 3),
        (10**9, 1.0, 1000, 4),
        (120, 1.0, 10, 2),
        (120, 1.0, -500, 2),
        (60, 1.0, -500, 1),
        (61, 1.0, 10, 2),
    ],
)
def test_instances_are_those_that_finish_by_the_earliest_deadline(backlog, rate, deadline, wanted):
    found = wanted_instances(
        pool=pool(waiting_lines=backlog), rate=rate, earliest_deadline=deadline, now=0.0, limit=4
    )
    assert found == wanted


def test_an_instance_that_may_be_working_is_not_unwanted_before_all_work_is_done():
    plenty: Any = {"rate": 1000.0, "earliest_deadline": 1000.0, "now": 0.0, "limit": 4}
    assert wanted_instances(pool=pool(running_lines=1), instances=3, **plenty) == 3
    assert wanted_instances(pool=pool(), instances=3, **plenty) == 0


@pytest.mark.parametrize(
    ("lines", "seconds", "slots", "rate"),
    [(0, 0, 4, 0), (100, 50, 1, 2), (100, 50, 4, 8), (100, 50, 0, 2), (1, 0.5, 1, 2)],
)
def test_the_rate_of_an_instance_is_that_of_its_slots(lines, seconds, slots, rate):
    measured = measured_rate(
        pool(ended_lines=lines, busy_seconds=seconds), slots_per_instance=slots
    )
    assert measured == rate


@pytest.mark.parametrize(("instances", "each"), [(0, 12), (1, 12), (2, 6), (5, 2.4)])
def test_the_backlog_per_instance_never_gaps(instances, each):
    found = Backlog(waiting=10, in_flight=2, instances=instances, oldest_seconds=0, wanted=1)
    assert (found.outstanding, found.per_instance) == (12, each)
