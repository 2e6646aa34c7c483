"""Every choice where AWS is undocumented or slow, with the documented behaviour as default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from backburner_local.emulators.sagemaker.transform.knobs import TransformKnobs

_TRANSFORM = TransformKnobs()


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs:
    """What a test, a demo or a doubt about AWS may change.

    ``*_every_nth`` inject faults deterministically: 0 never, 1 always, n every n-th time.
    """

    #: Region and account that appear in ARNs and notifications.
    region: str = "us-east-1"
    account_id: str = "123456789012"

    #: Real seconds a simulated minute lasts: metrics, alarm periods and cooldowns follow it.
    minute_seconds: float = 60.0
    #: Real seconds for one second of RequestTTLSeconds and InvocationTimeoutSeconds.
    time_scale: float = 1.0
    #: Real seconds between "start an instance" and its process; AWS takes 300 to 600.
    provisioning_delay_seconds: float = 0.0
    #: Real seconds a starting container may take until its first healthy ping.
    startup_timeout_seconds: float = 600.0
    #: Real seconds between pings of a running instance, and the longest one may take.
    ping_interval_seconds: float = 5.0
    ping_timeout_seconds: float = 2.0
    #: Unanswered pings in a row after which an instance is replaced.
    ping_failures_allowed: int = 3
    #: Real seconds between SIGTERM and SIGKILL.
    stop_grace_seconds: float = 30.0
    #: Longest pause between two tries to replace an instance that keeps dying.
    replace_backoff_seconds: float = 30.0

    #: MaxConcurrentInvocationsPerInstance where the endpoint leaves it to SageMaker. Our choice.
    default_concurrency: int = 4
    #: Whether ApproximateBacklogSize counts what is being processed (AWS contradicts itself).
    backlog_includes_inflight: bool = True
    #: What ApproximateBacklogSizePerInstance is at zero instances: not published, or the backlog.
    backlog_per_instance_at_zero: Literal["absent", "backlog"] = "absent"
    #: The documentation spells it with three s.
    processed_metric_name: str = "InvocationsProcesssed"
    #: The fate of an invocation whose instance dies; two outcomes were seen on AWS.
    on_instance_loss: Literal["redeliver", "lose"] = "redeliver"
    #: Times that one is redelivered before it fails; None: always, as was seen on AWS.
    redeliveries_allowed: int | None = None
    #: The failure object's name: the output's uuid, or the caller's Filename, and the suffix.
    failure_key: Literal["uuid", "filename"] = "uuid"
    failure_key_suffix: str = "-error.out"
    #: Where a Failed notification names the failure object; no captured one does.
    failure_location_in: Literal["absent", "top_level", "response_parameters"] = "absent"
    #: Whether an invocation that outlived RequestTTLSeconds is told to the error topic.
    notify_expired: bool = True
    #: Whether creating, updating and scaling an endpoint sends a TestNotification.
    test_notifications: bool = True

    #: Threads that call ``publish``, and the longest pause before it is tried again.
    publish_threads: int = 4
    publish_backoff_seconds: float = 10.0

    #: The same notification is published twice.
    duplicate_notification_every_nth: int = 0
    #: A notification is never published, though the result is in S3.
    lose_notification_every_nth: int = 0
    #: One accepted invocation is run twice, with the same InferenceId.
    duplicate_enqueue_every_nth: int = 0
    #: The invocation is accepted, yet the caller gets a 503 and its client sends it again.
    unavailable_after_enqueue_every_nth: int = 0
    #: The invocation is refused with a 503.
    unavailable_every_nth: int = 0
    #: The invocation is refused with a 429 ThrottlingException.
    throttle_every_nth: int = 0

    #: Those of batch transform; instances of its jobs follow the ones above.
    transform: TransformKnobs = _TRANSFORM

    @property
    def cloud_time_scale(self) -> float:
        """Real seconds for one second of an alarm period or a cooldown."""
        return self.minute_seconds / 60


class Every:
    """True on every n-th call, never for n = 0."""

    def __init__(self, nth: int) -> None:
        self.nth = nth
        self.calls = 0

    def hit(self) -> bool:
        if self.nth <= 0:
            return False
        self.calls += 1
        return self.calls % self.nth == 0
