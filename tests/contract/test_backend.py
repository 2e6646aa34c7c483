"""The Backend port: the adapter that runs on AWS, against the emulated service."""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backburner.adapters.clients import Clients
from backburner.adapters.sagemaker import INLINE_BYTES, SageMakerAsync
from backburner.domain.catalog import Model
from backburner.domain.errors import BackendError, BackendThrottled
from backburner.domain.shard import Cut, Shard, ShardStatus
from backburner.ports import AttemptState, Limits
from backburner_local.adapters.clock import FixedClock
from backburner_local.adapters.files import DirectoryBlobs
from backburner_local.emulators.objects import DirectoryObjects
from backburner_local.emulators.sagemaker import Endpoint, Knobs, SageMakerEmulator
from backburner_local.shortcut import clients_of
from tests.emulators.conftest import COMMAND, ERROR, SUCCESS, Listener, wait_until

MODEL = Model(
    name="m",
    backend="sagemaker_async",
    endpoint="my-ep",
    context_window=1000,
    routes=("/v1/chat/completions",),
    slots=4,
    slots_per_instance=4,
    max_instances=2,
    cut=Cut(lines=10, bytes=1000, tokens=1000),
)


#: An instance whose model always fails.
BROKEN = [
    sys.executable,
    "-c",
    """
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self, status=200):
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET(500)

HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
""",
    "{port}",
]


class Stage:
    """The adapter, and the service that it speaks to."""

    def __init__(
        self, root: Path, clients_to: Callable[[SageMakerEmulator], Clients], **knobs: Any
    ) -> None:
        self.blobs = DirectoryBlobs(root, "bucket", FixedClock(), b"key", "", durable=False)
        self.listener = Listener()
        self.emulator = SageMakerEmulator(
            objects=DirectoryObjects(root),
            publish=self.listener.publish,
            data_dir=root / "sagemaker",
            knobs=Knobs(ping_interval_seconds=0.2, **knobs),
        ).start()
        self.backend = SageMakerAsync(
            clients=clients_to(self.emulator),
            blobs=self.blobs,
            limits=Limits(request_ttl_seconds=60, invocation_timeout_seconds=60),
        )

    def host(self, instances: int, command: list[str]) -> None:
        self.emulator.create_endpoint(
            Endpoint(
                name=MODEL.endpoint,
                instance_command=command,
                initial_instance_count=instances,
                max_concurrent_invocations_per_instance=4,
                s3_output_path="s3://bucket/async/output/",
                s3_failure_path="s3://bucket/async/failure/",
                success_topic=SUCCESS,
                error_topic=ERROR,
            )
        )


def over_http(emulator: SageMakerEmulator) -> Clients:
    return Clients(
        endpoint_url=emulator.url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


@pytest.fixture(params=[over_http, clients_of], ids=["over HTTP", "handed over"])
def stage(tmp_path, request) -> Iterator[Callable[..., Stage]]:
    stages: list[Stage] = []

    def start(
        instances: int = 1,
        *,
        hosted: bool = True,
        command: list[str] = COMMAND,
        **knobs: Any,
    ) -> Stage:
        stages.append(Stage(tmp_path, request.param, **knobs))
        if hosted:
            stages[-1].host(instances, command)
        return stages[-1]

    yield start
    for one in stages:
        one.emulator.stop()


def shard(attempt: int = 1, **changes: Any) -> Shard:
    values: dict[str, Any] = {
        "tenant": "acme",
        "batch_id": "batch_1",
        "id": "00001",
        "status": ShardStatus.IN_FLIGHT,
        "model": MODEL.name,
        "pool": MODEL.pool,
        "first_line": 1,
        "last_line": 1,
        "line_count": 1,
        "attempt": attempt,
        "created_at": time.time(),
        "deadline": time.time() + 3600,
    }
    return Shard(**{**values, **changes})


def found(here: Stage, one: Shard) -> bytes:
    wait_until(lambda: here.backend.look(one).state is AttemptState.SUCCEEDED)
    key = here.backend.look(one).result_key
    assert key is not None
    return here.blobs.get(key)


def test_a_small_shard_travels_with_the_call_and_its_result_is_where_it_was_promised(stage):
    here = stage()
    one = shard()
    assert here.backend.look(one).state is AttemptState.UNKNOWN
    submitted = here.backend.submit(one, MODEL, b"[echo] small")
    assert submitted.output_location is None  # just where the names lead
    assert b"small" in found(here, one)
    ((topic, message),) = here.listener.wait()
    assert topic == SUCCESS
    assert message["inferenceId"] == "acme/batch_1/00001/1"
    assert message["responseParameters"]["outputLocation"].endswith("/acme/batch_1/00001-a1.out")


def test_a_large_shard_travels_as_an_object(stage):
    here = stage()
    here.blobs.put("batches/acme/batch_1/inputs/00001.jsonl", b"x" * (INLINE_BYTES + 1))
    here.backend.submit(shard(), MODEL, "batches/acme/batch_1/inputs/00001.jsonl")
    assert found(here, shard())
    ((_, message),) = here.listener.wait()
    assert message["requestParameters"]["inputLocation"].endswith("inputs/00001.jsonl")


def test_each_attempt_has_a_result_of_its_own(stage):
    here = stage()
    here.backend.submit(shard(1), MODEL, b"[echo] first")
    found(here, shard(1))
    assert here.backend.look(shard(2)).state is AttemptState.UNKNOWN


def test_a_failure_is_seen_by_looking(stage):
    here = stage(command=BROKEN)
    submitted = here.backend.submit(shard(), MODEL, b"x")
    ((topic, _),) = here.listener.wait()
    assert topic == ERROR
    watched = shard(failure_location=submitted.failure_location)
    assert here.backend.look(watched).state is AttemptState.FAILED


def test_an_invocation_that_is_throttled_was_not_started(stage):
    here = stage(throttle_every_nth=1)
    with pytest.raises(BackendThrottled):
        here.backend.submit(shard(), MODEL, b"x")
    time.sleep(0.2)
    assert here.listener.results() == []


def test_an_endpoint_that_is_not_there_costs_no_line_its_attempt(stage):
    here = stage(hosted=False)
    with pytest.raises(BackendThrottled):
        here.backend.submit(shard(), MODEL, b"x")


def test_an_invocation_is_never_repeated_by_the_client_library(stage):
    here = stage(unavailable_after_enqueue_every_nth=1)
    with pytest.raises(BackendError):
        here.backend.submit(shard(), MODEL, b"[echo] once")
    here.listener.wait(1)
    time.sleep(0.3)
    assert len(here.listener.results()) == 1


def test_a_service_that_is_not_there_has_not_started_anything(stage):
    here = stage()
    here.emulator.stop()
    with pytest.raises(BackendThrottled):
        here.backend.submit(shard(), MODEL, b"x")


def test_capacity_can_be_asked_for_from_zero(stage):
    here = stage(0)
    assert here.backend.instances(MODEL) == 0
    here.backend.wake(MODEL, 1)
    assert here.backend.instances(MODEL) == 1


def test_nobody_knows_the_instances_of_an_endpoint_that_is_not_there(stage):
    here = stage(hosted=False)
    with pytest.raises(BackendError):
        here.backend.instances(MODEL)
    with pytest.raises(BackendError):
        here.backend.wake(MODEL, 1)
