"""One emulator of Bedrock, with boto3's clients of it and everything a test looks at."""

import asyncio
import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from backburner_local.emulators.bedrock import BedrockEmulator, Knobs
from backburner_local.emulators.bedrock.local_model import EngineModel, LocalModel
from backburner_local.emulators.objects import DirectoryObjects
from tests.emulators.conftest import client, wait_until

ROLE = "arn:aws:iam::123456789012:role/bedrock-batch"
#: Most tests need neither many records nor states that last.
HURRY: dict[str, Any] = {
    "min_records": 1,
    "submitted_seconds": 0.0,
    "validating_seconds": 0.0,
    "scheduled_seconds": 0.0,
    "stopping_seconds": 0.0,
    "flush_seconds": 0.05,
    "drain_seconds": 0.0,
    "concurrency": 2,
}
OVER = {"Completed", "Failed", "Stopped", "PartiallyCompleted", "Expired"}
MISTRAL = "mistral.mistral-large-2407-v1:0"
CLAUDE = "anthropic.claude-3-haiku-20240307-v1:0"


def ask(text: str, **config: Any) -> dict[str, Any]:
    """A body of Converse."""
    body: dict[str, Any] = {"messages": [{"role": "user", "content": [{"text": text}]}]}
    if config:
        body["inferenceConfig"] = config
    return body


def record(number: int, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
    model_input = body if body is not None else ask(f"say {number}")
    return {"recordId": f"R{number:010d}", "modelInput": model_input}


def records(count: int) -> list[dict[str, Any]]:
    return [record(number) for number in range(1, count + 1)]


class Gate:
    """A model that answers so many records, and those after them only once it is opened."""

    def __init__(self, passes: int) -> None:
        self._passes = passes
        self._engine = EngineModel()
        self._is_open = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    async def answer(self, route: str, body: bytes) -> tuple[int, bytes]:
        self._passes -= 1
        if self._passes < 0:
            await self._is_open.wait()
        return await self._engine.answer(route, body)

    async def close(self) -> None:
        await self._engine.close()

    def open(self) -> None:
        self._loop.call_soon_threadsafe(self._is_open.set)


class Stage:
    """An emulator on a folder, started and stopped as often as one likes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.objects = DirectoryObjects(root / "objects")
        self.told: list[dict[str, Any]] = []
        self.refusals = 0
        self.emulator: Any = None
        self.gate: Any = None
        self._changed = threading.Condition()
        self._clients: dict[str, Any] = {}
        self._names = iter(range(1, 10_000))

    def start(self, *, answers: int | None = None, **knobs: Any) -> "Stage":
        """Start an emulator with these knobs, whose model waits after so many answers."""

        def make_model() -> LocalModel:
            model: LocalModel = EngineModel() if answers is None else Gate(answers)
            self.gate = model
            return model

        return self.start_with(make_model, **knobs)

    def start_with(self, make_model: Callable[[], LocalModel], **knobs: Any) -> "Stage":
        self.emulator = BedrockEmulator(
            objects=self.objects,
            data_dir=self.root / "data",
            tell=self.tell,
            knobs=Knobs(**{**HURRY, **knobs}),
            make_model=make_model,
        ).start()
        return self

    def processed(self, arn: str, count: int) -> dict[str, Any]:
        """The job once so many of its records are processed."""
        job_id = arn.rpartition("/")[2]
        wait_until(
            lambda: self.emulator.status()[job_id]["processedRecordCount"] >= count,
            what=f"{count} records of {arn}",
        )
        return self.job(arn)

    def stop(self) -> None:
        if self.emulator is not None:
            for one in self._clients.values():
                one.close()
            self._clients.clear()
            self.emulator.stop()
            self.emulator = None

    def tell(self, event: dict[str, Any]) -> None:
        with self._changed:
            if self.refusals:
                self.refusals -= 1
                raise ConnectionError("the function is not there")
            self.told.append(event)
            self._changed.notify_all()

    def statuses(self, arn: str) -> list[str]:
        """What was told of a job, in the order it was told."""
        return [one["detail"]["status"] for one in list(self.told) if one["resources"] == [arn]]

    def client(self, service: str = "bedrock", **options: Any) -> Any:
        name = f"{service} {options}"
        if name not in self._clients:
            self._clients[name] = client(service, self.emulator.url, **options)
        return self._clients[name]

    @property
    def bedrock(self) -> Any:
        return self.client()

    def put(self, key: str, lines: list[Any]) -> str:
        """Write an input file; its location."""
        body = b"".join(
            line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines
        )
        self.objects.put("bucket", key, body)
        return f"s3://bucket/{key}"

    def request(self, lines: list[Any] | None = None, **changes: Any) -> dict[str, Any]:
        """Parameters of a job on these lines."""
        number = next(self._names)
        uri = self.put(f"in/{number}/records.jsonl", records(3) if lines is None else lines)
        return {
            "jobName": f"job-{number}",
            "roleArn": ROLE,
            "modelId": MISTRAL,
            "modelInvocationType": "Converse",
            "inputDataConfig": {"s3InputDataConfig": {"s3Uri": uri}},
            "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://bucket/out/"}},
            **changes,
        }

    def create(self, lines: list[Any] | None = None, **changes: Any) -> str:
        """Create a job; its ARN."""
        arn: str = self.bedrock.create_model_invocation_job(**self.request(lines, **changes))[
            "jobArn"
        ]
        return arn

    def job(self, arn: str) -> dict[str, Any]:
        told: dict[str, Any] = self.bedrock.get_model_invocation_job(jobIdentifier=arn)
        return told

    def until(self, arn: str, *statuses: str) -> dict[str, Any]:
        """The job once it is in one of the states; by default, once it has ended."""
        wanted = set(statuses) or OVER
        job_id = arn.rpartition("/")[2]
        wait_until(
            lambda: self.emulator.status()[job_id]["status"] in wanted, what=f"{wanted} of {arn}"
        )
        return self.job(arn)

    def run(self, lines: list[Any] | None = None, **changes: Any) -> dict[str, Any]:
        """Create a job and wait for its end."""
        return self.until(self.create(lines, **changes))

    def keys(self, arn: str) -> list[str]:
        """Objects that a job wrote, by their names below its folder."""
        prefix = f"out/{arn.rpartition('/')[2]}/"
        return [key.removeprefix(prefix) for key in self.objects.keys("bucket", prefix)]

    def output(self, arn: str, name: str = "records.jsonl.out") -> list[dict[str, Any]]:
        body = self.objects.get("bucket", f"out/{arn.rpartition('/')[2]}/{name}")
        return [json.loads(line) for line in body.splitlines()]

    def manifest(self, arn: str) -> dict[str, Any]:
        (told,) = self.output(arn, "manifest.json.out")
        return told
