"""Fire the template's event sources on this machine: queues, topics, schedules.

The drop folder is in `drop_folder`.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from backburner.domain.errors import StorageUnavailable
from backburner_local import event_patterns, events
from backburner_local.adapters.messages import Message
from backburner_local.adapters.queue import SqliteQueue
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
