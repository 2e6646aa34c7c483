"""Every choice where AWS is undocumented or slow, with the documented behaviour as default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from backburner_local.emulators.bedrock.models import FoundationModel

#: Spans that were seen on AWS (us-east-1, January 2025, jobs of 2,400 records of Nova Micro): jobs
#: left validation after about 230 s, and ended after 19 to 23 minutes.
_REALISTIC = {
    "submitted_seconds": 10.0,
    "validating_seconds": 220.0,
    "scheduled_seconds": 300.0,
    "in_progress_seconds": 600.0,
    "stopping_seconds": 60.0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs:
    """What a test, a demo or a doubt about AWS may change, some of it while jobs run.

    ``*_every_nth`` inject faults deterministically: 0 never, 1 always, n every n-th time.
    """

    #: Region and account that appear in ARNs and events.
    region: str = "us-east-1"
    account_id: str = "123456789012"

    # ---- time

    #: Real seconds for one second of the spans below, and of the job's timeout.
    time_scale: float = 1.0
    #: Seconds that a job stays in a state, at least.
    submitted_seconds: float = 0.1
    validating_seconds: float = 0.1
    scheduled_seconds: float = 0.1
    in_progress_seconds: float = 0.0
    stopping_seconds: float = 0.1
    #: Seconds that one record takes beyond what the model needs.
    seconds_per_record: float = 0.0
    #: Real seconds between two writes of the output of a job that runs.
    flush_seconds: float = 0.5

    #: Records that the model is asked for at once, over all jobs.
    concurrency: int = 16
    #: Real seconds that records have which the model works on when the emulator ends.
    drain_seconds: float = 5.0
    #: Real seconds that the model may take for one record.
    record_timeout_seconds: float = 300.0

    # ---- quotas (the defaults of Service Quotas), and their exceptions by full name

    slots_per_model: int = 20
    slots_per_custom_model: int = 3
    min_records: int = 100
    max_records: int = 50_000
    max_file_gb: float = 1.0
    max_job_gb: float = 5.0
    quotas: Mapping[str, float] = field(default_factory=dict)
    #: Jobs of other people in the account, by base model: they never end, and hold slots.
    foreign_jobs: Mapping[str, int] = field(default_factory=dict)

    # ---- models that are not built in

    models: tuple[FoundationModel, ...] = ()
    #: Base model ids by ARN of an application inference profile.
    application_profiles: Mapping[str, str] = field(default_factory=dict)

    # ---- what AWS does not tell

    #: A token that was used with another body: refused, or the old job's ARN.
    changed_repeat: Literal["conflict", "first_job"] = "conflict"
    #: How stopping a job is refused that ends already; both codes are in the service's model.
    stop_again_code: Literal["ValidationException", "ConflictException"] = "ValidationException"
    #: Whether two jobs may have one name.
    unique_job_names: bool = False
    #: Whether a job that is being stopped counts among those in progress.
    stopping_holds_slot: bool = True
    #: What `endTime` of an expired job is; the end of validation was seen on AWS.
    expired_end_time: Literal["validation", "expiry"] = "validation"
    #: Format of an event's `time`: as in the documentation, or as in other events.
    event_time: Literal["documented", "iso"] = "documented"
    #: Where the output of a file in a folder of the input is: in one like it, or beside the others.
    nested_outputs: Literal["nested", "flat"] = "nested"
    #: `totalRecordCount` of a job that ended early: all of its records, or those processed.
    early_total: Literal["all", "processed"] = "all"
    #: Whether output and manifest can be read while the job runs.
    output_while_running: bool = True
    #: Order and length of a list that was not asked for one.
    default_sort_order: Literal["Ascending", "Descending"] = "Descending"
    default_page_size: int = 100
    #: Longest `recordId`; 0: any.
    longest_record_id: int = 0
    #: Ended jobs that are still known: the last ones that were submitted.
    kept_jobs: int = 1000

    # ---- permissions; there is no IAM here

    #: ARNs of roles that callers may not pass.
    denied_roles: tuple[str, ...] = ()
    #: Buckets that no job's role reaches: its own policy, or that of the bucket's KMS key.
    denied_buckets: tuple[str, ...] = ()

    # ---- faults of calls

    #: CreateModelInvocationJob, or any other operation, is refused with a ThrottlingException.
    throttle_create_every_nth: int = 0
    throttle_every_nth: int = 0
    #: CreateModelInvocationJob is refused as if all slots were taken.
    quota_error_every_nth: int = 0
    #: The job is created, yet its creator never hears of it: the connection breaks.
    lose_answer_every_nth: int = 0

    # ---- faults of events

    lose_event_every_nth: int = 0
    duplicate_event_every_nth: int = 0
    delay_event_every_nth: int = 0
    event_delay_seconds: float = 1.0
    #: An event is told after the one that follows it.
    swap_event_every_nth: int = 0

    # ---- faults of jobs and records; chosen when the job is created

    #: The job stays in Scheduled until it expires.
    stick_every_nth: int = 0
    #: The job's time is over when this part of its records is processed.
    partial_every_nth: int = 0
    partial_at: float = 0.5
    #: The job fails in the middle of its run.
    fail_job_every_nth: int = 0
    job_failure: str = "The service encountered an internal error while processing the job."
    #: Percentage of records that fail without being run, with this error.
    fail_records_percent: float = 0.0
    record_failure_code: int = 500
    record_failure: str = "The system encountered an unexpected error during processing."
    #: Percentage of records that are run, and then missing in the output.
    drop_records_percent: float = 0.0

    @classmethod
    def realistic(cls, **changes: Any) -> Self:
        """Spans like those of AWS: minutes; `time_scale` makes them shorter."""
        return cls(**{**_REALISTIC, **changes})


class Every:
    """True on every n-th call, never for n = 0; n may change between calls."""

    def __init__(self) -> None:
        self._calls = 0

    def hit(self, nth: int) -> bool:
        if nth <= 0:
            return False
        self._calls += 1
        return self._calls % nth == 0


def is_chosen(number: int, percent: float) -> bool:
    """Whether the n-th of many things, from 0, is among the given percentage, evenly spread."""
    return int((number + 1) * percent / 100) > int(number * percent / 100)
