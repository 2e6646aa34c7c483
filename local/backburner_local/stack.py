"""The whole stack in one process: gateway, functions, triggers, and the emulated endpoint."""

import fcntl
import json
import logging
import os
import secrets
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import IO, Self

from backburner import bootstrap
from backburner.adapters.sagemaker import SageMakerAsync
from backburner.domain.catalog import Catalog
from backburner.domain.errors import BackburnerError, Conflict
from backburner.ports import Environment, TokenCounter, Update
from backburner.services import capacity, keys, records
from backburner.wire import catalog as catalog_file
from backburner.wire.openai import OpenAIDialect
from backburner.wire.shard import JsonlShards
from backburner_local import functions, hosting, model_server, template
from backburner_local.adapters.clock import SystemClock, SystemIds
from backburner_local.adapters.events import LocalEvents
from backburner_local.adapters.files import DirectoryBlobs
from backburner_local.adapters.metrics import LocalMetrics
from backburner_local.adapters.outbox import OutboxMailer
from backburner_local.adapters.queue import SqliteQueue
from backburner_local.adapters.sqlite import Database
from backburner_local.adapters.store import SqliteStore
from backburner_local.emulators.objects import DirectoryObjects
from backburner_local.emulators.sagemaker.knobs import Knobs
from backburner_local.emulators.sagemaker.server import SageMakerEmulator
from backburner_local.gateway import Gateway, listen
from backburner_local.options import Options
from backburner_local.triggers import (
    DropTrigger,
    QueueTrigger,
    ScheduleTrigger,
    Topics,
    Workers,
)

logger = logging.getLogger(__name__)

#: Threads that poll each queue; the functions' own rules make it safe to have several.
POLLERS = {"plan": 2, "dispatch": 2, "finalize": 2, "deliver": 2}

#: Folders of the bucket that users open themselves.
USER_FOLDERS = ("drop", "results", "rejected")


#: Sender of mails that stay in the outbox.
SENDER = "backburner@localhost"


class AlreadyRunning(BackburnerError):  # noqa: N818 - reads as a sentence where it is caught
    """Another stack works on this data directory."""


