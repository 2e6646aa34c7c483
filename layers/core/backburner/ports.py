"""What the services need of the world, stated as promises that every adapter keeps."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, BinaryIO, Protocol

from backburner.domain.catalog import Catalog, Model
from backburner.domain.request import Instant, Outcome, Request
from backburner.domain.retry import RetryPolicy
from backburner.domain.shard import Shard

# ---------------------------------------------------------------- Store


@dataclass(frozen=True, slots=True)
class Key:
    """Where an item lives. Items of one partition are sorted by `sort`, bytewise."""

    partition: str
    sort: str


#: One item: attribute name to str, int, float, bool, bytes, list or dict; None is never stored.
Item = Mapping[str, Any]


class Index(StrEnum):
    """Sparse indexes: an item is in one if it has both of its attributes."""

    #: By `queue_key` and `queue_sort`: waiting shards of a pool, next one first.
    QUEUE = "queue"
    #: By `due_key` and `due_sort`: what reap must look at, soonest first.
    DUE = "due"


@dataclass(frozen=True, slots=True)
class Is:
    """The attribute exists and equals the value."""

    name: str
    value: str | int | float | bool


@dataclass(frozen=True, slots=True)
class IsIn:
    """The attribute exists and equals one of the values."""

    name: str
    values: tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Missing:
    """The attribute does not exist."""

    name: str


@dataclass(frozen=True, slots=True)
class Below:
    """The number is less than the limit; a missing attribute counts as 0."""

    name: str
    limit: float


@dataclass(frozen=True, slots=True)
class Absent:
    """There is no such item."""


Condition = Is | IsIn | Missing | Below | Absent


@dataclass(frozen=True, slots=True)
class Put:
    """Write the whole item, if all conditions hold for what is there."""

    key: Key
    item: Item
    when: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class Update:
    """Change some attributes, if all conditions hold; makes the item if there is none.

    `set` with a None removes the attribute. `add` counts up from 0 where there is none.
    """

    key: Key
    set: Mapping[str, Any] = field(default_factory=dict)
    add: Mapping[str, int | float] = field(default_factory=dict)
    when: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class Check:
    """Change nothing, but insist that all conditions hold."""

    key: Key
    when: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove the item, if all conditions hold; no error if there is none."""

    key: Key
    when: tuple[Condition, ...] = ()


Write = Put | Update | Check | Delete

#: Most writes in one transaction: DynamoDB's limit (API reference, TransactWriteItems).
MAX_WRITES = 100


class Store(Protocol):
    """Small items under keys, and transactions over them; no more than DynamoDB can keep."""

    def get(self, *keys: Key) -> list[Item | None]:
        """Read items, each as of its last committed transaction, in the order of the keys."""

    def query(
        self,
        partition: str,
        *,
        index: Index | None = None,
        prefix: str = "",
        after: str | None = None,
        up_to: str | None = None,
        limit: int = 100,
        newest_first: bool = False,
    ) -> list[Item]:
        """Read items of one partition in the order of their sort keys.

        Args:
            partition: of the table, or of the index.
            index: read an index instead; it may lag behind the table for a moment.
            prefix: only sort keys that start with it.
            after: only sort keys beyond this one, in the direction of reading; exclusive.
            up_to: only sort keys up to this one, in the direction of reading; inclusive.
            limit: most items returned. Fewer than `limit` means: there are no more.
            newest_first: read from the greatest sort key down.
        """

    def transact(self, *writes: Write) -> None:
        """Apply all writes, or none.

        On return they are durable. At most 100 writes, no key twice.

        Raises:
            Conflict: a condition did not hold; nothing was written.
            ValueError: more than 100 writes, or a key twice.
        """


# ---------------------------------------------------------------- Blobs


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobStat:
    """What is known about an object without reading it."""

    key: str
    size: int
    #: Changes whenever the content does.
    etag: str


