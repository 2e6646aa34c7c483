"""The Backend port over transform jobs: the adapter of AWS, against the emulated service."""

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from backburner.adapters.clients import Clients
from backburner.adapters.transform import SageMakerTransform
from backburner.adapters.transform.objects import lines_of_object
from backburner.domain.catalog import JOB_MARGIN_SECONDS, Jobs, Model
from backburner.domain.errors import (
    BackendError,
    BackendFull,
    BackendRefused,
    BackendThrottled,
    BackendUnready,
)
from backburner.domain.shard import Cut, Shard, ShardStatus
from backburner.ports import AttemptState, Look
from backburner.wire.jobs import EndedJob, ended_job
from backburner_local.adapters.clock import FixedClock
from backburner_local.adapters.files import DirectoryBlobs
from backburner_local.emulators.objects import DirectoryObjects
from backburner_local.emulators.sagemaker import Knobs, SageMakerEmulator
from backburner_local.emulators.sagemaker.transform.knobs import TransformKnobs
from tests.emulators.conftest import wait_until

COMMAND = [
    sys.executable,
    "-I",
    "-S",
    str(Path(__file__).with_name("shard_server.py")),
    "{port}",
]


def a_model(**jobs: Any) -> Model:
    values: dict[str, Any] = {
        "model_id": "mistral",
        "instance_type": "ml.g5.2xlarge",
        "object_lines": 2,
    }
    return Model(
        name="m",
        backend="sagemaker_transform",
        endpoint="",
        jobs=Jobs(**values | jobs),
        context_window=1000,
        routes=("/v1/chat/completions",),
        slots=2,
        slots_per_instance=1,
        max_instances=1,
        cut=Cut(lines=1000, bytes=1_000_000, tokens=1_000_000),
    )


def requests(*prompts: str) -> bytes:
    return b"".join(
        json.dumps(
            {"line": n, "custom_id": f"c{n}", "url": "/v1/x", "body": {"p": prompt}}
        ).encode()
        + b"\n"
        for n, prompt in enumerate(prompts, 1)
    )


