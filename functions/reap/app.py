"""Schedule → leases, deadlines, lost notifications, retention."""

from typing import Any

from backburner.bootstrap import environment
from backburner.services.reap import reap


def handler(event: dict[str, Any], context: Any) -> None:
    reap(environment())
