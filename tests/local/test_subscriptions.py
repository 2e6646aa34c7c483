"""Functions of a template that subscribe to ends, and the file of what was published."""

import json
from typing import Any

import pytest

from backburner_local import subscriptions
from backburner_local.adapters.event_log import EventLog
from backburner_local.adapters.events import LocalEvents
from backburner_local.event_patterns import UnknownOperator
from backburner_local.functions import LoadedFunction
from backburner_local.template import Function, Template, Trigger
from backburner_local.triggers import EventBus
from tests.local.stacks import requests, wait_until

TOPIC = "arn:aws:sns:us-east-1:123456789012:Events"


def an_event(kind: str = "batch.completed", tenant: str = "acme") -> tuple[Any, dict[str, str]]:
    """An event, and its attributes."""
    data = {"id": "batch_1", "tenant": tenant}
    event = {"id": "evt_batch_1", "type": kind, "created_at": 1_750_000_000, "data": data}
    return event, {"type": kind, "tenant": tenant}


def a_function(kind: str, called: list[Any], **properties: Any) -> LoadedFunction:
    """One with such a trigger, that keeps what it is called with."""
    trigger = Trigger(kind=kind, properties=properties)
    declared = Function(name="F", folder="", handler="", timeout_seconds=3, triggers=(trigger,))
    return LoadedFunction(declared, lambda event, context: called.append(event))


def told_by_topic(*published: Any, **properties: Any) -> list[Any]:
    """Types of the events that a function hears of, which subscribes so."""
    topic, called = LocalEvents(), []  # type: ignore[var-annotated]
    function = a_function("SNS", called, **{"Topic": TOPIC} | properties)
    subscriptions.subscribe(topic, TOPIC, [function])
    for event, attributes in published:
        topic.publish(event, attributes)
    return [json.loads(one["Records"][0]["Sns"]["Message"])["type"] for one in called]


class TestTopic:
    def test_a_function_that_subscribes_hears_of_every_end(self):
        published = [an_event("batch.completed"), an_event("response.failed")]
        assert told_by_topic(*published) == ["batch.completed", "response.failed"]

    def test_one_of_another_topic_does_not(self):
        assert told_by_topic(an_event(), Topic="arn:another") == []

    @pytest.mark.parametrize(
        ("policy", "scope", "heard"),
        [
            ({"type": [{"prefix": "batch."}]}, "MessageAttributes", True),
            ({"type": ["batch.failed"]}, "MessageAttributes", False),
            ({"tenant": [{"anything-but": "acme"}]}, "MessageAttributes", False),
            ({"data": {"tenant": ["acme"]}}, "MessageBody", True),
            ({"data": {"tenant": ["globex"]}}, "MessageBody", False),
        ],
    )
    def test_its_filter_policy_chooses(self, policy, scope, heard):
        found = told_by_topic(an_event(), FilterPolicy=policy, FilterPolicyScope=scope)
        assert bool(found) is heard

    def test_attributes_come_as_sns_hands_them_over(self):
        topic, called = LocalEvents(), []  # type: ignore[var-annotated]
        subscriptions.subscribe(topic, TOPIC, [a_function("SNS", called, Topic=TOPIC)])
        topic.publish(*an_event())
        assert called[0]["Records"][0]["Sns"]["MessageAttributes"] == {
            "type": {"Type": "String", "Value": "batch.completed"},
            "tenant": {"Type": "String", "Value": "acme"},
        }

    def test_a_policy_that_can_not_be_judged_is_refused_at_the_start(self):
        with pytest.raises(UnknownOperator):
            told_by_topic(FilterPolicy={"type": [{"cidr": "10.0.0.0/8"}]})


class TestBus:
    @pytest.mark.parametrize(
        ("pattern", "has_bus"),
        [({"source": ["backburner"]}, True), ({"source": ["aws.bedrock"]}, False)],
    )
    def test_there_is_one_where_a_rule_asks_for_our_events(self, tmp_path, pattern, has_bus):
        function = a_function("EventBridgeRule", [], Pattern=pattern)
        declared = Template(tmp_path, {}, (function.function,))
        assert (subscriptions.bus_of(declared, print) is not None) is has_bus

    def test_a_rule_chooses_by_anything_in_an_event(self, tmp_path):
        called: list[Any] = []
        pattern = {
            "source": ["backburner"],
            "detail-type": ["batch.completed"],
            "detail": {"data": {"tenant": ["acme"]}},
        }
        function = a_function("EventBridgeRule", called, Pattern=pattern)
        rules = EventBus()
        rules.subscribe(function)
        bus = subscriptions.bus_of(Template(tmp_path, {}, (function.function,)), rules.put)
        assert bus is not None
        for published in (an_event(), an_event("batch.failed"), an_event(tenant="globex")):
            bus.publish(*published)
        (event,) = called
        assert (event["detail-type"], event["detail"]["specversion"]) == ("batch.completed", "1.0")
        assert event["detail"]["source"] == "/batches/batch_1"


class TestLog:
    def test_every_event_is_a_line(self, tmp_path):
        log = EventLog(tmp_path / "events.jsonl")
        for kind in ("batch.completed", "batch.failed"):
            log.write(*an_event(kind))
        log.close()
        lines = [json.loads(one) for one in (tmp_path / "events.jsonl").read_text().splitlines()]
        assert [line["event"]["type"] for line in lines] == ["batch.completed", "batch.failed"]
        assert lines[0]["attributes"] == {"type": "batch.completed", "tenant": "acme"}

    def test_a_file_that_was_removed_is_made_again(self, tmp_path):
        path = tmp_path / "events.jsonl"
        log = EventLog(path, open_seconds=0)
        log.write(*an_event())
        path.unlink()
        log.write(*an_event("batch.failed"))
        log.close()
        assert "batch.failed" in path.read_text()

    def test_a_closed_file_is_opened_for_what_is_still_published(self, tmp_path):
        log = EventLog(tmp_path / "events.jsonl")
        for _ in range(2):
            log.write(*an_event())
            log.close()
        assert len((tmp_path / "events.jsonl").read_text().splitlines()) == 2

    def test_the_file_does_not_grow_without_end(self, tmp_path):
        log = EventLog(tmp_path / "events.jsonl", most_bytes=1000)
        for _ in range(100):
            log.write(*an_event())
        log.close()
        sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
        assert set(sizes) <= {"events.jsonl", "events.1.jsonl"}
        assert max(sizes.values()) < 1500

    def test_a_stack_writes_down_what_it_publishes(self, stack, client, tmp_path):
        path = tmp_path / "work.jsonl"
        path.write_bytes(requests(2))
        file = client.upload(path)["id"]
        batch = client.create_batch(
            input_file_id=file, endpoint="/v1/chat/completions", completion_window="24h"
        )
        log = stack.options.data_dir / "events.jsonl"
        wait_until(lambda: log.exists() and batch["id"] in log.read_text(), "the event")
        (line,) = (json.loads(one) for one in log.read_text().splitlines() if batch["id"] in one)
        assert line["event"]["id"] == f"evt_{batch['id']}"
        assert line["attributes"]["type"] == "batch.completed"
