"""Functions of the template that hear of ends: by the events topic, or by a rule of the bus."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec.json

from backburner.adapters.eventbridge import SOURCE
from backburner.ports import Events
from backburner.wire.cloudevents import cloud_event
from backburner_local import event_patterns, events
from backburner_local.adapters.events import LocalEvents
from backburner_local.functions import LoadedFunction
from backburner_local.template import Template, Trigger
from backburner_local.triggers import EventBus


def subscribe(topic: LocalEvents, topic_arn: str, functions: Iterable[LoadedFunction]) -> None:
    """Call the functions that the template subscribes to the events topic.

    Raises:
        UnknownOperator: a filter policy can't be judged here.
    """
    for function in functions:
        for trigger in function.triggers("SNS"):
            if trigger.properties["Topic"] == topic_arn:
                event_patterns.check(trigger.properties.get("FilterPolicy", {}))
                topic.subscribe(_Subscriber(function, trigger, topic_arn))


def bus_of(declared: Template, put: Callable[[dict[str, Any]], None]) -> Events | None:
    """The bus, where a rule of the template asks for our events; else None: nobody would hear.

    Args:
        declared: the template.
        put: takes an event to the functions whose rules match it.
    """
    rules = (
        trigger.properties["Pattern"]
        for function in declared.functions
        for trigger in function.triggers
        if trigger.kind in EventBus.KINDS
    )
    return _BusEvents(put) if any(SOURCE in rule.get("source", ()) for rule in rules) else None


@dataclass(frozen=True, slots=True)
class _Subscriber:
    """Calls a function with what passes the filter policy of its subscription."""

    function: LoadedFunction
    trigger: Trigger
    topic_arn: str

    def __call__(self, event: Mapping[str, Any], attributes: Mapping[str, str]) -> None:
        given = self.trigger.properties
        is_of_body = given.get("FilterPolicyScope") == "MessageBody"
        if event_patterns.matches(
            given.get("FilterPolicy", {}), event if is_of_body else attributes
        ):
            message = msgspec.json.encode(event).decode()
            self.function(events.sns(self.topic_arn, message, attributes))


@dataclass(frozen=True, slots=True)
class _BusEvents:
    """Events as the bus of the account would hand them to rules."""

    put: Callable[[dict[str, Any]], None]

    def publish(self, event: Mapping[str, Any], attributes: Mapping[str, str]) -> None:  # noqa: ARG002 - rules match the event itself
        self.put(events.bus(SOURCE, str(event["type"]), cloud_event(event)))
