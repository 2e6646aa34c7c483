"""How many instances a scaling policy wants: pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

#: Application Auto Scaling scales in below this part of the target.
SCALE_IN_FRACTION = 0.9
HIGH_PERIODS = 3
LOW_PERIODS = 15


def step(
    adjustments: Sequence[Mapping[str, Any]], delta: float, *, is_upward: bool
) -> float | None:
    """The adjustment of the step that a breach falls into.

    Args:
        adjustments: StepAdjustments of the policy.
        delta: Metric minus threshold.
        is_upward: Whether the alarm watches for high values: then a step's lower bound belongs to
            it, else its upper bound does.
    """
    for one in adjustments:
        low = one.get("MetricIntervalLowerBound")
        high = one.get("MetricIntervalUpperBound")
        low = -math.inf if low is None else low
        high = math.inf if high is None else high
        if low <= delta < high if is_upward else low < delta <= high:
            return float(one["ScalingAdjustment"])
    return None


def adjusted(kind: str, capacity: int, adjustment: float, least_change: int = 1) -> int:
    """The capacity after an adjustment of this AdjustmentType, before the target's bounds."""
    if kind == "ExactCapacity":
        return int(adjustment)
    if kind == "PercentChangeInCapacity":
        change = capacity * adjustment / 100
        size = max(least_change, math.floor(abs(change))) if change else least_change
        return capacity + int(math.copysign(size, adjustment))
    return capacity + int(adjustment)


def tracked(capacity: int, metric: float, target: float, *, is_upward: bool) -> int:
    """The capacity that would bring a metric per instance back to its target."""
    wanted = math.ceil(max(1, capacity) * metric / target) if target > 0 else capacity
    return max(wanted, capacity + 1) if is_upward else min(wanted, capacity)


def bounded(capacity: int, least: int, most: int) -> int:
    return max(least, min(most, capacity))
