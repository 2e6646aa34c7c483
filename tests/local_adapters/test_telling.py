"""The outbox, the fan-out of events, and the page of metrics."""

import json
import logging

import pytest

from backburner.ports import Mail
from backburner_local.adapters.clock import FixedClock
from backburner_local.adapters.events import LocalEvents
from backburner_local.adapters.metrics import LocalMetrics
from backburner_local.adapters.outbox import OutboxMailer


def mail(message_id: str) -> Mail:
    return Mail(to="ada@example.com", subject="s", text="text", message_id=message_id)


# ---------------------------------------------------------------- outbox


def test_a_mail_sent_again_is_the_same_file(tmp_path):
    outbox = OutboxMailer(tmp_path, "us@example.com", FixedClock())
    for message_id in ("evt_1", "evt_2", "<evt_1>"):
        outbox.send(mail(message_id))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evt_1.eml", "evt_2.eml"]
    text = (tmp_path / "evt_1.eml").read_text()
    assert "Message-ID: <evt_1@backburner.local>\n" in text
    assert "Date: Sun, 15 Jun 2025 15:06:40 +0000\n" in text


@pytest.mark.parametrize("message_id", ["../../etc/x", "/etc/x", "..", "a/b@c", "x" * 1000])
def test_a_message_id_is_never_a_path(tmp_path, message_id):
    OutboxMailer(tmp_path / "outbox", "us@example.com", FixedClock()).send(mail(message_id))
    (path,) = (tmp_path / "outbox").iterdir()
    assert path.is_file()
    assert path.suffix == ".eml"
    assert [path.name for path in tmp_path.iterdir()] == ["outbox"]


# ---------------------------------------------------------------- events


def test_one_failing_subscriber_does_not_keep_the_others_from_being_told():
    events, told = LocalEvents(), []

    def fail(event, attributes):
        told.append("failing")
        raise ConnectionError("gone")

    events.subscribe(fail)
    events.subscribe(lambda event, attributes: told.append("second"))
    with pytest.raises(ConnectionError, match="gone"):
        events.publish({"id": "evt_1"}, {})
    assert told == ["failing", "second"]
    events.subscribe(fail)
    with pytest.raises(ExceptionGroup) as caught:
        events.publish({"id": "evt_1"}, {})
    assert len(caught.value.exceptions) == 2


def test_a_subscriber_can_stop():
    events, told = LocalEvents(), []
    stop = events.subscribe(lambda event, attributes: told.append(1))
    events.subscribe(lambda event, attributes: stop())
    events.publish({}, {})
    events.publish({}, {})
    stop()
    assert told == [1]


# ---------------------------------------------------------------- metrics


def test_metrics_are_rendered_for_prometheus():
    metrics = LocalMetrics()
    assert metrics.render() == ""
    metrics.publish(
        {"OutstandingRequests": 3, "BacklogPerInstance": 0.5}, {"Pool": 'a"b\\c\nd', "Tenant": "x"}
    )
    metrics.publish({"OutstandingRequests": 4, "HTTPErrors": float("inf")}, {})
    assert metrics.render() == (
        "# TYPE backburner_backlog_per_instance gauge\n"
        'backburner_backlog_per_instance{pool="a\\"b\\\\c\\nd",tenant="x"} 0.5\n'
        "# TYPE backburner_http_errors gauge\n"
        "backburner_http_errors +Inf\n"
        "# TYPE backburner_outstanding_requests gauge\n"
        "backburner_outstanding_requests 4\n"
        'backburner_outstanding_requests{pool="a\\"b\\\\c\\nd",tenant="x"} 3\n'
    )


def test_metrics_are_logged_as_one_json_line_each(caplog):
    with caplog.at_level(logging.INFO, "backburner.metrics"):
        LocalMetrics().publish({"Backlog": 3}, {"Pool": "a"})
    (record,) = caplog.records
    assert json.loads(record.message) == {"metrics": {"Backlog": 3}, "dimensions": {"Pool": "a"}}


def test_a_failing_sink_is_logged_and_the_others_get_the_metrics(caplog):
    metrics, got = LocalMetrics(), []

    def fail(values, dimensions):
        raise ConnectionError

    metrics.add_sink(fail)
    metrics.add_sink(lambda values, dimensions: got.append((dict(values), dict(dimensions))))
    metrics.publish({"Backlog": 3}, {"Pool": "a"})
    assert got == [({"Backlog": 3}, {"Pool": "a"})]
    assert "metrics.sink_failed" in caplog.text
