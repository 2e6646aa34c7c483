"""Telling on AWS: SES, SNS and EventBridge as moto plays them, and a strict reader of metrics."""

import io
import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.ses.models import RawMessage, ses_backends

from backburner.adapters.clients import Clients
from backburner.adapters.emf import EmfMetrics
from backburner.adapters.eventbridge import SOURCE, EventBridgeEvents
from backburner.adapters.ses import SesMailer
from backburner.adapters.sns import SnsEvents
from backburner.ports import Events, Mailer, Metrics
from tests.contract.on_moto import moto_clients

SENDER = "backburner@example.com"


@dataclass
class MailerWorld:
    """A mailer, and what arrived: RFC 5322 messages."""

    mailer: Mailer
    arrived: Callable[[], list[bytes]]


@dataclass
class EventsWorld:
    """Events, one subscriber to all of them, and one to finished batches only."""

    events: Events
    all: Callable[[], Sequence[Any]]
    finished: Callable[[], Sequence[Any]]


@dataclass
class MetricsWorld:
    """Metrics, and the last value that can be seen of one, by its dimensions."""

    metrics: Metrics
    seen: Callable[[str, dict[str, str]], float | None]


# ---------------------------------------------------------------- mail


@contextmanager
def ses_mailer(_folder: Path) -> Iterator[MailerWorld]:
    with moto_clients() as clients:
        clients.sesv2.create_email_identity(EmailIdentity=SENDER)
        yield MailerWorld(SesMailer(clients, SENDER), sent_by_ses)


def sent_by_ses() -> list[bytes]:
    """Messages that moto took; it keeps them as they were handed over, and sends none."""
    messages = ses_backends[DEFAULT_ACCOUNT_ID]["us-east-1"].sent_messages
    return [one.raw_data.encode() for one in messages if isinstance(one, RawMessage)]


# ---------------------------------------------------------------- events


@contextmanager
def sns_events() -> Iterator[EventsWorld]:
    with moto_clients() as clients:
        topic = clients.sns.create_topic(Name="events")["TopicArn"]
        every = subscribed_queue(clients, topic, "all")
        policy = {"type": ["batch.completed", "batch.failed"], "tenant": ["acme"]}
        finished = subscribed_queue(clients, topic, "finished", FilterPolicy=json.dumps(policy))
        yield EventsWorld(
            SnsEvents(clients, topic),
            lambda: received(clients, every),
            lambda: received(clients, finished),
        )


@contextmanager
def eventbridge_events() -> Iterator[EventsWorld]:
    with moto_clients() as clients:
        clients.events.create_event_bus(Name="mine")
        every = ruled_queue(clients, "all", {"source": [SOURCE]})
        wanted = {"type": ["batch.completed", "batch.failed"], "data": {"tenant": ["acme"]}}
        finished = ruled_queue(clients, "finished", {"source": [SOURCE], "detail": wanted})
        yield EventsWorld(
            EventBridgeEvents(clients, "mine"),
            lambda: [one["detail"] for one in received(clients, every)],
            lambda: [one["detail"] for one in received(clients, finished)],
        )


def ruled_queue(clients: Clients, name: str, pattern: dict[str, Any]) -> str:
    """The URL of a new queue that gets what matches the pattern."""
    queue = clients.sqs.create_queue(QueueName=name)["QueueUrl"]
    about = clients.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
    clients.events.put_rule(Name=name, EventBusName="mine", EventPattern=json.dumps(pattern))
    target = {"Id": "queue", "Arn": about["Attributes"]["QueueArn"]}
    clients.events.put_targets(Rule=name, EventBusName="mine", Targets=[target])
    return queue


def subscribed_queue(clients: Clients, topic: str, name: str, **attributes: str) -> str:
    """The URL of a new queue that gets the topic's messages as they were published."""
    queue = clients.sqs.create_queue(QueueName=name)["QueueUrl"]
    clients.sns.subscribe(
        TopicArn=topic,
        Protocol="sqs",
        Endpoint=clients.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])[
            "Attributes"
        ]["QueueArn"],
        Attributes={"RawMessageDelivery": "true", **attributes},
    )
    return queue


def received(clients: Clients, queue: str) -> list[Any]:
    """What is in the queue, in the order of sending: moto keeps it."""
    answer = clients.sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)
    return [json.loads(message["Body"]) for message in answer.get("Messages", [])]


# ---------------------------------------------------------------- metrics


def emf_metrics() -> MetricsWorld:
    out = io.StringIO()

    def seen(name: str, dimensions: dict[str, str]) -> float | None:
        values = read_emf(out.getvalue())
        found = [v for metric, about, v in values if metric == name and about == dimensions]
        return found[-1] if found else None

    return MetricsWorld(EmfMetrics(out), seen)


def read_emf(text: str) -> list[tuple[str, dict[str, str], float]]:
    """Metrics that CloudWatch makes of log lines: name, dimensions, value.

    Fails on whatever the specification forbids.
    """
    assert text == "" or text.endswith("\n")
    return [value for line in text.splitlines() for value in _of_line(line)]


def _of_line(line: str) -> Iterator[tuple[str, dict[str, str], float]]:
    assert len(line.encode()) <= 256 * 1024
    root = json.loads(line, parse_constant=_no_json, object_pairs_hook=_no_name_twice)
    about = root["_aws"]
    assert isinstance(about["Timestamp"], int)
    assert about["Timestamp"] > 1_600_000_000_000, "milliseconds"
    for directive in about["CloudWatchMetrics"]:
        assert 1 <= len(directive["Namespace"]) <= 1024
        assert 1 <= len(directive["Metrics"]) <= 100
        assert directive["Dimensions"], "no set of dimensions; an empty one is a set"
        for names in directive["Dimensions"]:
            assert len(names) <= 30
            dimensions = {name: root[name] for name in names}
            for value in dimensions.values():
                assert isinstance(value, str)
                assert 1 <= len(value) <= 1024
            for metric in directive["Metrics"]:
                value = root[metric["Name"]]
                assert isinstance(value, int | float)
                assert not isinstance(value, bool)
                assert math.isfinite(value)
                yield metric["Name"], dimensions, value


def _no_json(constant: str) -> float:
    raise AssertionError(f"{constant} is no JSON")


def _no_name_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    assert len(members) == len(pairs), "a member is there twice"
    return members
