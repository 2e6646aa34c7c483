"""Fire the template's event sources on this machine: queues, topics, schedules, drop folder."""

import fcntl
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from watchfiles import Change, watch

from backburner.domain.errors import StorageUnavailable
from backburner.ports import Blobs, BlobStat
from backburner_local import event_patterns, events
from backburner_local.adapters.queue import Message, SqliteQueue
from backburner_local.functions import LoadedFunction
from backburner_local.template import QueueConfig, Trigger

logger = logging.getLogger(__name__)

#: Longest a poller sleeps before it looks whether it should end.
_BEAT_SECONDS = 0.5

#: How long a file in the drop folder must stay as it is.
_SETTLE_SECONDS = 1.0


class QueueTrigger:
    """The event source mapping of one queue: hands batches of messages to its function."""

    def __init__(
        self, queue: SqliteQueue, name: str, config: QueueConfig, trigger: Trigger
    ) -> None:
        self._queue = queue
        self._name = name
        self._config = config
        self._batch_size = int(trigger.properties.get("BatchSize", 10))
        #: Held by the one poller that waits for messages; the others work, or wait for their turn.
        self._turn = threading.Lock()

    def run(self, function: LoadedFunction, stopping: threading.Event) -> None:
        """Poll until told to stop; several threads may."""
        while not stopping.is_set():
            with self._turn:
                messages = self._receive(stopping)
            if messages:
                self._invoke(function, messages)

    def _receive(self, stopping: threading.Event) -> list[Message]:
        if stopping.is_set() or not self._queue.wait(self._name, _BEAT_SECONDS):
            return []
        return self._queue.receive(self._name, self._batch_size, self._config.visibility_seconds)

    def _invoke(self, function: LoadedFunction, messages: list[Message]) -> None:
        try:
            answer = function(events.sqs(self._name, messages)) or {}
        except Exception:
            logger.exception("function.failed %s", function.name)
            failed = {message.id for message in messages}
        else:
            failed = {item["itemIdentifier"] for item in answer.get("batchItemFailures", ())}
        self._queue.forget(message for message in messages if message.id not in failed)
        for message in messages:
            if message.id in failed:
                # Sooner than the visibility timeout: nobody else works on it here.
                self._release(message, min(self._config.visibility_seconds, 2.0**message.receives))

    def _release(self, message: Message, pause: float) -> None:
        """Let the message be seen again; on a full disk it would stay hidden for minutes."""
        ends_at = time.monotonic() + self._config.visibility_seconds
        while time.monotonic() < ends_at:
            try:
                self._queue.release(message, pause)
            except StorageUnavailable:
                time.sleep(1.0)
            else:
                return


class ScheduleTrigger:
    """A schedule of the template; its minute may be shorter here."""

    def __init__(self, every_seconds: float) -> None:
        self._every_seconds = every_seconds

    def run(self, function: LoadedFunction, stopping: threading.Event) -> None:
        """Call the function now and then every so often, until told to stop."""
        while True:
            try:
                function(events.schedule())
            except Exception:
                logger.exception("function.failed %s", function.name)
            if stopping.wait(self._every_seconds):
                return


@dataclass(slots=True)
class _Coming:
    """A file in the drop folder that was not told of yet, as it was last seen."""

    etag: str
    #: When it is looked at again; on the monotonic clock.
    look_at: float
    #: Times that the function failed on it.
    failures: int = 0


