"""The emulator as one object: a loopback server in a thread of its own.

It speaks what boto3 speaks to sagemaker, sagemaker-runtime, application-autoscaling and
cloudwatch, all at one URL. Signatures are not verified; it listens on loopback only.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from backburner_local.emulators.loop_server import LoopServer
from backburner_local.emulators.objects import Objects
from backburner_local.emulators.sagemaker.endpoint import Endpoint
from backburner_local.emulators.sagemaker.knobs import Knobs
from backburner_local.emulators.sagemaker.publisher import Publish
from backburner_local.emulators.sagemaker.runtime import Answer
from backburner_local.emulators.sagemaker.template_values import with_numbers
from backburner_local.emulators.sagemaker.transform.events import PutEvent
from backburner_local.emulators.sagemaker.transform.job import Counts
from backburner_local.emulators.sagemaker.world import Settings, World
from backburner_local.emulators.wire import Message

T = TypeVar("T")


class SageMakerEmulator(LoopServer[World]):
    """Asynchronous endpoints on this machine, from `start` to `stop`.

    Its methods may be called from any thread but its own; `publish` is called in others.
    """

    def __init__(
        self,
        *,
        objects: Objects,
        publish: Publish,
        data_dir: Path | str,
        knobs: Knobs | None = None,
        instance_command: Sequence[str] = (),
        images: Mapping[str, Sequence[str]] | None = None,
        endpoints: Sequence[Endpoint] = (),
        put_event: PutEvent | None = None,
        port: int = 0,
    ) -> None:
        """Prepare; nothing happens before `start`.

        Args:
            objects: Where inputs are read and outputs written.
            publish: Called with topic ARN and message, until it returns without an exception.
            data_dir: Holds the queue and the instances' logs; one emulator at a time.
            knobs: Choices where AWS is undocumented or slow.
            instance_command: Starts an instance, with ``{port}``; the default of all endpoints.
            images: Commands by container image, for endpoints created through the API.
            endpoints: Created at start.
            put_event: Called with each event for EventBridge, until it returns without an
                exception.
            port: 0 takes a free one.
        """
        super().__init__(name="sagemaker-emulator", data_dir=Path(data_dir), port=port)
        self._settings = Settings(
            objects=objects,
            publish=publish,
            data_dir=Path(data_dir),
            knobs=knobs or Knobs(),
            instance_command=tuple(instance_command),
            images=dict(images or {}),
            endpoints=tuple(endpoints),
            put_event=put_event,
        )

    def _make_world(self) -> World:
        return World(self._settings)

    # ---- what the stack does in process

    def create_endpoint(self, endpoint: Endpoint) -> None:
        """Create an endpoint; it takes up what an earlier run left unfinished."""
        self._on_loop(lambda world: world.control.host(endpoint))

    def create_model(self, name: str, command: Sequence[str]) -> None:
        """Create a model for transform jobs, whose container the command starts.

        Jobs of it that an earlier run left unfinished go on.
        """
        self._on_loop(lambda world: world.control.host_model(name, command))

    def transform_counts(self) -> dict[str, Counts]:
        """By transform job: what it had its container do."""
        return self._on_loop(
            lambda world: {name: replace(job.counts) for name, job in world.transform.jobs.items()}
        )

    def call(self, service: str, operation: str, request: Message) -> Message | None:
        """Any emulated operation without HTTP: ``call("cloudwatch", "PutMetricAlarm", {...})``.

        A template's properties may be passed as they are: numbers may be text there.

        Raises:
            ApiError: as the service would answer.
        """
        numbered = with_numbers(request)
        return self._on_loop(lambda world: world.call(service, operation, numbered))

    def invoke_async(self, endpoint: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """InvokeEndpointAsync without HTTP: its headers and body, and what the answer's are.

        Raises:
            ConnectionRefusedError: the emulator has ended.
        """
        world, _, _ = self._started.result()
        return world.runtime.answer(endpoint, headers, body)

    def put_metric(
        self,
        namespace: str,
        name: str,
        dimensions: Mapping[str, str],
        value: float,
        unit: str = "None",
    ) -> None:
        """Add one value to a metric now; returns at once."""
        world, loop, _ = self._started.result()
        now = time.time()

        def put() -> None:
            series = world.store.series(namespace, name, dimensions)
            series.unit = unit
            series.add(value, now)

        loop.call_soon_threadsafe(put)

    def inference_ids(self) -> set[str]:
        """Of all that was accepted, in this run or an earlier one, and is not told yet."""
        return self._on_loop(lambda world: world.inference_ids())

    def status(self) -> Message:
        """Per endpoint: status, desired, instances by state, waiting, in_flight, history."""
        return self._on_loop(lambda world: world.status())

    def instances(self) -> dict[str, dict[str, int]]:
        """Per endpoint: how many instances are in each state that occurs."""
        return {name: one["instances"] for name, one in self.status().items()}

    @property
    def history(self) -> dict[str, list[tuple[float, int]]]:
        """Per endpoint: when the number of instances in service changed, and to what."""
        return {name: list(one["history"]) for name, one in self.status().items()}
