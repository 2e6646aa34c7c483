"""The Backend port over Bedrock's batch jobs: the adapter of AWS, against the emulated service.

The faults are those of the reference page `bedrock.md` §10.3.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from backburner.adapters.bedrock import BedrockBatch
from backburner.adapters.clients import Clients
from backburner.domain.catalog import Fewer, Jobs, Model
from backburner.domain.errors import (
    BackendError,
    BackendFull,
    BackendRefused,
    BackendThrottled,
    BackendUnready,
)
from backburner.domain.shard import AttemptRef, Cut, Shard, ShardStatus
from backburner.ports import AttemptState, Limits, Look
from backburner.wire.bodies import CHAT, EMBEDDINGS
from backburner_local.adapters.clock import FixedClock
from backburner_local.adapters.files import DirectoryBlobs
from backburner_local.emulators.bedrock import BedrockEmulator, Knobs
from backburner_local.emulators.objects import DirectoryObjects
from tests.emulators.conftest import wait_until
from tests.wire.bedrock import chat, user

ROLE = "arn:aws:iam::123456789012:role/backburner-jobs"
LARGE = "mistral.mistral-large-2407-v1:0"
#: By format: a model whose own body it is.
MODELS = {
    "converse": LARGE,
    "anthropic": "us.anthropic.claude-3-haiku-20240307-v1:0",
    "nova": "amazon.nova-micro-v1:0",
    "mistral_text": "mistral.mistral-small-2402-v1:0",
    "mistral_chat": LARGE,
    "llama": "meta.llama3-1-8b-instruct-v1:0",
    "titan": "amazon.titan-embed-text-v2:0",
    "cohere": "cohere.embed-english-v3",
}
#: All but the least number of requests, which most tests need not reach.
HURRY: dict[str, Any] = {
    "min_records": 1,
    "submitted_seconds": 0.0,
    "validating_seconds": 0.0,
    "scheduled_seconds": 0.0,
    "stopping_seconds": 0.0,
    "flush_seconds": 0.05,
}
CALM = {knob: getattr(Knobs(), knob) for knob in Knobs.__dataclass_fields__ if "_nth" in knob} | {
    "fail_records_percent": 0.0,
    "drop_records_percent": 0.0,
    "foreign_jobs": {},
    "seconds_per_record": 0.0,
    "partial_at": 0.5,
    "job_failure": Knobs().job_failure,
    "quotas": {},
}


def a_model(model_id: str = LARGE, **jobs: Any) -> Model:
    return Model(
        name="m",
        backend="bedrock_batch",
        endpoint="",
        jobs=Jobs(model_id=model_id, **jobs),
        context_window=1000,
        routes=(CHAT,),
        slots=20,
        slots_per_instance=1,
        max_instances=1,
        cut=Cut(lines=1000, bytes=1_000_000, tokens=1_000_000),
    )


def request(line: int, body: dict[str, Any] | None = None, *, url: str = CHAT) -> bytes:
    given = body if body is not None else chat(user(f"say {line}"))
    data = {"line": line, "custom_id": f"c{line}", "url": url, "body": given}
    return json.dumps(data).encode() + b"\n"


def requests(count: int) -> bytes:
    return b"".join(request(line) for line in range(1, count + 1))


class Stage:
    """The adapter, the service that it speaks to, and the bucket of both."""

    def __init__(self, root: Path, emulator: BedrockEmulator) -> None:
        self.emulator = emulator
        self.blobs = DirectoryBlobs(root, "bucket", FixedClock(), b"key", "", durable=False)
        self.clients = Clients(
            endpoint_url=emulator.url,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        self.backend = BedrockBatch(self.clients, self.blobs, ROLE)
        self._batches = iter(range(10_000))

    def shard(self, **changes: Any) -> Shard:
        values: dict[str, Any] = {
            "tenant": "acme",
            "batch_id": f"batch_{next(self._batches)}",
            "id": "00001",
            "status": ShardStatus.IN_FLIGHT,
            "model": "m",
            "pool": a_model().pool,
            "first_line": 1,
            "last_line": 1000,
            "line_count": 3,
            "attempt": 1,
            "created_at": 0.0,
            "deadline": 0.0,
        }
        return Shard(**values | changes)

    def send(
        self, payload: bytes | str, model: Model | None = None, shard: Shard | None = None
    ) -> Shard:
        """The shard, submitted."""
        shard = shard or self.shard()
        told = self.backend.submit(shard, model or a_model(), payload)
        return replace(shard, job=told.job, output_location=told.output_location)

    def end(self, shard: Shard) -> Look:
        """What a look finds once the job ended."""
        wait_until(lambda: self.backend.look(shard).state is not AttemptState.UNKNOWN)
        return self.backend.look(shard)

    def outcomes(self, shard: Shard) -> dict[int, tuple[int, Any]]:
        """Status and body by line, of a shard that has a result."""
        look = self.end(shard)
        assert look.state is AttemptState.SUCCEEDED, look
        assert look.result_key is not None
        assert look.result_key.startswith(
            f"async/output/acme/{shard.batch_id}/{shard.id}-a{shard.attempt}."
        )
        found = [json.loads(line) for line in self.blobs.get(look.result_key).splitlines()]
        assert len({one["line"] for one in found}) == len(found)
        return {one["line"]: (one["status_code"], one["body"]) for one in found}

    def jobs(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.clients.bedrock.list_model_invocation_jobs()[
            "invocationJobSummaries"
        ]
        return found

    def job(self, shard: Shard) -> dict[str, Any]:
        found: dict[str, Any] = self.clients.bedrock.get_model_invocation_job(
            jobIdentifier=shard.job
        )
        return found


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Iterator[Stage]:
    root = tmp_path_factory.mktemp("bedrock")
    emulator = BedrockEmulator(
        objects=DirectoryObjects(root), data_dir=root / "bedrock", knobs=Knobs(**HURRY)
    ).start()
    yield Stage(root, emulator)
    emulator.stop()


@pytest.fixture
def stage(shared) -> Iterator[Stage]:
    yield shared
    shared.emulator.turn(**CALM, **HURRY)


def text(body: dict[str, Any]) -> str:
    said: str = body["choices"][0]["message"]["content"]
    return said


# ---------------------------------------------------------------- there and back


def test_a_shard_runs_as_a_job_and_its_outcomes_find_their_requests(stage):
    shard = stage.send(requests(3))
    outcomes = stage.outcomes(shard)
    assert {line: (status, text(body)) for line, (status, body) in outcomes.items()} == {
        line: (200, f"say {line}") for line in (1, 2, 3)
    }
    body = outcomes[2][1]
    assert body["model"] == "m"
    assert body["object"] == "chat.completion"
    assert body["id"] == f"chatcmpl-{shard.batch_id.removeprefix('batch_')}-2"
    assert body["created"] > 0
    assert body["choices"][0]["finish_reason"] == "stop"
    assert body["usage"]["total_tokens"] > 0


def test_a_large_shard_is_read_where_it_is(stage):
    stage.blobs.put("batches/acme/in.jsonl", requests(30))
    assert len(stage.outcomes(stage.send("batches/acme/in.jsonl"))) == 30


def test_a_job_says_whose_it_is(stage):
    shard = stage.send(requests(1), a_model(timeout_seconds=90_000.0))
    job = stage.job(shard)
    assert job["jobName"].startswith("backburner-")
    assert job["timeoutDurationInHours"] == 25
    assert (job["roleArn"], job["modelInvocationType"]) == (ROLE, "Converse")
    tags = stage.clients.bedrock.list_tags_for_resource(resourceARN=shard.job)["tags"]
    assert {tag["key"]: tag["value"] for tag in tags} == {
        "project": "backburner",
        "tenant": "acme",
        "batch": shard.batch_id,
    }
    assert stage.backend.attempt_of(shard.job or "") == shard.ref


@pytest.mark.parametrize(("seconds", "hours"), [(60.0, 24), (1e9, 168)])
def test_a_job_gets_no_time_that_bedrock_refuses(stage, seconds, hours):
    shard = stage.send(requests(1), a_model(timeout_seconds=seconds))
    assert stage.job(shard)["timeoutDurationInHours"] == hours


@pytest.mark.parametrize("name", [name for name in MODELS if name not in ("titan", "cohere")])
def test_each_family_takes_what_its_format_asks_and_is_understood(stage, name):
    body = chat(
        {"role": "system", "content": "Be terse."},
        user("Hi"),
        {"role": "assistant", "content": "Yes?"},
        user("say it"),
        max_tokens=50,
        temperature=0.5,
        top_p=0.9,
    )
    shard = stage.send(request(1, body), a_model(MODELS[name], format=name))
    ((status, answer),) = stage.outcomes(shard).values()
    assert status == 200, answer
    assert "say it" in text(answer)
    assert ("usage" in answer) == (not name.startswith("mistral"))


@pytest.mark.parametrize("name", ["titan", "cohere"])
def test_embeddings_are_made(stage, name):
    payload = request(1, {"model": "m", "input": "Hi"}, url=EMBEDDINGS)
    shard = stage.send(payload, a_model(MODELS[name], format=name))
    ((status, body),) = stage.outcomes(shard).values()
    assert status == 200, body
    assert body["model"] == "m"
    assert all(isinstance(one, float) for one in body["data"][0]["embedding"])


def test_names_of_all_kinds_fit_into_those_of_jobs_and_objects(stage):
    for tenant, batch_id, shard_id in [
        ("a", "resp_0123456789abcdef", "00001-5p2"),
        ("a-b-c-0123456789-0123456", "msgbatch_01AbC", "00042-2"),
        ("acme", "chatcmpl-01", "00001-fffp"),
    ]:
        one = stage.shard(tenant=tenant, batch_id=batch_id, id=shard_id, attempt=12)
        shard = stage.send(requests(1), shard=one)
        assert stage.backend.attempt_of(shard.job or "") == AttemptRef(
            tenant=tenant, batch_id=batch_id, shard_id=shard_id, attempt=12
        )
        assert stage.end(shard).state is AttemptState.SUCCEEDED


def test_a_look_can_be_repeated_until_the_result_is_taken(stage):
    shard = stage.send(requests(2))
    first = stage.outcomes(shard)
    stage.blobs.delete(stage.backend.look(shard).result_key)
    assert stage.outcomes(shard) == first


def test_objects_of_a_job_are_the_batch_s_own_and_go_with_it(stage):
    shard = stage.send(requests(1))
    stage.end(shard)
    found = [stat.key for stat in stage.blobs.list(f"batches/acme/{shard.batch_id}/")]
    assert any(key.endswith("/manifest.json.out") for key in found)
    assert any(key.endswith("/in/converse/00001-a1.jsonl") for key in found)


def test_a_result_that_nobody_could_read_loses_only_what_does_not_fit(stage):
    backend = BedrockBatch(stage.clients, stage.blobs, ROLE, Limits(result_bytes=5_000))
    payload = b"".join(request(line, chat(user("x" * 500))) for line in range(1, 9))
    shard = stage.send(payload, shard=stage.shard(line_count=8))
    stage.end(shard)
    key = backend.look(shard).result_key
    assert key is not None
    found = [json.loads(line) for line in stage.blobs.get(key).splitlines()]
    assert len(found) == 8
    assert {one["status_code"] for one in found} == {200, 413}


# ---------------------------------------------------------------- what can't be asked


def test_a_request_that_can_t_be_asked_fails_alone_and_is_not_sent(stage):
    shard = stage.send(request(1) + request(2, chat(n=2)) + request(3))
    outcomes = stage.outcomes(shard)
    assert {line: status for line, (status, _) in outcomes.items()} == {1: 200, 2: 400, 3: 200}
    assert outcomes[2][1]["error"]["param"] == "n"
    assert stage.job(shard)["totalRecordCount"] == 2


def test_where_nothing_can_be_asked_there_is_no_job_and_yet_a_result(stage):
    before = len(stage.jobs())
    shard = stage.send(request(1, chat(n=2)) + request(2, chat(n=3)))
    assert (shard.job, len(stage.jobs())) == (None, before)
    assert shard.output_location is not None
    assert [status for status, _ in stage.outcomes(shard).values()] == [400, 400]
    assert not list(stage.blobs.list(f"batches/acme/{shard.batch_id}/"))


def test_a_job_of_too_few_requests_is_refused(stage):
    shard = stage.shard()
    with pytest.raises(BackendRefused, match=r"fewer than 100 requests of this model.* are 3\."):
        stage.send(requests(3), a_model(least_lines=100), shard)
    assert not list(stage.blobs.list(f"batches/acme/{shard.batch_id}/"))


def test_a_job_of_too_few_requests_is_filled_up_where_the_catalog_says_so(stage):
    stage.emulator.turn(min_records=100)
    shard = stage.send(requests(3), a_model(least_lines=100, fewer=Fewer.PAD))
    assert sorted(stage.outcomes(shard)) == [1, 2, 3]
    assert stage.job(shard)["totalRecordCount"] == 100


def test_a_request_that_can_t_be_asked_does_not_make_a_job_too_small(stage):
    stage.emulator.turn(min_records=3)
    shard = stage.send(requests(2) + request(3, chat(n=2)), a_model(least_lines=3))
    assert sorted(stage.outcomes(shard)) == [1, 2, 3]


def test_what_is_no_request_of_openai_s_is_refused(stage):
    with pytest.raises(BackendRefused):
        stage.send(b"\x00raw", shard=stage.shard(content_type="image/png"))
    with pytest.raises(BackendRefused):
        stage.send(requests(1), a_model(format="smoke_signals"))


def test_requests_that_are_gone_start_no_job(stage):
    with pytest.raises(BackendError, match="gone"):
        stage.send("batches/acme/nothing.jsonl")


# ---------------------------------------------------------------- creating goes wrong


def test_a_throttled_call_started_nothing(stage):
    stage.emulator.turn(throttle_create_every_nth=1)
    before = len(stage.jobs())
    with pytest.raises(BackendThrottled) as raised:
        stage.send(requests(1))
    assert type(raised.value) is BackendThrottled  # in some seconds, it is asked again
    assert len(stage.jobs()) == before


def test_an_account_that_has_all_its_jobs_is_full(stage):
    stage.emulator.turn(quota_error_every_nth=1)
    with pytest.raises(BackendFull):
        stage.send(requests(1))


def test_a_call_whose_answer_is_lost_is_repeated_and_makes_one_job(stage):
    stage.emulator.turn(lose_answer_every_nth=2)  # by turns: lost or not, botocore asks again
    before = len(stage.jobs())
    shards = [stage.send(requests(1)) for _ in range(2)]
    assert len(stage.jobs()) == before + 2
    assert all(shard.job is not None for shard in shards)


def test_a_job_whose_creator_died_is_found_by_its_name(stage):
    shard = stage.shard()
    assert stage.backend.look(shard).state is AttemptState.ABSENT
    stage.send(requests(1), shard=shard)
    assert shard.job is None
    assert list(stage.outcomes(shard)) == [1]


def test_an_attempt_that_is_submitted_twice_is_one_job(stage):
    shard = stage.shard()
    first, second = (stage.send(requests(1), shard=shard) for _ in range(2))
    assert first.job == second.job
    changed = stage.send(requests(1), a_model(timeout_seconds=90_000.0), shard)
    assert changed.job == first.job  # the token was used with another body
    assert stage.send(requests(1), shard=replace(shard, attempt=2)).job != first.job


@pytest.mark.parametrize("model_id", ["mistral.not-there-v1:0", "no model at all"])
def test_what_the_operator_has_to_mend_costs_no_request_its_attempt(stage, caplog, model_id):
    with pytest.raises(BackendUnready):
        stage.send(requests(1), a_model(model_id))
    assert "jobs.model_id" in caplog.text
    assert "say 1" not in caplog.text


def test_without_a_role_shards_wait_until_there_is_one(stage, caplog):
    backend = BedrockBatch(stage.clients, stage.blobs, "")
    with pytest.raises(BackendUnready):
        backend.submit(stage.shard(), a_model(), requests(1))
    assert "RunBedrockJobs" in caplog.text


def test_a_service_that_is_not_there_has_started_nothing(tmp_path, stage):
    clients = Clients(
        endpoint_url="http://127.0.0.1:9",
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    backend = BedrockBatch(clients, stage.blobs, ROLE)
    with pytest.raises(BackendThrottled):
        backend.submit(stage.shard(), a_model(), requests(1))
    with pytest.raises(BackendError):
        backend.look(stage.shard())
    backend.stop(stage.shard())


# ---------------------------------------------------------------- jobs go wrong


def test_a_job_whose_every_record_fails_says_what_each_said(stage):
    stage.emulator.turn(fail_records_percent=100.0, record_failure_code=400)
    shard = stage.send(requests(3))
    assert [status for status, _ in stage.outcomes(shard).values()] == [400] * 3
    assert stage.job(shard)["status"] == "Completed"


def test_records_that_are_lost_are_missing_and_nothing_else(stage):
    stage.emulator.turn(drop_records_percent=50.0)
    assert len(stage.outcomes(stage.send(requests(4)))) == 2


def test_what_a_job_did_before_its_time_was_over_is_its_result(stage):
    stage.emulator.turn(partial_every_nth=1)
    shard = stage.send(requests(4))
    assert len(stage.outcomes(shard)) == 2
    assert stage.job(shard)["status"] == "PartiallyCompleted"


def test_a_job_that_never_came_to_its_turn_may_be_tried_again(stage):
    stage.emulator.turn(stick_every_nth=1)
    shard = stage.send(requests(1))
    wait_until(lambda: stage.job(shard)["status"] == "Scheduled")
    assert stage.backend.look(shard).state is AttemptState.UNKNOWN
    stage.emulator.advance(80 * 3600.0)
    look = stage.end(shard)
    assert (look.state, look.is_final) == (AttemptState.FAILED, False)
    assert look.reason == "The job waited for its turn until its time was over."


def test_what_a_job_did_before_it_was_stopped_is_its_result(stage):
    stage.emulator.turn(seconds_per_record=0.05, concurrency=1)
    shard = stage.send(requests(40))
    wait_until(lambda: stage.job(shard)["processedRecordCount"] > 0)
    stage.backend.stop(shard)
    stage.backend.stop(shard)  # it ends already
    assert 0 < len(stage.outcomes(shard)) < 40
    assert stage.job(shard)["status"] == "Stopped"
    stage.backend.stop(shard)


def test_a_job_that_is_stopped_before_it_ran_brings_nothing(stage):
    stage.emulator.turn(scheduled_seconds=60.0)
    shard = stage.shard()
    sent = stage.send(requests(1), shard=shard)
    stage.backend.stop(shard)  # its ARN was lost
    look = stage.end(sent)
    assert (look.state, look.reason) == (
        AttemptState.FAILED,
        "The job was stopped before any request was run.",
    )


def test_a_job_that_fails_after_it_ran_has_what_it_did(stage):
    stage.emulator.turn(fail_job_every_nth=1)
    shard = stage.send(requests(2))
    assert len(stage.outcomes(shard)) == 2
    assert stage.job(shard)["status"] == "Failed"


def test_requests_that_bedrock_never_takes_are_refused_for_good(stage, caplog):
    stage.emulator.turn(min_records=100)
    look = stage.end(stage.send(requests(3)))
    assert (look.state, look.is_final) == (AttemptState.FAILED, True)
    assert look.reason == "The model's batch jobs do not take these requests."
    assert "job.brought_nothing" in caplog.text


def test_a_job_that_can_t_reach_its_files_is_its_operator_s_to_mend(stage, caplog):
    stage.emulator.turn(validating_seconds=0.5)
    shard = stage.send(requests(1))
    stage.blobs.delete(f"batches/acme/{shard.batch_id}/jobs/bedrock/in/converse/00001-a1.jsonl")
    look = stage.end(shard)
    assert look.state is AttemptState.FAILED
    assert look.reason is not None
    assert "123456789012" not in look.reason


def test_jobs_of_others_are_nobody_s_attempt(stage):
    stage.emulator.turn(foreign_jobs={LARGE: 1})
    (foreign,) = (job for job in stage.jobs() if job["jobName"].startswith("of-someone"))
    assert stage.backend.attempt_of(foreign["jobArn"]) is None
    assert stage.backend.attempt_of(foreign["jobArn"][:-12] + "abcdefghij12") is None


# ---------------------------------------------------------------- room


def test_room_is_what_the_account_has_less_the_jobs_of_others(stage):
    name = "Mistral Large 2 (24.07)"
    quota = f"Sum of in-progress and submitted batch inference jobs using a base model for {name}"
    stage.emulator.turn(foreign_jobs={LARGE: 3, MODELS["nova"]: 2}, quotas={quota: 7.0})
    stage.emulator.turn(scheduled_seconds=60.0)
    own = stage.send(requests(1))
    backend = BedrockBatch(stage.clients, stage.blobs, ROLE)
    room = backend.room(a_model(quota_name=name))
    assert room is not None
    assert (room.limit, room.others) == (7, 3)
    profile = backend.room(a_model(f"us.{LARGE}"))
    assert profile is not None
    assert (profile.limit, profile.others) == (None, 3)
    stage.backend.stop(own)
    stage.end(own)


def test_what_runs_is_listed_once_for_all_models(stage):
    stage.emulator.turn(foreign_jobs={LARGE: 3, MODELS["nova"]: 2}, quotas={})
    backend = BedrockBatch(stage.clients, stage.blobs, ROLE)
    asked: list[str] = []
    events = stage.clients.bedrock.meta.events
    events.register("before-call.bedrock.*", lambda model, **_: asked.append(model.name))
    found = [backend.room(a_model(model_id)) for model_id in (LARGE, MODELS["nova"], "other.one")]
    assert [room.others for room in found if room is not None] == [3, 2, 0]
    assert asked == ["ListModelInvocationJobs"] * 5  # one state each


def test_a_quota_that_is_misspelt_is_told(stage, caplog):
    room = BedrockBatch(stage.clients, stage.blobs, ROLE).room(a_model(quota_name="Mistral Huge"))
    assert room is not None
    assert room.limit is None
    assert "quotas.unknown name=Mistral Huge" in caplog.text
    assert "jobs.quota_name" in caplog.text


def test_jobs_need_no_instance(stage):
    assert stage.backend.instances(a_model()) is None
    stage.backend.wake(a_model(), 1)
