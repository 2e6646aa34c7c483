"""SNS error topic of the endpoint → the shard's lines are tried again, or have failed."""

from typing import Any

from backburner.bootstrap import environment
from backburner.services.collect import collect_failure
from backburner.wire.notifications import async_results


def handler(event: dict[str, Any], context: Any) -> None:
    env = environment()
    for result in async_results(event):
        # SageMaker's own words may hold account ids: clients get ours.
        reason = "The model's server failed to answer."
        collect_failure(
            env,
            result.ref,
            code="backend_failed",
            reason=reason,
            status_code=result.status_code,
        )
