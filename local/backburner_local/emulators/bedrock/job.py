"""One job: what is known of it, and how its state follows from time and from what happened."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from backburner_local.emulators.wire import iso_milliseconds


class Status(StrEnum):
    """States of a job, as AWS names them."""

    SUBMITTED = "Submitted"
    IN_PROGRESS = "InProgress"
    COMPLETED = "Completed"
    FAILED = "Failed"
    STOPPING = "Stopping"
    STOPPED = "Stopped"
    PARTIALLY_COMPLETED = "PartiallyCompleted"
    EXPIRED = "Expired"
    VALIDATING = "Validating"
    SCHEDULED = "Scheduled"


#: States that nothing follows.
OVER = frozenset(
    {
        Status.COMPLETED,
        Status.FAILED,
        Status.STOPPED,
        Status.PARTIALLY_COMPLETED,
        Status.EXPIRED,
    }
)


@dataclass(slots=True)
class Counts:
    """Records of a job, and tokens of those that succeeded."""

    total: int = 0
    processed: int = 0
    succeeded: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Fate:
    """Faults that were chosen for a job when it was created."""

    is_stuck: bool = False
    #: Part of the records after which its time is over.
    partial_at: float | None = None
    #: Why it fails when it has run.
    failure: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dwell:
    """Real seconds that a job stays in its states, at least."""

    submitted: float = 0.0
    validating: float = 0.0
    scheduled: float = 0.0
    in_progress: float = 0.0
    stopping: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What happened to a job's input and records so far."""

    #: What validation said: None: nothing yet; empty: all is well; else why the job fails.
    verdict: str | None = None
    #: Whether every record that will be processed has been, and is written.
    is_processed: bool = False
    #: Whether no record is being processed.
    is_at_rest: bool = True


@dataclass(slots=True, kw_only=True)
class Job:
    """A model invocation job."""

    id: str
    arn: str
    #: CreateModelInvocationJob's, as it was sent.
    request: dict[str, Any]
    #: As Get tells it.
    model_arn: str
    base_model: str
    #: Jobs with the same one share a quota.
    slot_key: str
    account_id: str
    submitted_at: float
    expires_at: float
    #: When the state was entered.
    since: float
    changed_at: float
    status: Status = Status.SUBMITTED
    validated_at: float | None = None
    ended_at: float | None = None
    message: str = ""
    is_foreign: bool = False
    fate: Fate = field(default_factory=Fate)
    counts: Counts = field(default_factory=Counts)
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return str(self.request["jobName"])

    @property
    def is_over(self) -> bool:
        return self.status in OVER

    @property
    def is_converse(self) -> bool:
        return self.request.get("modelInvocationType") == "Converse"

    @property
    def input_uri(self) -> str:
        return str(self.request["inputDataConfig"]["s3InputDataConfig"]["s3Uri"])

    @property
    def output_uri(self) -> str:
        """Where the objects of the job's output are, ending in a slash."""
        prefix = str(self.request["outputDataConfig"]["s3OutputDataConfig"]["s3Uri"])
        return f"{prefix.rstrip('/')}/{self.id}/"


def following(job: Job, now: float, facts: Facts, dwell: Dwell) -> Status | None:
    """The state that the job must enter now, or None: it stays."""
    match job.status:
        case Status.SUBMITTED:
            return Status.VALIDATING if now >= job.since + dwell.submitted else None
        case Status.VALIDATING:
            return _after_validation(job, now, facts, dwell)
        case Status.SCHEDULED:
            return _after_waiting(job, now, dwell)
        case Status.IN_PROGRESS:
            return _after_running(job, now, facts, dwell)
        case Status.STOPPING:
            is_due = facts.is_at_rest and now >= job.since + dwell.stopping
            return Status.STOPPED if is_due else None
        case _:
            return None


def _after_validation(job: Job, now: float, facts: Facts, dwell: Dwell) -> Status | None:
    if facts.verdict is None or now < job.since + dwell.validating:
        return None
    return Status.FAILED if facts.verdict else Status.SCHEDULED


def _after_waiting(job: Job, now: float, dwell: Dwell) -> Status | None:
    if now >= job.expires_at:
        return Status.EXPIRED
    if job.fate.is_stuck or now < job.since + dwell.scheduled:
        return None
    return Status.IN_PROGRESS


def _after_running(job: Job, now: float, facts: Facts, dwell: Dwell) -> Status | None:
    if facts.is_processed and now >= job.since + dwell.in_progress:
        if job.fate.failure is not None:
            return Status.FAILED
        is_partial = job.fate.partial_at is not None
        return Status.PARTIALLY_COMPLETED if is_partial else Status.COMPLETED
    if now >= job.expires_at and facts.is_at_rest:
        return Status.PARTIALLY_COMPLETED
    return None


def due_at(job: Job, now: float, dwell: Dwell) -> float:
    """When time alone may change the job's state or its work next; infinite: never."""
    match job.status:
        case Status.SUBMITTED:
            moments = [job.since + dwell.submitted]
        case Status.VALIDATING:
            moments = [job.since + dwell.validating]
        case Status.SCHEDULED:
            moments = [job.expires_at]
            if not job.fate.is_stuck:
                moments.append(job.since + dwell.scheduled)
        case Status.IN_PROGRESS:
            moments = [job.since + dwell.in_progress, job.expires_at]
        case Status.STOPPING:
            moments = [job.since + dwell.stopping]
        case _:
            moments = []
    return min((moment for moment in moments if moment > now), default=math.inf)


def enter(job: Job, status: Status, now: float, *, expired_ends_at_expiry: bool = False) -> None:
    """Put the job into a state."""
    if job.status is Status.VALIDATING:
        job.validated_at = now
    job.status, job.since, job.changed_at = status, now, now
    if status is Status.EXPIRED and not expired_ends_at_expiry:
        job.ended_at = job.validated_at
    elif status in OVER:
        job.ended_at = now


def describe(job: Job) -> dict[str, Any]:
    """The job as Get and List tell it."""
    request, counts = job.request, job.counts
    told = {
        "jobArn": job.arn,
        "jobName": job.name,
        "modelId": job.model_arn,
        "clientRequestToken": request.get("clientRequestToken"),
        "roleArn": request["roleArn"],
        "status": str(job.status),
        "message": job.message or None,
        "submitTime": iso_milliseconds(job.submitted_at),
        "lastModifiedTime": iso_milliseconds(job.changed_at),
        "endTime": None if job.ended_at is None else iso_milliseconds(job.ended_at),
        "inputDataConfig": _with_owner(request["inputDataConfig"], job.account_id),
        "outputDataConfig": _with_owner(request["outputDataConfig"], job.account_id),
        "vpcConfig": request.get("vpcConfig"),
        "timeoutDurationInHours": request.get("timeoutDurationInHours", 24),
        "jobExpirationTime": iso_milliseconds(job.expires_at),
        "modelInvocationType": request.get("modelInvocationType", "InvokeModel"),
        "totalRecordCount": counts.total,
        "processedRecordCount": counts.processed,
        "successRecordCount": counts.succeeded,
        "errorRecordCount": counts.failed,
    }
    return {member: value for member, value in told.items() if value is not None}


def _with_owner(config: dict[str, Any], account_id: str) -> dict[str, Any]:
    return {kind: {"s3BucketOwner": account_id, **where} for kind, where in config.items()}
