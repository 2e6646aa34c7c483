"""A batch: requests that one tenant submitted together, and the states it can be in."""

import re
from enum import StrEnum
from typing import Any

import msgspec

from backburner.domain import budget
from backburner.domain.errors import InvalidRequest
from backburner.domain.request import Instant, Usage


class BatchStatus(StrEnum):
    """Where a batch stands; the words are OpenAI's."""

    #: Accepted; its lines are being read, checked and cut into shards.
    VALIDATING = "validating"
    #: Its shards wait for slots or run.
    IN_PROGRESS = "in_progress"
    #: Every line has an outcome; the output and error files are being written.
    FINALIZING = "finalizing"
    #: Done: every line came out.
    COMPLETED = "completed"
    #: Bad input, or the canary failed.
    FAILED = "failed"
    #: The deadline came first; what had finished is in the files.
    EXPIRED = "expired"
    #: Asked to stop; what is in flight may still finish.
    CANCELLING = "cancelling"
    #: Stopped; what had finished is in the files.
    CANCELLED = "cancelled"


TERMINAL = frozenset(
    {BatchStatus.COMPLETED, BatchStatus.FAILED, BatchStatus.EXPIRED, BatchStatus.CANCELLED}
)


class StopReason(StrEnum):
    """Why a batch takes no more slots although lines are left."""

    CANCELLED = "cancelled"
    EXPIRED = "expired"
    CANARY = "canary"
    BUDGET = "budget"


#: Where a stopped batch ends, and the code and words that its unfinished lines get.
STOPPED: dict[StopReason, tuple[BatchStatus, str, str]] = {
    StopReason.CANCELLED: (
        BatchStatus.CANCELLED,
        "batch_cancelled",
        "This request was not executed: the batch was cancelled.",
    ),
    StopReason.EXPIRED: (
        BatchStatus.EXPIRED,
        "batch_expired",
        "This request could not be executed before the completion window expired.",
    ),
    StopReason.CANARY: (
        BatchStatus.FAILED,
        "canary_failed",
        "This request was not executed: too many of the batch's first requests failed.",
    ),
    StopReason.BUDGET: (
        BatchStatus.COMPLETED,
        "budget_exceeded",
        "This request was not executed: the batch has used up its budget.",
    ),
}


#: Codes of outcomes of requests that never ran because their batch stopped.
DROPPED_CODES = frozenset(code for _, code, _ in STOPPED.values())

#: Route of requests whose bodies only their model understands.
RAW_ROUTE = "/v1/requests"


