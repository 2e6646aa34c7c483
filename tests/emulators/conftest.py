"""An emulator per test, and a listener that hears what it publishes."""

import json
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from backburner_local.emulators.objects import DirectoryObjects
from backburner_local.emulators.sagemaker import Endpoint, Knobs, SageMakerEmulator
from tests.waiting import looks

MODEL_SERVER = str(Path(__file__).with_name("model_server.py"))
COMMAND = [sys.executable, "-I", "-S", MODEL_SERVER, "{port}"]

SUCCESS = "arn:aws:sns:us-east-1:123456789012:success"
ERROR = "arn:aws:sns:us-east-1:123456789012:error"
TESTS_HURRY = {"ping_interval_seconds": 0.2, "publish_backoff_seconds": 0.2}


def endpoint(name: str = "my-ep", **changes: Any) -> Endpoint:
    values: dict[str, Any] = {
        "name": name,
        "s3_output_path": "s3://bucket/out/",
        "s3_failure_path": "s3://bucket/failed/",
        "success_topic": SUCCESS,
        "error_topic": ERROR,
        "max_concurrent_invocations_per_instance": 8,
    }
    return Endpoint(**{**values, **changes})


def client(service: Any, url: str, **options: Any) -> Any:
    return boto3.client(
        service,
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(max_pool_connections=64, **options),
    )


def wait_until(
    condition: Callable[[], Any], seconds: float = 30, what: str = "the condition"
) -> Any:
    for _ in looks(seconds, longest=0.03):  # minutes may last a fifth of a second
        if result := condition():
            return result
    raise AssertionError(f"{what} did not come true in {seconds} s")


class Listener:
    """Hears notifications; raises as often as it is told to."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []
        self.refusals = 0
        self._changed = threading.Condition()

    def publish(self, topic: str, message: str) -> None:
        with self._changed:
            if self.refusals:
                self.refusals -= 1
                raise ConnectionError("SNS is not there")
            self.heard.append((topic, message))
            self._changed.notify_all()

    def results(self) -> list[tuple[str, Any]]:
        return [
            (topic, json.loads(message))
            for topic, message in list(self.heard)
            if "InferenceResult" in message
        ]

    def raw_results(self) -> list[str]:
        return [message for _, message in list(self.heard) if "InferenceResult" in message]

    def tests(self) -> list[str]:
        return [topic for topic, message in list(self.heard) if "TestNotification" in message]

    def wait(self, count: int = 1, seconds: float = 30) -> list[tuple[str, Any]]:
        """Results by inference id, when there are this many."""
        with self._changed:
            enough = self._changed.wait_for(lambda: len(self.results()) >= count, seconds)
        assert enough, f"{len(self.results())} of {count} notifications after {seconds} s"
        return self.results()


class Stage:
    """One emulator with everything a test looks at."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.objects = DirectoryObjects(root / "objects")
        self.listener = Listener()
        self.emulator: Any = None
        self._clients: dict[str, Any] = {}

    def start(
        self, *endpoints: Endpoint, command: Sequence[str] = COMMAND, **knobs: Any
    ) -> "Stage":
        self.emulator = SageMakerEmulator(
            objects=self.objects,
            publish=self.listener.publish,
            data_dir=self.root / "data",
            knobs=Knobs(**{**TESTS_HURRY, **knobs}),
            instance_command=command,
            endpoints=endpoints,
        ).start()
        return self

    def client(self, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = client(service, self.emulator.url)
        return self._clients[service]

    @property
    def runtime(self) -> Any:
        return self.client("sagemaker-runtime")

    @property
    def control(self) -> Any:
        return self.client("sagemaker")

    @property
    def cloudwatch(self) -> Any:
        return self.client("cloudwatch")

    @property
    def scaling(self) -> Any:
        return self.client("application-autoscaling")

    def stop(self) -> None:
        if self.emulator is not None:
            for one in self._clients.values():
                one.close()
            self._clients.clear()
            self.emulator.stop()
            self.emulator = None

    def invoke(self, behaviour: str | None = None, **members: Any) -> Any:
        if "InputLocation" not in members:
            members.setdefault("Body", b"hello")
        if behaviour:
            members["CustomAttributes"] = behaviour
        return self.runtime.invoke_endpoint_async(EndpointName="my-ep", **members)

    def result(self, behaviour: str | None = None, **members: Any) -> tuple[str, Any]:
        """Invoke once and return topic and message of what becomes of it."""
        wanted = self.invoke(behaviour, **members)["InferenceId"]

        def told() -> tuple[str, Any] | None:
            results = self.listener.results()
            return next((one for one in results if one[1]["inferenceId"] == wanted), None)

        found: tuple[str, Any] = wait_until(told, what="a notification")
        return found

    def read(self, location: str) -> bytes:
        bucket, _, key = location.removeprefix("s3://").partition("/")
        return self.objects.get(bucket, key)

    def describe(self, name: str = "my-ep") -> Any:
        return self.control.describe_endpoint(EndpointName=name)

    def in_service(self, count: int | None = None, name: str = "my-ep") -> None:
        def is_so() -> bool:
            told = self.emulator.status()[name]
            current = told["instances"].get("in_service", 0)
            return told["status"] == "InService" and count in (None, current)

        wait_until(is_so, what=f"{count} instances in service")

    def metric(
        self,
        name: str,
        statistic: str = "Sum",
        variant: str | None = "AllTraffic",
        namespace: str = "AWS/SageMaker",
    ) -> list[float]:
        """All values of a metric of my-ep, oldest first."""
        dimensions = [{"Name": "EndpointName", "Value": "my-ep"}]
        if variant:
            dimensions.append({"Name": "VariantName", "Value": variant})
        now = time.time()
        points = self.cloudwatch.get_metric_statistics(
            Namespace=namespace,
            MetricName=name,
            Dimensions=dimensions,
            StartTime=now - 60,
            EndTime=now + 1,
            Period=60,
            Statistics=[statistic],
        )["Datapoints"]
        return [point[statistic] for point in sorted(points, key=lambda one: one["Timestamp"])]


@pytest.fixture
def stage(tmp_path):
    stage = Stage(tmp_path)
    yield stage
    stage.stop()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One emulator for all tests of a module that only read what they caused themselves."""
    stage = Stage(tmp_path_factory.mktemp("shared"))
    sync_only = endpoint("sync-ep", is_async=False, initial_instance_count=0)
    without_failures = endpoint("no-failure-path", s3_failure_path=None)
    stage.start(endpoint(), sync_only, without_failures, minute_seconds=0.2)
    yield stage
    stage.stop()
