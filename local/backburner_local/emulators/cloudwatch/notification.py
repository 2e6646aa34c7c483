"""The message that an alarm sends to an SNS topic when it changes its state."""

from __future__ import annotations

from datetime import datetime

import msgspec

from backburner_local.emulators.cloudwatch.service import Alarm
from backburner_local.emulators.wire import Message


def state_change(alarm: Alarm, before: str, *, region: str, account_id: str) -> str:
    definition = alarm.definition
    message = {
        "AlarmName": alarm.name,
        "AlarmDescription": definition.get("AlarmDescription"),
        "AWSAccountId": account_id,
        "AlarmConfigurationUpdatedTimestamp": _time(alarm.updated_at),
        "NewStateValue": alarm.state,
        "NewStateReason": alarm.reason,
        "StateChangeTime": _time(alarm.state_at),
        "Region": region,
        "AlarmArn": alarm.arn,
        "OldStateValue": before,
        "OKActions": definition.get("OKActions") or [],
        "AlarmActions": definition.get("AlarmActions") or [],
        "InsufficientDataActions": definition.get("InsufficientDataActions") or [],
        "Trigger": _trigger(definition),
    }
    return msgspec.json.encode(message).decode()


def _trigger(definition: Message) -> Message:
    return {
        "MetricName": definition.get("MetricName"),
        "Namespace": definition.get("Namespace"),
        "StatisticType": "Statistic",
        "Statistic": (definition.get("Statistic") or "").upper() or None,
        "Unit": definition.get("Unit"),
        "Dimensions": [
            {"value": one["Value"], "name": one["Name"]}
            for one in definition.get("Dimensions") or []
        ],
        "Period": definition.get("Period"),
        "EvaluationPeriods": definition.get("EvaluationPeriods"),
        "DatapointsToAlarm": definition.get("DatapointsToAlarm"),
        "ComparisonOperator": definition.get("ComparisonOperator"),
        "Threshold": definition.get("Threshold"),
        "TreatMissingData": definition.get("TreatMissingData") or "missing",
        "EvaluateLowSampleCountPercentile": "",
    }


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}+0000"
