"""When an alarm changes its state: a pure decision about data points."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence

OK = "OK"
ALARM = "ALARM"
INSUFFICIENT_DATA = "INSUFFICIENT_DATA"

#: Periods before the evaluated ones that CloudWatch looks at when some have no data.
EXTRA_PERIODS = 2

COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "GreaterThanOrEqualToThreshold": operator.ge,
    "GreaterThanThreshold": operator.gt,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}


def decide(
    state: str,
    points: Sequence[bool | None],
    *,
    periods: int,
    needed: int,
    missing: str,
) -> str:
    """The alarm's next state.

    Args:
        state: The present one.
        points: Whether each period breached, newest first, None without data; the evaluated
            periods and `EXTRA_PERIODS` more.
        periods: How many data points are evaluated (N).
        needed: How many of them must breach (M).
        missing: TreatMissingData.
    """
    real = [point for point in points if point is not None][:periods]
    if len(real) == periods:
        return ALARM if sum(real) >= needed else OK
    absent = periods - len(real)
    if missing == "breaching":
        return ALARM if sum(real) + absent >= needed else OK
    if missing == "notBreaching":
        return ALARM if sum(real) >= needed else OK
    return _decide_without_filling(state, points, real, needed=needed, missing=missing)


def _decide_without_filling(
    state: str,
    points: Sequence[bool | None],
    real: Sequence[bool],
    *,
    needed: int,
    missing: str,
) -> str:
    """For ``missing`` and ``ignore``: what the few real points are worth."""
    if sum(real) >= needed:
        return ALARM
    if not real:
        return state if missing == "ignore" else INSUFFICIENT_DATA
    if not all(real):
        return OK
    # Only breaching points, fewer than needed: enough when the oldest is old enough, since
    # nothing newer speaks against it.
    oldest = max(age for age, point in enumerate(points, start=1) if point)
    return ALARM if missing == "missing" and oldest >= needed else state
