"""The worlds that each port's suite runs over; another adapter is another entry of a table."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest

from backburner.adapters.system import SystemClock, SystemIds
from backburner.domain.request import Instant
from backburner.ports import Blobs, Clock, Ids, Queue, Store
from backburner_local.adapters.clock import FixedClock, SequentialIds, StoppableClock
from backburner_local.adapters.events import LocalEvents
from backburner_local.adapters.files import DirectoryBlobs
from backburner_local.adapters.messages import Message
from backburner_local.adapters.metrics import LocalMetrics
from backburner_local.adapters.outbox import OutboxMailer
from backburner_local.adapters.queue import SqliteQueue
from backburner_local.adapters.smtp import Security, SmtpMailer, SmtpServer
from backburner_local.adapters.sqlite import Database
from backburner_local.adapters.store import SqliteStore
from tests.contract import on_s3, on_sqs, on_telling
from tests.contract.on_dynamodb import dynamo_store
from tests.contract.on_telling import EventsWorld, MailerWorld, MetricsWorld
from tests.mail_server import MailServer
from tests.memory import MemoryBlobs, MemoryQueue
from tests.reference import ReferenceStore

# ---------------------------------------------------------------- Store


@contextmanager
def sqlite_store(folder: Path) -> Iterator[Store]:
    database = Database(folder / "store.db", durable=False)
    yield SqliteStore(database)
    database.close()


@contextmanager
def memory_store(folder: Path) -> Iterator[Store]:
    yield ReferenceStore()


STORES: dict[str, Callable[[Path], AbstractContextManager[Store]]] = {
    "memory": memory_store,
    "sqlite": sqlite_store,
    "dynamodb": dynamo_store,
}


@pytest.fixture(params=STORES)
def store(request, tmp_path):
    with STORES[request.param](tmp_path) as store:
        yield store


# ---------------------------------------------------------------- Blobs


@dataclass
class BlobsWorld:
    """A bucket, and a stranger who only has a URL."""

    blobs: Blobs
    #: Bytes that a URL opens, or None: it opens nothing.
    open: Callable[[str], bytes | None]
    #: Puts an object to a URL; False: it takes nothing.
    put: Callable[[str, bytes], bool]


@contextmanager
def directory_blobs(folder: Path) -> Iterator[BlobsWorld]:
    url = "http://127.0.0.1:8088"
    blobs = DirectoryBlobs(folder, "bucket", FixedClock(), b"key", url, durable=False)

    def open_url(address: str) -> bytes | None:
        key = blobs.verify(address.removeprefix(url))
        return None if key is None else blobs.get(key)

    yield BlobsWorld(blobs, open_url, _putting(blobs, url))
    assert not list((folder / ".staging").iterdir()), "something was left behind"


@contextmanager
def s3_blobs(folder: Path) -> Iterator[BlobsWorld]:
    with on_s3.s3_blobs() as blobs:
        yield BlobsWorld(blobs, on_s3.open_url, on_s3.put_url)


@contextmanager
def memory_blobs(folder: Path) -> Iterator[BlobsWorld]:
    url = "http://127.0.0.1:8088"
    blobs = MemoryBlobs("bucket", FixedClock(), b"key", url)

    def open_url(address: str) -> bytes | None:
        key = blobs.verify(address.removeprefix(url))
        return None if key is None else blobs.get(key)

    yield BlobsWorld(blobs, open_url, _putting(blobs, url))


def _putting(blobs: DirectoryBlobs | MemoryBlobs, url: str) -> Callable[[str, bytes], bool]:
    def put_url(address: str, data: bytes) -> bool:
        key = blobs.verify_upload(address.removeprefix(url))
        if key is not None:
            blobs.put(key, data)
        return key is not None

    return put_url


BLOBS: dict[str, Callable[[Path], AbstractContextManager[BlobsWorld]]] = {
    "memory": memory_blobs,
    "directory": directory_blobs,
    "s3": s3_blobs,
}


@pytest.fixture(params=BLOBS)
def blobs_world(request, tmp_path):
    with BLOBS[request.param](tmp_path) as world:
        yield world


@pytest.fixture
def blobs(blobs_world):
    return blobs_world.blobs


# ---------------------------------------------------------------- Queue


class QueueWorld(Protocol):
    """A queue and the event source that reads it; a message is a dead letter after 3 receives."""

    @property
    def queue(self) -> Queue: ...

    def receive(self, queue: str, *, visibility_seconds: float = 30) -> Sequence[Any]: ...

    def body(self, message: Any) -> str: ...

    def receives(self, message: Any) -> int: ...

    def delete(self, message: Any) -> None: ...

    def release(self, message: Any, delay_seconds: float) -> None: ...

    def advance(self, seconds: float) -> None: ...

    def dead_letters(self, queue: str) -> list[str]: ...

    def redrive(self, queue: str) -> int: ...


class LocalQueueWorld:
    def __init__(self, queue: SqliteQueue | MemoryQueue, clock: FixedClock) -> None:
        self.queue = queue
        self.clock = clock

    def receive(self, queue: str, *, visibility_seconds: float = 30) -> Sequence[Message]:
        return self.queue.receive(queue, 10, visibility_seconds)

    def body(self, message: Message) -> str:
        return message.body

    def receives(self, message: Message) -> int:
        return message.receives

    def delete(self, message: Message) -> None:
        self.queue.delete([message])

    def release(self, message: Message, delay_seconds: float) -> None:
        self.queue.release(message, delay_seconds)

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def dead_letters(self, queue: str) -> list[str]:
        return [message.body for message in self.queue.dead_letters(queue)]

    def redrive(self, queue: str) -> int:
        return self.queue.redrive(queue)


@contextmanager
def sqlite_queue(folder: Path) -> Iterator[QueueWorld]:
    database = Database(folder / "queue.db", durable=False)
    clock = FixedClock()
    yield LocalQueueWorld(SqliteQueue(database, clock, max_receives={"plan": 3}), clock)
    database.close()


@contextmanager
def memory_queue(folder: Path) -> Iterator[QueueWorld]:
    clock = FixedClock()
    yield LocalQueueWorld(MemoryQueue(clock, max_receives={"plan": 3}), clock)


QUEUES: dict[str, Callable[[Path], AbstractContextManager[QueueWorld]]] = {
    "memory": memory_queue,
    "sqlite": sqlite_queue,
    "sqs": on_sqs.sqs_queue,
}


@pytest.fixture(params=QUEUES)
def queue_world(request, tmp_path):
    with QUEUES[request.param](tmp_path) as world:
        yield world


# ---------------------------------------------------------------- Telling people


@contextmanager
def outbox_mailer(folder: Path) -> Iterator[MailerWorld]:
    mailer = OutboxMailer(folder / "outbox", "backburner@example.com", FixedClock())
    yield MailerWorld(
        mailer, lambda: [path.read_bytes() for path in sorted((folder / "outbox").iterdir())]
    )


@contextmanager
def smtp_mailer(folder: Path) -> Iterator[MailerWorld]:
    with MailServer() as server:
        here = SmtpServer(host="127.0.0.1", port=server.port, security=Security.NONE)
        mailer = SmtpMailer(here, "backburner@example.com", FixedClock())
        yield MailerWorld(mailer, lambda: [one.data for one in server.taken])


MAILERS: dict[str, Callable[[Path], AbstractContextManager[MailerWorld]]] = {
    "outbox": outbox_mailer,
    "ses": on_telling.ses_mailer,
    "smtp": smtp_mailer,
}


@pytest.fixture(params=MAILERS)
def mailer_world(request, tmp_path):
    with MAILERS[request.param](tmp_path) as world:
        yield world


@contextmanager
def local_events() -> Iterator[EventsWorld]:
    events, every, finished = LocalEvents(), [], []
    events.subscribe(lambda event, attributes: every.append(event))
    events.subscribe(
        lambda event, attributes: finished.append(event),
        {"type": ("batch.completed", "batch.failed"), "tenant": ("acme",)},
    )
    yield EventsWorld(events, lambda: every, lambda: finished)


EVENTS: dict[str, Callable[[], AbstractContextManager[EventsWorld]]] = {
    "local": local_events,
    "eventbridge": on_telling.eventbridge_events,
    "sns": on_telling.sns_events,
}


@pytest.fixture(params=EVENTS)
def events_world(request):
    with EVENTS[request.param]() as world:
        yield world


def local_metrics() -> MetricsWorld:
    metrics = LocalMetrics()
    seen: dict[Any, float] = {}

    def keep(values, dimensions) -> None:
        for name, value in values.items():
            seen[name, *sorted(dimensions.items())] = value

    metrics.add_sink(keep)
    return MetricsWorld(
        metrics, lambda name, dimensions: seen.get((name, *sorted(dimensions.items())))
    )


METRICS = {"local": local_metrics, "emf": on_telling.emf_metrics}


@pytest.fixture(params=METRICS)
def metrics_world(request):
    return METRICS[request.param]()


# ---------------------------------------------------------------- Clock and Ids

CLOCKS: dict[str, Callable[[], Clock]] = {
    "system": SystemClock,
    "stoppable": StoppableClock,
    "fixed": FixedClock,
}


@pytest.fixture(params=CLOCKS)
def clock(request):
    return CLOCKS[request.param]()


class TickingClock:
    """A clock on which each look takes a millisecond, for ids that must sort by age."""

    def __init__(self) -> None:
        self._now = 1_750_000_000.0

    def now(self) -> Instant:
        self._now += 0.001
        return self._now

    def sleep(self, seconds: float) -> bool:
        self._now += seconds
        return True


IDS: dict[str, Callable[[], Ids]] = {
    "system": SystemIds,
    "ticking": lambda: SystemIds(TickingClock()),
    "sequential": SequentialIds,
}


@pytest.fixture(params=IDS)
def ids(request):
    return IDS[request.param]()
