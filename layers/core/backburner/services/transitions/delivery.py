"""A delivery that was over, and is to be made again."""

from msgspec.structs import replace

from backburner.domain.delivery import Delivery, DeliveryStatus
from backburner.domain.request import Instant
from backburner.ports import Is, Put, Write
from backburner.services import records


def replay(seen: Delivery, *, now: Instant, due_at: Instant) -> list[Write]:
    """Delivered or dead → pending, with all attempts before it, and the same event.

    Only as it was seen: of two who ask at once, one has it made.
    """
    again = replace(
        seen,
        status=DeliveryStatus.PENDING,
        attempts=0,
        tried_since=now,
        not_before=0.0,
        digest_id=None,
        due_at=due_at,
    )
    when = (Is("status", seen.status), Is("attempts", seen.attempts))
    return [Put(records.key_of(seen), records.delivery_item(again), when=when)]
