"""An emulator that runs transform jobs, and what a test asks of it."""

import json
import sys
import threading
from pathlib import Path
from typing import Any

from backburner_local.emulators.objects import DirectoryObjects
from backburner_local.emulators.sagemaker import Knobs, SageMakerEmulator
from backburner_local.emulators.sagemaker.transform.knobs import TransformKnobs
from tests.emulators.conftest import client, wait_until

SERVER = str(Path(__file__).with_name("transform_server.py"))
COMMAND = [sys.executable, "-I", "-S", SERVER, "{port}"]
ROLE = "arn:aws:iam::123456789012:role/sagemaker"
OVER = {"Completed", "Failed", "Stopped"}


class TransformStage:
    """One emulator, the events that it sends, and a model in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.objects = DirectoryObjects(root / "objects")
        self.events: list[dict[str, Any]] = []
        self.emulator: Any = None
        self._names = iter(range(1000))
        self._lock = threading.Lock()

    def start(self, command: list[str] = COMMAND, **knobs: Any) -> "TransformStage":
        self.emulator = SageMakerEmulator(
            objects=self.objects,
            publish=lambda topic, message: None,
            put_event=self.events.append,
            data_dir=self.root / "data",
            knobs=Knobs(
                ping_interval_seconds=0.2,
                replace_backoff_seconds=0.05,
                transform=TransformKnobs(**{"retry_pause_seconds": 0.0, **knobs}),
            ),
            instance_command=command,
        ).start()
        self.sagemaker = client("sagemaker", self.emulator.url)
        return self

    def stop(self) -> None:
        if self.emulator is not None:
            self.sagemaker.close()
            self.emulator.stop()
            self.emulator = None

    def make_model(self, name: str = "model", **environment: str) -> None:
        container = {"Image": "image", "Environment": environment}
        self.sagemaker.create_model(
            ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container
        )

    def put(self, folder: str, **objects: bytes) -> None:
        """Objects below ``in/<folder>/``; the last underscore of a name becomes its dot."""
        for name, data in objects.items():
            key = f"in/{folder}/{'.'.join(name.rsplit('_', 1))}"
            self.objects.put("bucket", key, data)

    def request(self, folder: str, **changes: Any) -> dict[str, Any]:
        """CreateTransformJob for a folder, with members of its parts changed."""
        source = {
            "DataSource": {
                "S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://bucket/in/{folder}/"}
            },
            **changes.pop("source", {}),
        }
        target = {"S3OutputPath": f"s3://bucket/out/{folder}/", **changes.pop("target", {})}
        return {
            "TransformJobName": f"{folder}-{next(self._names)}",
            "ModelName": "model",
            "TransformInput": source,
            "TransformOutput": target,
            "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
            **changes,
        }

    def create(self, folder: str, **changes: Any) -> str:
        request = self.request(folder, **changes)
        self.sagemaker.create_transform_job(**request)
        return str(request["TransformJobName"])

    def describe(self, name: str) -> dict[str, Any]:
        told: dict[str, Any] = self.sagemaker.describe_transform_job(TransformJobName=name)
        return told

    def ended(self, name: str) -> dict[str, Any]:
        """What is told of the job once it is over."""

        def over() -> dict[str, Any] | None:
            told = self.describe(name)
            return told if told["TransformJobStatus"] in OVER else None

        told: dict[str, Any] = wait_until(over, what=f"the end of {name}")
        return told

    def run(self, folder: str, **changes: Any) -> dict[str, Any]:
        return self.ended(self.create(folder, **changes))

    def outputs(self, folder: str) -> dict[str, bytes]:
        """What is below ``out/<folder>/``, by its name there."""
        prefix = f"out/{folder}/"
        keys = self.objects.keys("bucket", prefix)
        return {key.removeprefix(prefix): self.objects.get("bucket", key) for key in keys}

    def statuses(self, name: str) -> list[str]:
        """Of the job, as its events told."""
        told = [event["detail"] for event in list(self.events)]
        return [one["TransformJobStatus"] for one in told if one["TransformJobName"] == name]


def seen(path: Path) -> list[tuple[int, str]]:
    """Process and body of each invocation."""
    return [tuple(json.loads(line)) for line in path.read_text().splitlines()]
