"""SNS success topic of the endpoint → outcome of the shard."""

from typing import Any

from backburner.bootstrap import environment
from backburner.services.collect import collect_result
from backburner.wire.notifications import async_results


def handler(event: dict[str, Any], context: Any) -> None:
    env = environment()
    for result in async_results(event):
        key = env.blobs.key_of(result.output_location or "")
        collect_result(env, result.ref, result_key=key or "", content_type=result.content_type)
