"""The two alarms that a target tracking policy makes for itself."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

from backburner_local.emulators.autoscaling.decide import (
    HIGH_PERIODS,
    LOW_PERIODS,
    SCALE_IN_FRACTION,
)
from backburner_local.emulators.wire import ApiError, Message


def tracking_alarms(policy: Message) -> Iterator[Message]:
    """PutMetricAlarm requests: high for scaling out, low for scaling in where that is allowed.

    Raises:
        ApiError: the metric is not a customized one; predefined ones do not exist for
            asynchronous endpoints.
    """
    config = policy["TargetTrackingScalingPolicyConfiguration"]
    metric = config.get("CustomizedMetricSpecification")
    if not metric:
        raise ApiError(
            "ValidationException",
            "Only CustomizedMetricSpecification is supported: asynchronous endpoints do not"
            " publish SageMakerVariantInvocationsPerInstance.",
        )
    target = float(config["TargetValue"])
    common = {
        **_metric(metric),
        "AlarmDescription": f"DO NOT EDIT OR DELETE. For TargetTrackingScaling policy "
        f"{policy['PolicyARN']}.",
        "AlarmActions": [policy["PolicyARN"]],
        "ActionsEnabled": True,
        "TreatMissingData": "missing",
    }
    name = f"TargetTracking-{policy['ResourceId']}"
    yield {
        **common,
        "AlarmName": f"{name}-AlarmHigh-{uuid.uuid4()}",
        "ComparisonOperator": "GreaterThanThreshold",
        "EvaluationPeriods": HIGH_PERIODS,
        "Threshold": target,
    }
    if not config.get("DisableScaleIn"):
        yield {
            **common,
            "AlarmName": f"{name}-AlarmLow-{uuid.uuid4()}",
            "ComparisonOperator": "LessThanThreshold",
            "EvaluationPeriods": LOW_PERIODS,
            "Threshold": target * SCALE_IN_FRACTION,
        }


def _metric(metric: Message) -> Message:
    if queries := metric.get("Metrics"):
        return {"Metrics": [_query(one) for one in queries]}
    return {
        "MetricName": metric["MetricName"],
        "Namespace": metric["Namespace"],
        "Dimensions": metric.get("Dimensions") or [],
        "Statistic": metric["Statistic"],
        "Period": 60,
    }


def _query(query: Message) -> Message:
    """CloudWatch wants a period where Application Auto Scaling leaves it out."""
    if "MetricStat" in query:
        return {**query, "MetricStat": {"Period": 60, **query["MetricStat"]}}
    return query
