"""Metrics in CloudWatch's embedded metric format: one line of JSON on standard output.

CloudWatch Logs makes metrics of such lines by itself, so that publishing costs no call (CloudWatch
user guide, "Specification: Embedded metric format"). Lambda hands a line that is JSON on as it is,
whichever log format the function has (developer guide, "Configuring JSON and plain text log
formats"). A line must stay below 256 KB, which 100 metrics with names of ours never reach.
"""

import math
import sys
import time
from collections.abc import Mapping
from typing import TextIO

import msgspec.json

#: Namespace of the template's alarms.
NAMESPACE = "Backburner"

#: Most metrics of one line, and characters of a dimension's value (the specification).
_MOST_METRICS, _LONGEST_VALUE = 100, 1024


class EmfMetrics:
    """Metrics of one namespace."""

    def __init__(self, out: TextIO | None = None) -> None:
        """Say where lines go; None: to standard output, whatever that is at the time."""
        self._out = out

    def publish(self, values: Mapping[str, float], dimensions: Mapping[str, str]) -> None:
        """Write the values; those that are no finite number, which JSON has none of, are left out.

        So are dimensions without a value: CloudWatch would drop all dimensions with them. An empty
        set of dimensions is a valid one.
        """
        about = {name: value[:_LONGEST_VALUE] for name, value in dimensions.items() if value}
        finite = [(name, value) for name, value in values.items() if math.isfinite(value)]
        for start in range(0, len(finite), _MOST_METRICS):
            self._write(dict(finite[start : start + _MOST_METRICS]), about)

    def _write(self, values: Mapping[str, float], dimensions: Mapping[str, str]) -> None:
        directive = {
            "Namespace": NAMESPACE,
            "Dimensions": [list(dimensions)],
            "Metrics": [{"Name": name} for name in values],
        }
        line = {
            "_aws": {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [directive]},
            **dimensions,
            **values,
        }
        # One write a line: another thread's line must not come in between.
        (self._out or sys.stdout).write(msgspec.json.encode(line).decode() + "\n")
