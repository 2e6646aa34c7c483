"""The metrics an asynchronous endpoint publishes: names, dimensions and units as documented."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from backburner_local.emulators.cloudwatch.store import MetricStore, Series
from backburner_local.emulators.sagemaker.endpoint import Endpoint
from backburner_local.emulators.sagemaker.knobs import Knobs

NAMESPACE = "AWS/SageMaker"
HOST_NAMESPACE = "/aws/sagemaker/Endpoints"

_UNITS = {
    "RequestDownloadLatency": "Microseconds",
    "ResponseUploadLatency": "Microseconds",
    "ModelLatency": "Microseconds",
    "TimeInBacklog": "Milliseconds",
    "TotalProcessingTime": "Milliseconds",
}


@dataclass(frozen=True, slots=True)
class Load:
    """What an endpoint has to do at one moment."""

    waiting: int
    in_flight: int
    instances: int
    #: When the oldest waiting invocation was accepted; None when none waits.
    oldest_accepted_at: float | None


class EndpointMetrics:
    """Publishes for one endpoint."""

    def __init__(self, store: MetricStore, endpoint: Endpoint, knobs: Knobs) -> None:
        self._store = store
        self._knobs = knobs
        self._endpoint = {"EndpointName": endpoint.name}
        self._variant = {**self._endpoint, "VariantName": endpoint.variant}
        self._by_name: dict[str, Series] = {}

    def add(self, name: str, value: float, at: float) -> None:
        """One value of a metric of the variant; latencies in seconds, counters as 1."""
        series = self._by_name.get(name)
        if series is None:
            series = self._store.series(NAMESPACE, name, self._variant)
            series.unit = _UNITS.get(name, "Count")
            self._by_name[name] = series
        factor = {"Microseconds": 1e6, "Milliseconds": 1e3}.get(series.unit, 1)
        series.add(value * factor, at)

    def processed(self, at: float) -> None:
        self.add(self._knobs.processed_metric_name, 1, at)

    def publish_load(self, load: Load, *, minute_start: float, now: float) -> None:
        """The gauges of a minute that is over."""
        backlog = load.waiting
        if self._knobs.backlog_includes_inflight:
            backlog += load.in_flight
        age = 0.0 if load.oldest_accepted_at is None else now - load.oldest_accepted_at
        gauges = {
            "ApproximateBacklogSize": float(backlog),
            "ApproximateAgeOfOldestRequest": max(0.0, age),
            "HasBacklogWithoutCapacity": float(backlog > 0 and load.instances == 0),
        }
        if load.instances:
            gauges["ApproximateBacklogSizePerInstance"] = backlog / load.instances
        elif self._knobs.backlog_per_instance_at_zero == "backlog":
            gauges["ApproximateBacklogSizePerInstance"] = float(backlog)
        for name, value in gauges.items():
            series = self._store.series(NAMESPACE, name, self._endpoint)
            series.unit = "Seconds" if name == "ApproximateAgeOfOldestRequest" else "Count"
            series.add(value, minute_start)

    def publish_hosts(self, cpu_percents: Sequence[float], *, minute_start: float) -> None:
        """One sample an instance: their number is how many instances there are."""
        series = self._store.series(HOST_NAMESPACE, "CPUUtilization", self._variant)
        series.unit = "Percent"
        for percent in cpu_percents:
            series.add(percent, minute_start)


class CpuMeter:
    """CPU use of processes between two looks, in percent of one core, where /proc tells."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[float, float]] = {}
        self._tick = os.sysconf("SC_CLK_TCK")

    def percents(self, pids: Sequence[int], now: float) -> list[float]:
        looks = {pid: (now, self._seconds(pid)) for pid in pids}
        before, self._seen = self._seen, looks
        return [self._percent(before.get(pid), look) for pid, look in looks.items()]

    @staticmethod
    def _percent(before: tuple[float, float] | None, look: tuple[float, float]) -> float:
        if before is None or look[0] <= before[0]:
            return 0.0
        return max(0.0, 100 * (look[1] - before[1]) / (look[0] - before[0]))

    def _seconds(self, pid: int) -> float:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return 0.0
        fields = stat.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / self._tick
