"""The whole stack in one process: gateway, functions, triggers, and the emulated endpoint."""

import fcntl
import json
import logging
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

from backburner import bootstrap
from backburner.domain.errors import BackburnerError
from backburner.ports import Environment, QueueName, Update
from backburner.services import capacity, records
from backburner_local import (
    functions,
    hosting,
    job_services,
    model_server,
    recovery,
    subscriptions,
    template,
)
from backburner_local.drop_folder import DropTrigger
from backburner_local.emulators.objects import DirectoryObjects
from backburner_local.emulators.sagemaker import queue
from backburner_local.emulators.sagemaker.knobs import Knobs
from backburner_local.emulators.sagemaker.server import SageMakerEmulator
from backburner_local.functions import LoadedFunction
from backburner_local.gateway import SPOOL, Gateway
from backburner_local.listening import listen
from backburner_local.options import Options
from backburner_local.shortcut import clients_of
from backburner_local.triggers import (
    EventBus,
    QueueTrigger,
    ScheduleTrigger,
    Sweeper,
    Topics,
    Workers,
)
from backburner_local.world import LocalWorld, ensure_dev_key, queue_name

if TYPE_CHECKING:
    from backburner_local.emulators.bedrock.server import BedrockEmulator

logger = logging.getLogger(__name__)

#: Folder of the emulated endpoint in the data directory.
ENDPOINT = "sagemaker"

#: Threads that poll each queue; the functions' own rules make it safe to have several. The template
#: allows more: here they would only fill the memory, or compete for the same shards.
POLLERS = 2

#: Times that the endpoint gives a shard to another instance when one dies with it. None: one of its
#: requests may be why, and the sooner the shard is halved, the fewer instances die.
REDELIVERIES = 0

#: Time between two sweeps of the store.
SWEEP_SECONDS = 3600.0


class AlreadyRunning(BackburnerError):  # noqa: N818 - reads as a sentence where it is caught
    """Another stack works on this data directory."""


