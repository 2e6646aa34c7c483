"""A rule's pattern takes the events that EventBridge would hand to it, and no others."""

import json
from pathlib import Path
from typing import Any

import pytest

from backburner_local import functions, template
from backburner_local.event_patterns import UnknownOperator, check, matches
from backburner_local.functions import LoadedFunction
from backburner_local.template import Function, Trigger
from backburner_local.triggers import EventBus

ROOT = Path(__file__).parents[2]
EVENT: dict[str, Any] = {
    "source": "aws.bedrock",
    "detail-type": "Batch Inference Job State Change",
    "resources": ["arn:one", "arn:two"],
    "detail": {"batchJobName": "backburner-1", "status": "Completed", "count": 2, "message": ""},
}


@pytest.mark.parametrize(
    ("pattern", "is_taken"),
    [
        ({}, True),
        ({"source": ["aws.bedrock"]}, True),
        ({"source": ["aws.sagemaker", "aws.bedrock"]}, True),
        ({"source": ["aws.sagemaker"]}, False),
        ({"source": ["aws.bedrock"], "detail-type": ["Other"]}, False),
        ({"detail": {"status": ["Completed", "Failed"]}}, True),
        ({"detail": {"status": ["COMPLETED"]}}, False),
        ({"detail": {"status": [{"equals-ignore-case": "COMPLETED"}]}}, True),
        ({"detail": {"batchJobName": [{"prefix": "backburner-"}]}}, True),
        ({"detail": {"batchJobName": [{"prefix": "other-"}]}}, False),
        ({"detail": {"batchJobName": [{"prefix": "other-"}, {"suffix": "-1"}]}}, True),
        ({"detail": {"status": [{"anything-but": "Completed"}]}}, False),
        ({"detail": {"status": [{"anything-but": ["Failed", "Stopped"]}]}}, True),
        ({"detail": {"status": [{"anything-but": {"prefix": "Comp"}}]}}, False),
        ({"detail": {"nothing": [{"anything-but": "x"}]}}, False),
        ({"detail": {"status": [{"exists": True}]}}, True),
        ({"detail": {"status": [{"exists": False}]}}, False),
        ({"detail": {"nothing": [{"exists": False}]}}, True),
        ({"detail": {"count": [2]}}, True),
        ({"detail": {"count": ["2"]}}, False),
        ({"detail": {"count": [{"prefix": "2"}]}}, False),
        ({"detail": {"message": [""]}}, True),
        ({"resources": ["arn:two"]}, True),
        ({"resources": [{"suffix": "three"}]}, False),
        ({"source": {"deeper": ["x"]}}, False),
    ],
)
def test_a_pattern_takes_what_has_all_its_members(pattern, is_taken):
    assert matches(pattern, EVENT) is is_taken


@pytest.mark.parametrize(
    "pattern", [{"detail": {"count": [{"numeric": [">", 1]}]}}, {"source": [{"wildcard": "aws.*"}]}]
)
def test_a_pattern_that_cannot_be_judged_is_refused_at_once(pattern):
    with pytest.raises(UnknownOperator):
        check(pattern)


def function(kind: str, calls: list[Any]) -> LoadedFunction:
    pattern = {"source": ["aws.bedrock"]}
    declared = Function(
        name="OnJob",
        folder="",
        handler="app.handler",
        timeout_seconds=1,
        triggers=(Trigger(kind=kind, properties={"Pattern": pattern}),),
    )
    return LoadedFunction(declared, lambda event, _: calls.append(event))


@pytest.mark.parametrize("kind", ["EventBridgeRule", "CloudWatchEvent"])
def test_a_function_hears_what_its_rule_takes(kind):
    calls: list[Any] = []
    bus = EventBus()
    bus.subscribe(function(kind, calls))
    bus.put(EVENT)
    bus.put({**EVENT, "source": "aws.ec2"})
    assert calls == [EVENT]


@pytest.mark.parametrize("name", ["eventbridge_bedrock_job", "eventbridge_transform_job"])
def test_the_templates_own_rules_take_the_events_they_are_for(name):
    event = json.loads((ROOT / "events" / f"{name}.json").read_text())
    declared = template.load(ROOT / "template.yaml")
    patterns = [
        trigger.properties["Pattern"]
        for one in declared.functions
        for trigger in one.triggers
        if trigger.kind in EventBus.KINDS
    ]
    for pattern in patterns:
        check(pattern)
    assert [matches(pattern, event) for pattern in patterns].count(True) == 1


def test_the_templates_handlers_are_found_for_the_bus():
    declared = template.load(ROOT / "template.yaml")
    bus = EventBus()
    for one in declared.functions:
        bus.subscribe(functions.load(ROOT, one))
    bus.put({"source": "aws.ec2", "detail-type": "nothing of ours", "detail": {}})
