"""Every choice of batch transform where AWS is undocumented or slow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformKnobs:
    """What a test, a demo or a doubt about AWS may change.

    ``*_every_nth`` inject faults deterministically: 0 never, 1 always, n every n-th time.
    """

    #: Real seconds before a job buys its instances, before one that is done says so, and between
    #: Stopping and Stopped. AWS takes minutes for the first.
    waiting_seconds: float = 0.0
    ending_seconds: float = 0.0
    stopping_seconds: float = 0.0
    #: Instances in a row that never answer the ping, after which the job fails.
    failed_starts_allowed: int = 2
    #: What a job that is stopped leaves of the objects that it finished. AWS says that it "doesn't
    #: store the job's output", and not whether this holds for what was written before.
    stopped_job_keeps: Literal["nothing", "finished_objects"] = "nothing"
    #: Real seconds between two tries of an invocation.
    retry_pause_seconds: float = 0.1
    #: Whether an invocation that was refused with a 4xx is tried again; one that failed otherwise
    #: always is.
    retries_refused: bool = False
    #: Instants in events: the documentation's example has ISO 8601, other events of SageMaker have
    #: milliseconds since 1970 as text.
    event_times: Literal["iso", "milliseconds"] = "iso"

    #: Ended jobs that are still known: the last ones that were created. AWS forgets none.
    kept_jobs: int = 1000
    #: Most instances of a type that all jobs may have at once, by type; others have no limit.
    quotas: Mapping[str, int] = field(default_factory=dict)
    #: CreateTransformJob is refused with a ThrottlingException.
    throttle_every_nth: int = 0
    #: The job is created, and the caller gets a 500 all the same.
    broken_after_create_every_nth: int = 0
    #: No instance can be had: the job fails before it started.
    no_capacity_every_nth: int = 0
    #: An invocation fails as if the container had refused its record.
    bad_record_every_nth: int = 0
    #: A finished object is lost before it is written: its file has no output.
    lost_output_every_nth: int = 0
    #: A change of state is never told, or told twice.
    lose_event_every_nth: int = 0
    duplicate_event_every_nth: int = 0