class Stack:
    """Runs from `start` to `stop`; everything it keeps is in its data directory."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.env: Environment
        self.emulator: SageMakerEmulator
        self.url = ""
        #: Key of the tenant `default`, made at the first start.
        self.dev_key = ""
        self._ending = ExitStack()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

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
        options.data_dir.mkdir(parents=True, exist_ok=True)
        self._ending.enter_context(_locked(options.data_dir / "lock"))
        listener = listen(options.host, options.port)
        self._ending.callback(listener.close)
        self.url = _url(listener)
        declared = template.load(
            options.root / "template.yaml",
            {
                "CreateEndpoint": "true",
                "MaxInstances": options.max_instances,
                "IdleMinutes": options.idle_minutes,
            },
        )
        topics = Topics()
        self.emulator = SageMakerEmulator(
            objects=DirectoryObjects(options.data_dir / "buckets"),
            publish=topics.publish,
            data_dir=options.data_dir / "sagemaker",
            knobs=Knobs(
                minute_seconds=options.minute_seconds,
                provisioning_delay_seconds=options.provisioning_seconds,
            ),
        )
        self.emulator.start()
        self._ending.callback(self.emulator.stop)
        self._build(declared)
        bootstrap.install(self.env)
        self._ending.callback(bootstrap.install, None)
        self._ending.callback(self.emulator.stop)  # what it drains still has a world to go to
        loaded = [functions.load(options.root, f) for f in declared.functions]
        _subscribe(loaded, topics)
        for model in self.env.catalog.models.values():
            hosting.create_endpoints(
                self.emulator, declared, model_server.command(options, model_name=model.name)
            )
        hosting.create_scaling(self.emulator, declared)
        self._start_workers(declared, loaded)
        api = next(f for f in loaded if any(t.kind == "HttpApi" for t in f.function.triggers))
        self._start_gateway(listener, api)
        self._resume()

    def _build(self, declared: template.Template) -> None:
        """The environment: the local adapters, and the AWS one that speaks to the emulator."""
        options = self.options
        clock = SystemClock()
        database = Database(options.data_dir / "backburner.sqlite", durable=options.durable)
        self._ending.callback(database.close)
        self._queue = SqliteQueue(
            database,
            clock,
            max_receives={_queue_name(n): c.max_receives for n, c in declared.queues.items()},
        )
        self._ending.callback(self._queue.close)
        (bucket,) = (str(b["BucketName"]) for b in declared.of_type("AWS::S3::Bucket").values())
        self._bucket_folder = options.data_dir / "buckets" / bucket
        self._blobs = DirectoryBlobs(
            options.data_dir / "buckets",
            bucket,
            clock,
            _secret(options.data_dir / "sign.key").encode(),
            self.url,
            durable=options.durable,
            kept_folders=[f"{name}/" for name in USER_FOLDERS],
        )
        _link_user_folders(options.data_dir, self._bucket_folder)
        self.metrics = LocalMetrics()
        self.metrics.add_sink(self._forward)
        catalog = _catalog(options)
        client_options = {
            "endpoint_url": self.emulator.url,
            "region_name": template.REGION,
            "aws_access_key_id": "local",
            "aws_secret_access_key": "local",
        }
        self.env = Environment(
            store=SqliteStore(database),
            blobs=self._blobs,
            queue=self._queue,
            backends={
                "sagemaker_async": SageMakerAsync(
                    blobs=self._blobs, limits=options.limits, client_options=client_options
                )
            },
            mailer=OutboxMailer(options.data_dir / "outbox", SENDER, clock),
            events=LocalEvents(),
            metrics=self.metrics,
            clock=clock,
            ids=SystemIds(clock),
            catalog=catalog,
            dialects={"openai": OpenAIDialect()},
            shards=JsonlShards(),
            limits=options.limits,
            tokenizers=_tokenizers(options, catalog),
            public_url=self.url,
        )
        self.dev_key = _dev_key(self.env, options.data_dir / "dev.key")

    def _start_workers(
        self, declared: template.Template, loaded: list[functions.LoadedFunction]
    ) -> None:
        workers = Workers()
        self._ending.callback(workers.stop)
        self._queue.recover()
        for function in loaded:
            for trigger in function.function.triggers:
                self._start_trigger(declared, workers, function, trigger)

    def _start_trigger(
        self,
        declared: template.Template,
        workers: Workers,
        function: functions.LoadedFunction,
        trigger: template.Trigger,
    ) -> None:
        name = function.function.name
        if trigger.kind == "SQS":
            logical = str(trigger.properties["Queue"])
            queue = _queue_name(logical)
            config = declared.queues[logical]
            for number in range(POLLERS.get(queue, 1)):
                poller = QueueTrigger(self._queue, queue, config, trigger)
                workers.start(f"{name}-{number}", poller.run, function)
        elif trigger.kind == "ScheduleV2":
            workers.start(name, ScheduleTrigger(self.options.minute_seconds).run, function)
        elif trigger.kind == "S3":
            rules = trigger.properties["Filter"]["S3Key"]["Rules"]
            prefix = next(rule["Value"] for rule in rules if rule["Name"] == "prefix")
            drop = DropTrigger(
                self._bucket_folder.name, self._bucket_folder, prefix, self.env.blobs
            )
            workers.start(name, drop.run, function)

    def _start_gateway(self, listener: socket.socket, api: functions.LoadedFunction) -> None:
        gateway = Gateway(
            listener,
            function=api,
            blobs=self.env.blobs,
            find_signed=self._find_signed,
            metrics=self.metrics.render,
            max_body_bytes=self.options.limits.file_bytes + (1 << 20),
        )
        gateway.start()
        self._ending.callback(gateway.stop)

    def _resume(self) -> None:
        """The endpoint is new: whatever was asked of the last one counts no more."""
        for model in self.env.catalog.models.values():
            key = records.pool_key(model.pool)
            try:
                self.env.store.transact(Update(key, set={"id": model.pool, "woken_at": None}))
            except Conflict:  # pragma: no cover - the update has no condition
                continue
            capacity.kick(self.env, model.pool)

    def _find_signed(self, path_and_query: str) -> Path | None:
        key = self._blobs.verify(path_and_query)
        path = self._bucket_folder / key if key is not None else None
        return path if path is not None and path.is_file() else None

    def _forward(self, values: Mapping[str, float], dimensions: Mapping[str, str]) -> None:
        """Let the emulator's alarms see our metrics, as CloudWatch's would."""
        for name, value in values.items():
            self.emulator.put_metric("Backburner", name, dimensions, value)


def _subscribe(loaded: list[functions.LoadedFunction], topics: Topics) -> None:
    for function in loaded:
        for trigger in function.function.triggers:
            if trigger.kind == "SNS":
                topics.subscribe(trigger.properties["Topic"], function)


def _queue_name(logical_id: str) -> str:
    return logical_id.removesuffix("Queue").lower()


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


def _secret(path: Path) -> str:
    """The secret in the file, which only its owner may read; made if there is none."""
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(32))
    return path.read_text(encoding="utf-8").strip()


def _dev_key(env: Environment, path: Path) -> str:
    """The development key; known to the store whatever was lost."""
    if not path.exists() or not path.read_text(encoding="utf-8").strip():
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"bb-{env.ids.secret()}\n")
    secret = path.read_text(encoding="utf-8").strip()
    try:
        keys.create(env, env.drop_tenant, secret=secret)
    except Conflict:  # it is there already
        return secret
    return secret


def _catalog(options: Options) -> Catalog:
    text = (options.root / "model" / "catalog.toml").read_text(encoding="utf-8")
    catalog = catalog_file.parse(text)
    models = {
        name: replace(model, max_instances=options.max_instances)
        for name, model in catalog.models.items()
    }
    return Catalog(models)


def _tokenizers(options: Options, catalog: Catalog) -> dict[str, TokenCounter]:
    """A counter for each model that has a tokenizer at hand; loaded when first needed."""
    counters: dict[str, TokenCounter] = {}
    for model in catalog.models.values():
        path = options.root / "model" / (model.tokenizer or "")
        if model.tokenizer and path.is_file():
            counters[model.name] = _Counter(path)
    return counters


class _Counter:
    """Counts tokens with a Hugging Face tokenizer."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tokenizer: object | None = None

    def __call__(self, text: str) -> int:
        from tokenizers import Tokenizer

        if self._tokenizer is None:
            self._tokenizer = Tokenizer.from_file(str(self._path))
        tokenizer = self._tokenizer
        return len(tokenizer.encode(text, add_special_tokens=False).ids)  # type: ignore[attr-defined]


def _link_user_folders(data_dir: Path, bucket_folder: Path) -> None:
    for name in USER_FOLDERS:
        folder = bucket_folder / name
        folder.mkdir(parents=True, exist_ok=True)
        link = data_dir / name
        if not link.exists():
            link.symlink_to(folder.resolve())


def describe(stack: Stack) -> str:
    """What a program wants to know about a stack that has started, as JSON."""
    return json.dumps({"url": stack.url, "data_dir": str(stack.options.data_dir)})
