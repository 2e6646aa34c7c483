"""Lists of jobs: filtered, in order, and page by page though jobs are created meanwhile."""

from __future__ import annotations

import base64
from collections.abc import Iterable

from backburner_local.emulators.bedrock.job import Job, describe
from backburner_local.emulators.bedrock.knobs import Knobs
from backburner_local.emulators.wire import ApiError, Message, instant


def in_order(jobs: Iterable[Job]) -> list[Job]:
    """Oldest first."""
    return sorted(jobs, key=_place)


def page_of(jobs: Iterable[Job], request: Message, knobs: Knobs) -> Message:
    """The answer of ListModelInvocationJobs to a request that was checked.

    Raises:
        ApiError: its token is none.
    """
    is_descending = (request.get("sortOrder") or knobs.default_sort_order) == "Descending"
    found = in_order(job for job in jobs if _is_listed(job, request))
    if is_descending:
        found.reverse()
    after = _read_token(request.get("nextToken"))
    if after is not None:
        found = [
            job for job in found if (_place(job) < after if is_descending else _place(job) > after)
        ]
    limit = request.get("maxResults") or knobs.default_page_size
    told: Message = {"invocationJobSummaries": [describe(job) for job in found[:limit]]}
    if len(found) > limit:
        told["nextToken"] = _write_token(found[limit - 1])
    return told


def _is_listed(job: Job, request: Message) -> bool:
    after, before = request.get("submitTimeAfter"), request.get("submitTimeBefore")
    return (
        request.get("statusEquals") in (None, str(job.status))
        and (request.get("nameContains") or "") in job.name
        and (after is None or job.submitted_at > instant(after).timestamp())
        and (before is None or job.submitted_at < instant(before).timestamp())
    )


def _place(job: Job) -> tuple[float, str]:
    return (job.submitted_at, job.id)


def _write_token(job: Job) -> str:
    return base64.urlsafe_b64encode(f"{job.submitted_at!r} {job.id}".encode()).decode()


def _read_token(token: str | None) -> tuple[float, str] | None:
    """The place of the last job of the page before."""
    if not token:
        return None
    try:
        at, job_id = base64.urlsafe_b64decode(token).decode().split(" ")
        return float(at), job_id
    except ValueError as error:
        raise ApiError("ValidationException", "The nextToken is invalid.") from error