class BatchKind(StrEnum):
    """How the requests came in, which decides how the result is read."""

    #: A file of lines; ends in an output and an error file.
    FILE = "file"
    #: A Message Batch of Anthropic's API; ends in one file of results.
    MESSAGES = "messages"
    #: One background response; its result is read by its own id.
    RESPONSE = "response"
    #: One request of a route that others answer at once, or a raw one; its result is what the model
    #: answered.
    REQUEST = "request"

    @property
    def noun(self) -> str:
        """What one is called, in events and in mails."""
        return self.value if self.is_single else "batch"

    @property
    def is_single(self) -> bool:
        """Whether it is one request: nothing is planned, and it writes no files."""
        return self in (BatchKind.RESPONSE, BatchKind.REQUEST)


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """One batch. A single request is a batch of one.

    A Struct, as one is read and copied with each single request: that takes a tenth of a
    dataclass's time.
    """

    tenant: str
    id: str
    kind: BatchKind = BatchKind.FILE
    status: BatchStatus
    #: Name of the dialect its lines are in and its results come out in.
    dialect: str = "openai"
    #: Route that every line must be for.
    route: str
    model: str | None = None
    #: Pool that its shards were planned for, where that is not the model's first.
    pool: str | None = None
    #: File that the lines are in; None for a single request.
    input_file_id: str | None = None
    #: Object that the lines are in, or that holds the original body of a single request.
    input_key: str | None = None
    #: Whether its requests came in the call that made it, and its results are asked for there.
    is_inline: bool = False
    #: Original body of a single request, where it is small.
    input_inline: bytes | None = None
    completion_window: str
    metadata: dict[str, str] = msgspec.field(default_factory=dict)
    #: What a bad line does: `fail` the batch, or `skip` the line (it goes to the error file).
    on_invalid: str = "fail"
    #: Higher runs first among batches of about one deadline.
    priority: int = 0
    #: Seconds that its files are kept; None: as long as the operator keeps files.
    output_expires_seconds: float | None = None
    #: URL that is told of its end, beside the tenant's endpoints.
    callback_url: str | None = None
    #: Whether an endpoint of the tenant asked to be told how it goes on.
    tells_progress: bool = False
    #: Object of the drop folder that the batch came from.
    dropped_key: str | None = None
    #: Second of the epoch after which its record may vanish, as may those of its shards and
    #: deliveries; None: never. Nothing is decided by it.
    ttl: int | None = None

    created_at: Instant
    expires_at: Instant
    in_progress_at: Instant | None = None
    finalizing_at: Instant | None = None
    completed_at: Instant | None = None
    failed_at: Instant | None = None
    expired_at: Instant | None = None
    cancelling_at: Instant | None = None
    cancelled_at: Instant | None = None

    #: Set once: no shard is claimed any more, what waits is dropped.
    stopping: StopReason | None = None
    #: When shards that are still in flight are given up, once stopping.
    grace_ends_at: Instant | None = None
    #: No shard is claimed, and what waits is taken out of the queue; the deadline goes on.
    paused: bool = False
    #: Shards that are out of the queue for that.
    paused_shards: int = 0
    #: What it may use: billionths of a dollar, and tokens; None: as much as it takes.
    max_cost_nanos: int | None = None
    max_tokens: int | None = None
    #: Requests in flight; counted only where there is a budget.
    running_lines: int = 0

    #: Requests that were accepted: each comes out exactly once.
    total: int = 0
    completed: int = 0
    failed: int = 0
    #: Of the failed, those that never ran because their line was invalid.
    skipped: int = 0
    #: Of the failed, those that never ran because the batch stopped.
    dropped: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    #: Of these tokens, in billionths of a dollar; means something where the batch is priced.
    cost_nanos: int = 0
    #: Whether all of its models have a price.
    is_priced: bool = False
    #: When the ended requests were last marked, and how many they were; and since when, and from
    #: how many on, the rate is counted.
    marked_at: Instant | None = None
    marked_lines: int = 0
    rate_since: Instant | None = None
    rate_from: int = 0
    #: Shards planned, by the manifest; retries are not among them.
    planned_shards: int = 0
    #: Prefix of the objects that planning wrote: another run of it, perhaps with another catalog,
    #: has its own.
    plan_prefix: str | None = None
    #: Whether the planned shards after the canary are in the queue.
    is_released: bool = False
    #: Shards that have not ended yet, those not released among them.
    open_shards: int = 0
    #: Why the batch failed, beside the errors of its lines.
    failure: str | None = None
    #: Why requests failed: codes of ours (domain/reasons.py), and how often.
    reasons: dict[str, int] = msgspec.field(default_factory=dict)
    #: Of a response that has ended: `completed`, `incomplete` or `failed`, by the model's answer;
    #: None: there is none.
    response_status: str | None = None

    output_file_id: str | None = None
    error_file_id: str | None = None

    #: Batch whose failed requests these are; that one is no retry itself.
    retry_of: str | None = None
    #: Object with the custom_ids that the retry is limited to; None: it is not.
    request_ids_key: str | None = None
    #: File with what the first batch and its retries up to this one answered.
    merged_file_id: str | None = None
    #: Its own retries, oldest first, and the last of them.
    retries: tuple[str, ...] = ()
    retried_by: str | None = None

    @property
    def is_single(self) -> bool:
        """Whether it is one request."""
        return self.kind.is_single

    @property
    def is_terminal(self) -> bool:
        return self.status in TERMINAL

    @property
    def shown_status(self) -> BatchStatus:
        """Where clients see it stand: a cancelled one is `cancelling` to its end."""
        is_cancelled = self.stopping is StopReason.CANCELLED
        if self.status is BatchStatus.FINALIZING and is_cancelled:
            return BatchStatus.CANCELLING
        return self.status

    @property
    def has_budget(self) -> bool:
        return self.max_cost_nanos is not None or self.max_tokens is not None

    @property
    def can_pause(self) -> bool:
        """Whether shards may still be claimed, now or once it goes on."""
        is_running = self.status in (BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS)
        return is_running and self.stopping is None

    @property
    def canary_has_ended(self) -> bool:
        """Whether one shard has ended: until the rest is released, that was the canary."""
        return self.open_shards < self.planned_shards

    @property
    def usage(self) -> Usage:
        return Usage(input_tokens=self.input_tokens, output_tokens=self.output_tokens)

    @property
    def spending(self) -> budget.Spending:
        tokens = self.input_tokens + self.output_tokens
        given = ((self.cost_nanos, self.max_cost_nanos), (tokens, self.max_tokens))
        return budget.Spending(
            limited=tuple((used, limit) for used, limit in given if limit is not None),
            ended_lines=self.completed + self.failed - self.skipped,
            running_lines=self.running_lines,
        )

    @property
    def ended_at(self) -> Instant | None:
        """When it reached its terminal state."""
        return self.completed_at or self.failed_at or self.expired_at or self.cancelled_at

    @property
    def blob_prefix(self) -> str:
        """Prefix of every object that belongs to the batch alone."""
        return blob_prefix(self.tenant, self.id)


