"""A backend by hand: it keeps what it is given, and the test says what becomes of it."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from backburner import bootstrap
from backburner.domain.bundle import is_bundle
from backburner.domain.catalog import Model
from backburner.domain.errors import BackendError, NotFound
from backburner.domain.shard import AttemptRef, Shard, ShardStatus
from backburner.ports import (
    AttemptState,
    Blobs,
    Look,
    Room,
    Store,
    Submitted,
)
from backburner.services import membership, records, shard_lines

T = TypeVar("T")

#: Makes the line of a shard's result for one of its requests; None leaves it out.
Reply = Callable[[dict[str, Any]], dict[str, Any] | bytes | None]


def content(prompt: str) -> str:
    """What the model answers: the oracle tells by it whose answer it is."""
    return f"answer to {prompt}"


def succeed(request: dict[str, Any]) -> dict[str, Any]:
    prompt = request["body"]["messages"][-1]["content"]
    body = {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": content(prompt)}}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }
    return {"line": request["line"], "status_code": 200, "body": body}


def answer_with(status: int) -> Reply:
    def reply(request: dict[str, Any]) -> dict[str, Any]:
        body = {"error": {"message": f"status {status}", "code": status}}
        return {"line": request["line"], "status_code": status, "body": body}

    return reply


def by_name(special: Mapping[str, Reply | int | None], otherwise: Reply = succeed) -> Reply:
    """Reply to some requests, by custom_id, in a way of their own."""

    def reply(request: dict[str, Any]) -> dict[str, Any] | bytes | None:
        chosen = special.get(request["custom_id"], otherwise)
        if isinstance(chosen, int):
            chosen = answer_with(chosen)
        return chosen(request) if chosen is not None else None

    return reply


def _bad(request: dict[str, Any]) -> bytes:
    return b'{"line":'


#: What a model may do to the lines of a shard.
REPLIES: dict[str, Reply] = {
    "all succeed": succeed,
    "all are refused": answer_with(400),
    "all break": answer_with(500),
    "all are garbage": _bad,
    "nothing is there": lambda request: None,
    "odd ones are throttled": lambda request: (
        answer_with(429) if request["line"] % 2 else succeed
    )(request),
    "even ones are refused": lambda request: (succeed if request["line"] % 2 else answer_with(422))(
        request
    ),
    "every third is missing": lambda request: succeed(request) if request["line"] % 3 else None,
}


@dataclass(eq=False)
class Submission:
    """One attempt, as the backend took it."""

    shard: Shard
    requests: list[dict[str, Any]]
    #: Body of a raw request.
    body: bytes = b""
    #: Name of the job that runs it, where attempts are jobs.
    job: str | None = None
    #: Whether who asked for it knows that it was taken.
    is_sure: bool = True
    #: All that was ever written as its result.
    results: list[bytes] = field(default_factory=list)
    is_told: bool = False

    @property
    def output_key(self) -> str:
        shard = self.shard
        return f"async/output/{shard.tenant}/{shard.batch_id}/{shard.id}-a{shard.attempt}.out"

    @property
    def failure_key(self) -> str:
        return self.output_key.replace("async/output/", "async/failure/")

    @property
    def custom_ids(self) -> list[str]:
        return [request["custom_id"] for request in self.requests]


@dataclass
class ManualBackend:
    """A backend that the test plays: takes shards, and does nothing by itself."""

    blobs: Blobs
    store: Store
    submissions: list[Submission] = field(default_factory=list)
    #: Raised by the next submits, first to last, and whether the shard was taken all the same.
    errors: list[tuple[Exception, bool]] = field(default_factory=list)
    stopped: list[Shard] = field(default_factory=list)
    instance_count: int = 1
    room_left: Room | None = None
    #: Rooms that were ever told of.
    rooms: list[Room] = field(default_factory=list)
    #: Of models that run as jobs, each attempt has a name, and it is known which never started.
    has_jobs: bool = False
    wakes: list[int] = field(default_factory=list)
    #: What the oracle complains about.
    violations: list[str] = field(default_factory=list)

    def submit(self, shard: Shard, model: Model, payload: bytes | str) -> Submitted:
        try:
            data = self.blobs.get(payload) if isinstance(payload, str) else payload
        except NotFound as gone:  # as the real ones say it
            raise BackendError("The shard's requests are gone.") from gone
        error, is_taken = self.errors.pop(0) if self.errors else (None, True)
        if is_taken:
            self._insist_on_a_new_attempt(shard)
            requests = [] if shard.is_raw else [json.loads(line) for line in data.splitlines()]
            self._insist_on_new_lines(shard, [{"line": 1}] if shard.is_raw else requests)
            job = str(shard.ref) if self._is_job(shard) else None
            is_sure = error is None
            self.submissions.append(Submission(shard, requests, data, job, is_sure=is_sure))
        if error is not None:
            raise error
        if self._is_job(shard):
            return Submitted(job=str(shard.ref))
        return Submitted(failure_location=self.blobs.uri(self._last(shard).failure_key))

    def fail_next(self, *errors: Exception, is_taken: bool = False) -> None:
        """Have the next submits raise these."""
        self.errors += [(error, is_taken) for error in errors]

    def look(self, shard: Shard) -> Look:
        attempt = Submission(shard, [])
        if self.blobs.stat(attempt.output_key) is not None:
            return Look(state=AttemptState.SUCCEEDED, result_key=attempt.output_key)
        failure = self.blobs.key_of(shard.failure_location or "")
        if self._is_job(shard):
            failure = attempt.failure_key
        if failure is not None and self.blobs.stat(failure) is not None:
            return Look(state=AttemptState.FAILED)
        is_there = any(one.shard.ref == shard.ref for one in self.submissions)
        if self._is_job(shard) and not is_there:
            return Look(state=AttemptState.ABSENT)
        return Look(state=AttemptState.UNKNOWN)

    def stop(self, shard: Shard) -> None:
        self.stopped.append(shard)

    def attempt_of(self, job: str) -> AttemptRef | None:
        return AttemptRef.parse(job)

    def instances(self, model: Model) -> int | None:
        return self.instance_count if model.jobs is None else None

    def room(self, model: Model) -> Room | None:
        if model.jobs is None or self.room_left is None:
            return None
        self.rooms.append(self.room_left)
        return self.room_left

    def wake(self, model: Model, wanted: int) -> None:
        self.wakes.append(wanted)
        self.instance_count = wanted

    def write_result(self, attempt: Submission, data: bytes) -> None:
        self.blobs.put(attempt.output_key, data)
        attempt.results.append(data)

    def _is_job(self, shard: Shard) -> bool:
        model = bootstrap.environment().catalog.of_pool(shard.pool)
        return self.has_jobs and model is not None and model.has_jobs

    def _last(self, shard: Shard) -> Submission:
        return next(one for one in reversed(self.submissions) if one.shard.ref == shard.ref)

    def _insist_on_a_new_attempt(self, shard: Shard) -> None:
        """What was taken must never be asked for again under the same number."""
        if any(one.shard.ref == shard.ref and one.is_sure for one in self.submissions):
            self.violations.append(f"{shard.ref} was started twice")

    def _insist_on_new_lines(self, shard: Shard, requests: list[dict[str, Any]]) -> None:
        """A line that has its outcome must never be paid for again.

        The one exception can't be helped: a late result of an earlier attempt of the same shard,
        taken in between the claim and this call.
        """
        if is_bundle(shard.batch_id):
            self._insist_for_members(shard)
            return
        asked = {request["line"] for request in requests}
        self._insist(shard, asked)

    def _insist_for_members(self, shard: Shard) -> None:
        (item,) = self.store.get(records.bundle_key(shard.tenant, shard.batch_id))
        assert item is not None
        env = bootstrap.environment()
        for member in membership.current(env, records.to_bundle(item)):
            self._insist(member, set(shard_lines.request_names(env, member)))

    def _insist(self, shard: Shard, asked: set[int]) -> None:
        items = self.store.query(f"{shard.tenant}/{shard.batch_id}", prefix="shard/", limit=9999)
        env = bootstrap.environment()
        for done in map(records.to_shard, items):
            if done.status is ShardStatus.DONE and done.id != shard.id:
                finished = {outcome.line for outcome in shard_lines.kept_outcomes(env, done)}
                if asked & finished:
                    self.violations.append(f"{shard.ref}: {asked & finished} had finished")


# ---------------------------------------------------------------- the store
