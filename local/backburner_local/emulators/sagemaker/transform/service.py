"""The operations of batch transform, and every job of the emulated Region."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Any

from backburner_local.emulators.objects import ObjectUnavailable
from backburner_local.emulators.sagemaker.describe import stated_arn
from backburner_local.emulators.sagemaker.hosting import Surroundings
from backburner_local.emulators.sagemaker.knobs import Every
from backburner_local.emulators.sagemaker.transform import checks, inputs, rules
from backburner_local.emulators.sagemaker.transform.events import EventSender
from backburner_local.emulators.sagemaker.transform.inputs import Input
from backburner_local.emulators.sagemaker.transform.job import (
    COMPLETED,
    FAILED,
    IN_PROGRESS,
    STOPPED,
    STOPPING,
    Job,
)
from backburner_local.emulators.sagemaker.transform.kept import KeptJobs
from backburner_local.emulators.sagemaker.transform.run import NO_CAPACITY, JobFailed, Run
from backburner_local.emulators.wire import ApiError, Message, instant, page

logger = logging.getLogger(__name__)

#: A model's container, and the command that stands for its image; raises ApiError.
FindModel = Callable[[str], tuple[Message, Sequence[str]]]

_INTERNAL = "InternalServerError: We encountered an internal error. Please try again."
#: Most jobs of a page, and how many unless the caller says.
_PAGE, _USUAL_PAGE = 100, 10


class TransformJobs:
    """Jobs by name; used on one event loop."""

    def __init__(
        self, around: Surroundings, kept: KeptJobs, events: EventSender, find_model: FindModel
    ) -> None:
        self._around = around
        self._knobs = around.knobs
        self._kept = kept
        self._events = events
        self._find_model = find_model
        knobs = self._knobs.transform
        self._throttle = Every(knobs.throttle_every_nth)
        self._broken = Every(knobs.broken_after_create_every_nth)
        self._no_capacity = Every(knobs.no_capacity_every_nth)
        self._bad_record = Every(knobs.bad_record_every_nth)
        self._lost_output = Every(knobs.lost_output_every_nth)
        self.jobs = {job.name: job for job in kept.load()}
        #: The task of each, and what stops it.
        self._running: dict[str, tuple[asyncio.Task[None], asyncio.Event]] = {}
        self.operations: dict[str, Callable[[Message], Message | None]] = {
            "CreateTransformJob": self.create,
            "DescribeTransformJob": self.describe,
            "ListTransformJobs": self.list,
            "StopTransformJob": self.stop,
            "AddTags": self.add_tags,
            "ListTags": self.list_tags,
        }

    def resume(self, model_name: str) -> None:
        """Go on with jobs of an earlier run: their model is there again."""
        for job in self.jobs.values():
            if job.model_name == model_name and not job.is_over and job.name not in self._running:
                if job.status == STOPPING:
                    self._become(job, STOPPED)
                    continue
                found = inputs.find(self._around.objects, _source(job), region=self._knobs.region)
                self._start(job, found, self._find_model(model_name)[1])

    def _forget_old_jobs(self) -> None:
        """A stack that runs for months must not fill its disk with what has ended."""
        ended = sorted(
            (job for job in self.jobs.values() if job.is_over), key=lambda job: job.created_at
        )
        for job in ended[: max(0, len(ended) - self._knobs.transform.kept_jobs)]:
            self._kept.remove(job)
            del self.jobs[job.name]

    async def close(self) -> None:
        """End the instances; jobs that are not over go on in a later run."""
        tasks = [task for task, _ in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._events.close()

    # ---- operations

    def create(self, request: Message) -> Message:
        checks.check_create(request)
        if self._throttle.hit():
            raise ApiError("ThrottlingException", "Rate exceeded")
        name = request["TransformJobName"]
        arn = stated_arn(self._knobs, "transform-job", name)
        if name in self.jobs:
            raise ApiError(
                "ResourceInUse",
                "Job name must be unique within an AWS account and region, and a job with this name"
                f" already exists ({arn})",
            )
        container, command = self._find_model(request["ModelName"])
        job = Job(
            request=request,
            image=container.get("Image") or "",
            environment=dict(container.get("Environment") or {}),
            tags={tag["Key"]: tag["Value"] for tag in request.get("Tags") or ()},
        )
        self._check_quota(job)
        found = inputs.find(self._around.objects, _source(job), region=self._knobs.region)
        self.jobs[name] = job
        self._forget_old_jobs()
        self._become(job, IN_PROGRESS)
        self._start(job, found, command)
        if self._broken.hit():
            raise ApiError("InternalFailure", "The request processing has failed.", status=500)
        return {"TransformJobArn": arn}

    def describe(self, request: Message) -> Message:
        return self._named(request, "Could not find requested job with name").described(self._knobs)

    def list(self, request: Message) -> Message:
        rules.check(request, checks.LIST)
        order = {"Name": "TransformJobName", "Status": "TransformJobStatus"}
        key = order.get(request.get("SortBy") or "", "CreationTime")
        found = [job.summary(self._knobs) for job in self.jobs.values() if _is_listed(job, request)]
        found.sort(key=lambda one: one[key], reverse=request.get("SortOrder") != "Ascending")
        limit = request.get("MaxResults") or _USUAL_PAGE
        listed, token = page(found, request.get("NextToken"), limit, most=_PAGE)
        return {"TransformJobSummaries": listed, "NextToken": token}

    def stop(self, request: Message) -> None:
        job = self._named(request, "Could not find job to update with name")
        if job.status != IN_PROGRESS:
            raise ApiError(
                "ValidationException",
                f"The request was rejected because the transform job is in status {job.status}.",
            )
        self._become(job, STOPPING)
        if job.name in self._running:
            self._running[job.name][1].set()
        else:  # it waits for its model since an earlier run
            self._become(job, STOPPED)

    def add_tags(self, request: Message) -> Message:
        rules.check({"Tags": request.get("Tags")}, rules.Structure({"Tags": checks.TAGS}))
        job = self._of_arn(request)
        job.tags |= {tag["Key"]: tag["Value"] for tag in request.get("Tags") or ()}
        self._kept.save(job)
        return {"Tags": _tags(job)}

    def list_tags(self, request: Message) -> Message:
        return {"Tags": _tags(self._of_arn(request))}

    def _named(self, request: Message, complaint: str) -> Job:
        rules.check(request, checks.NAMED)
        job = self.jobs.get(request["TransformJobName"])
        if job is None:
            text = f"{complaint}: {request['TransformJobName']}"
            raise ApiError("ValidationException", text)
        return job

    def _of_arn(self, request: Message) -> Job:
        arn = str(request.get("ResourceArn"))
        job = self.jobs.get(arn.rpartition("/")[2])
        if job is None or arn != stated_arn(self._knobs, "transform-job", job.name):
            raise ApiError("ValidationException", f"The emulator keeps no tags of {arn}.")
        return job

    def _check_quota(self, job: Job) -> None:
        quota = self._knobs.transform.quotas.get(job.instance_type)
        if quota is None:
            return
        used = sum(
            one.instance_count
            for one in self.jobs.values()
            if not one.is_over and one.instance_type == job.instance_type
        )
        if used + job.instance_count > quota:
            raise ApiError(
                "ResourceLimitExceeded",
                f"The account-level service limit '{job.instance_type} for transform job usage' is"
                f" {quota} Instances, with current utilization of {used} Instances and a request"
                f" delta of {job.instance_count} Instances. Please use AWS Service Quotas to"
                " request an increase for this quota. If AWS Service Quotas is not available,"
                " contact AWS support to request an increase for this quota.",
            )

    # ---- jobs

    def _start(self, job: Job, found: Sequence[Input], command: Sequence[str]) -> None:
        run = Run(
            job,
            found,
            self._around,
            command,
            bad_record=self._bad_record,
            lost_output=self._lost_output,
            watcher=self,
        )
        stopping = asyncio.Event()
        task = asyncio.create_task(self._run(job, run, stopping))
        self._running[job.name] = task, stopping
        task.add_done_callback(lambda _: self._running.pop(job.name, None))

    async def _run(self, job: Job, run: Run, stopping: asyncio.Event) -> None:
        work = asyncio.create_task(self._outcome(run))
        stop = asyncio.create_task(stopping.wait())
        try:
            await asyncio.wait((work, stop), return_when=asyncio.FIRST_COMPLETED)
        finally:
            work.cancel()
            stop.cancel()
            await asyncio.gather(work, stop, return_exceptions=True)
        if job.status == STOPPING:
            await asyncio.sleep(self._knobs.transform.stopping_seconds)
            await self._clear(job)
            self._become(job, STOPPED)
        else:
            self._become(job, *work.result())

    async def _outcome(self, run: Run) -> tuple[str, str | None]:
        await asyncio.sleep(self._knobs.transform.waiting_seconds)
        if self._no_capacity.hit():
            return FAILED, NO_CAPACITY
        try:
            await run.run()
            outcome: tuple[str, str | None] = (COMPLETED, None)
        except JobFailed as error:
            outcome = (FAILED, str(error))
        except Exception:
            logger.exception("transform.broke")
            outcome = (FAILED, _INTERNAL)
        await asyncio.sleep(self._knobs.transform.ending_seconds)
        return outcome

    async def _clear(self, job: Job) -> None:
        """A job that was stopped stores no output."""
        if self._knobs.transform.stopped_job_keeps == "finished_objects":
            return
        found = inputs.find(self._around.objects, _source(job), region=self._knobs.region)
        for one in found:
            if one.key in job.finished:
                bucket, key = inputs.output_of(one, job.output_path)
                with contextlib.suppress(ObjectUnavailable):
                    await asyncio.to_thread(self._around.objects.delete, bucket, key)

    def changed(self, job: Job) -> None:
        self._kept.save(job)

    def finished(self, job: Job, key: str) -> None:
        self._kept.finish(job, key)

    def _become(self, job: Job, status: str, reason: str | None = None) -> None:
        job.become(status, reason)
        self._kept.save(job)
        self._events.send(job.event(self._knobs))


def _source(job: Job) -> Message:
    source: Message = job.request["TransformInput"]["DataSource"]["S3DataSource"]
    return source


def _tags(job: Job) -> list[dict[str, Any]]:
    return [{"Key": key, "Value": value} for key, value in job.tags.items()]


def _is_listed(job: Job, request: Message) -> bool:
    limits = [
        ("CreationTimeAfter", job.created_at, 1),
        ("CreationTimeBefore", job.created_at, -1),
        ("LastModifiedTimeAfter", job.changed_at, 1),
        ("LastModifiedTimeBefore", job.changed_at, -1),
    ]
    return (
        (request.get("NameContains") or "") in job.name
        and request.get("StatusEquals") in (None, job.status)
        and all(
            # Times are told in milliseconds: a job is not after the time that it tells.
            name not in request
            or sign * (round(at, 3) - round(instant(request[name]).timestamp(), 3)) > 0
            for name, at, sign in limits
        )
    )
