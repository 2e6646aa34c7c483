"""All ports of one world, and the limits that its operator set."""

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import BoundedSemaphore

from backburner.domain.catalog import Catalog
from backburner.domain.quota import DEFAULT_QUOTA, Quota
from backburner.domain.request import Instant
from backburner.domain.retry import RetryPolicy
from backburner.ports.backend import Backend
from backburner.ports.blobs import Blobs
from backburner.ports.formats import Dialect, ShardFormat, TokenCounter
from backburner.ports.queue import Queue
from backburner.ports.store import Store
from backburner.ports.telling import Events, Mailer, Metrics, Webhooks
from backburner.ports.time import Clock, Ids

#: Half of the threads that answer requests on one machine; a function on AWS has one call at once.
WAITERS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds and spans that an operator may set."""

    line_bytes: int = 1_000_000
    #: Largest body of a raw request: what SageMaker's asynchronous inference takes.
    raw_bytes: int = 1 << 30
    file_bytes: int = 512 * 1024 * 1024
    file_lines: int = 1_000_000
    #: Largest part of an upload.
    part_bytes: int = 64 * 1024 * 1024
    #: How long the parts of an upload may come.
    upload_seconds: float = 3600.0
    #: How long joining the parts of an upload may take in one call; the next one goes on with it.
    #: 0: as long as it takes. API Gateway gives up after 30 seconds.
    joining_seconds: float = 15.0
    #: Bytes of parts that are joined at once where that time is short: enough for S3 to copy what
    #: was joined (5 MiB), and few enough for a function to read and send within some seconds.
    joined_bytes: int = 64 * 1024 * 1024
    nesting: int = 128
    #: Largest body that holds the requests of its batch, and most requests in it (Anthropic's API
    #: reference, "Create a Message Batch").
    body_bytes: int = 256 * 1024 * 1024
    body_requests: int = 100_000
    #: Largest result of one attempt that is read; it has to fit into a function's memory.
    result_bytes: int = 64 * 1024 * 1024
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
    #: How much longer jobs may take, which were asked to stop at once, to bring what they finished;
    #: not much longer than until the batch's deadline.
    job_grace_seconds: float = 3300.0
    #: Time between two looks at a batch that is not terminal.
    batch_check_seconds: float = 120.0
    #: Longest that planning or finalizing may take: the time-out of those functions. Reap does not
    #: ask for either again before.
    work_seconds: float = 900.0
    #: How long shards are sent for one message: dispatch takes ten messages at once, and must not
    #: be stopped by its time-out, 300 seconds, between a claim and the call that it is for.
    dispatch_seconds: float = 4.0
    #: Shards that one dispatch hands to an endpoint at the same time, each in a thread of its own;
    #: 1: one after the other, in the caller's, as jobs are.
    sends_at_once: int = 1
    #: What the store's indexes may lag behind its items by.
    index_lag_seconds: float = 0.0
    #: How long one run of reap may work; what is left is the next one's.
    reap_seconds: float = 240.0
    #: Least time between two requests for capacity.
    wake_cooldown_seconds: float = 300.0
    #: How long the files that a batch wrote are kept; 0: for ever.
    output_expires_seconds: float = 30 * 86400.0
    #: How long records of batches stay after the batch expired; 0: for ever. Those of batches whose
    #: files are kept longer stay as long as these.
    record_seconds: float = 90 * 86400.0
    #: How long an API key that was good is believed without another look; 0: not at all. That long
    #: a revoked key may still open its tenant.
    key_cache_seconds: float = 0.0
    #: Whether whoever looks at the backlog has the backend asked for its instances. SageMaker
    #: throttles such calls, and functions that start instances need them: the last report does.
    asks_instances: bool = True
    #: Longest that a call waits for a result: API Gateway gives up after 30 seconds, and the
    #: function is stopped after 29.
    wait_seconds: float = 25.0
    #: How long links in mails open files without an API key; 0: mails have none.
    link_seconds: float = 7 * 86400.0
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    #: What a tenant may use whose key says nothing else.
    quota: Quota = DEFAULT_QUOTA

    @property
    def lease_seconds(self) -> float:
        """Time after which an attempt can't be running any more."""
        return (
            self.request_ttl_seconds + self.invocation_timeout_seconds + self.lease_margin_seconds
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownKey:
    """An API key that was found in the store."""

    tenant: str
    #: The key's own limits; None: those of the operator.
    quota: Quota | None = None
    seen_at: Instant


@dataclass(slots=True, kw_only=True)
class Lease:
    """Requests of a tenant's minute that are counted here."""

    minute: int
    limit: int
    #: Of the lease.
    left: int
    #: Of the minute, by all that answer, when it was leased.
    taken: int
    #: Nothing of the minute is left to be leased.
    is_spent: bool = False

    @property
    def is_used_up(self) -> bool:
        return self.left == 0


@dataclass(slots=True)
class Leases:
    """By tenant; only services/quotas.py touches them."""

    of: dict[str, Lease] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(slots=True)
class Takers:
    """By pool, who is about to take a slot; only services/singles.py touches them."""

    of: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The world, as the services see it: one adapter a port."""

    store: Store
    blobs: Blobs
    queue: Queue
    backends: Mapping[str, Backend]
    mailer: Mailer
    events: Events
    #: Where the same events go to, too; None: nowhere.
    bus: Events | None = None
    webhooks: Webhooks
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
    #: API keys that were good lately, by the key's hash; only services/keys.py touches them.
    known_keys: dict[str, KnownKey] = field(default_factory=dict, repr=False, compare=False)
    #: Calls that may wait for a result at once in this process: others must still be answered.
    #: Only services/waiting.py touches it.
    waiters: BoundedSemaphore = field(
        default_factory=lambda: BoundedSemaphore(WAITERS), repr=False, compare=False
    )
    #: Webhooks that let an attempt of this process wait, and until when none else is made there; by
    #: tenant and target. Only services/deliver.py touches them.
    slow_webhooks: dict[tuple[str, str], Instant] = field(
        default_factory=dict, repr=False, compare=False
    )
    leases: Leases = field(default_factory=Leases, repr=False, compare=False)
    #: Calls of this process that each count on a free slot: others need not try for the same one.
    takers: Takers = field(default_factory=Takers, repr=False, compare=False)
    #: Secrets of the deployment that were read, by name; only services/links.py touches them.
    secrets: dict[str, str] = field(default_factory=dict, repr=False, compare=False)
