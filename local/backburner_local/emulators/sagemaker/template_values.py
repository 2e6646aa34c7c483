"""Numbers that CloudFormation lets templates write as strings."""

from __future__ import annotations

from typing import Any

#: Members of the emulated operations that are numbers.
_NUMBERS = frozenset(
    {
        "Cooldown",
        "DatapointsToAlarm",
        "DesiredInstanceCount",
        "EvaluationPeriods",
        "InitialInstanceCount",
        "MaxCapacity",
        "MaxConcurrentInvocationsPerInstance",
        "MetricIntervalLowerBound",
        "MetricIntervalUpperBound",
        "MinAdjustmentMagnitude",
        "MinCapacity",
        "Period",
        "ScaleInCooldown",
        "ScaleOutCooldown",
        "ScalingAdjustment",
        "TargetValue",
        "Threshold",
    }
)


def with_numbers(value: Any) -> Any:
    """A request in which every such member that is text has become a number."""
    if isinstance(value, list | tuple):
        return [with_numbers(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _number(item) if key in _NUMBERS and isinstance(item, str) else with_numbers(item)
        for key, item in value.items()
    }


def _number(text: str) -> float:
    number = float(text)
    return int(number) if number.is_integer() else number