class Stack:
    """Runs from `start` to `stop`; everything it keeps is in its data directory."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.world: LocalWorld
        self.emulator: SageMakerEmulator
        #: Only where the catalog has a model of Bedrock's, or had one.
        self.bedrock: BedrockEmulator | None = None
        #: URLs of the services that have an emulator of their own.
        self._endpoints: dict[str, str] = {}
        self.url = ""
        self._ending = ExitStack()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def env(self) -> Environment:
        return self.world.env

    def start(self) -> Self:
        """Return when requests are answered.

        Raises:
            AlreadyRunning: another stack works on the data directory.
            OSError: the port is taken, or the data directory can't be written.
        """
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Drain and end everything that was started, last first."""
        self._ending.close()

    def _start(self) -> None:
        options = self.options
        options.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._ending.enter_context(_locked(options.data_dir / "lock"))
        listener = listen(options.host, options.port)
        self._ending.callback(listener.close)
        self.url = _url(listener)
        declared = declaration(options)
        topics, bus = Topics(), EventBus()
        is_other_boot = recovery.is_other_boot(options.data_dir)
        if is_other_boot:
            queue.drop(options.data_dir / ENDPOINT)
            job_services.drop_jobs(options.data_dir)
        self._start_emulator(topics, bus)
        aws = clients_of(self.emulator, self._endpoints)
        self.world = LocalWorld.open(
            options, declared, url=self.url, aws=aws, bus=subscriptions.bus_of(declared, bus.put)
        )
        self._ending.callback(self.world.close)
        ensure_dev_key(self.env, options.data_dir / "dev.key")
        self.env.blobs.delete(*[left.key for left in self.env.blobs.list(SPOOL)])
        self.world.metrics.add_sink(self._forward)
        bootstrap.install(self.env)
        self._ending.callback(bootstrap.install, None)
        self._ending.callback(self.emulator.stop)  # what it drains still has a world to go to
        loaded = [functions.load(options.root, function) for function in declared.functions]
        for function in loaded:
            bus.subscribe(function)
            for trigger in function.triggers("SNS"):
                topics.subscribe(trigger.properties["Topic"], function)
        subscriptions.subscribe(self.world.events, declared.variables["EVENTS_TOPIC_ARN"], loaded)
        if job_services.needs_bedrock(self.env.catalog, options.data_dir):
            self._start_bedrock(bus)
        taken = recovery.take_back(
            self.env, self.emulator.inference_ids(), believes_results=not is_other_boot
        )
        if taken:
            logger.warning("shards.taken_back %s", taken)
        recovery.note_boot(options.data_dir)
        self._create_endpoints()
        self._start_workers(declared, loaded)
        self._start_gateway(listener, next(f for f in loaded if f.triggers("HttpApi")))
        self._resume()

    def _start_emulator(self, topics: Topics, bus: EventBus) -> None:
        options = self.options
        self.emulator = SageMakerEmulator(
            objects=DirectoryObjects(options.data_dir / "buckets"),
            publish=topics.publish,
            put_event=bus.put,
            data_dir=options.data_dir / ENDPOINT,
            knobs=Knobs(
                minute_seconds=options.minute_seconds,
                provisioning_delay_seconds=options.provisioning_seconds,
                redeliveries_allowed=REDELIVERIES,
            ),
        )
        self.emulator.start()
        self._ending.callback(self.emulator.stop)

    def _start_bedrock(self, bus: EventBus) -> None:
        self.bedrock = job_services.start_bedrock(self.options, bus.put)
        self._ending.callback(self.bedrock.stop)
        self._endpoints.update(job_services.endpoints_of(self.bedrock))

    def _create_endpoints(self) -> None:
        """Each endpoint that the catalog names, as the template declares its one.

        Models of transform jobs, too: jobs of the last run go on with them.
        """
        hosted = [model for model in self.env.catalog.each() if not model.has_jobs]
        behind = {model.endpoint: model for model in reversed(hosted)}
        for endpoint, model in behind.items():
            declared = declaration(self.options, endpoint=endpoint)
            model_server.check(self.options, model_name=model.name)
            command = model_server.command(self.options, model_name=model.name)
            hosting.create_endpoints(self.emulator, declared, command)
            hosting.create_scaling(self.emulator, declared)
        job_services.create_models(self.options, self.env.catalog, self.emulator)

    def _start_workers(self, declared: template.Template, loaded: list[LoadedFunction]) -> None:
        workers = Workers()
        self._ending.callback(workers.stop)
        self.world.queue.recover()
        self.world.queue.keep_in_memory(QueueName.DISPATCH)  # `_resume` sends them anew
        for function in loaded:
            for trigger in function.triggers("SQS"):
                logical_id = str(trigger.properties["Queue"])
                config = declared.queues[logical_id]
                mapping = QueueTrigger(self.world.queue, queue_name(logical_id), config, trigger)
                for number in range(POLLERS):
                    workers.start(f"{function.name}-{number}", partial(mapping.run, function))
            for _ in function.triggers("ScheduleV2"):
                schedule = ScheduleTrigger(self.options.minute_seconds)
                workers.start(function.name, partial(schedule.run, function))
            for trigger in function.triggers("S3"):
                rules = trigger.properties["Filter"]["S3Key"]["Rules"]
                prefix = next(rule["Value"] for rule in rules if rule["Name"] == "prefix")
                drop = DropTrigger(
                    self.world.bucket_folder,
                    prefix,
                    self.env.blobs,
                    settle_seconds=self.options.settle_seconds,
                )
                workers.start(function.name, partial(drop.run, function))
        workers.start("sweep", Sweeper(self.world.sweep, SWEEP_SECONDS).run)

    def _start_gateway(self, listener: socket.socket, api: LoadedFunction) -> None:
        gateway = Gateway(
            listener,
            function=api,
            blobs=self.env.blobs,
            find_signed=self.world.find_signed,
            find_upload=self.world.blobs.verify_upload,
            metrics=self.world.metrics.render,
            max_body_bytes=self.options.limits.file_bytes + (1 << 20),
        )
        gateway.start()
        self._ending.callback(gateway.stop)
        self._ending.callback(self.world.clock.stop)  # else it would wait for whoever waits

    def _resume(self) -> None:
        """The endpoint is new: whatever was asked of the last one counts no more."""
        for model in self.env.catalog.each():
            key = records.pool_key(model.pool)
            self.env.store.transact(Update(key, set={"id": model.pool, "woken_at": None}))
            capacity.kick(self.env, model.pool)

    def _forward(self, values: Mapping[str, float], dimensions: Mapping[str, str]) -> None:
        """Let the emulator's alarms see our metrics, as CloudWatch's would."""
        for name, value in values.items():
            self.emulator.put_metric("Backburner", name, dimensions, value)


def declaration(options: Options, *, endpoint: str | None = None) -> template.Template:
    """The template, with the parameters that the operator chose."""
    parameters: dict[str, str | int] = {
        "CreateEndpoint": "true",
        "MaxInstances": options.max_instances,
        "IdleMinutes": options.idle_minutes,
    }
    if endpoint is not None:
        parameters["EndpointName"] = endpoint
    return template.load(options.root / "template.yaml", parameters)


@contextmanager
def stored(data_dir: Path) -> Iterator[Environment]:
    """The environment of a data directory without a stack; one may run on it at the same time."""
    options = Options(data_dir=data_dir)
    world = LocalWorld.open(options, declaration(options))
    try:
        yield world.env
    finally:
        world.close()


def describe(stack: Stack) -> str:
    """What a program wants to know about a stack that has started, as JSON."""
    return json.dumps({"url": stack.url, "data_dir": str(stack.options.data_dir)})


def _locked(path: Path) -> IO[bytes]:
    lock = path.open("wb")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise AlreadyRunning(f"Another stack works on {path.parent}.") from error
    return lock


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
