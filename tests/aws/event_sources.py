"""What Lambda does with queues: it hands their messages to the functions that read them."""

import importlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from backburner.adapters.clients import Clients
from backburner_local import events as aws_events
from backburner_local.adapters.messages import Message
from backburner_local.template import ACCOUNT, REGION
from tests.aws.recorder import Recorder
from tests.aws.stack import Function


class EventSources:
    """The event source mappings of the stack."""

    def __init__(
        self,
        own: Clients,
        recorder: Recorder,
        functions: Mapping[str, Function],
        invoke: Callable[[str, dict[str, Any]], Any],
    ) -> None:
        """Read the queues.

        Args:
            own: clients that are not recorded.
            recorder: tells what was sent.
            functions: by name.
            invoke: a function, with an event.
        """
        self._own = own
        self._recorder = recorder
        self._functions = functions
        self._invoke = invoke
        #: Requests made to the queues so far: receives and deletes.
        self.polls = 0
        #: Queues that may hold something, and up to which call that is known.
        self._sent_to: set[str] = set()
        self._looked_at = 0

    def pump(self, *names: str, strict: bool = True) -> None:
        """Have the event sources hand messages to functions until the queues are quiet.

        Args:
            names: functions; all that read a queue, if none is given.
            strict: a message that fails is an error.
        """
        readers = [
            function
            for function in self._functions.values()
            if function.queue is not None and (not names or function.name in names)
        ]
        is_quiet = False
        while not is_quiet:
            is_quiet = True
            for one in readers:
                if self._may_have(one) and self._poll(one, strict=strict):
                    is_quiet = False

    def _may_have(self, function: Function) -> bool:
        """Whether anything was sent to the function's queue since it was last found empty."""
        sent, self._looked_at = self._recorder.calls[self._looked_at :], len(self._recorder.calls)
        urls = (call.parameters["QueueUrl"] for call in sent if call.name == "sqs:SendMessage")
        self._sent_to.update(urls)
        return self._url(function) in self._sent_to

    def _poll(self, function: Function, *, strict: bool) -> bool:
        url = self._url(function)
        received = self._own.sqs.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=function.batch_size,
            MessageSystemAttributeNames=["All"],
        ).get("Messages", [])
        if not received:
            self._sent_to.discard(url)
            return False
        self.polls += 1
        messages = [_message(function.name, one) for one in received]
        event = aws_events.sqs(function.name, messages)
        answer = self._invoke(function.name, event)
        failed = {one["itemIdentifier"] for one in answer["batchItemFailures"]}
        if failed and strict:
            self._raise_again(function.name, event, failed)
        done = [one for one in messages if one.id not in failed]
        if done:
            self.polls += 1  # up to ten messages at once
        for one in done:
            self._own.sqs.delete_message(QueueUrl=url, ReceiptHandle=one.receipt)
        return True

    def _raise_again(self, name: str, event: dict[str, Any], failed: set[str]) -> None:
        app = importlib.import_module(f"functions.{name}.app")
        for record in event["Records"]:
            if record["messageId"] in failed:
                app.handle(json.loads(record["body"]))
                raise AssertionError(f"{name} failed once: {record['body']}")

    def lose(self, name: str) -> None:
        """Lose what waits for a function in its queue."""
        url = self._url(self._functions[name])
        while received := self._own.sqs.receive_message(QueueUrl=url).get("Messages"):
            for one in received:
                self._own.sqs.delete_message(QueueUrl=url, ReceiptHandle=one["ReceiptHandle"])

    def _url(self, function: Function) -> str:
        return f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{function.queue}"


def _message(queue: str, received: Any) -> Message:
    attributes = received["Attributes"]
    return Message(
        id=received["MessageId"],
        queue=queue,
        body=received["Body"],
        receives=int(attributes["ApproximateReceiveCount"]),
        receipt=received["ReceiptHandle"],
        sent_at=float(attributes["SentTimestamp"]) / 1000,
    )
