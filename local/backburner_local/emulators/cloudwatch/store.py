"""Metric data in memory: statistics per simulated second of each metric."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

#: Namespace, name and sorted dimensions of one metric.
MetricKey = tuple[str, str, tuple[tuple[str, str], ...]]

#: Buckets kept per metric; the oldest are dropped first.
_KEPT = 20_000
_DROPPED_AT_ONCE = 2_000
#: Part of a bucket by which the start of a short simulated minute may miss its own bucket.
_ROUNDING = 1e-3


@dataclass(slots=True)
class Statistics:
    """What CloudWatch knows about the values of one period."""

    count: float = 0
    total: float = 0
    minimum: float = math.inf
    maximum: float = -math.inf

    def add(self, value: float, count: float = 1) -> None:
        self.count += count
        self.total += value * count
        if value < self.minimum:
            self.minimum = value
        if value > self.maximum:
            self.maximum = value

    def merge(self, other: Statistics) -> None:
        self.count += other.count
        self.total += other.total
        self.minimum = min(self.minimum, other.minimum)
        self.maximum = max(self.maximum, other.maximum)

    def value(self, statistic: str) -> float | None:
        """By CloudWatch's name; None for statistics that are not kept (percentiles)."""
        if statistic == "Average":
            return self.total / self.count if self.count else None
        known = {
            "Sum": self.total,
            "SampleCount": self.count,
            "Minimum": self.minimum,
            "Maximum": self.maximum,
        }
        return known.get(statistic)


class Series:
    """The data of one metric, in buckets of one simulated second."""

    def __init__(self, resolution: float) -> None:
        self._resolution = resolution
        self._numbers: list[int] = []
        self._buckets: list[Statistics] = []
        self.unit = "None"

    def __bool__(self) -> bool:
        return bool(self._numbers)

    def add(self, value: float, at: float, count: float = 1) -> None:
        self._bucket(at).add(value, count)

    def merge(self, statistics: Statistics, at: float) -> None:
        self._bucket(at).merge(statistics)

    def between(self, start: float, end: float) -> Statistics | None:
        """Statistics of [start, end) in seconds since 1970; None without data."""
        first = bisect_left(self._numbers, round(start / self._resolution))
        last = bisect_left(self._numbers, round(end / self._resolution))
        if first == last:
            return None
        merged = Statistics()
        for bucket in self._buckets[first:last]:
            merged.merge(bucket)
        return merged

    def _bucket(self, at: float) -> Statistics:
        number = math.floor(at / self._resolution + _ROUNDING)
        if self._numbers and self._numbers[-1] == number:
            return self._buckets[-1]
        position = bisect_left(self._numbers, number)
        if position == len(self._numbers) or self._numbers[position] != number:
            self._numbers.insert(position, number)
            self._buckets.insert(position, Statistics())
            if len(self._numbers) > _KEPT:
                del self._numbers[:_DROPPED_AT_ONCE], self._buckets[:_DROPPED_AT_ONCE]
                position = max(0, position - _DROPPED_AT_ONCE)
        return self._buckets[position]


class MetricStore:
    """All metrics of the emulated account; used on one event loop."""

    def __init__(self, resolution: float) -> None:
        #: Real seconds of one simulated second.
        self.resolution = resolution
        self._series: dict[MetricKey, Series] = {}

    def series(self, namespace: str, name: str, dimensions: Mapping[str, str]) -> Series:
        """The metric's data, to be added to; made when it is new."""
        key = metric_key(namespace, name, dimensions)
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = Series(self.resolution)
        return series

    def find(self, key: MetricKey) -> Series | None:
        return self._series.get(key)

    def keys(self) -> Iterator[MetricKey]:
        """Metrics that have data."""
        return (key for key, series in self._series.items() if series)


def metric_key(namespace: str, name: str, dimensions: Mapping[str, str]) -> MetricKey:
    return namespace, name, tuple(sorted(dimensions.items()))
