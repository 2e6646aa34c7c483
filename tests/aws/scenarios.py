"""What happens in worlds, so that together every path of every function is taken."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from backburner.adapters.s3.writing import Sizes
from backburner.domain.retry import RetryPolicy
from backburner.ports import Limits
from tests.aws.world import AwsWorld

#: Spans short enough to wait for; a retry does not wait, as the queues' time is the machine's. One
#: probe takes every path that eight take.
LIMITS = Limits(
    inline_bytes=400,
    canary_lines=4,
    canary_from_lines=9,
    request_ttl_seconds=120,
    invocation_timeout_seconds=60,
    look_seconds=60.0,
    lease_margin_seconds=60.0,
    grace_seconds=60.0,
    work_seconds=180.0,
    retry=RetryPolicy(max_attempts=3, base_seconds=0.0, max_probes=1),
)

#: Parts of a few lines.
SMALL = Sizes(least=50, sent=400, copied=600)


@dataclass(frozen=True, slots=True)
class Scenario:
    """Something that happens in a world of its own."""

    name: str
    run: Callable[[AwsWorld], None]
    options: dict[str, Any] = field(default_factory=dict)


SCENARIOS: list[Scenario] = []


def scenario(
    *,
    limits: Limits = LIMITS,
    sizes: Sizes | None = None,
    has_jobs: bool = False,
    **parameters: str,
) -> Callable[[Callable[[AwsWorld], None]], Callable[[AwsWorld], None]]:
    """Add the function to the scenarios."""

    def add(run: Callable[[AwsWorld], None]) -> Callable[[AwsWorld], None]:
        options = {"limits": limits, "sizes": sizes, "has_jobs": has_jobs, **parameters}
        SCENARIOS.append(Scenario(run.__name__, run, options))
        return run

    return add
