"""Schedule → backlog metric."""

from typing import Any

from backburner.bootstrap import environment
from backburner.services.backlog import report_backlog


def handler(event: dict[str, Any], context: Any) -> None:
    report_backlog(environment())