class Blobs(Protocol):
    """Objects of any size under keys; a reader sees a whole object or none."""

    def put(self, key: str, data: bytes, *, content_type: str = "application/octet-stream") -> None:
        """Write an object in one piece; durable and visible on return, replaces what was there."""

    def write(
        self, key: str, *, content_type: str = "application/octet-stream"
    ) -> AbstractContextManager[BinaryIO]:
        """Stream an object out; it appears, durable, when the block ends without an error."""

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """Read an object or a range of it; raises NotFound."""

    def read(self, key: str) -> AbstractContextManager[BinaryIO]:
        """Stream an object in; raises NotFound."""

    def stat(self, key: str) -> BlobStat | None:
        """Size and etag, or None: there is no such object."""

    def copy(self, source: str, target: str) -> BlobStat:
        """Copy an object as it is at this moment; raises NotFound."""

    def compose(self, target: str, parts: Sequence[str]) -> BlobStat:
        """Join objects, in order, into one."""

    def delete(self, *keys: str) -> None:
        """Remove objects; no error for those that are not there."""

    def list(self, prefix: str) -> Iterator[BlobStat]:
        """Objects whose keys start with the prefix, sorted by key."""

    def uri(self, key: str) -> str:
        """The object's `s3://` location."""

    def key_of(self, uri: str) -> str | None:
        """The key of an `s3://` location, or None: it is not in this bucket."""

    def presign(self, key: str, *, seconds: int, filename: str | None = None) -> str:
        """A URL that reads this one object without a key, for a while."""


# ---------------------------------------------------------------- Queue


class QueueName(StrEnum):
    """The queues of the pipeline."""

    PLAN = "plan"
    DISPATCH = "dispatch"
    FINALIZE = "finalize"
    DELIVER = "deliver"


class Queue(Protocol):
    """Sends messages; the event source of the template hands them to its function.

    At least once, in no order; a message whose handler fails is seen again after the visibility
    timeout, and after the queue's max receives is kept as a dead letter.
    """

    def send(self, queue: QueueName, body: Mapping[str, Any], *, delay_seconds: float = 0) -> None:
        """Send one message; durable on return. The delay is at most 900 seconds."""


# ---------------------------------------------------------------- Backend


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """Where the backend said that it will put what comes out."""

    output_location: str | None = None
    failure_location: str | None = None


class AttemptState(StrEnum):
    """How an attempt goes, as far as one can see."""

    #: No result yet; nobody knows more.
    UNKNOWN = "unknown"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a look at an attempt found."""

    state: AttemptState
    #: Object with the result, where it succeeded.
    result_key: str | None = None


class Backend(Protocol):
    """Runs shards."""

    def submit(self, shard: Shard, model: Model, payload: bytes | str) -> Submitted:
        """Start the shard's current attempt.

        Args:
            shard: in flight, with its attempt counted.
            model: of the catalog.
            payload: the requests as JSONL, or the key of the object that they are in.

        Raises:
            BackendThrottled: not started; try later.
            BackendRefused: will never be taken.
            BackendError: whether it was started is unknown.
        """

    def look(self, shard: Shard) -> Look:
        """See whether the attempt's result is there, although nobody told."""

    def stop(self, shard: Shard) -> None:
        """Stop the attempt if the backend can; no promise."""

    def instances(self, model: Model) -> int:
        """Instances that the model has now, running or starting."""

    def wake(self, model: Model, wanted: int) -> None:
        """Ask for at least so many instances; a backend that scales by itself ignores it."""


# ---------------------------------------------------------------- Telling people


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """One message; the id is the same on every attempt to send it."""

    to: str
    subject: str
    text: str
    message_id: str


class Mailer(Protocol):
    """Sends mail."""

    def send(self, mail: Mail) -> None:
        """Hand over one message; raises an exception if it was not taken."""


class Events(Protocol):
    """Publishes events to whoever subscribed."""

    def publish(self, event: Mapping[str, Any], attributes: Mapping[str, str]) -> None:
        """Publish one event, with attributes that subscribers can filter by."""


class Metrics(Protocol):
    """Publishes metrics."""

    def publish(self, values: Mapping[str, float], dimensions: Mapping[str, str]) -> None:
        """Publish values under one set of dimensions, as of now."""


