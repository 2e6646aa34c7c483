"""A whole world in one process: real handlers and local adapters, a clock and a backend by hand."""

import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email import message_from_bytes
from functools import cache
from math import ceil
from pathlib import Path
from typing import Any, TypeVar

import functions.deliver.app
import functions.dispatch.app
import functions.finalize.app
import functions.on_error.app
import functions.on_success.app
import functions.on_upload.app
import functions.plan.app
import functions.reap.app
import functions.report_backlog.app
from backburner import bootstrap
from backburner.domain.batch import RAW_ROUTE, Batch, BatchKind
from backburner.domain.catalog import Catalog, Model
from backburner.domain.delivery import Delivery
from backburner.domain.errors import NotFound
from backburner.domain.file import FilePurpose
from backburner.domain.quota import UNLIMITED
from backburner.domain.request import Request
from backburner.domain.retry import RetryPolicy
from backburner.domain.shard import Cut, Shard
from backburner.domain.slots import Pool
from backburner.ports import (
    Environment,
    Index,
    Item,
    Limits,
    Mailer,
    QueueName,
)
from backburner.services import (
    batches,
    files,
    looks,
    message_batches,
    outbox,
    raw,
    records,
    reservations,
    retrying,
    singles,
    submit,
)
from backburner.wire.dialects import DIALECTS
from backburner.wire.shard import JsonlShards
from backburner_local import events as aws_events
from backburner_local.adapters.clock import FixedClock, SequentialIds
from backburner_local.adapters.events import LocalEvents
from backburner_local.adapters.files import DirectoryBlobs
from backburner_local.adapters.messages import Message
from backburner_local.adapters.metrics import LocalMetrics
from backburner_local.adapters.outbox import OutboxMailer
from backburner_local.adapters.queue import SqliteQueue
from backburner_local.adapters.sqlite import Database
from backburner_local.adapters.store import SqliteStore
from tests.backend import ManualBackend, Reply, Submission, succeed
from tests.memory import MemoryBlobs, MemoryIds, MemoryMailer, MemoryQueue, MemoryReceiver
from tests.reference import ReferenceStore
from tests.tap import Tap
from tests.witness import MemoryDatabase, WitnessStore

CHAT = "/v1/chat/completions"
EMBEDDINGS = "/v1/embeddings"
EVENTS = Path(__file__).parent.parent / "events"
VISIBILITY_SECONDS = 180.0
MINUTE = 60.0

T = TypeVar("T")

#: One line of a file: as bytes, or an object to be encoded.
Line = bytes | dict[str, Any]


HANDLERS = {
    QueueName.PLAN: functions.plan.app,
    QueueName.DISPATCH: functions.dispatch.app,
    QueueName.FINALIZE: functions.finalize.app,
    QueueName.DELIVER: functions.deliver.app,
}


def a_model(name: str = "mistral", **changes: Any) -> Model:
    settings: dict[str, Any] = {
        "name": name,
        "backend": "manual",
        "endpoint": "backburner-mistral",
        "context_window": 4096,
        "routes": (CHAT,),
        "slots": 2,
        "slots_per_instance": 2,
        "max_instances": 2,
        "cut": Cut(lines=4, bytes=100_000, tokens=1_000_000),
    }
    return Model(**settings | changes)


def a_catalog(*models: Model) -> Catalog:
    named = models or (
        a_model(),
        a_model("ministral", endpoint="backburner-ministral"),
        a_model("embed", endpoint="backburner-embed", routes=(EMBEDDINGS,)),
    )
    return Catalog({model.name: model for model in named})


#: Spans short enough for leases to end within the shortest window.
LIMITS = Limits(
    canary_lines=4,
    canary_from_lines=9,
    request_ttl_seconds=120,
    invocation_timeout_seconds=60,
    look_seconds=60.0,
    lease_margin_seconds=60.0,
    work_seconds=VISIBILITY_SECONDS,
    retry=RetryPolicy(max_attempts=3, base_seconds=5.0),
)


def chat(custom_id: str, *, model: str = "mistral", **body: Any) -> dict[str, Any]:
    """A request whose prompt no other request has."""
    prompt = f"prompt of {custom_id}"
    messages = [{"role": "user", "content": prompt}]
    return {
        "custom_id": custom_id,
        "method": "POST",
        "url": CHAT,
        "body": {"model": model, "messages": messages} | body,
    }


