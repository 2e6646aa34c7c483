"""The operations of Bedrock's control plane that batch inference has."""

from __future__ import annotations

import asyncio
import secrets
import string
from collections.abc import Callable
from typing import Any

from backburner_local.emulators.bedrock import checks
from backburner_local.emulators.bedrock.job import OVER, Fate, Job, Status, describe
from backburner_local.emulators.bedrock.knobs import Every, Knobs
from backburner_local.emulators.bedrock.life import Life, Surroundings
from backburner_local.emulators.bedrock.listing import in_order, page_of
from backburner_local.emulators.bedrock.models import ModelDirectory, ResolvedModel
from backburner_local.emulators.wire import ApiError, Message

_ID_LETTERS = string.ascii_lowercase + string.digits
_ID_LENGTH = 12
_HOUR_SECONDS = 3600.0
_DEFAULT_HOURS = 24
_MOST_TAGS = 50


class BatchInference:
    """Jobs, and what callers may do with them; lives on one event loop."""

    def __init__(self, directory: ModelDirectory, around: Surroundings) -> None:
        self._directory = directory
        self._around = around
        self._jobs: dict[str, Job] = {}
        self._lives: dict[str, Life] = {}
        self._by_token: dict[str, str] = {}
        self._stick, self._cut, self._fail = Every(), Every(), Every()
        self._refuse = Every()
        self.operations: dict[str, Callable[[Message], Message]] = {
            "CreateModelInvocationJob": self.create,
            "GetModelInvocationJob": self.get,
            "ListModelInvocationJobs": self.list,
            "StopModelInvocationJob": self.stop,
            "TagResource": self.tag,
            "UntagResource": self.untag,
            "ListTagsForResource": self.list_tags,
        }
        for job in around.store.load():
            self._take_up(job)
        self._forget_old_jobs()
        self.hold_foreign_jobs()

    @property
    def jobs(self) -> list[Job]:
        """All jobs, other people's too, oldest first."""
        return in_order(self._jobs.values())

    def look(self) -> None:
        """Knobs or time changed: see what follows for every job."""
        self.hold_foreign_jobs()
        for life in self._lives.values():
            life.look()

    async def close(self) -> None:
        await asyncio.gather(*(life.close() for life in self._lives.values()))

    def _take_up(self, job: Job) -> None:
        self._jobs[job.id] = job
        token = job.request.get("clientRequestToken")
        if token:
            self._by_token[token] = job.id
        if not job.is_over:
            self._lives[job.id] = Life(job, self._directory.models[job.base_model], self._around)

    def _forget_old_jobs(self) -> None:
        """A stack that runs for months must not fill its disk with what has ended."""
        ended = [job for job in self.jobs if job.is_over and not job.is_foreign]
        for job in ended[: max(0, len(ended) - self._knobs().kept_jobs)]:
            self._around.store.remove(job)
            self._lives.pop(job.id, None)
            self._by_token.pop(job.request.get("clientRequestToken") or "", None)
            del self._jobs[job.id]

    # ---- operations

    def create(self, request: Message) -> Message:
        checks.check(checks.CREATE, request)
        first = self._first_of_token(request)
        if first is not None:
            return {"jobArn": first.arn}
        model = self._directory.resolve(request["modelId"])
        if model is None:
            raise ApiError("ValidationException", "The provided model identifier is invalid.")
        self._check_role(request["roleArn"])
        self._check_name(request["jobName"])
        tags = _tags_of(request.get("tags") or ())
        _check_tag_count(tags)
        self._check_slots(model)
        job = self._new_job(request, model, tags)
        self._around.store.save(job)
        self._around.events.emit(job, job.submitted_at)
        self._take_up(job)
        self._forget_old_jobs()
        return {"jobArn": job.arn}

    def get(self, request: Message) -> Message:
        return describe(self._found(request))

    def list(self, request: Message) -> Message:
        checks.check(checks.LIST, request)
        return page_of(self._jobs.values(), request, self._knobs())

    def stop(self, request: Message) -> Message:
        job = self._found(request)
        if job.is_over or job.status is Status.STOPPING:
            raise ApiError(
                self._knobs().stop_again_code,
                f"The job {job.arn} can't be stopped: its status is {job.status}.",
            )
        if not job.is_foreign:
            self._lives[job.id].stop()
        return {}

    def tag(self, request: Message) -> Message:
        checks.check(checks.TAG, request)
        job = self._of_arn(request["resourceARN"])
        tags = {**job.tags, **_tags_of(request["tags"])}
        _check_tag_count(tags)
        job.tags = tags
        self._around.store.save(job)
        return {}

    def untag(self, request: Message) -> Message:
        checks.check(checks.UNTAG, request)
        job = self._of_arn(request["resourceARN"])
        for key in request["tagKeys"]:
            job.tags.pop(key, None)
        self._around.store.save(job)
        return {}

    def list_tags(self, request: Message) -> Message:
        checks.check(checks.LIST_TAGS, request)
        job = self._of_arn(request["resourceARN"])
        return {"tags": [{"key": key, "value": value} for key, value in job.tags.items()]}

    # ---- creating

    def _first_of_token(self, request: Message) -> Job | None:
        """The job that the request's token created already."""
        job_id = self._by_token.get(request.get("clientRequestToken") or "")
        if job_id is None:
            return None
        job = self._jobs[job_id]
        if job.request != request and self._knobs().changed_repeat == "conflict":
            raise ApiError(
                "ConflictException",
                "The clientRequestToken was used with other parameters before.",
            )
        return job

    def _check_role(self, role_arn: str) -> None:
        if role_arn in self._knobs().denied_roles:
            raise ApiError(
                "AccessDeniedException",
                f"The caller is not authorized to perform: iam:PassRole on resource: {role_arn}",
                status=403,
            )

    def _check_name(self, name: str) -> None:
        if self._knobs().unique_job_names and any(job.name == name for job in self._jobs.values()):
            raise ApiError("ConflictException", f"There is a job called {name} already.")

    def _check_slots(self, model: ResolvedModel) -> None:
        knobs = self._knobs()
        limit = self._around.quotas.slots(model)
        active = sum(
            job.slot_key == model.slot_key and _holds_slot(job, knobs)
            for job in self._jobs.values()
        )
        if active >= limit or self._refuse.hit(knobs.quota_error_every_nth):
            raise ApiError(
                "ServiceQuotaExceededException",
                f"Your account has {active} batch inference jobs in progress or submitted for"
                f" {model.base.display_name}; its quota is {limit}.",
            )

    def _new_job(self, request: Message, model: ResolvedModel, tags: dict[str, str]) -> Job:
        knobs = self._knobs()
        now = self._around.clock.now()
        hours = request.get("timeoutDurationInHours") or _DEFAULT_HOURS
        job_id = "".join(secrets.choice(_ID_LETTERS) for _ in range(_ID_LENGTH))
        return Job(
            id=job_id,
            arn=self._arn(job_id),
            request=request,
            model_arn=model.arn,
            base_model=model.base.id,
            slot_key=model.slot_key,
            account_id=knobs.account_id,
            submitted_at=now,
            expires_at=now + hours * _HOUR_SECONDS * knobs.time_scale,
            since=now,
            changed_at=now,
            fate=self._new_fate(knobs),
            tags=tags,
        )

    def _new_fate(self, knobs: Knobs) -> Fate:
        is_partial = self._cut.hit(knobs.partial_every_nth)
        fails = self._fail.hit(knobs.fail_job_every_nth)
        return Fate(
            is_stuck=self._stick.hit(knobs.stick_every_nth),
            partial_at=knobs.partial_at if is_partial else None,
            failure=knobs.job_failure if fails else None,
        )

    def hold_foreign_jobs(self) -> None:
        """Have as many jobs of other people in progress as the knobs want."""
        for job in [job for job in self._jobs.values() if job.is_foreign]:
            del self._jobs[job.id]
        for place, (model_id, count) in enumerate(self._knobs().foreign_jobs.items()):
            for number in range(count):
                job = self._foreign_job(model_id, f"foreign{place:02d}{number:03d}")
                self._jobs[job.id] = job

    def _foreign_job(self, model_id: str, job_id: str) -> Job:
        model = self._directory.known(model_id)
        knobs = self._knobs()
        now = self._around.clock.now()
        uri = "s3://of-someone-else/"
        request = {
            "jobName": f"of-someone-else-{job_id[-3:]}",
            "roleArn": f"arn:aws:iam::{knobs.account_id}:role/of-someone-else",
            "modelId": model_id,
            "inputDataConfig": {"s3InputDataConfig": {"s3Uri": uri}},
            "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": uri}},
        }
        return Job(
            id=job_id,
            arn=self._arn(job_id),
            request=request,
            model_arn=model.arn,
            base_model=model.base.id,
            slot_key=model.slot_key,
            account_id=knobs.account_id,
            submitted_at=now,
            expires_at=now + _DEFAULT_HOURS * _HOUR_SECONDS,
            since=now,
            changed_at=now,
            status=Status.IN_PROGRESS,
            is_foreign=True,
        )

    # ---- finding

    def _found(self, request: Message) -> Job:
        identifier = request.get("jobIdentifier")
        if not isinstance(identifier, str) or not identifier:
            raise ApiError("ValidationException", "jobIdentifier is missing.")
        return self._of_arn(identifier)

    def _of_arn(self, identifier: str) -> Job:
        job_id = identifier.rpartition("/")[2]
        job = self._jobs.get(job_id)
        if job is None or identifier not in (job.id, job.arn):
            raise ApiError(
                "ResourceNotFoundException", f"Could not find a job {identifier}.", status=404
            )
        return job

    def _arn(self, job_id: str) -> str:
        knobs = self._knobs()
        return f"arn:aws:bedrock:{knobs.region}:{knobs.account_id}:model-invocation-job/{job_id}"

    def _knobs(self) -> Knobs:
        return self._around.knobs()


def _holds_slot(job: Job, knobs: Knobs) -> bool:
    if job.status is Status.STOPPING:
        return knobs.stopping_holds_slot
    return job.status not in OVER


def _tags_of(tags: Any) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in tags}


def _check_tag_count(tags: dict[str, str]) -> None:
    if len(tags) > _MOST_TAGS:
        raise ApiError("TooManyTagsException", f"A resource can have at most {_MOST_TAGS} tags.")
