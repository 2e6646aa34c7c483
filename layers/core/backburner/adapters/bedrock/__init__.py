"""Bedrock batch inference as a Backend: one job a shard.

Facts: reference page `bedrock.md`. A repeated call with the same token makes no second job; should
the answer to it be lost, the job is found by its name. Whatever a job ends as, what it wrote was
paid for, and is the result.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from math import ceil
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from backburner.adapters.bedrock import trouble
from backburner.adapters.bedrock.keys import Place
from backburner.adapters.bedrock.room import Rooms
from backburner.adapters.clients import Clients
from backburner.adapters.job_names import job_name, result_key, token
from backburner.domain.catalog import Jobs, Model
from backburner.domain.errors import BackendError, BackendRefused, BackendThrottled, NotFound
from backburner.domain.shard import AttemptRef, Shard
from backburner.ports import AttemptState, Blobs, Limits, Look, Room, Submitted
from backburner.wire.bedrock.formats import FORMATS
from backburner.wire.bedrock.records import Answers, Asked, Manifest, read_manifest, within
from backburner.wire.bodies import CHAT, Body

_ENDED = frozenset({"Completed", "PartiallyCompleted", "Failed", "Stopped", "Expired"})

#: Hours that a job may be given (API reference, CreateModelInvocationJob).
_LEAST_HOURS, _MOST_HOURS = 24, 168

_JSONL = "application/jsonl"

#: A job, as Bedrock describes it.
_Job = Mapping[str, Any]

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class BedrockBatch:
    """The batch jobs of one account and Region."""

    clients: Clients
    blobs: Blobs
    #: Role that the jobs read and write the bucket in; empty: shards wait until there is one.
    role_arn: str
    limits: Limits = field(default_factory=Limits)
    _rooms: Rooms = field(init=False)

    def __post_init__(self) -> None:
        self._rooms = Rooms(self.clients, self.blobs)

    def submit(self, shard: Shard, model: Model, payload: bytes | str) -> Submitted:
        """Start a job; requests that the model can't be asked are no part of it.

        Where none of them can be asked, their outcomes are the result, and there is no job.
        """
        jobs = model.jobs
        if jobs is None or shard.is_raw or jobs.format not in FORMATS:
            raise BackendRefused("Bedrock's batch jobs take no such requests.")
        if not self.role_arn:
            raise trouble.no_role(model)
        place = Place(shard.ref, jobs.format)
        asked = self._put_input(place, jobs, payload)
        if not asked.count:
            key = result_key(shard.ref)
            self.blobs.put(key, b"".join(asked.refused), content_type=_JSONL)
            return Submitted(output_location=self.blobs.uri(key))
        if asked.refused:
            self.blobs.put(place.refused_key, b"".join(asked.refused), content_type=_JSONL)
        return Submitted(job=self._create(place, model, jobs))

    def look(self, shard: Shard) -> Look:
        job = self._get(shard.job) if shard.job is not None else self._find(shard.ref)
        if job is None:
            key = result_key(shard.ref)
            if self.blobs.stat(key) is not None:
                return Look(state=AttemptState.SUCCEEDED, result_key=key)
            return Look(state=AttemptState.ABSENT)
        if job["status"] not in _ENDED:
            return Look(state=AttemptState.UNKNOWN)
        harvested = self._harvest(shard, job)
        if harvested is not None:
            return Look(state=AttemptState.SUCCEEDED, result_key=harvested)
        ending = trouble.ending(job["jobArn"], job["status"], job.get("message", ""))
        return Look(state=AttemptState.FAILED, reason=ending.reason, is_final=ending.is_final)

    def stop(self, shard: Shard) -> None:
        """Stop the job; one that is stopping or has ended stays as it is."""
        try:
            job = shard.job or (self._find(shard.ref) or {}).get("jobArn")
            if job is not None:
                self.clients.bedrock.stop_model_invocation_job(jobIdentifier=job)
        except ClientError as error:
            if trouble.code_of(error) not in trouble.PAST:
                _logger.warning("job.not_stopped job=%s code=%s", shard.job, trouble.code_of(error))
        except (BotoCoreError, BackendError):
            _logger.warning("job.not_stopped job=%s", shard.job)

    def attempt_of(self, job: str) -> AttemptRef | None:
        found = self._get(job)
        place = self._place(found) if found is not None else None
        return place.ref if place is not None else None

    def instances(self, model: Model) -> int | None:  # noqa: ARG002
        """None: whoever runs the jobs brings its own."""
        return None

    def room(self, model: Model) -> Room | None:
        return self._rooms.of(model.jobs) if model.jobs is not None else None

    def wake(self, model: Model, wanted: int) -> None:
        """Nothing: jobs wait for no instance of ours."""

    # ------------------------------------------------------------ submitting

    def _put_input(self, place: Place, jobs: Jobs, payload: bytes | str) -> Asked:
        """Write the job's records; raises BackendRefused where there are too few."""
        asked = Asked(FORMATS[place.format])
        try:
            with self.blobs.write(place.input_key, content_type=_JSONL) as target:
                for line in self._requests(payload):
                    record = asked.record(line)
                    if record is not None:
                        target.write(record)
                if 0 < asked.count < jobs.least_lines:
                    _insist_on_enough(asked, jobs)
                    target.writelines(asked.padding(jobs.least_lines))
        except NotFound as error:
            raise BackendError("The shard's requests are gone.") from error
        if not asked.count:
            self.blobs.delete(place.input_key)
        return asked

    def _requests(self, payload: bytes | str) -> Iterator[bytes]:
        if isinstance(payload, bytes):
            yield from payload.split(b"\n")[:-1]
            return
        with self.blobs.read(payload) as stream:
            yield from stream

    def _create(self, place: Place, model: Model, jobs: Jobs) -> str:
        """Create the attempt's job, or find the one that is there already; returns its ARN."""
        source, named = self.blobs.uri(place.input_key), self.blobs.uri(result_key(place.ref))
        hours = min(_MOST_HOURS, max(_LEAST_HOURS, ceil(jobs.timeout_seconds / 3600)))
        tags = {"project": "backburner", "tenant": place.ref.tenant, "batch": place.ref.batch_id}
        try:
            answer = self.clients.bedrock.create_model_invocation_job(
                jobName=job_name(named),
                clientRequestToken=token(named),
                roleArn=self.role_arn,
                modelId=jobs.model_id,
                modelInvocationType=FORMATS[place.format].invocation,
                inputDataConfig={"s3InputDataConfig": {"s3Uri": source, "s3InputFormat": "JSONL"}},
                outputDataConfig={
                    "s3OutputDataConfig": {"s3Uri": self.blobs.uri(place.output_prefix)}
                },
                timeoutDurationInHours=hours,
                tags=[{"key": key, "value": value} for key, value in tags.items()],
            )
        except ClientError as error:
            if not trouble.is_taken(error):
                raise trouble.turned(error, model) from error
            return self._taken(place.ref)
        except trouble.NOT_SENT as error:
            raise BackendThrottled("Bedrock could not be reached.") from error
        except BotoCoreError as error:
            raise BackendError("Bedrock did not answer.") from error
        return str(answer["jobArn"])

    def _taken(self, ref: AttemptRef) -> str:
        """The attempt's job, which an earlier call created, maybe with other settings."""
        found = self._find(ref)
        if found is None:
            raise BackendError("Bedrock has such a job, and does not list it yet.")
        return str(found["jobArn"])

    # ------------------------------------------------------------ looking

    def _get(self, job: str) -> _Job | None:
        try:
            found: _Job = self.clients.bedrock.get_model_invocation_job(jobIdentifier=job)
        except ClientError as error:
            if trouble.code_of(error) in trouble.MISSING:
                return None
            raise BackendError("Bedrock does not tell of the job.") from error
        except BotoCoreError as error:
            raise BackendError("Bedrock did not answer.") from error
        return found

    def _find(self, ref: AttemptRef) -> _Job | None:
        """The attempt's job by its name; None: there is none, or it is not listed yet."""
        name = job_name(self.blobs.uri(result_key(ref)))
        try:
            answer = self.clients.bedrock.list_model_invocation_jobs(nameContains=name)
        except ClientError as error:
            raise BackendError("Bedrock does not list its jobs.") from error
        except BotoCoreError as error:
            raise BackendError("Bedrock did not answer.") from error
        found: list[_Job] = answer.get("invocationJobSummaries", [])
        return next((job for job in found if job.get("jobName") == name), None)

    def _place(self, job: _Job) -> Place | None:
        uri = job.get("inputDataConfig", {}).get("s3InputDataConfig", {}).get("s3Uri", "")
        return Place.parse(self.blobs.key_of(uri))

    # ------------------------------------------------------------ harvesting

    def _harvest(self, shard: Shard, job: _Job) -> str | None:
        """Make what a job wrote the attempt's result; None: it wrote nothing of a request."""
        place = self._place(job)
        if place is None or place.ref != shard.ref or place.format not in FORMATS:
            return None
        folder = f"{place.output_prefix}{job['jobArn'].rpartition('/')[2]}/"
        written = [found.key for found in self.blobs.list(folder)]
        answers = _answers(shard, place, job)
        results = answers.results(self._lines(key for key in written if key.endswith(".jsonl.out")))
        first = next(results, None)
        if first is None:
            return None
        key = result_key(shard.ref)
        every = chain([first], results, self._refused(place))
        with self.blobs.write(key, content_type=_JSONL) as target:
            target.writelines(within(every, self.limits.result_bytes, count=shard.line_count))
        _tell(job, answers, self._manifest(folder, written))
        return key

    def _lines(self, keys: Iterable[str]) -> Iterator[bytes]:
        for key in keys:
            with self.blobs.read(key) as stream:
                yield from stream

    def _refused(self, place: Place) -> Iterator[bytes]:
        """Outcomes of the requests that were not sent, if there were such."""
        try:
            with self.blobs.read(place.refused_key) as stream:
                yield from stream
        except NotFound:
            return

    def _manifest(self, folder: str, written: Iterable[str]) -> Manifest | None:
        key = f"{folder}manifest.json.out"
        return read_manifest(self.blobs.get(key)) if key in written else None