# ---------------------------------------------------------------- The rest


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> Instant:
        """Seconds since the epoch, UTC."""


class Ids(Protocol):
    """Makes ids and random numbers."""

    def new(self, kind: str) -> str:
        """A new id `<kind>_<20 characters>`; ids sort by age, to the millisecond."""

    def secret(self) -> str:
        """At least 192 random bits, as text."""

    def random(self) -> float:
        """A number from 0 up to 1."""


class Dialect(Protocol):
    """The format of a batch's lines and results: a wire format, seen from inside."""

    def parse(self, line: int, data: bytes, *, route: str) -> Request:
        """Read one line of an input file; raises InvalidLine."""

    def prompt(self, request: Request) -> str:
        """The text that the model will read."""

    def render(self, outcome: Outcome, *, batch_id: str) -> bytes:
        """Write one line of an output or error file, without the newline."""


class ShardFormat(Protocol):
    """The format in which shards travel to a model's container and come back."""

    def encode(self, request: Request) -> bytes:
        """One line of a shard, without the newline."""

    def head(self, line: bytes) -> tuple[int, str]:
        """Line number and custom_id of a shard's line."""

    def outcomes(self, requests: Mapping[int, str], result: Iterator[bytes]) -> Iterator[Outcome]:
        """One outcome for each request (line number to custom_id), whatever the result holds.

        Lines that are missing, unreadable or nobody's come out as `missing_result`; of two
        outcomes of one line, the first stands.
        """

    def keep(self, outcome: Outcome) -> bytes:
        """One line of a result object, without the newline."""

    def kept(self, line: bytes) -> Outcome:
        """Read a line of a result object back."""


#: Counts the tokens of a text.
TokenCounter = Callable[[str], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds and spans that an operator may set."""

    line_bytes: int = 1_000_000
    file_bytes: int = 512 * 1024 * 1024
    file_lines: int = 1_000_000
    nesting: int = 128
    reported_errors: int = 1000
    #: Objects up to this size live in the store's items, which may have 400 KB.
    inline_bytes: int = 8_192
    canary_lines: int = 16
    #: Batches of at least so many lines have a canary.
    canary_from_lines: int = 64
    canary_threshold: float = 0.5
    #: Share of a pool's slots that one tenant may hold.
    tenant_share: float = 1.0
    #: Longest that a shard waits inside the backend before it is started.
    request_ttl_seconds: int = 3600
    #: Longest that one attempt may run.
    invocation_timeout_seconds: int = 900
    #: Time between looks for a result that nobody told of.
    look_seconds: float = 300.0
    #: What the backend's and our clocks may differ by, added to each lease.
    lease_margin_seconds: float = 60.0
    #: How long shards in flight may still finish once their batch stops.
    grace_seconds: float = 300.0
    #: Time between two looks at a batch that is not terminal.
    batch_check_seconds: float = 120.0
    #: Least time between two requests for capacity.
    wake_cooldown_seconds: float = 300.0
    #: How long the files that a batch wrote are kept; 0: for ever.
    output_expires_seconds: float = 30 * 86400.0
    retry: RetryPolicy = field(default_factory=RetryPolicy)

    @property
    def lease_seconds(self) -> float:
        """Time after which an attempt can't be running any more."""
        return (
            self.request_ttl_seconds + self.invocation_timeout_seconds + self.lease_margin_seconds
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The world, as the services see it: one adapter a port."""

    store: Store
    blobs: Blobs
    queue: Queue
    backends: Mapping[str, Backend]
    mailer: Mailer
    events: Events
    metrics: Metrics
    clock: Clock
    ids: Ids
    catalog: Catalog
    dialects: Mapping[str, Dialect]
    shards: ShardFormat
    limits: Limits = Limits()
    #: Counts tokens of a model's prompts where the bytes leave doubt; by model name.
    tokenizers: Mapping[str, TokenCounter] = field(default_factory=dict)
    #: Where users reach the gateway, for links in mails and events; no slash at the end.
    public_url: str = ""
    #: Tenant that files of the drop folder belong to.
    drop_tenant: str = "default"
