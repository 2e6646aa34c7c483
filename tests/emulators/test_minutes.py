"""Checklist 10: the metrics of each simulated minute."""

import pytest

from tests.emulators.conftest import endpoint, wait_until

MINUTE = 0.15


def test_every_minute_the_gauges_are_published_with_their_names_and_dimensions(stage):
    stage.start(endpoint(), minute_seconds=MINUTE)
    stage.in_service(1)
    stage.result()
    both = ("EndpointName", "VariantName")
    expected = {
        ("AWS/SageMaker", "ApproximateBacklogSize", ("EndpointName",)),
        ("AWS/SageMaker", "ApproximateBacklogSizePerInstance", ("EndpointName",)),
        ("AWS/SageMaker", "ApproximateAgeOfOldestRequest", ("EndpointName",)),
        ("AWS/SageMaker", "HasBacklogWithoutCapacity", ("EndpointName",)),
        ("AWS/SageMaker", "InvocationsProcesssed", both),
        ("AWS/SageMaker", "RequestDownloadLatency", both),
        ("AWS/SageMaker", "ResponseUploadLatency", both),
        ("AWS/SageMaker", "TimeInBacklog", both),
        ("AWS/SageMaker", "TotalProcessingTime", both),
        ("AWS/SageMaker", "ModelLatency", both),
        ("/aws/sagemaker/Endpoints", "CPUUtilization", both),
    }

    def found() -> set[tuple[str, str, tuple[str, ...]]]:
        return {
            (one["Namespace"], one["MetricName"], tuple(d["Name"] for d in one["Dimensions"]))
            for one in stage.cloudwatch.list_metrics()["Metrics"]
        }

    wait_until(lambda: found() >= expected)
    assert found() == expected


@pytest.mark.parametrize(("includes_inflight", "backlog"), [(True, 3), (False, 1)])
def test_whether_the_backlog_counts_work_in_flight_is_a_knob(stage, includes_inflight, backlog):
    stage.start(
        endpoint(max_concurrent_invocations_per_instance=2),
        minute_seconds=0.1,
        backlog_includes_inflight=includes_inflight,
    )
    stage.in_service(1)
    for _ in range(3):
        stage.invoke("sleep=1.5")  # many minutes, also on a machine that is busy
    wait_until(lambda: backlog in stage.metric("ApproximateBacklogSize", "Maximum", None))
    stage.listener.wait(3)
    wait_until(lambda: stage.metric("ApproximateBacklogSize", "Maximum", None)[-1] == 0)
    assert max(stage.metric("ApproximateBacklogSize", "Maximum", None)) == backlog


def test_at_zero_instances_there_is_a_backlog_without_capacity_and_none_per_instance(stage):
    stage.start(endpoint(initial_instance_count=0), minute_seconds=MINUTE)
    stage.invoke()
    wait_until(lambda: stage.metric("HasBacklogWithoutCapacity", "Average", None)[-2:] == [1, 1])
    assert stage.metric("ApproximateBacklogSizePerInstance", "Average", None) == []
    assert stage.metric("ApproximateAgeOfOldestRequest", "Maximum", None)[-1] > MINUTE
    assert (
        stage.metric("CPUUtilization", "SampleCount", "AllTraffic", "/aws/sagemaker/Endpoints")
        == []
    )


def test_the_samples_of_cpu_utilization_count_the_instances(stage):
    stage.start(endpoint(initial_instance_count=2), minute_seconds=MINUTE)
    stage.in_service(2)
    host = "/aws/sagemaker/Endpoints"

    def samples() -> list[float]:
        return list(stage.metric("CPUUtilization", "SampleCount", "AllTraffic", host))

    wait_until(lambda: samples()[1:] and samples()[-1] == 2)
    assert set(samples()) <= {1, 2}
