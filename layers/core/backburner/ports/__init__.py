"""What the services need of the world, stated as promises that every adapter keeps."""

from backburner.ports.backend import AttemptState, Backend, Look, Room, Submitted
from backburner.ports.blobs import Blobs, BlobStat
from backburner.ports.environment import Environment, KnownKey, Lease, Limits
from backburner.ports.formats import Dialect, ShardFormat, TokenCounter
from backburner.ports.queue import Queue, QueueName
from backburner.ports.store import (
    MAX_WRITES,
    Absent,
    Below,
    Check,
    Condition,
    Delete,
    Index,
    Is,
    IsIn,
    Item,
    Key,
    Missing,
    Put,
    Store,
    Update,
    Write,
)
from backburner.ports.telling import Events, Mail, Mailer, Metrics
from backburner.ports.time import Clock, Ids

__all__ = [
    "MAX_WRITES",
    "Absent",
    "AttemptState",
    "Backend",
    "Below",
    "BlobStat",
    "Blobs",
    "Check",
    "Clock",
    "Condition",
    "Delete",
    "Dialect",
    "Environment",
    "Events",
    "Ids",
    "Index",
    "Is",
    "IsIn",
    "Item",
    "Key",
    "KnownKey",
    "Lease",
    "Limits",
    "Look",
    "Mail",
    "Mailer",
    "Metrics",
    "Missing",
    "Put",
    "Queue",
    "QueueName",
    "Room",
    "ShardFormat",
    "Store",
    "Submitted",
    "TokenCounter",
    "Update",
    "Write",
]