def _insist_on_enough(asked: Asked, jobs: Jobs) -> None:
    """Requests are made up for those that can't be asked, or where the catalog says so."""
    lines = asked.count + len(asked.refused)
    if lines < jobs.taken_lines:
        raise BackendRefused(
            f"Bedrock runs no batch job of fewer than {jobs.least_lines} requests of this model, "
            f"and these are {lines}."
        )


def _answers(shard: Shard, place: Place, job: _Job) -> Answers:
    submitted = job.get("submitTime")
    created = int(submitted.timestamp()) if submitted is not None else 0
    suffix = shard.batch_id.partition("_")[2]
    is_chat = FORMATS[place.format].route == CHAT

    def named(line: int) -> Body:
        own = {"id": f"chatcmpl-{suffix}-{line}", "created": created} if is_chat else {}
        return {"model": shard.model} | own

    return Answers(
        FORMATS[place.format],
        named=named,
        first_line=shard.first_line,
        last_line=shard.last_line,
    )


def _tell(job: _Job, answers: Answers, manifest: Manifest | None) -> None:
    """Log what came of a job; the manifest has tokens that some formats do not tell of."""
    counts = manifest or Manifest()
    _logger.info(
        "job.harvested job=%s status=%s outcomes=%s errors=%s odd=%s padding=%s uncounted=%s "
        "records=%s processed=%s input_tokens=%s output_tokens=%s",
        job["jobArn"],
        job["status"],
        len(answers.lines),
        answers.errors,
        answers.odd,
        answers.padding,
        answers.uncounted,
        counts.totalRecordCount,
        counts.processedRecordCount,
        counts.inputTokenCount,
        counts.outputTokenCount,
    )
