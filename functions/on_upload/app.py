"""S3 drop folder → a batch."""

from typing import Any

from backburner.bootstrap import environment
from backburner.services.drops import take
from backburner.wire.notifications import uploaded_keys


def handler(event: dict[str, Any], context: Any) -> None:
    env = environment()
    for key in uploaded_keys(event):
        take(env, key)
