"""What the tests count of what they tried, told at the end of the run."""

from collections import Counter
from collections.abc import Callable

import pytest

_TALLY = "tally"


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
