"""S3 drop folder → batches and requests."""

from typing import Any

from backburner.bootstrap import environment
from backburner.services import drops
from backburner.wire.dropped import Dropped
from backburner.wire.notifications import uploaded_keys

FORMATS = Dropped()


def handler(event: dict[str, Any], context: Any) -> None:
    drops.take(environment(), uploaded_keys(event), FORMATS)
