"""Fire the template's event sources on this machine: queues, topics, schedules, drop folder."""

import logging
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from watchfiles import Change, watch

from backburner.ports import Blobs
from backburner_local import events
from backburner_local.adapters.queue import Message, SqliteQueue
from backburner_local.functions import LoadedFunction
from backburner_local.template import QueueConfig, Trigger

logger = logging.getLogger(__name__)

#: Longest a poller sleeps before it looks whether it should end.
_BEAT_SECONDS = 0.5


class QueueTrigger:
    """The event source mapping of one queue: hands batches of messages to its function."""

    def __init__(
        self, queue: SqliteQueue, name: str, config: QueueConfig, trigger: Trigger
    ) -> None:
        self._queue = queue
        self._name = name
        self._config = config
        self._batch_size = int(trigger.properties.get("BatchSize", 10))

    def run(self, function: LoadedFunction, stopping: threading.Event) -> None:
        """Poll until told to stop."""
        while not stopping.is_set():
            if not self._queue.wait(self._name, _BEAT_SECONDS):
                continue
            messages = self._queue.receive(
                self._name, self._batch_size, self._config.visibility_seconds
            )
            if messages:
                self._invoke(function, messages)

    def _invoke(self, function: LoadedFunction, messages: list[Message]) -> None:
        try:
            answer = function(events.sqs(self._name, messages)) or {}
        except Exception:
            logger.exception("function.failed %s", function.name)
            failed = {message.id for message in messages}
        else:
            failed = {item["itemIdentifier"] for item in answer.get("batchItemFailures", ())}
        self._queue.delete(message for message in messages if message.id not in failed)
        for message in messages:
            if message.id in failed:
                # Sooner than the visibility timeout: nobody else works on it here.
                pause = min(self._config.visibility_seconds, 2.0**message.receives)
                self._queue.release(message, pause)


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


class DropTrigger:
    """The drop folder: a file that stays as it is for a moment is an upload."""

    def __init__(self, bucket_folder: Path, prefix: str, blobs: Blobs) -> None:
        self._bucket = bucket_folder.name
        self._bucket_folder = bucket_folder
        self._folder = bucket_folder / prefix
        self._blobs = blobs
        self._folder.mkdir(parents=True, exist_ok=True)

    def run(self, function: LoadedFunction, stopping: threading.Event) -> None:
        """Tell of the files that are there, then of those that come, until told to stop."""
        self._tell(function, self._folder.rglob("*"))
        for changes in watch(
            self._folder,
            stop_event=stopping,
            debounce=400,
            step=100,
            rust_timeout=500,
            yield_on_timeout=True,
            raise_interrupt=False,
        ):
            paths = {Path(path) for change, path in changes if change is not Change.deleted}
            self._tell(function, paths)

    def _tell(self, function: LoadedFunction, paths: Iterable[Path]) -> None:
        for path in sorted(paths):
            if not path.is_file() or path.suffix == ".part" or path.name.startswith("."):
                continue
            key = path.relative_to(self._bucket_folder).as_posix()
            stat = self._blobs.stat(key)
            if stat is None:
                continue
            try:
                function(events.s3(self._bucket, key, size=stat.size, etag=stat.etag))
            except Exception:
                logger.exception("function.failed %s", function.name)


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


class Workers:
    """Threads that run triggers, ended together."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(
        self,
        name: str,
        run: Callable[[LoadedFunction, threading.Event], None],
        function: LoadedFunction,
    ) -> None:
        """Run a trigger in a thread of its own."""
        thread = threading.Thread(target=run, args=(function, self._stopping), name=name)
        thread.start()
        self._threads.append(thread)

    def stop(self) -> None:
        """End all, after what they are doing now."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        self._threads.clear()
