"""Metrics on one machine: a log line each, a page for Prometheus, and whoever else wants them."""

import logging
import math
import re
import threading
from collections.abc import Callable, Mapping

import msgspec.json

#: Called with values and their dimensions.
Sink = Callable[[Mapping[str, float], Mapping[str, str]], object]

_log = logging.getLogger("backburner.metrics")
#: Where a word of a PascalCase name begins.
_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_NO_NAME = re.compile(r"[^a-zA-Z0-9_]+")
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class LocalMetrics:
    """Keeps the last value of each metric for each set of dimensions."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: By name, by labels.
        self._last: dict[str, dict[str, float]] = {}
        self._sinks: tuple[Sink, ...] = ()

    def add_sink(self, sink: Sink) -> None:
        """Pass on all that is published; a sink that fails is logged, not the publisher's loss."""
        with self._lock:
            self._sinks += (sink,)

    def publish(self, values: Mapping[str, float], dimensions: Mapping[str, str]) -> None:
        line = {"metrics": dict(values), "dimensions": dict(dimensions)}
        _log.info(msgspec.json.encode(line).decode())
        labels = _labels(dimensions)
        with self._lock:
            for name, value in values.items():
                self._last.setdefault(_name(name), {})[labels] = value
        for sink in self._sinks:
            try:
                sink(values, dimensions)
            except Exception:  # noqa: BLE001 - the publisher goes on
                _log.exception("metrics.sink_failed")

    def render(self) -> str:
        """All last values as Prometheus reads them (exposition format 0.0.4)."""
        lines = []
        with self._lock:
            for name, by_labels in sorted(self._last.items()):
                lines.append(f"# TYPE {name} gauge\n")
                for labels, value in sorted(by_labels.items()):
                    lines.append(f"{name}{labels} {_number(value)}\n")
        return "".join(lines)


def _snake(name: str) -> str:
    return _NO_NAME.sub("_", _WORD.sub("_", name)).lower()


def _name(name: str) -> str:
    return f"backburner_{_snake(name)}"


def _labels(dimensions: Mapping[str, str]) -> str:
    pairs = sorted((_snake(name), value.translate(_ESCAPES)) for name, value in dimensions.items())
    listed = ",".join(f'{name}="{value}"' for name, value in pairs)
    return f"{{{listed}}}" if listed else ""


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value)
