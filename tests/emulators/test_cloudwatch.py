"""CloudWatch through boto3, in both protocols it speaks."""

import gzip
import json
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import Any

import cbor2
import pytest
from botocore.exceptions import ClientError

from tests.emulators.conftest import ERROR, Stage, wait_until

ENDPOINT = [{"Name": "EndpointName", "Value": "x"}]


def alarm(name: str, **changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "AlarmName": name,
        "Namespace": "Test",
        "MetricName": name,
        "Dimensions": ENDPOINT,
        "Statistic": "Maximum",
        "Period": 60,
        "EvaluationPeriods": 1,
        "Threshold": 5.0,
        "ComparisonOperator": "GreaterThanThreshold",
    }
    return {**values, **changes}


def state(stage: Stage, name: str) -> Any:
    (found,) = stage.cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"]
    return found["StateValue"]


def test_metrics_come_back_as_they_were_put(shared):
    now = datetime.now(UTC)
    shared.cloudwatch.put_metric_data(
        Namespace="Test",
        MetricData=[
            {"MetricName": "m", "Dimensions": ENDPOINT, "Value": 2.0, "Unit": "Count"},
            {"MetricName": "m", "Dimensions": ENDPOINT, "Values": [1.0, 4.0], "Counts": [2, 1]},
            {
                "MetricName": "m",
                "Dimensions": ENDPOINT,
                "Timestamp": now,
                "StatisticValues": {
                    "SampleCount": 2,
                    "Sum": 12.0,
                    "Minimum": 5.0,
                    "Maximum": 7.0,
                },
            },
        ],
    )
    (told,) = shared.cloudwatch.list_metrics(Namespace="Test", MetricName="m")["Metrics"]
    assert told["Dimensions"] == ENDPOINT
    points = shared.cloudwatch.get_metric_statistics(
        Namespace="Test",
        MetricName="m",
        Dimensions=ENDPOINT,
        StartTime=now - timedelta(seconds=5),
        EndTime=now + timedelta(seconds=5),
        Period=600,
        Statistics=["SampleCount", "Sum", "Minimum", "Maximum"],
    )["Datapoints"]
    assert sum(one["Sum"] for one in points) == 20
    assert sum(one["SampleCount"] for one in points) == 6
    assert min(one["Minimum"] for one in points) == 1
    assert max(one["Maximum"] for one in points) == 7


def test_large_requests_are_packed_by_the_client_and_understood(shared):
    data = [{"MetricName": f"packed{number}", "Value": 1.0} for number in range(900)]
    shared.cloudwatch.put_metric_data(Namespace="Packed", MetricData=data)
    found = shared.cloudwatch.get_paginator("list_metrics").paginate(Namespace="Packed")
    assert sum(len(one["Metrics"]) for one in found) == 900


def test_metric_data_queries_take_metrics_and_expressions(shared):
    now = time.time()
    shared.emulator.put_metric("Test", "queried", {"EndpointName": "x"}, 7, "Count")
    metric = {"Namespace": "Test", "MetricName": "queried", "Dimensions": ENDPOINT}
    (result,) = shared.cloudwatch.get_metric_data(
        StartTime=now - 5,
        EndTime=now + 5,
        MetricDataQueries=[
            {
                "Id": "m1",
                "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Maximum"},
                "ReturnData": False,
            },
            {"Id": "e1", "Expression": "m1 * 2", "Label": "twice"},
        ],
    )["MetricDataResults"]
    assert (result["Label"], result["Values"]) == ("twice", [14.0])


def test_an_alarm_follows_its_metric(shared):
    shared.cloudwatch.put_metric_alarm(**alarm("follows", TreatMissingData="notBreaching"))
    wait_until(lambda: state(shared, "follows") == "OK")
    shared.emulator.put_metric("Test", "follows", {"EndpointName": "x"}, 6)
    wait_until(lambda: state(shared, "follows") == "ALARM")
    wait_until(lambda: state(shared, "follows") == "OK")


def test_an_alarm_without_its_dimension_never_sees_data(shared):
    shared.cloudwatch.put_metric_alarm(**alarm("blind", MetricName="seen", Dimensions=[]))
    shared.cloudwatch.put_metric_alarm(**alarm("sighted", MetricName="seen"))
    shared.emulator.put_metric("Test", "seen", {"EndpointName": "x"}, 6)
    wait_until(lambda: state(shared, "sighted") == "ALARM")
    assert state(shared, "blind") == "INSUFFICIENT_DATA"


def test_an_alarm_tells_its_topic_once_when_it_changes(shared):
    shared.cloudwatch.put_metric_alarm(**alarm("told", AlarmActions=[ERROR], OKActions=[ERROR]))
    shared.cloudwatch.set_alarm_state(AlarmName="told", StateValue="ALARM", StateReason="a test")

    def told():
        messages = [json.loads(one) for _, one in list(shared.listener.heard) if '"told"' in one]
        return [one for one in messages if one["NewStateValue"] == "ALARM"]

    (message,) = wait_until(told)
    assert message["OldStateValue"] == "INSUFFICIENT_DATA"
    assert message["Trigger"]["Dimensions"] == [{"value": "x", "name": "EndpointName"}]