class DropTrigger:
    """The drop folder: a file that stays as it is for a moment, and that nobody writes, is there.

    Names that end with `.part` or begin with a dot are those of files that are still coming.
    """

    def __init__(self, bucket_folder: Path, prefix: str, blobs: Blobs) -> None:
        self._bucket = bucket_folder.name
        self._bucket_folder = bucket_folder
        self._folder = bucket_folder / prefix
        self._blobs = blobs
        self._coming: dict[str, _Coming] = {}
        self._folder.mkdir(parents=True, exist_ok=True)

    def run(self, function: LoadedFunction, stopping: threading.Event) -> None:
        """Tell of the files that are there, and of those that come, until told to stop."""
        is_first = True
        for changes in watch(
            self._folder,
            stop_event=stopping,
            debounce=400,
            step=100,
            rust_timeout=250,
            yield_on_timeout=True,
            raise_interrupt=False,
        ):
            paths = {Path(path) for change, path in changes if change is not Change.deleted}
            if is_first:  # what came before anyone watched
                paths.add(self._folder)
                is_first = False
            self._note(paths)
            self._tell(function)

    def _note(self, paths: Iterable[Path]) -> None:
        for path in paths:
            # A folder may have been filled before it was watched.
            for file in path.rglob("*") if path.is_dir() else (path,):
                if file.is_file() and file.suffix != ".part" and not file.name.startswith("."):
                    key = file.relative_to(self._bucket_folder).as_posix()
                    self._coming.setdefault(key, _Coming(etag="", look_at=0.0))

    def _tell(self, function: LoadedFunction) -> None:
        now = time.monotonic()
        for key, coming in sorted(self._coming.items()):
            if now < coming.look_at:
                continue
            stat = self._blobs.stat(key)
            if stat is None:  # gone again, or its name can't be a key
                del self._coming[key]
            elif stat.etag != coming.etag or _is_being_written(self._bucket_folder / key):
                coming.etag, coming.look_at = stat.etag, now + _SETTLE_SECONDS
            elif self._call(function, stat):
                del self._coming[key]
            else:
                coming.failures += 1
                coming.look_at = now + min(60.0, 2.0**coming.failures)

    def _call(self, function: LoadedFunction, stat: BlobStat) -> bool:
        try:
            function(events.s3(self._bucket, stat.key, size=stat.size, etag=stat.etag))
        except Exception:
            logger.exception("function.failed %s", function.name)
            return False
        return True


def _is_being_written(path: Path) -> bool:
    """Whether someone has the file open for writing; False where the system can't tell."""
    if not hasattr(fcntl, "F_SETLEASE"):
        return False
    with suppress(OSError), path.open("rb") as file:
        # Should a writer come while we hold the lease, the kernel signals us: by default with one
        # that would end the process.
        fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)
        try:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        except BlockingIOError:
            return True
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


class Sweeper:
    """Does what DynamoDB does by itself: removes items whose `ttl` has passed, now and then."""

    def __init__(self, sweep: Callable[[], int], every_seconds: float) -> None:
        self._sweep = sweep
        self._every_seconds = every_seconds

    def run(self, stopping: threading.Event) -> None:
        """Sweep now and then every so often, until told to stop."""
        while True:
            swept = self._sweep()
            if swept:
                logger.info("store.swept items=%d", swept)
            if stopping.wait(self._every_seconds):
                return


class Topics:
    """SNS topics: hand each message to the functions that subscribed."""

    def __init__(self) -> None:
        self._subscribers: dict[str, list[LoadedFunction]] = {}

    def subscribe(self, topic_arn: str, function: LoadedFunction) -> None:
        self._subscribers.setdefault(topic_arn, []).append(function)

    def publish(self, topic_arn: str, message: str) -> None:
        """Call every subscriber; what a handler raises makes the publisher try again."""
        for function in self._subscribers.get(topic_arn, ()):
            function(events.sns(topic_arn, message))


class EventBus:
    """The default event bus: hand each event to the functions whose rule matches it."""

    #: Event sources of SAM that are rules of the bus: both are the same to AWS.
    KINDS = ("EventBridgeRule", "CloudWatchEvent")

    def __init__(self) -> None:
        self._rules: list[tuple[Mapping[str, Any], LoadedFunction]] = []

    def subscribe(self, function: LoadedFunction) -> None:
        """Call the function with each event that one of its rules matches.

        Raises:
            UnknownOperator: a rule has a pattern that is not emulated.
        """
        for kind in self.KINDS:
            for trigger in function.triggers(kind):
                pattern = trigger.properties["Pattern"]
                event_patterns.check(pattern)
                self._rules.append((pattern, function))

    def put(self, event: dict[str, Any]) -> None:
        """Call a function once a rule that matches; what one raises makes the sender try again."""
        for pattern, function in self._rules:
            if event_patterns.matches(pattern, event):
                function(event)


class Workers:
    """Threads that run triggers, ended together."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, name: str, run: Callable[[threading.Event], None]) -> None:
        """Run a trigger in a thread of its own; it ends when its event is set."""
        thread = threading.Thread(target=self._keep_running, args=(name, run), name=name)
        thread.start()
        self._threads.append(thread)

    def _keep_running(self, name: str, run: Callable[[threading.Event], None]) -> None:
        """Whatever breaks, such as a full disk, must not end the trigger for good."""
        while not self._stopping.is_set():
            try:
                run(self._stopping)
            except Exception:
                logger.exception("trigger.broke %s", name)
                self._stopping.wait(1.0)

    def stop(self) -> None:
        """End all, after what they are doing now."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        self._threads.clear()
