"""The template's queues on SQS, as moto answers for it."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import moto.sqs.models

from backburner.adapters.clients import Clients
from backburner.adapters.sqs import SqsQueue
from backburner.ports import QueueName
from backburner_local import template
from tests.contract.on_moto import moto_clients

TEMPLATE = template.load(Path(__file__).parents[2] / "template.yaml")
#: Receives after which a message of any queue is a dead letter here.
MAX_RECEIVES = 3


class SqsWorld:
    def __init__(self, clients: Clients) -> None:
        self._sqs = clients.sqs
        self._made = _make_queues(clients, TEMPLATE.of_type("AWS::SQS::Queue"))
        named = {queue: TEMPLATE.variables[f"{queue.upper()}_QUEUE_URL"] for queue in QueueName}
        self._urls = {queue: self._made[name] for queue, name in named.items()}
        self.queue = SqsQueue(clients, self._urls)
        #: Seconds that this world is ahead of the system's clock.
        self.ahead = 0.0

    def now(self) -> float:
        return time.time() + self.ahead

    def receive(
        self, queue: str, *, visibility_seconds: float = 30
    ) -> Sequence[tuple[str, Mapping[str, Any]]]:
        return self._receive(self._urls[QueueName(queue)], int(visibility_seconds))

    def body(self, message: tuple[str, Mapping[str, Any]]) -> str:
        return str(message[1]["Body"])

    def receives(self, message: tuple[str, Mapping[str, Any]]) -> int:
        return int(message[1]["Attributes"]["ApproximateReceiveCount"])

    def delete(self, message: tuple[str, Mapping[str, Any]]) -> None:
        url, received = message
        self._sqs.delete_message(QueueUrl=url, ReceiptHandle=received["ReceiptHandle"])

    def release(self, message: tuple[str, Mapping[str, Any]], delay_seconds: float) -> None:
        url, received = message
        self._sqs.change_message_visibility(
            QueueUrl=url,
            ReceiptHandle=received["ReceiptHandle"],
            VisibilityTimeout=int(delay_seconds),
        )

    def advance(self, seconds: float) -> None:
        self.ahead += seconds

    def dead_letters(self, queue: str) -> list[str]:
        return [self.body(message) for message in self._receive(self._dead_url(queue), 0)]

    def redrive(self, queue: str) -> int:
        """Move the dead letters back by hand: moto has no StartMessageMoveTask."""
        dead = self._receive(self._dead_url(queue), 30)
        for message in dead:
            self._sqs.send_message(
                QueueUrl=self._urls[QueueName(queue)], MessageBody=self.body(message)
            )
            self.delete(message)
        return len(dead)

    def _receive(
        self, url: str, visibility_seconds: int
    ) -> Sequence[tuple[str, Mapping[str, Any]]]:
        answer = self._sqs.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=10,
            VisibilityTimeout=visibility_seconds,
            MessageSystemAttributeNames=["ApproximateReceiveCount"],
        )
        return [(url, received) for received in answer.get("Messages", ())]

    def _dead_url(self, queue: str) -> str:
        answer = self._sqs.get_queue_attributes(
            QueueUrl=self._urls[QueueName(queue)], AttributeNames=["RedrivePolicy"]
        )
        arn = json.loads(answer["Attributes"]["RedrivePolicy"])["deadLetterTargetArn"]
        return self._made[arn.rpartition(":")[2]]


def _make_queues(clients: Clients, declared: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Make the queues as they are declared; returns their URLs by logical id."""
    urls: dict[str, str] = {}
    for name in sorted(declared, key=lambda name: "RedrivePolicy" in declared[name]):
        attributes = {key: json.dumps(value) for key, value in declared[name].items()}
        if policy := declared[name].get("RedrivePolicy"):
            dead = clients.sqs.get_queue_attributes(
                QueueUrl=urls[policy["deadLetterTargetArn"]], AttributeNames=["QueueArn"]
            )
            attributes["RedrivePolicy"] = json.dumps(
                policy
                | {
                    "deadLetterTargetArn": dead["Attributes"]["QueueArn"],
                    "maxReceiveCount": MAX_RECEIVES,
                }
            )
        urls[name] = clients.sqs.create_queue(
            QueueName=name,
            Attributes=attributes,  # type: ignore[arg-type]
        )["QueueUrl"]
    return urls


@contextmanager
def sqs_queue(folder: Path) -> Iterator[SqsWorld]:
    with moto_clients() as clients:
        world = SqsWorld(clients)
        with (
            patch.object(moto.sqs.models, "unix_time", world.now),
            patch.object(moto.sqs.models, "unix_time_millis", lambda: world.now() * 1000),
        ):
            yield world
