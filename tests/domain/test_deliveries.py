"""Deliveries that fail: when they are tried again, and when they are given up."""

import pytest

from backburner.domain.delivery import MAX_DELIVERY_ATTEMPTS, pause_seconds


@pytest.mark.parametrize(
    ("attempts", "seconds"),
    [(0, 30), (1, 30), (2, 60), (3, 120), (7, 1920), (8, 3600), (9, 3600), (1000, 3600)],
)
def test_pauses_double_up_to_an_hour(attempts, seconds):
    assert pause_seconds(attempts) == seconds


def test_attempts_last_about_nine_hours():
    pauses = [pause_seconds(attempt) for attempt in range(1, MAX_DELIVERY_ATTEMPTS)]
    assert sum(pauses) / 3600 == pytest.approx(9, abs=0.1)