class Stage:
    """The adapter, the service that it speaks to, and the bucket of both."""

    def __init__(self, root: Path, **knobs: Any) -> None:
        self.root = root
        self.clock = FixedClock()
        self.blobs = DirectoryBlobs(root, "bucket", self.clock, b"key", "", durable=False)
        self.events: list[dict[str, Any]] = []
        self.emulator = SageMakerEmulator(
            objects=DirectoryObjects(root),
            publish=lambda topic, message: None,
            put_event=self.events.append,
            data_dir=root / "sagemaker",
            knobs=Knobs(
                ping_interval_seconds=0.2,
                transform=TransformKnobs(**{"retry_pause_seconds": 0.0, **knobs}),
            ),
        ).start()
        self.emulator.create_model("mistral", ["env", f"SEEN={root / 'seen'}", *COMMAND])
        self.clients = Clients(
            endpoint_url=self.emulator.url,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        self.backend = SageMakerTransform(self.clients, self.blobs, self.clock)
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

    def send(self, payload: bytes | str, model: Model | None = None) -> Shard:
        """A shard, submitted."""
        shard = self.shard()
        return replace(shard, job=self.backend.submit(shard, model or a_model(), payload).job)

    def end(self, shard: Shard) -> Look:
        """What a look finds once the job ended."""
        wait_until(lambda: self.backend.look(shard).state is not AttemptState.UNKNOWN)
        return self.backend.look(shard)

    def lines(self, shard: Shard) -> list[int]:
        """Numbers of the lines in the result."""
        look = self.end(shard)
        assert look.state is AttemptState.SUCCEEDED, look
        assert look.result_key is not None
        prefix = f"async/output/acme/{shard.batch_id}/{shard.id}-a{shard.attempt}."
        assert look.result_key.startswith(prefix)
        return [json.loads(line)["line"] for line in self.blobs.get(look.result_key).splitlines()]

    def ran(self) -> Counter[str]:
        """How often each line was run, by its custom_id."""
        return Counter((self.root / "seen").read_text().split())

    def jobs(self) -> list[str]:
        found = self.clients.sagemaker.list_transform_jobs(MaxResults=100)
        return [one["TransformJobName"] for one in found["TransformJobSummaries"]]

    def described(self, shard: Shard) -> dict[str, Any]:
        return dict(self.clients.sagemaker.describe_transform_job(TransformJobName=str(shard.job)))


@pytest.fixture
def stage(tmp_path) -> Iterator[Callable[..., Stage]]:
    stages: list[Stage] = []

    def start(**knobs: Any) -> Stage:
        stages.append(Stage(tmp_path, **knobs))
        return stages[-1]

    yield start
    for one in stages:
        one.emulator.stop()


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Iterator[Stage]:
    stage = Stage(tmp_path_factory.mktemp("transform"))
    yield stage
    stage.emulator.stop()


def test_a_shard_is_one_job_over_objects_of_so_many_lines(shared):
    shard = shared.send(requests("a", "b", "c", "d", "e"))
    assert shared.lines(shard) == [1, 2, 3, 4, 5]
    told = shared.described(shard)
    source = told["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"]
    keys = [found.key for found in shared.blobs.list(shared.blobs.key_of(source) or "")]
    assert [key.rpartition("/")[2] for key in keys] == [
        "000001.jsonl",
        "000002.jsonl",
        "000003.jsonl",
    ]
    assert [shared.blobs.get(key).count(b"\n") for key in keys] == [2, 2, 1]
    assert all(key.startswith(f"batches/acme/{shard.batch_id}/") for key in keys)


def test_a_container_is_told_that_it_gets_a_shard(shared):
    look = shared.end(shared.send(requests("a")))
    (line,) = shared.blobs.get(look.result_key or "").splitlines()
    assert json.loads(line)["body"] == {"told": ["application/jsonl", "application/jsonl"]}


def test_requests_in_an_object_are_sent_as_well(shared):
    shared.blobs.put("batches/acme/batch_x/inputs/1.jsonl", requests("a", "b", "c"))
    assert shared.lines(shared.send("batches/acme/batch_x/inputs/1.jsonl")) == [1, 2, 3]


def test_a_job_has_what_its_shard_needs_and_no_more(shared):
    large = "x" * 1_500_000
    model = a_model(instance_count=9, object_lines=1)
    shard = shared.send(requests(large, "b"), model)
    told = shared.described(shard)
    assert (told["MaxPayloadInMB"], told["MaxConcurrentTransforms"]) == (2, 50)
    assert told["TransformResources"] == {"InstanceType": "ml.g5.2xlarge", "InstanceCount": 2}
    assert shared.lines(shard) == [1, 2]


def test_the_tags_say_whose_job_it_is(shared):
    shard = shared.send(requests("a"))
    arn = shared.described(shard)["TransformJobArn"]
    tags = shared.clients.sagemaker.list_tags(ResourceArn=arn)["Tags"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {
        "project": "backburner",
        "tenant": "acme",
        "batch": shard.batch_id,
    }
    shared.end(shard)


def test_an_object_that_fails_loses_only_its_own_lines(shared):
    shard = shared.send(requests("a", "b", "refuse", "d", "e", "break"))
    assert shared.lines(shard) == [1, 2]
    assert shared.described(shard)["TransformJobStatus"] == "Failed"


@pytest.mark.parametrize(
    ("attempt", "lines", "of_object"),
    [(1, 20, 50), (2, 20, 5), (3, 20, 1), (6, 500, 1), (3, 20_000, 40), (1, 50_000, 100)],
)
def test_what_is_tried_again_is_cut_finer(shared, attempt, lines, of_object):
    assert lines_of_object(shared.shard(attempt=attempt, line_count=lines), 50) == of_object


def test_an_output_that_is_lost_loses_only_its_own_lines(stage):
    here = stage(lost_output_every_nth=2)
    shard = here.send(requests("a", "b", "c", "d", "e", "f"))
    lines = here.lines(shard)  # two in each object
    assert len(lines) == 4
    assert {line - 1 - (line - 1) % 2 for line in lines} < {0, 2, 4}
    assert set(here.ran().values()) == {1}


@pytest.mark.parametrize(("prompt", "is_final"), [("refuse", True), ("break", False)])
def test_a_job_that_brought_nothing_has_failed(shared, prompt, is_final):
    look = shared.end(shared.send(requests(prompt)))
    assert (look.state, look.is_final) == (AttemptState.FAILED, is_final)
    assert look.reason


def test_a_submission_that_is_repeated_makes_no_second_job(shared):
    shard = shared.shard()
    before = shared.ran()
    first = shared.backend.submit(shard, a_model(), requests("a"))
    again = shared.backend.submit(shard, a_model(), requests("a"))
    assert first == again
    assert shared.lines(shard) == [1]
    assert shared.ran() - before == {"c1": 1}


def test_another_attempt_is_another_job(shared):
    shard = shared.shard()
    jobs = {
        shared.backend.submit(replace(shard, attempt=number), a_model(), requests("a")).job
        for number in (1, 2)
    }
    assert len(jobs) == 2
    for number in (1, 2):
        assert shared.lines(replace(shard, attempt=number)) == [1]


def test_a_job_whose_creation_was_never_answered_is_found_by_its_name(stage):
    here = stage(broken_after_create_every_nth=1, throttle_every_nth=2)
    shard = here.shard()
    # The client tries again after the 500, and is throttled; then the name is taken.
    here.backend.submit(shard, a_model(), requests("a", "b"))
    assert here.lines(shard) == [1, 2]
    assert here.ran() == {"c1": 1, "c2": 1}


def test_a_job_that_was_never_created_is_absent(shared):
    assert shared.backend.look(shared.shard()).state is AttemptState.ABSENT


def test_a_job_that_runs_says_nothing_yet(stage):
    here = stage(waiting_seconds=60)
    shard = here.send(requests("a"))
    assert here.backend.look(shard).state is AttemptState.UNKNOWN


def test_the_end_of_a_job_names_its_attempt(shared):
    shard = shared.send(requests("a"))
    shared.end(shard)

    def told() -> bool:
        ended = [job for event in list(shared.events) if (job := ended_job(event)) is not None]
        return EndedJob(backend="sagemaker_transform", name=str(shard.job)) in ended

    wait_until(told)
    assert shared.backend.attempt_of(str(shard.job)) == shard.ref


def test_jobs_of_others_are_nobodys_attempt(shared):
    shared.blobs.put("other/in/1.txt", b"x")
    shared.clients.sagemaker.create_transform_job(
        TransformJobName="backburner-theirs",
        ModelName="mistral",
        TransformInput={
            "DataSource": {
                "S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/other/in/"}
            }
        },
        TransformOutput={"S3OutputPath": "s3://bucket/other/out/"},
        TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
    )
    for name in ("backburner-theirs", "backburner-unknown", "somebody-elses"):
        assert shared.backend.attempt_of(name) is None


@pytest.mark.parametrize(("keeps", "found"), [("finished_objects", [1]), ("nothing", None)])
def test_a_job_that_is_stopped_brings_what_it_left(stage, keeps, found):
    here = stage(stopped_job_keeps=keeps)
    shard = here.send(requests("a", *["slow"] * 20), a_model(object_lines=1))
    wait_until((here.root / "seen").exists)
    out = f"batches/acme/{shard.batch_id}/jobs/transform/out/"
    wait_until(lambda: any(one.key.endswith("1.jsonl.out") for one in here.blobs.list(out)))
    here.backend.stop(shard)
    if found is None:
        assert here.end(shard).state is AttemptState.FAILED
    else:
        assert found[0] in here.lines(shard)
    here.backend.stop(shard)  # which changes nothing any more


def test_a_job_that_never_was_can_be_stopped(shared):
    shared.backend.stop(shared.shard())


def test_a_job_that_takes_longer_than_it_may_is_stopped(stage):
    here = stage(waiting_seconds=60)
    shard = replace(here.send(requests("a")), lease_ends_at=here.clock.now() + 7200)
    assert here.backend.look(shard).state is AttemptState.UNKNOWN
    here.clock.advance(7200 - JOB_MARGIN_SECONDS)
    assert here.backend.look(shard).state is AttemptState.UNKNOWN
    assert here.end(shard).state is AttemptState.FAILED
    assert here.described(shard)["TransformJobStatus"] == "Stopped"


def test_an_account_that_is_full_says_so(stage):
    here = stage(quotas={"ml.g5.2xlarge": 1}, waiting_seconds=60)
    here.send(requests("a"))
    with pytest.raises(BackendFull):
        here.send(requests("b"))


@pytest.mark.parametrize(
    ("knobs", "jobs", "error"),
    [
        ({"throttle_every_nth": 1}, {}, BackendThrottled),
        ({}, {"model_id": "unknown"}, BackendUnready),
        ({}, {"instance_type": None}, BackendUnready),
    ],
    ids=["throttled", "no such model", "no instance type"],
)
def test_a_job_that_is_not_taken_was_not_started(stage, monkeypatch, knobs, jobs, error):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    here = stage(**knobs)
    with pytest.raises(BackendThrottled) as raised:
        here.send(requests("a"), a_model(**jobs))
    assert type(raised.value) is error
    assert here.jobs() == []


def test_a_job_takes_no_request_that_only_its_model_understands(shared):
    with pytest.raises(BackendRefused):
        shared.backend.submit(shared.shard(content_type="image/png"), a_model(), b"pixels")


def test_a_service_that_is_not_there_has_started_nothing(stage):
    here = stage()
    here.emulator.stop()
    with pytest.raises(BackendThrottled):
        here.send(requests("a"))
    with pytest.raises(BackendError):
        here.backend.look(here.shard())


def test_requests_that_are_gone_are_no_job(shared):
    with pytest.raises(BackendError):
        shared.send("batches/acme/batch_gone/inputs/1.jsonl")


def test_a_job_without_capacity_may_be_tried_again(stage):
    here = stage(no_capacity_every_nth=1)
    look = here.end(here.send(requests("a")))
    assert (look.state, look.is_final) == (AttemptState.FAILED, False)


def test_jobs_bring_their_own_instances(shared):
    shared.backend.wake(a_model(), 1)
    assert shared.backend.instances(a_model()) is None
    assert shared.backend.room(a_model()) is None