def blob_prefix(tenant: str, batch_id: str) -> str:
    """Prefix of every object that belongs to a batch alone."""
    return f"batches/{tenant}/{batch_id}/"


class Step(StrEnum):
    """What a batch needs next to move on."""

    WAIT = "wait"
    #: Read the file.
    PLAN = "plan"
    #: Queue the planned shards after the canary.
    RELEASE = "release"
    #: Put shards that were paused back into the queue.
    REQUEUE = "requeue"
    #: The budget is used up: stop.
    STOP_BUDGET = "stop_budget"
    #: The canary failed: stop.
    STOP_CANARY = "stop_canary"
    #: The deadline came: stop.
    STOP_EXPIRED = "stop_expired"
    #: Drop what waits, and after the grace what is in flight.
    DRAIN = "drain"
    FINALIZE = "finalize"


def next_step(  # noqa: PLR0911 - one return a rule
    batch: Batch, *, now: Instant, canary_threshold: float
) -> Step:
    """What the batch needs next; reap, and whoever changed the batch, see to it."""
    if batch.is_terminal:
        return Step.WAIT
    is_planned = batch.status is not BatchStatus.VALIDATING
    if batch.status is BatchStatus.FINALIZING or (is_planned and batch.open_shards == 0):
        return Step.FINALIZE
    if batch.stopping is None and now >= batch.expires_at:
        return Step.STOP_EXPIRED
    if not is_planned:
        return Step.PLAN
    if batch.stopping is not None:
        return Step.DRAIN
    if budget.is_used_up(batch.spending):
        return Step.STOP_BUDGET
    if batch.paused_shards and not batch.paused:
        return Step.REQUEUE
    if batch.is_released or not batch.canary_has_ended:
        return Step.WAIT
    ran, failed = batch.completed + batch.failed - batch.skipped, batch.failed - batch.skipped
    # Whoever has requests run again that failed knows that some may fail again.
    if batch.retry_of is None and ran > 0 and failed / ran >= canary_threshold:
        return Step.STOP_CANARY
    return Step.WAIT if batch.paused else Step.RELEASE


METADATA_PAIRS, METADATA_KEY, METADATA_VALUE = 16, 64, 512


def checked_metadata(given: Any) -> dict[str, str]:
    """Return the metadata, or raise InvalidRequest with the limit that it breaks.

    Limits: OpenAI's API reference, "Batch", `metadata`.
    """
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise InvalidRequest("'metadata' must be an object of strings.", param="metadata")
    if len(given) > METADATA_PAIRS:
        raise InvalidRequest(
            f"'metadata' has {len(given)} pairs; the limit is {METADATA_PAIRS}.", param="metadata"
        )
    for key, value in given.items():
        if len(key) > METADATA_KEY:
            raise InvalidRequest(
                f"A key of 'metadata' has {len(key)} characters; the limit is {METADATA_KEY}.",
                param="metadata",
            )
        if not isinstance(value, str) or len(value) > METADATA_VALUE:
            raise InvalidRequest(
                f"'metadata.{key}' must be a string of at most {METADATA_VALUE} characters.",
                param=f"metadata.{key}",
            )
    return dict(given)


_UNITS = {"m": 60, "h": 3600, "d": 86400}
_SPAN = re.compile(r"([0-9]{1,5})([mhd])")
#: ISO 8601, as far as its units have a length: `PT2H`, `P1DT12H`, `PT90M`.
_ISO_SPAN = re.compile(
    r"P(?:([0-9]{1,5})D)?(?:T(?=[0-9])(?:([0-9]{1,5})H)?(?:([0-9]{1,5})M)?(?:([0-9]{1,6})S)?)?"
)
WINDOW_MIN_SECONDS, WINDOW_MAX_SECONDS = 15 * 60, 7 * 86400


def window_seconds(window: object) -> int:
    """Seconds of a completion window such as `24h` or `PT2H`.

    Raises:
        InvalidRequest: it is no span, or one outside 15m to 7d.
    """
    seconds = _span_seconds(window) if isinstance(window, str) else 0
    if WINDOW_MIN_SECONDS <= seconds <= WINDOW_MAX_SECONDS:
        return seconds
    raise InvalidRequest(
        "'completion_window' must be a span from '15m' to '7d', such as '24h', '90m' or 'PT2H'.",
        param="completion_window",
    )


def _span_seconds(text: str) -> int:
    """Seconds of a span; 0 for what is none."""
    if span := _SPAN.fullmatch(text):
        return int(span[1]) * _UNITS[span[2]]
    if span := _ISO_SPAN.fullmatch(text):
        days, hours, minutes, seconds = (int(part or 0) for part in span.groups())
        return days * 86400 + hours * 3600 + minutes * 60 + seconds
    return 0