def test_alarms_can_be_listed_muted_and_deleted(shared):
    shared.cloudwatch.put_metric_alarm(**alarm("mine-1"))
    shared.cloudwatch.put_metric_alarm(**alarm("mine-2"))
    shared.cloudwatch.disable_alarm_actions(AlarmNames=["mine-1"])
    found = shared.cloudwatch.describe_alarms(AlarmNamePrefix="mine-")["MetricAlarms"]
    assert [(one["AlarmName"], one["ActionsEnabled"]) for one in found] == [
        ("mine-1", False),
        ("mine-2", True),
    ]
    shared.cloudwatch.delete_alarms(AlarmNames=["mine-1", "mine-2"])
    assert not shared.cloudwatch.describe_alarms(AlarmNamePrefix="mine-")["MetricAlarms"]


def test_an_unknown_alarm_is_a_resource_not_found(shared):
    with pytest.raises(ClientError) as caught:
        shared.cloudwatch.set_alarm_state(AlarmName="no", StateValue="OK", StateReason="x")
    assert caught.value.response["Error"]["Code"] == "ResourceNotFound"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404


def test_a_bad_alarm_is_a_validation_error(shared):
    with pytest.raises(ClientError, match="Statistic"):
        shared.cloudwatch.put_metric_alarm(
            AlarmName="bad",
            ComparisonOperator="GreaterThanThreshold",
            EvaluationPeriods=1,
            Threshold=1,
            MetricName="m",
            Namespace="n",
            Period=60,
        )


def test_what_is_not_emulated_says_so(shared):
    with pytest.raises(ClientError, match="PutDashboard is not emulated"):
        shared.cloudwatch.put_dashboard(DashboardName="d", DashboardBody="{}")


def call_in_cbor(shared: Stage, operation: str, message: Any) -> Any:
    """As SDKs of other languages do."""
    request = urllib.request.Request(
        f"{shared.emulator.url}/service/GraniteServiceVersion20100801/operation/{operation}",
        cbor2.dumps(message, datetime_as_timestamp=True),
        {"Smithy-Protocol": "rpc-v2-cbor", "Content-Type": "application/cbor"},
    )
    try:
        with urllib.request.urlopen(request) as response:
            return response.status, response.headers, cbor2.loads(response.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, cbor2.loads(error.read())


def test_the_cbor_protocol_is_spoken_too(shared):
    now = datetime.now(UTC)
    datum = {"MetricName": "c", "Value": 3.0, "Timestamp": now}
    status, headers, _ = call_in_cbor(
        shared, "PutMetricData", {"Namespace": "Cbor", "MetricData": [datum]}
    )
    assert (status, headers["Smithy-Protocol"]) == (200, "rpc-v2-cbor")
    _, _, answer = call_in_cbor(
        shared,
        "GetMetricStatistics",
        {
            "Namespace": "Cbor",
            "MetricName": "c",
            "StartTime": now - timedelta(seconds=5),
            "EndTime": now + timedelta(seconds=5),
            "Period": 60,
            "Statistics": ["Sum"],
        },
    )
    (point,) = answer["Datapoints"]
    assert point["Sum"] == 3.0
    assert abs(point["Timestamp"] - now) < timedelta(seconds=1)


def test_errors_in_cbor_carry_both_codes(shared):
    status, headers, answer = call_in_cbor(
        shared, "SetAlarmState", {"AlarmName": "no", "StateValue": "OK", "StateReason": "x"}
    )
    assert status == 404
    assert answer["__type"].endswith("#ResourceNotFound")
    assert headers["x-amzn-query-error"] == "ResourceNotFound;Sender"


def test_what_is_not_a_message_is_a_serialization_error(shared):
    url = f"{shared.emulator.url}/service/GraniteServiceVersion20100801/operation/ListMetrics"
    for target, headers in [
        (url, {}),
        (shared.emulator.url, {"X-Amz-Target": "GraniteServiceVersion20100801.ListMetrics"}),
    ]:
        request = urllib.request.Request(target, b"\xff\x00 nonsense", headers)
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request)
        with caught.value:
            assert caught.value.code == 400
            assert b"SerializationException" in caught.value.read()


def test_an_alarm_may_be_put_as_a_template_writes_it(shared):
    texts = {"Period": "60", "EvaluationPeriods": "1", "Threshold": "5.5"}
    shared.emulator.call("cloudwatch", "PutMetricAlarm", alarm("templated", **texts))
    (found,) = shared.cloudwatch.describe_alarms(AlarmNames=["templated"])["MetricAlarms"]
    assert (found["Period"], found["EvaluationPeriods"], found["Threshold"]) == (60, 1, 5.5)


@pytest.mark.parametrize("is_packed", [False, True])
def test_the_json_protocol_is_spoken_too(shared, is_packed):
    body = json.dumps({"Namespace": "Json", "MetricData": [{"MetricName": "j", "Value": 1}]})
    packed = gzip.compress(body.encode()) if is_packed else body.encode()
    request = urllib.request.Request(
        shared.emulator.url,
        packed,
        {"X-Amz-Target": "GraniteServiceVersion20100801.PutMetricData"},
    )
    with urllib.request.urlopen(request) as response:
        assert response.status == 200
    assert shared.cloudwatch.list_metrics(Namespace="Json")["Metrics"]