def message(custom_id: str, *, model: str = "mistral") -> dict[str, Any]:
    """The same request, of a Message Batch."""
    messages = chat(custom_id)["body"]["messages"]
    return {
        "custom_id": custom_id,
        "params": {"model": model, "max_tokens": 9, "messages": messages},
    }


def a_raw_model(name: str = "vision") -> Model:
    """A model that takes raw requests and nothing else."""
    return a_model(name, endpoint="backburner-vision", routes=(RAW_ROUTE,), context_window=0)


def jsonl(lines: Iterable[Line]) -> bytes:
    return b"".join((_bytes(line) if isinstance(line, dict) else line) + b"\n" for line in lines)


def _bytes(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


# ---------------------------------------------------------------- the world


@dataclass(frozen=True, slots=True)
class Told:
    """One event, as a subscriber saw it."""

    event: Mapping[str, Any]
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Context:
    """What Lambda tells a handler about its invocation."""

    function_name: str = "test"
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:123456789012:function:test"
    aws_request_id: str = "00000000-0000-0000-0000-000000000000"

    def get_remaining_time_in_millis(self) -> int:
        return 60_000


class World:
    """Submit work, play the backend, let time pass; the oracle judges what came out."""

    store: WitnessStore
    queue: SqliteQueue | MemoryQueue
    blobs: DirectoryBlobs | MemoryBlobs
    mailer: Mailer
    ids: SequentialIds | MemoryIds
    #: Of a world on disk.
    database: Database
    outbox: Path

    def __init__(
        self,
        folder: Path,
        *,
        limits: Limits = LIMITS,
        catalog: Catalog | None = None,
        has_threads: bool = False,
    ) -> None:
        self.clock = FixedClock()
        self._open(folder, has_threads=has_threads)
        self.backend = ManualBackend(self.blobs, self.store)
        self.events = LocalEvents()
        self.told: list[Told] = []
        self.events.subscribe(lambda event, attributes: self.told.append(Told(event, attributes)))
        self.receiver = MemoryReceiver()
        self.metrics = LocalMetrics()
        self.published: list[tuple[Mapping[str, float], Mapping[str, str]]] = []
        self.metrics.add_sink(lambda values, about: self.published.append((values, about)))
        self.tap = Tap()
        #: Tenants that ever did something.
        self.tenants: set[str] = set()
        #: Acknowledged: these must never be lost.
        self.accepted: set[tuple[str, str]] = set()
        #: What was in the files that were uploaded, by tenant and file id.
        self.uploaded: dict[tuple[str, str], bytes] = {}
        #: Bodies of requests that came with theirs, by tenant and id: of Message Batches as lines.
        self.bodies: dict[tuple[str, str], bytes] = {}
        #: Message Batches that their clients wanted removed.
        self.removed: set[tuple[str, str]] = set()
        #: custom_ids that a retry was limited to, by its id.
        self.asked_again: dict[str, set[str]] = {}
        #: How often an object was put under a key of the drop folder.
        self.dropped: Counter[str] = Counter()
        self.set_env(
            Environment(
                store=self.store,
                blobs=self.blobs,
                queue=self.queue,
                backends={"manual": self.backend},
                mailer=self.mailer,
                events=self.events,
                webhooks=self.receiver,
                metrics=self.metrics,
                clock=self.clock,
                ids=self.ids,
                catalog=catalog or a_catalog(),
                dialects=DIALECTS,
                shards=JsonlShards(),
                limits=limits,
                public_url="http://here",
                drop_tenant="dropper",
            )
        )

    def _open(self, folder: Path, *, has_threads: bool) -> None:
        """Make what the world keeps things in."""
        self.database = (
            Database(folder / "store.db", durable=False) if has_threads else MemoryDatabase()
        )
        self.store = WitnessStore(SqliteStore(self.database), is_alone=not has_threads)
        self.queue = SqliteQueue(self.database, self.clock)
        self.blobs = DirectoryBlobs(
            folder / "buckets", "bucket", self.clock, b"key", "http://here", durable=False
        )
        self.outbox = folder / "outbox"
        self.mailer = OutboxMailer(self.outbox, "backburner@example.com", self.clock)
        self.ids = SequentialIds()

    def set_env(self, env: Environment) -> None:
        """Have the handlers work on this environment, tapped."""
        self.untapped = env
        self.env = self.tap.environment(env)
        bootstrap.install(self.env)

    def close(self) -> None:
        bootstrap.install(None)
        self.database.close()

    # ------------------------------------------------------------ taking work in

    def upload(self, lines: Iterable[Line] | bytes, *, tenant: str = "acme") -> str:
        """Upload a file; returns its id."""
        data = lines if isinstance(lines, bytes) else jsonl(lines)
        file_id = self.env.ids.new("file")
        self.blobs.put(files.blob_key(tenant, file_id), data)
        files.add(
            self.untapped,
            tenant,
            file_id=file_id,
            filename="in.jsonl",
            purpose=FilePurpose.BATCH,
            size=len(data),
        )
        self.tenants.add(tenant)
        self.uploaded[tenant, file_id] = data
        return file_id

    def submit(
        self,
        lines: int | Iterable[Line] | bytes,
        *,
        tenant: str = "acme",
        window: str = "24h",
        **options: Any,
    ) -> Batch:
        """Submit a batch: of that many requests, or of these lines."""
        if isinstance(lines, int):
            lines = [chat(f"{tenant}-{number}") for number in range(1, lines + 1)]
        file_id = self.upload(lines, tenant=tenant)
        new = submit.NewBatch(
            input_file_id=file_id, route=CHAT, completion_window=window, **options
        )
        batch = submit.submit_batch(self.env, tenant, new)
        self.accepted.add((tenant, batch.id))
        return batch

    def retry(self, batch: Batch, *request_ids: str, **options: Any) -> Batch:
        """Run again what failed of the batch: all, or these requests."""
        new = retrying.NewRetry(request_ids=list(request_ids) or None, **options)
        again = retrying.retry(self.env, batch.tenant, batch.id, new)
        self.accepted.add((batch.tenant, again.id))
        if request_ids:
            self.asked_again[again.id] = set(request_ids)
        return again

    def respond(
        self,
        name: str = "one",
        *,
        tenant: str = "acme",
        model: str = "mistral",
        window: str = "24h",
        kind: BatchKind = BatchKind.RESPONSE,
        **options: Any,
    ) -> Batch:
        """Submit a single request."""
        line = chat(name, model=model)
        body = _bytes(line["body"])
        request = Request(
            line=1, custom_id=name, model=line["body"]["model"], route=CHAT, body=body
        )
        self.tenants.add(tenant)
        new = singles.NewSingle(
            kind=kind, request=request, original=body, completion_window=window, **options
        )
        batch = singles.submit_single(self.env, tenant, new)
        self.accepted.add((tenant, batch.id))
        return batch

    def submit_messages(
        self,
        lines: Sequence[Line],
        *,
        tenant: str = "acme",
        window: str = "24h",
        is_file: bool = False,
    ) -> Batch:
        """Submit a Message Batch; its requests come with it, or in a file."""
        file_id = self.upload(lines, tenant=tenant) if is_file else None
        new = submit.NewBatch(
            input_file_id=file_id,
            route=message_batches.ROUTE,
            completion_window=window,
            on_invalid="skip",
        )
        batch_id = self.env.ids.new("msgbatch")
        self.tenants.add(tenant)
        self.bodies[tenant, batch_id] = jsonl(lines)
        with message_batches.Requests(self.env, tenant, batch_id) as requests:
            for line in () if is_file else lines:
                requests.add(_bytes(line) if isinstance(line, dict) else line)
            if not is_file:
                requests.check()
        given = None if is_file else requests
        batch = message_batches.accept(self.env, tenant, new, batch_id=batch_id, requests=given)
        self.accepted.add((tenant, batch.id))
        return batch

    def remove(self, batch: Batch) -> None:
        """Its client wants a Message Batch that has ended to be forgotten."""
        self.removed.add((batch.tenant, batch.id))
        message_batches.remove(self.env, batch)

    def ask_raw(
        self,
        body: bytes = b"\x00raw\xff",
        *,
        tenant: str = "acme",
        content_type: str = "image/png",
        is_reserved: bool = False,
        **options: Any,
    ) -> Batch:
        """Submit a raw request to the model that takes such; there may be room kept for it."""
        request_id = self.env.ids.new("request")
        is_small = len(body) <= self.env.limits.inline_bytes and not is_reserved
        self.tenants.add(tenant)
        self.bodies[tenant, request_id] = body
        reserved = (
            reservations.reserve(self.env, tenant, request_id, UNLIMITED) if is_reserved else None
        )
        if not is_small:
            self.blobs.put(raw.body_key(tenant, request_id), body)
        new = singles.NewRaw(
            request_id=request_id,
            model="vision",
            content_type=content_type,
            inline=body if is_small else None,
            **options,
        )
        batch = singles.submit_raw(self.env, tenant, new, reserved=reserved)
        self.accepted.add((tenant, batch.id))
        return batch

    def drop(self, name: str, lines: Iterable[Line] | bytes) -> str:
        """Put an object into the drop folder; returns its key. Nobody is told yet."""
        key = f"drop/{name}"
        self.blobs.put(key, lines if isinstance(lines, bytes) else jsonl(lines))
        self.dropped[key] += 1
        self.tenants.add("dropper")
        return key

    def notify_upload(self, *keys: str) -> None:
        """S3 tells of objects, in one event."""
        event = aws_events.s3("bucket", [(key, self.blobs.stat(key)) for key in keys])
        functions.on_upload.app.handler(event, Context())

    # ------------------------------------------------------------ the machinery

    def pump(self, *queues: QueueName, strict: bool = True) -> int:
        """Hand messages to their functions until the queues are quiet; returns how many."""
        handled = 0
        while received := self.receive(*queues):
            for name, message in received:
                self.handle(name, message, strict=strict)
                handled += 1
        return handled

    def receive(self, *queues: QueueName) -> list[tuple[QueueName, Message]]:
        """At most one message of each queue."""
        return [
            (name, message)
            for name in queues or tuple(QueueName)
            for message in self.queue.receive(name, 1, VISIBILITY_SECONDS)
        ]

    def handle(self, name: QueueName, message: Message, *, strict: bool = True) -> None:
        """Hand one message to its function, and delete it if the function was happy."""
        event = aws_events.sqs(name, [message])
        failed = HANDLERS[name].handler(event, Context())["batchItemFailures"]
        if not failed:
            self.queue.delete([message])
        elif strict:
            HANDLERS[name].handle(json.loads(message.body))
            raise AssertionError(f"{name} failed once: {message.body}")

    def reap(self) -> None:
        functions.reap.app.handler(load_event("schedule"), Context())

    def report_backlog(self) -> None:
        functions.report_backlog.app.handler(load_event("schedule"), Context())

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def tick(self, minutes: int = 1) -> None:
        """Let minutes pass, as the schedules see them."""
        for _ in range(minutes):
            self.advance(MINUTE)
            self.reap()
            self.pump()

    # ------------------------------------------------------------ playing the backend

    @property
    def outstanding(self) -> list[Submission]:
        """Attempts that nobody told the end of."""
        return [one for one in self.backend.submissions if not one.is_told]

    def answer(
        self,
        attempt: Submission | None = None,
        reply: Reply | None = None,
        *,
        data: bytes | None = None,
        told: bool = True,
    ) -> None:
        """Write the attempt's result as SageMaker would, and tell of it unless that gets lost.

        Args:
            attempt: the oldest that is outstanding, if none is given.
            reply: to each of its requests; they succeed if none is given.
            data: the whole result, instead.
            told: whether the notification comes.
        """
        attempt = attempt or self.outstanding[0]
        if data is None:
            data = self._echo(attempt)
        if data is None:
            made = [(reply or succeed)(request) for request in attempt.requests]
            data = jsonl(one for one in made if one is not None)
        self.backend.write_result(attempt, data)
        attempt.is_told = True
        if told:
            self.notify_end(attempt)

    @staticmethod
    def _echo(attempt: Submission) -> bytes | None:
        """A raw request is answered with its own body; None: it is none."""
        return attempt.body if attempt.shard.is_raw else None

    def fail(
        self,
        attempt: Submission | None = None,
        *,
        told: bool = True,
        status: int = 500,
        said: bytes = b"{}",
    ) -> None:
        """The attempt fails as a whole: the server answered with a status and these words."""
        attempt = attempt or self.outstanding[0]
        self.blobs.put(attempt.failure_key, said)
        attempt.is_told = True
        if told and attempt.job is not None:
            self.notify_end(attempt)
        elif told:
            self.notify_error(attempt, status=status)

    def lose(self, attempt: Submission | None = None) -> None:
        """The attempt disappears: no result, no word."""
        (attempt or self.outstanding[0]).is_told = True

    def notify_end(self, attempt: Submission) -> None:
        """Whatever runs the attempt tells that it ended: of a job one learns no more."""
        if attempt.job is None:
            self.notify_success(attempt)
        else:
            looks.ended(self.env, "manual", attempt.job)

    def notify_success(self, attempt: Submission) -> None:
        location = self.blobs.uri(attempt.output_key)
        kind = attempt.shard.content_type or "application/jsonl"
        event = sns_event("sns_success", attempt, outputLocation=location, contentType=kind)
        functions.on_success.app.handler(event, Context())

    def notify_error(self, attempt: Submission, *, status: int = 500) -> None:
        event = sns_event("sns_error", attempt)
        sns = event["Records"][0]["Sns"]
        kind = "client" if status < 500 else "server"
        sns["Message"] = sns["Message"].replace("server error (500)", f"{kind} error ({status})")
        functions.on_error.app.handler(event, Context())

    def run(self, reply: Reply | None = None) -> None:
        """Pump and answer until nothing moves, without letting time pass."""
        self.pump()
        while self.outstanding:
            self.answer(reply=reply)
            self.pump()

    def settle(self, reply: Reply | None = None, *, minutes: int = 60) -> None:
        """Let all work end, with a healthy backend, minute by minute."""
        ends_at = self.clock.now() + minutes * MINUTE
        while self.clock.now() < ends_at:
            self.run(reply)
            if self.is_quiet:
                return
            self.advance(self._idle_minutes() * MINUTE)
            self.reap()

    def _idle_minutes(self) -> int:
        """After how many there may be something to do again."""
        return 1

    # ------------------------------------------------------------ looking

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is left to do."""
        due = (records.DUE_BATCH, records.DUE_SHARD, records.DUE_DELIVERY)
        return not any(self.store.query(one, index=Index.DUE, limit=1) for one in due) and not any(
            self.queue.counts(name).waiting or self.queue.counts(name).in_flight
            for name in QueueName
        )

    def batch(self, batch: Batch) -> Batch:
        """The batch as it is now."""
        found = batches.load(self.untapped, batch.tenant, batch.id)
        assert found is not None
        return found

    def all_batches(self) -> list[Batch]:
        """Every batch of every tenant, acknowledged or not."""
        return [
            records.to_batch(item)
            for tenant in sorted(self.tenants)
            for kind in ("batches", "messages/batches", "responses", "requests")
            for item in self.store.query(f"{tenant}/{kind}", limit=9999)
        ]

    def shards(self, batch: Batch) -> list[Shard]:
        return batches.shards(self.untapped, batch)

    def deliveries(self, batch: Batch) -> list[Delivery]:
        """What was or is to be told of the batch."""
        return outbox.of_batch(self.untapped, batch.tenant, batch.id)

    def pool(self, model: str = "mistral") -> Pool:
        name = self.env.catalog.models[model].pool
        (item,) = self.store.get(records.pool_key(name))
        return records.to_pool(item, name)

    def output(self, batch: Batch) -> list[dict[str, Any]]:
        """Lines of the output file."""
        return self._lines(batch, self.batch(batch).output_file_id)

    def merged(self, batch: Batch) -> list[dict[str, Any]]:
        """Lines of the file with the answers of all batches of a retry."""
        return self._lines(batch, self.batch(batch).merged_file_id)

    def errors(self, batch: Batch) -> list[dict[str, Any]]:
        """Lines of the error file."""
        return self._lines(batch, self.batch(batch).error_file_id)

    def _lines(self, batch: Batch, file_id: str | None) -> list[dict[str, Any]]:
        if file_id is None:
            return []
        data = self.blobs.get(files.blob_key(batch.tenant, file_id))
        return [json.loads(line) for line in data.split(b"\n")[:-1]]

    def input_of(self, batch: Batch) -> bytes:
        """What was in the batch's input file, deleted or not."""
        by_id = self.bodies.get((batch.tenant, batch.id))
        known = self.uploaded.get((batch.tenant, batch.input_file_id or ""), by_id)
        if known is not None:
            return known
        try:
            return self.blobs.get(batch.input_key or "")
        except NotFound:
            return b""

    def mails(self) -> list[Path]:
        return sorted(self.outbox.glob("*.eml"))

    def mailed(self, message_id: str) -> list[str]:
        """Whom the mail went to; not how often."""
        path = self.outbox / f"{message_id}.eml"
        return [str(message_from_bytes(path.read_bytes())["To"])] if path.exists() else []


def _first(pair: tuple[str, Item]) -> str:
    return pair[0]


class MemoryWorld(World):
    """The same world with nothing on disk: a small scenario costs about a millisecond."""

    items: ReferenceStore
    queue: MemoryQueue
    blobs: MemoryBlobs
    mailer: MemoryMailer
    ids: MemoryIds

    def _open(self, folder: Path, *, has_threads: bool) -> None:
        assert not has_threads
        self._values: dict[int, tuple[Item, Any]] = {}
        self.items = ReferenceStore()
        self.store = WitnessStore(self.items, is_alone=True)
        self.queue = MemoryQueue(self.clock)
        self.blobs = MemoryBlobs("bucket", self.clock, b"key", "http://here")
        self.mailer = MemoryMailer()
        self.ids = MemoryIds()

    def all_batches(self) -> list[Batch]:
        return [
            self._value(item, records.to_batch)
            for tenant in sorted(self.tenants)
            for kind in ("batches", "messages/batches", "responses", "requests")
            for _, item in sorted(self._items(f"{tenant}/{kind}"), key=_first)
        ]

    def shards(self, batch: Batch) -> list[Shard]:
        items = sorted(self._items(f"{batch.tenant}/{batch.id}"), key=_first)
        return [
            self._value(item, records.to_shard) for sort, item in items if sort.startswith("shard/")
        ]

    def _items(self, partition: str) -> Iterable[tuple[str, Item]]:
        """As they are in the store, which never changes one, but replaces it."""
        return self.items.partitions.get(partition, {}).items()

    def _value(self, item: Item, make: Callable[[Item], T]) -> T:
        """Made of an item only once."""
        known = self._values.get(id(item))
        if known is None or known[0] is not item:
            known = self._values[id(item)] = (item, make(item))
        value: T = known[1]
        return value

    def _idle_minutes(self) -> int:
        due = (records.DUE_BATCH, records.DUE_SHARD, records.DUE_DELIVERY)
        items = [item for one in due for item in self.store.query(one, index=Index.DUE, limit=1)]
        instants = [int(item["due_sort"].partition("/")[0]) / 1000 for item in items]
        instants += self.queue.visible_at()
        return max(1, ceil((min(instants) - self.clock.now()) / MINUTE))

    def close(self) -> None:
        bootstrap.install(None)

    def mailed(self, message_id: str) -> list[str]:
        return [mail.to for mail in self.mailer.sent.get(message_id, [])]


def load_event(name: str) -> dict[str, Any]:
    """One of the samples in `events/`."""
    event: dict[str, Any] = json.loads(_sample(name))
    return event


@cache
def _sample(name: str) -> bytes:
    return (EVENTS / f"{name}.json").read_bytes()


def sns_event(name: str, attempt: Submission, **response: str) -> dict[str, Any]:
    """A sample of SageMaker's notifications, about this attempt."""
    event = load_event(name)
    sns = event["Records"][0]["Sns"]
    message = json.loads(sns["Message"])
    message["inferenceId"] = str(attempt.shard.ref)
    if response:
        message["responseParameters"] |= response
    sns["Message"] = json.dumps(message, separators=(",", ":"))
    return event


@contextmanager
def a_world(**options: Any) -> Iterator[World]:
    """A world of its own, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="backburner-"))
    world = World(folder, **options)
    try:
        yield world
    finally:
        world.close()
        shutil.rmtree(folder)


@contextmanager
def a_world_in_memory(**options: Any) -> Iterator[MemoryWorld]:
    """A world of its own, of which nothing was ever on disk."""
    world = MemoryWorld(Path(os.devnull), **options)
    try:
        yield world
    finally:
        world.close()
