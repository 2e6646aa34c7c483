"""SageMaker batch transform as a Backend: one job a shard.

Facts: reference page `sagemaker.md` §9. A job's name is unique in its account and Region for ever,
so a repeated call makes no second job. A job whose object fails loses that object's output only:
a shard is cut into objects, and what objects brought was paid for, whatever the job ended as. Jobs
have no longest time: one that takes longer than it may is stopped by whoever looks.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from backburner.adapters.clients import Clients
from backburner.adapters.job_names import JOB_PREFIX, job_name, result_key
from backburner.adapters.transform import trouble
from backburner.adapters.transform.objects import Objects, Place, lines_of_object, put_objects
from backburner.domain.catalog import JOB_MARGIN_SECONDS, Jobs, Model
from backburner.domain.errors import BackendError, BackendRefused, BackendThrottled, NotFound
from backburner.domain.shard import AttemptRef, Shard
from backburner.ports import AttemptState, Blobs, Clock, Look, Room, Submitted

_RUNNING = "InProgress"
_ENDED = frozenset({"Completed", "Failed", "Stopped"})

_JSONL = "application/jsonl"

#: Most megabytes that all payloads of one instance may have at once (API reference,
#: CreateTransformJob, MaxPayloadInMB).
_MEGABYTES = 100
#: Requests that keep an engine's batch full; more would only wait in the container.
_REQUESTS_AT_ONCE = 256

#: A job, as SageMaker describes it.
_Job = Mapping[str, Any]

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class SageMakerTransform:
    """The transform jobs of one account and Region."""

    clients: Clients
    blobs: Blobs
    clock: Clock

    def submit(self, shard: Shard, model: Model, payload: bytes | str) -> Submitted:
        jobs = model.jobs
        if shard.is_raw:
            raise BackendRefused("Transform jobs take no raw requests.")
        if jobs is None or jobs.instance_type is None:
            raise trouble.not_set_up(model)
        place = Place(shard.ref, lines_of_object(shard, jobs.object_lines))
        try:
            put = put_objects(self.blobs, place, self._requests(payload))
        except NotFound as error:
            raise BackendError("The shard's requests are gone.") from error
        return Submitted(job=self._create(place, put, model, jobs))

    def look(self, shard: Shard) -> Look:
        name = shard.job or self._name(shard.ref)
        job = self._describe(name)
        if job is None:
            return Look(state=AttemptState.ABSENT)
        if job["TransformJobStatus"] not in _ENDED:
            self._limit(shard, name, job)
            return Look(state=AttemptState.UNKNOWN)
        harvested = self._harvest(shard, job)
        if harvested is not None:
            return Look(state=AttemptState.SUCCEEDED, result_key=harvested)
        ending = trouble.ending(name, job["TransformJobStatus"], job.get("FailureReason", ""))
        return Look(state=AttemptState.FAILED, reason=ending.reason, is_final=ending.is_final)

    def stop(self, shard: Shard) -> None:
        """Stop the job; one that is stopping, or has ended, or never was, stays as it is."""
        self._stop(shard.job or self._name(shard.ref))

    def attempt_of(self, job: str) -> AttemptRef | None:
        found = self._describe(job) if job.startswith(JOB_PREFIX) else None
        place = self._place(found) if found is not None else None
        # Another deployment of the account may have jobs too, in a bucket of its own.
        return place.ref if place is not None and self._name(place.ref) == job else None

    def instances(self, model: Model) -> int | None:  # noqa: ARG002
        """None: jobs bring their own."""
        return None

    def room(self, model: Model) -> Room | None:  # noqa: ARG002
        """None: the account limits instances, and says so once there are too many."""
        return None

    def wake(self, model: Model, wanted: int) -> None:
        """Nothing: jobs bring their own instances."""

    # ------------------------------------------------------------ submitting

    def _requests(self, payload: bytes | str) -> Iterator[bytes]:
        if isinstance(payload, bytes):
            for line in payload.split(b"\n")[:-1]:
                yield line + b"\n"
            return
        with self.blobs.read(payload) as stream:
            yield from stream

    def _create(self, place: Place, put: Objects, model: Model, jobs: Jobs) -> str:
        """Create the attempt's job, unless it is there already; returns its name."""
        name = self._name(place.ref)
        megabytes = put.largest_megabytes
        at_once = min(_MEGABYTES // megabytes, 1 + -(-_REQUESTS_AT_ONCE // place.object_lines))
        source = {"S3DataType": "S3Prefix", "S3Uri": self.blobs.uri(place.input_prefix)}
        tags = {"project": "backburner", "tenant": place.ref.tenant, "batch": place.ref.batch_id}
        request: dict[str, Any] = {
            "TransformJobName": name,
            "ModelName": jobs.model_id,
            "MaxConcurrentTransforms": at_once,
            "MaxPayloadInMB": megabytes,
            # An object is one payload: the container takes a shard, and runs its lines together.
            "BatchStrategy": "SingleRecord",
            "ModelClientConfig": {
                "InvocationsTimeoutInSeconds": 3600,
                "InvocationsMaxRetries": 3,
            },
            "TransformInput": {
                "DataSource": {"S3DataSource": source},
                "ContentType": _JSONL,
                "CompressionType": "None",
                "SplitType": "None",
            },
            "TransformOutput": {
                "S3OutputPath": self.blobs.uri(place.output_prefix),
                "Accept": _JSONL,
                "AssembleWith": "None",
            },
            "TransformResources": {
                "InstanceType": jobs.instance_type,
                # Each gets whole objects.
                "InstanceCount": max(1, min(jobs.instance_count, put.count)),
            },
            "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
        }
        try:
            self.clients.sagemaker.create_transform_job(**request)
        except ClientError as error:
            if trouble.code_of(error) != trouble.TAKEN:
                raise trouble.turned(error, model) from error
        except trouble.NOT_SENT as error:
            raise BackendThrottled("SageMaker could not be reached.") from error
        except BotoCoreError as error:
            raise BackendError("SageMaker did not answer.") from error
        return name

    def _name(self, ref: AttemptRef) -> str:
        return job_name(self.blobs.uri(result_key(ref)))

    # ------------------------------------------------------------ looking

    def _describe(self, name: str) -> _Job | None:
        try:
            job: _Job = self.clients.sagemaker.describe_transform_job(TransformJobName=name)
        except ClientError as error:
            if trouble.is_missing(error):
                return None
            raise BackendError("SageMaker does not tell of the job.") from error
        except BotoCoreError as error:
            raise BackendError("SageMaker did not answer.") from error
        return job

    def _place(self, job: _Job) -> Place | None:
        source = job.get("TransformInput", {}).get("DataSource", {}).get("S3DataSource", {})
        return Place.parse(self.blobs.key_of(source.get("S3Uri", "")))

    def _limit(self, shard: Shard, name: str, job: _Job) -> None:
        """Stop a job that took as long as it may: its lease ends, and its lines would run twice."""
        if job["TransformJobStatus"] != _RUNNING or shard.lease_ends_at is None:
            return
        if self.clock.now() >= shard.lease_ends_at - JOB_MARGIN_SECONDS:
            _logger.warning("job.took_too_long job=%s", name)
            self._stop(name)

    def _stop(self, name: str) -> None:
        try:
            self.clients.sagemaker.stop_transform_job(TransformJobName=name)
        except ClientError as error:
            if trouble.code_of(error) not in trouble.PAST:
                _logger.warning("job.not_stopped job=%s code=%s", name, trouble.code_of(error))
        except BotoCoreError:
            _logger.warning("job.not_stopped job=%s", name)

    # ------------------------------------------------------------ harvesting

    def _harvest(self, shard: Shard, job: _Job) -> str | None:
        """Make the job's outputs the attempt's result; None: there is nothing in them."""
        place = self._place(job)
        if place is None or place.ref != shard.ref:
            return None
        outcomes = self._outcomes(place)
        first = next(outcomes, None)
        if first is None:
            return None
        key = result_key(shard.ref)
        with self.blobs.write(key, content_type=_JSONL) as target:
            target.writelines(chain([first], outcomes))
        status, reason = job["TransformJobStatus"], job.get("FailureReason", "")
        _logger.info(
            "job.harvested job=%s status=%s reason=%s", self._name(place.ref), status, reason
        )
        return key

    def _outcomes(self, place: Place) -> Iterator[bytes]:
        """Lines of all outputs, each with its end, whatever the container left out."""
        for found in self.blobs.list(place.output_prefix):
            with self.blobs.read(found.key) as stream:
                for line in stream:
                    yield line if line.endswith(b"\n") else line + b"\n"
