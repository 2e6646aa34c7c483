"""Checklist 10: the metrics of each simulated minute."""

import time

import pytest

from tests.emulators.conftest import endpoint, wait_until

MINUTE = 0.15


def test_every_minute_the_gauges_are_published_with_their_names_and_dimensions(stage):
    stage.start(endpoint(), minute_seconds=MINUTE)
    stage.in_service(1)
    stage.result()
    time.sleep(2 * MINUTE)
    listed = stage.cloudwatch.list_metrics()["Metrics"]
    found = {
        (one["Namespace"], one["MetricName"], tuple(d["Name"] for d in one["Dimensions"]))
        for one in listed
    }
    both = ("EndpointName", "VariantName")
    sagemaker = {(name, dimensions) for space, name, dimensions in found if "AWS" in space}
    assert sagemaker == {
        ("ApproximateBacklogSize", ("EndpointName",)),
        ("ApproximateBacklogSizePerInstance", ("EndpointName",)),
        ("ApproximateAgeOfOldestRequest", ("EndpointName",)),
        ("HasBacklogWithoutCapacity", ("EndpointName",)),
        ("InvocationsProcesssed", both),
        ("RequestDownloadLatency", both),
        ("ResponseUploadLatency", both),
        ("TimeInBacklog", both),
        ("TotalProcessingTime", both),
        ("ModelLatency", both),
    }
    assert ("/aws/sagemaker/Endpoints", "CPUUtilization", both) in found


@pytest.mark.parametrize(("includes_inflight", "backlog"), [(True, 3), (False, 1)])
def test_whether_the_backlog_counts_work_in_flight_is_a_knob(stage, includes_inflight, backlog):
    stage.start(
        endpoint(max_concurrent_invocations_per_instance=2),
        minute_seconds=0.1,
        backlog_includes_inflight=includes_inflight,
    )
    stage.in_service(1)
    for _ in range(3):
        stage.invoke("sleep=0.4")
    stage.listener.wait(3)
    wait_until(lambda: stage.metric("ApproximateBacklogSize", "Maximum", None)[-1] == 0)
    assert max(stage.metric("ApproximateBacklogSize", "Maximum", None)) == backlog


def test_at_zero_instances_there_is_a_backlog_without_capacity_and_none_per_instance(stage):
    stage.start(endpoint(initial_instance_count=0), minute_seconds=MINUTE)
    stage.invoke()
    time.sleep(3 * MINUTE)
    assert stage.metric("HasBacklogWithoutCapacity", "Average", None)[-1] == 1
    assert stage.metric("ApproximateBacklogSizePerInstance", "Average", None) == []
    assert stage.metric("ApproximateAgeOfOldestRequest", "Maximum", None)[-1] > MINUTE
    assert (
        stage.metric("CPUUtilization", "SampleCount", "AllTraffic", "/aws/sagemaker/Endpoints")
        == []
    )


def test_the_samples_of_cpu_utilization_count_the_instances(stage):
    stage.start(endpoint(initial_instance_count=2), minute_seconds=MINUTE)
    stage.in_service(2)
    time.sleep(2.5 * MINUTE)
    host = "/aws/sagemaker/Endpoints"
    assert stage.metric("CPUUtilization", "SampleCount", "AllTraffic", host)[-1] == 2
