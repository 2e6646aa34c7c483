"""One transform job: what was asked, how it goes, and how it is told."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from backburner_local.emulators.sagemaker.describe import stated_arn
from backburner_local.emulators.sagemaker.knobs import Knobs
from backburner_local.emulators.sagemaker.transform import paths
from backburner_local.emulators.sagemaker.transform.checks import DEFAULT_MEGABYTES
from backburner_local.emulators.sagemaker.transform.records import MEGABYTE, Handling
from backburner_local.emulators.wire import Message, iso_milliseconds

IN_PROGRESS, STOPPING = "InProgress", "Stopping"
COMPLETED, FAILED, STOPPED = "Completed", "Failed", "Stopped"

#: Members of the request that the event repeats, in its order.
_TOLD = (
    "ModelName",
    "MaxConcurrentTransforms",
    "MaxPayloadInMB",
    "BatchStrategy",
    "Environment",
    "TransformInput",
    "TransformOutput",
    "TransformResources",
)
_MOST_REASON = 1024


@dataclass(slots=True)
class Counts:
    """What a job had its container do, for whoever wants to know what was paid for."""

    invocations: int = 0
    #: Lines of all payloads that were sent, those of repeated invocations too.
    lines: int = 0
    failed_invocations: int = 0


@dataclass(slots=True, kw_only=True)
class Job:
    """A job as it stands; kept as JSON."""

    request: Message
    #: Of the model's container: its image, and its environment.
    image: str
    environment: dict[str, str]
    status: str = IN_PROGRESS
    #: To the millisecond, as it is told.
    created_at: float = field(default_factory=lambda: round(time.time(), 3))
    changed_at: float = field(default_factory=time.time)
    started_at: float | None = None
    ended_at: float | None = None
    failure_reason: str | None = None
    #: Keys of the objects whose output is there.
    finished: list[str] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    counts: Counts = field(default_factory=Counts)

    @property
    def name(self) -> str:
        return str(self.request["TransformJobName"])

    @property
    def model_name(self) -> str:
        return str(self.request["ModelName"])

    @property
    def is_over(self) -> bool:
        return self.status in (COMPLETED, FAILED, STOPPED)

    @property
    def instance_type(self) -> str:
        return str(self.request["TransformResources"]["InstanceType"])

    @property
    def instance_count(self) -> int:
        return int(self.request["TransformResources"]["InstanceCount"])

    @property
    def output_path(self) -> str:
        return str(self.request["TransformOutput"]["S3OutputPath"])

    @property
    def timeout_seconds(self) -> float:
        return float(self._client_config.get("InvocationsTimeoutInSeconds", 600))

    @property
    def retries(self) -> int:
        return int(self._client_config.get("InvocationsMaxRetries", 3))

    @property
    def _client_config(self) -> Message:
        return self.request.get("ModelClientConfig") or {}

    def become(self, status: str, reason: str | None = None) -> None:
        self.status = status
        self.changed_at = time.time()
        self.failure_reason = reason[:_MOST_REASON] if reason else None
        if self.is_over:
            self.ended_at = self.changed_at

    def container_environment(self) -> dict[str, str]:
        """What the container is told: the model's, the job's, and SageMaker's own."""
        said = {
            "SAGEMAKER_MAX_PAYLOAD_IN_MB": self.request.get("MaxPayloadInMB"),
            "SAGEMAKER_BATCH_STRATEGY": _SPELLED.get(self.request.get("BatchStrategy") or ""),
            "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS": self.request.get("MaxConcurrentTransforms"),
        }
        return {
            **self.environment,
            **(self.request.get("Environment") or {}),
            "SAGEMAKER_BATCH": "true",
            **{name: str(value) for name, value in said.items() if value is not None},
        }

    def handling(self, offered: Mapping[str, Any]) -> Handling:
        """How its records are handled: as asked, else as the container offers, else by default."""
        source, processing = (
            self.request["TransformInput"],
            self.request.get("DataProcessing") or {},
        )
        megabytes = self.request.get("MaxPayloadInMB", offered.get("MaxPayloadInMB"))
        strategy = _SPELLED.get(self.request.get("BatchStrategy") or "")
        return Handling(
            is_split=source.get("SplitType", "None") == "Line",
            is_many=(strategy or offered.get("BatchStrategy", "MULTI_RECORD")) == "MULTI_RECORD",
            payload_bytes=_bytes(DEFAULT_MEGABYTES if megabytes is None else megabytes),
            adds_newlines=self.request["TransformOutput"].get("AssembleWith") == "Line",
            content_type=source.get("ContentType"),
            input_filter=paths.parse(processing.get("InputFilter") or "$"),
            output_filter=paths.parse(processing.get("OutputFilter") or "$"),
            is_joined=processing.get("JoinSource") == "Input",
        )

    def at_once(self, offered: Mapping[str, Any]) -> int:
        """Invocations that an instance gets at the same time."""
        asked = self.request.get("MaxConcurrentTransforms") or offered.get(
            "MaxConcurrentTransforms"
        )
        return max(1, int(asked or 1))

    # ---- as it is kept

    def to_json(self) -> Message:
        return {**asdict(self), "finished": []}  # which are kept in a file of their own

    @classmethod
    def from_json(cls, kept: Message) -> Job:
        return cls(**{**kept, "counts": Counts(**kept["counts"])})

    # ---- as it is told

    def described(self, knobs: Knobs) -> Message:
        """What DescribeTransformJob tells."""
        request = {key: value for key, value in self.request.items() if key != "Tags"}
        asked = request.get("DataProcessing") or {}
        return {
            **request,
            "TransformInput": _input(request),
            "TransformOutput": _output(request),
            "DataProcessing": {
                "InputFilter": "$",
                "OutputFilter": "$",
                "JoinSource": "None",
                **asked,
            },
            "TransformJobArn": stated_arn(knobs, "transform-job", self.name),
            "TransformJobStatus": self.status,
            "FailureReason": self.failure_reason,
            "CreationTime": _instant(self.created_at),
            "TransformStartTime": _instant(self.started_at),
            "TransformEndTime": _instant(self.ended_at),
        }

    def summary(self, knobs: Knobs) -> Message:
        """What ListTransformJobs tells."""
        return {
            "TransformJobName": self.name,
            "TransformJobArn": stated_arn(knobs, "transform-job", self.name),
            "CreationTime": _instant(self.created_at),
            "TransformEndTime": _instant(self.ended_at),
            "LastModifiedTime": _instant(self.changed_at),
            "TransformJobStatus": self.status,
            "FailureReason": self.failure_reason,
        }

    def event(self, knobs: Knobs) -> Message:
        """What EventBridge tells of its state."""
        arn = stated_arn(knobs, "transform-job", self.name)
        told: Message = {
            "TransformJobName": self.name,
            "TransformJobArn": arn,
            "TransformJobStatus": self.status,
            "FailureReason": self.failure_reason,
            **{name: self.request.get(name) for name in _TOLD},
            "TransformInput": _input(self.request),
            "TransformOutput": _output(self.request),
            "CreationTime": _told_time(self.created_at, knobs),
            "TransformStartTime": _told_time(self.started_at, knobs),
            "TransformEndTime": _told_time(self.ended_at, knobs),
            "Tags": self.tags,
        }
        return {
            "version": "0",
            "id": str(uuid.uuid4()),
            "detail-type": "SageMaker Transform Job State Change",
            "source": "aws.sagemaker",
            "account": knobs.account_id,
            "time": _whole_seconds(self.changed_at),
            "region": knobs.region,
            "resources": [arn],
            "detail": {name: value for name, value in told.items() if value is not None},
        }


_SPELLED = {"MultiRecord": "MULTI_RECORD", "SingleRecord": "SINGLE_RECORD"}


def _bytes(megabytes: int) -> int | None:
    return megabytes * MEGABYTE if megabytes else None


def _input(request: Message) -> Message:
    return {"CompressionType": "None", "SplitType": "None", **request["TransformInput"]}


def _output(request: Message) -> Message:
    return {"AssembleWith": "None", "KmsKeyId": "", **request["TransformOutput"]}


def _instant(epoch: float | None) -> datetime | None:
    return None if epoch is None else datetime.fromtimestamp(epoch, UTC)


def _told_time(epoch: float | None, knobs: Knobs) -> str | None:
    if epoch is None:
        return None
    is_iso = knobs.transform.event_times == "iso"
    return _whole_seconds(epoch) if is_iso else str(round(epoch * 1000))


def _whole_seconds(epoch: float) -> str:
    return f"{iso_milliseconds(epoch)[:19]}Z"
