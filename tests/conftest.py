"""What holds for all tests: what they share, and the end of the run tells what they tried."""

import gc
import logging
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

_TALLY = "tally"


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What is made of the test modules stays: the garbage collector need not look at it."""
    gc.disable()
    result = yield
    gc.freeze()
    gc.enable()
    # Some packages set it as they are imported, and then no test sees warnings: see tests/late.py.
    assert logging.getLogger().level == logging.WARNING, "an import changed the root logger"
    return result


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first: at the end, no worker is left alone with one."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture
def tally(record_property) -> Callable[[str, float], None]:
    """Counts so many of something; of all tests together, the last lines of the run tell it."""

    def count(what: str, number: float) -> None:
        record_property(_TALLY, (what, number))

    return count


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    tried: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) == "call":
                for name, value in report.user_properties:
                    if name == _TALLY:
                        tried[value[0]] += value[1]
    if tried:
        terminalreporter.section("tried")
        for what, number in sorted(tried.items()):
            terminalreporter.write_line(f"{number:>12,.0f} {what}")
