"""Logs, alarms and the dashboard: nothing goes wrong unseen."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from backburner.domain.errors import BackendUnready
from backburner.services import sending
from backburner.wire.messages import each_message
from backburner_local import template
from tests.template.expand import ROOT, expanded
from tests.template.resolved import TEMPLATE, of_type
from tests.world import a_world

ALARMS = TEMPLATE.of_type("AWS::CloudWatch::Alarm")
DASHBOARD = json.loads(TEMPLATE.resources["Dashboard"]["Properties"]["DashboardBody"])
FAILED_MESSAGES = "backburner-FailedMessages"
FILTERS = TEMPLATE.of_type("AWS::Logs::MetricFilter")
UNREADY = '"backend.unready"'
FUNCTIONS = [f"{function.name}Function" for function in TEMPLATE.functions]


def watched(namespace: str, metric: str) -> dict[str, Any]:
    """Alarms on a metric, by the value of their first dimension."""
    return {
        alarm["Dimensions"][0]["Value"]: alarm
        for alarm in ALARMS.values()
        if (alarm.get("Namespace"), alarm.get("MetricName")) == (namespace, metric)
    }


def own_metrics() -> Iterator[str]:
    """Names of our own metrics that the alarms and the dashboard show."""
    for alarm in ALARMS.values():
        stats = [m["MetricStat"]["Metric"] for m in alarm.get("Metrics", ()) if "MetricStat" in m]
        yield from (m["MetricName"] for m in [alarm, *stats] if m.get("Namespace") == "Backburner")
    for widget in DASHBOARD["widgets"]:
        for metric in widget["properties"]["metrics"]:
            if metric[0] == "Backburner":
                yield metric[1]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_has_a_log_of_its_own_that_ends(name):
    config = of_type("AWS::Lambda::Function")[name]["LoggingConfig"]
    assert config["LogFormat"] == "JSON"
    log = TEMPLATE.resources[config["LogGroup"]["Ref"]]["Properties"]
    assert log["LogGroupName"].startswith("/aws/lambda/backburner-")
    assert log["RetentionInDays"] == 30


def test_every_log_ends():
    logs = TEMPLATE.of_type("AWS::Logs::LogGroup").values()
    assert len({log["LogGroupName"] for log in logs}) == len(logs) == len(FUNCTIONS) + 2
    assert all("RetentionInDays" in log for log in logs)


def test_metrics_which_are_log_lines_are_not_filtered_away():
    assert set(expanded()["Parameters"]["LogLevel"]["AllowedValues"]) == {"DEBUG", "INFO"}


def test_the_log_of_requests_says_no_more_than_it_should():
    settings = TEMPLATE.resources["Api"]["Properties"]["AccessLogSettings"]
    line = json.loads(settings["Format"])
    assert set(line) >= {"requestId", "method", "path", "status", "latencyMs"}
    for word in ("query", "body", "header", "authorizer", "sourceIp"):
        assert word not in settings["Format"]


def test_every_function_that_fails_and_every_dead_letter_is_told_of():
    assert set(watched("AWS/Lambda", "Errors")) == set(FUNCTIONS)
    dead = watched("AWS/SQS", "ApproximateNumberOfMessagesVisible")
    queues = TEMPLATE.of_type("AWS::SQS::Queue")
    assert set(dead) == {name for name in queues if "RedrivePolicy" not in queues[name]}


def test_throttles_of_every_function_are_told_of():
    alarms = [ALARMS[name]["Metrics"] for name in ("ThrottlesAlarm", "MoreThrottlesAlarm")]
    stats = [m["MetricStat"]["Metric"] for some in alarms for m in some if "MetricStat" in m]
    assert all(len(some) <= 1 + 10 for some in alarms)  # CloudWatch user guide, "Metric math"
    assert {stat["Dimensions"][0]["Value"] for stat in stats} == set(FUNCTIONS)


def test_every_alarm_tells_people_or_scales():
    policies = set(TEMPLATE.of_type("AWS::ApplicationAutoScaling::ScalingPolicy"))
    topic = "arn:aws:sns:us-east-1:123456789012:AlarmsTopic"
    for name, alarm in ALARMS.items():
        (action,) = alarm["AlarmActions"]
        assert action == topic or action in policies, name
        assert alarm["AlarmDescription"].strip()
        assert alarm["TreatMissingData"]


def test_silence_of_what_runs_every_minute_is_an_alarm():
    for metric in ("OldestWaitingSeconds", "StuckBatches"):
        (alarm,) = watched("Backburner", metric).values()
        assert alarm["TreatMissingData"] == "breaching"


def test_what_is_shown_and_watched_is_what_services_publish():
    with a_world() as world:
        world.report_backlog()
        world.reap()
        published = {name for values, _ in world.published for name in values}
        assert all(set(about) == {"EndpointName"} for _, about in world.published)
    assert set(own_metrics()) <= published | {FAILED_MESSAGES}


def test_messages_that_fail_are_told_of_although_their_function_succeeds(caplog):
    caplog.set_level("ERROR", "backburner")
    event = {"Records": [{"messageId": "1", "body": "{}"}]}
    each_message(event, lambda message: message["tenant"])
    filters = [one for one in FILTERS.values() if one["FilterPattern"] != UNREADY]
    read = {t.name for t in TEMPLATE.functions if any(e.kind == "SQS" for e in t.triggers)}
    assert {one["LogGroupName"] for one in filters} == {f"{name}Logs" for name in read}
    for one in filters:
        (made,) = one["MetricTransformations"]
        assert made["MetricName"] == FAILED_MESSAGES == ALARMS["FailedMessagesAlarm"]["MetricName"]
        assert one["FilterPattern"].strip('"') in caplog.text


def test_a_backend_that_is_not_set_up_is_told_of(caplog):
    caplog.set_level("WARNING", "backburner")
    with a_world() as world:
        world.submit(1)
        world.backend.fail_next(BackendUnready())
        world.pump()
    (one,) = [one for one in FILTERS.values() if one["FilterPattern"] == UNREADY]
    assert one["LogGroupName"] == "DispatchLogs"
    assert one["MetricTransformations"][0]["MetricName"] == FAILED_MESSAGES
    assert UNREADY.strip('"') in caplog.text
    # As long as it is asked, some span of the alarm has a line of it.
    assert max(sending.UNREADY_SECONDS) <= ALARMS["FailedMessagesAlarm"]["Period"]


def test_the_dashboard_shows_every_function_and_queue():
    shown = {
        metric[3]
        for widget in DASHBOARD["widgets"]
        for metric in widget["properties"]["metrics"]
        if len(metric) > 3
    }
    assert {*FUNCTIONS, *TEMPLATE.of_type("AWS::SQS::Queue")} <= shown
    assert all(widget["properties"]["region"] == "us-east-1" for widget in DASHBOARD["widgets"])


def test_nobody_is_subscribed_unless_an_address_is_given():
    asked = TEMPLATE.of_type("AWS::SNS::Subscription").values()
    assert {one["Endpoint"] for one in asked} == {"alarms@example.com", "events@example.com"}
    assert not template.load(ROOT / "template.yaml").of_type("AWS::SNS::Subscription")
