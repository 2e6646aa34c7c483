"""The operations of CloudWatch, and the evaluation of alarms once a simulated minute."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from backburner_local.emulators.cloudwatch import alarms, expressions
from backburner_local.emulators.cloudwatch.expressions import Values
from backburner_local.emulators.cloudwatch.store import MetricStore, Statistics, metric_key
from backburner_local.emulators.wire import ApiError, Message, instant, page, required

MAX_DATAPOINTS = 100_800


@dataclass(slots=True)
class Alarm:
    """An alarm as it was put, and its state."""

    definition: Message
    arn: str
    updated_at: datetime
    state: str = alarms.INSUFFICIENT_DATA
    reason: str = "Unchecked: Initial alarm creation"
    state_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    #: The newest data point at the last evaluation.
    value: float | None = None

    @property
    def name(self) -> str:
        return str(self.definition["AlarmName"])

    def actions(self) -> list[str]:
        """ARNs to act on in the present state."""
        if not self.definition.get("ActionsEnabled", True):
            return []
        member = {
            alarms.OK: "OKActions",
            alarms.ALARM: "AlarmActions",
            alarms.INSUFFICIENT_DATA: "InsufficientDataActions",
        }[self.state]
        return list(self.definition.get(member) or [])


#: Told of each action to take: its ARN, the alarm, the former state.
OnAction = Callable[[str, Alarm, str], None]


class CloudWatch:
    """Metrics and alarms of one region; used on one event loop."""

    def __init__(
        self, store: MetricStore, *, region: str, account_id: str, on_action: OnAction
    ) -> None:
        self.store = store
        self._arn = f"arn:aws:cloudwatch:{region}:{account_id}:alarm:"
        self._on_action = on_action
        self.alarms: dict[str, Alarm] = {}
        self.operations: dict[str, Callable[[Message], Message | None]] = {
            "PutMetricData": self.put_metric_data,
            "GetMetricData": self.get_metric_data,
            "GetMetricStatistics": self.get_metric_statistics,
            "ListMetrics": self.list_metrics,
            "PutMetricAlarm": self.put_metric_alarm,
            "DescribeAlarms": self.describe_alarms,
            "SetAlarmState": self.set_alarm_state,
            "DeleteAlarms": self.delete_alarms,
            "EnableAlarmActions": lambda request: self._enable(request, is_enabled=True),
            "DisableAlarmActions": lambda request: self._enable(request, is_enabled=False),
        }

    # ---- metrics

    def put_metric_data(self, request: Message) -> None:
        (namespace,) = required(request, "Namespace")
        data = list(request.get("MetricData") or [])
        for group in request.get("EntityMetricData") or []:
            data += group.get("MetricData") or []
        for datum in data:
            self._put_datum(namespace, datum)

    def _put_datum(self, namespace: str, datum: Message) -> None:
        (name,) = required(datum, "MetricName")
        series = self.store.series(namespace, name, _dimensions(datum))
        series.unit = datum.get("Unit", series.unit)
        at = instant(datum["Timestamp"]).timestamp() if "Timestamp" in datum else time.time()
        if (given := datum.get("StatisticValues")) is not None:
            count, total, low, high = required(given, "SampleCount", "Sum", "Minimum", "Maximum")
            series.merge(Statistics(count, total, low, high), at)
        elif (values := datum.get("Values")) is not None:
            counts = datum.get("Counts") or [1] * len(values)
            for value, count in zip(values, counts, strict=True):
                series.add(value, at, count)
        else:
            (value,) = required(datum, "Value")
            series.add(value, at)

    def list_metrics(self, request: Message) -> Message:
        wanted = {one["Name"]: one.get("Value") for one in request.get("Dimensions") or []}
        found = [
            {"Namespace": namespace, "MetricName": name, "Dimensions": _pairs(dimensions)}
            for namespace, name, dimensions in sorted(self.store.keys())
            if request.get("Namespace") in (None, namespace)
            and request.get("MetricName") in (None, name)
            and all(
                key in dict(dimensions) and value in (None, dict(dimensions)[key])
                for key, value in wanted.items()
            )
        ]
        metrics, token = page(found, request.get("NextToken"), None, most=500)
        return {"Metrics": metrics, "NextToken": token}

    def get_metric_statistics(self, request: Message) -> Message:
        namespace, name = required(request, "Namespace", "MetricName")
        starts, period = self._periods(request, int(request.get("Period") or 60))
        series = self.store.find(metric_key(namespace, name, _dimensions(request)))
        points = []
        for start in starts if series is not None else []:
            statistics = series.between(start, start + period) if series is not None else None
            if statistics is not None and series is not None:
                point = {one: statistics.value(one) for one in request.get("Statistics") or []}
                at = datetime.fromtimestamp(start, UTC)
                points.append({"Timestamp": at, "Unit": series.unit, **point})
        return {"Label": name, "Datapoints": points}

    def get_metric_data(self, request: Message) -> Message:
        (queries,) = required(request, "MetricDataQueries")
        results = []
        for query in queries:
            if query.get("ReturnData", True):
                results.append(self._query(request, query, queries))
        return {"MetricDataResults": results, "Messages": []}

    def _query(self, request: Message, query: Message, queries: list[Message]) -> Message:
        starts, _ = self._periods(request, _period(query, queries))
        values = self._values(query, queries, starts)
        points = [
            (datetime.fromtimestamp(start, UTC), value)
            for start, value in zip(starts, values, strict=True)
            if value is not None
        ]
        if request.get("ScanBy") != "TimestampAscending":
            points.reverse()
        stat = query.get("MetricStat") or {}
        label = query.get("Label") or stat.get("Metric", {}).get("MetricName") or query["Id"]
        return {
            "Id": query["Id"],
            "Label": label,
            "Timestamps": [at for at, _ in points],
            "Values": [value for _, value in points],
            "StatusCode": "Complete",
        }

    def _periods(self, request: Message, seconds: int) -> tuple[list[float], float]:
        """Starts of the periods in a request's range, and their real length."""
        start, end = required(request, "StartTime", "EndTime")
        length = seconds * self.store.resolution
        first = math.floor(instant(start).timestamp() / length)
        last = math.ceil(instant(end).timestamp() / length)
        if last - first > MAX_DATAPOINTS:
            first = last - MAX_DATAPOINTS
        return [number * length for number in range(first, last)], length

    def _values(self, query: Message, queries: list[Message], starts: list[float]) -> Values:
        """The query's value in each period; by its expression or its metric."""
        if (expression := query.get("Expression")) is not None:
            inputs = {
                other["Id"]: self._values(other, queries, starts)
                for other in queries
                if other["Id"] != query["Id"] and "MetricStat" in other
            }
            return expressions.evaluate(expression, inputs, len(starts))
        stat = query["MetricStat"]
        length = _period(query, queries) * self.store.resolution
        metric = stat["Metric"]
        key = metric_key(metric["Namespace"], metric["MetricName"], _dimensions(metric))
        return self._metric_values(key, stat["Stat"], starts, length)

    def _metric_values(
        self, key: Any, statistic: str, starts: list[float], length: float
    ) -> Values:
        series = self.store.find(key)
        if series is None:
            return [None] * len(starts)
        found = (series.between(start, start + length) for start in starts)
        return [None if one is None else one.value(statistic) for one in found]

    # ---- alarms

    def put_metric_alarm(self, request: Message) -> None:
        name, comparison, _ = required(
            request, "AlarmName", "ComparisonOperator", "EvaluationPeriods"
        )
        if comparison not in alarms.COMPARISONS:
            raise ApiError("ValidationError", f"Unsupported ComparisonOperator {comparison}.")
        if not request.get("Metrics"):
            required(request, "MetricName", "Namespace", "Period", "Statistic")
        required(request, "Threshold")
        now = datetime.now(UTC)
        known = self.alarms.get(name)
        if known is None:
            self.alarms[name] = Alarm(dict(request), self._arn + name, now)
        else:
            known.definition, known.updated_at = dict(request), now

    def describe_alarms(self, request: Message) -> Message:
        names, prefix = request.get("AlarmNames"), request.get("AlarmNamePrefix") or ""
        found = [
            _described(alarm)
            for alarm in self.alarms.values()
            if (not names or alarm.name in names)
            and alarm.name.startswith(prefix)
            and request.get("StateValue") in (None, alarm.state)
        ]
        listed, token = page(found, request.get("NextToken"), request.get("MaxRecords"), most=100)
        return {"MetricAlarms": listed, "CompositeAlarms": [], "NextToken": token}

    def set_alarm_state(self, request: Message) -> None:
        name, state, reason = required(request, "AlarmName", "StateValue", "StateReason")
        alarm = self.alarms.get(name)
        if alarm is None:
            raise ApiError("ResourceNotFound", "", status=404)
        if state not in (alarms.OK, alarms.ALARM, alarms.INSUFFICIENT_DATA):
            raise ApiError("ValidationError", f"Unknown StateValue {state}.")
        before = alarm.state
        self._become(alarm, state, reason)
        if before != state:
            self._act(alarm, before)

    def delete_alarms(self, request: Message) -> None:
        (names,) = required(request, "AlarmNames")
        for name in names:
            self.alarms.pop(name, None)

    def _enable(self, request: Message, *, is_enabled: bool) -> None:
        (names,) = required(request, "AlarmNames")
        for name in names:
            if name in self.alarms:
                self.alarms[name].definition["ActionsEnabled"] = is_enabled

    def evaluate(self, now: float) -> None:
        """Look at the periods that ended by ``now`` and act; while in ALARM, once a call."""
        for alarm in list(self.alarms.values()):
            values = self._alarm_values(alarm.definition, now)
            state, reason = _assess(alarm, values)
            before = alarm.state
            alarm.value = next((one for one in values if one is not None), None)
            if state != before:
                self._become(alarm, state, reason)
            if state != before or state == alarms.ALARM:
                self._act(alarm, before)

    def _alarm_values(self, definition: Message, now: float) -> Values:
        """Newest first: the evaluated periods and a few more."""
        count = int(definition["EvaluationPeriods"]) + alarms.EXTRA_PERIODS
        if queries := definition.get("Metrics"):
            query = next(one for one in queries if one.get("ReturnData", True))
            length = _period(query, queries) * self.store.resolution
            starts = [now - age * length for age in range(count, 0, -1)]
            return self._values(query, queries, starts)[::-1]
        length = definition["Period"] * self.store.resolution
        key = metric_key(definition["Namespace"], definition["MetricName"], _dimensions(definition))
        starts = [now - age * length for age in range(1, count + 1)]
        return self._metric_values(key, definition["Statistic"], starts, length)

    @staticmethod
    def _become(alarm: Alarm, state: str, reason: str) -> None:
        alarm.state, alarm.reason, alarm.state_at = state, reason, datetime.now(UTC)

    def _act(self, alarm: Alarm, before: str) -> None:
        for action in alarm.actions():
            self._on_action(action, alarm, before)


def _assess(alarm: Alarm, values: Values) -> tuple[str, str]:
    definition = alarm.definition
    breaches = alarms.COMPARISONS[definition["ComparisonOperator"]]
    threshold, periods = definition["Threshold"], int(definition["EvaluationPeriods"])
    state = alarms.decide(
        alarm.state,
        [None if one is None else breaches(one, threshold) for one in values],
        periods=periods,
        needed=int(definition.get("DatapointsToAlarm") or periods),
        missing=definition.get("TreatMissingData") or "missing",
    )
    shown = ", ".join(str(one) for one in values[:periods] if one is not None) or "no data"
    return state, f"Threshold Crossed: data points [{shown}] against the threshold ({threshold})."


def _described(alarm: Alarm) -> Message:
    return {
        "ActionsEnabled": True,
        "OKActions": [],
        "AlarmActions": [],
        "InsufficientDataActions": [],
        "Dimensions": [],
        **{key: value for key, value in alarm.definition.items() if key != "Tags"},
        "AlarmArn": alarm.arn,
        "AlarmConfigurationUpdatedTimestamp": alarm.updated_at,
        "StateValue": alarm.state,
        "StateReason": alarm.reason,
        "StateUpdatedTimestamp": alarm.state_at,
        "StateTransitionedTimestamp": alarm.state_at,
    }


def _dimensions(message: Message) -> dict[str, str]:
    return {one["Name"]: one["Value"] for one in message.get("Dimensions") or []}


def _pairs(dimensions: tuple[tuple[str, str], ...]) -> list[Mapping[str, str]]:
    return [{"Name": name, "Value": value} for name, value in dimensions]


def _period(query: Message, queries: list[Message]) -> int:
    """A query's period in documented seconds; an expression takes that of the first metric."""
    for one in [query, *queries]:
        if "MetricStat" in one:
            return int(one["MetricStat"].get("Period") or 60)
    return int(query.get("Period") or 60)
