"""Checklist 11: alarms and policies, the way from zero and back."""

import time
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.emulators.conftest import Stage, endpoint, wait_until

MINUTE = 0.15
RESOURCE = {
    "ServiceNamespace": "sagemaker",
    "ResourceId": "endpoint/my-ep/variant/AllTraffic",
    "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
}
ENDPOINT = [{"Name": "EndpointName", "Value": "my-ep"}]


def register(stage: Stage, least: int = 0, most: int = 3) -> Any:
    return stage.scaling.register_scalable_target(**RESOURCE, MinCapacity=least, MaxCapacity=most)


def step_policy(
    stage: Stage,
    name: str,
    steps: list[dict[str, float]],
    kind: str = "ChangeInCapacity",
    cooldown: int = 60,
) -> Any:
    return stage.scaling.put_scaling_policy(
        **RESOURCE,
        PolicyName=name,
        PolicyType="StepScaling",
        StepScalingPolicyConfiguration={
            "AdjustmentType": kind,
            "Cooldown": cooldown,
            "StepAdjustments": steps,
        },
    )["PolicyARN"]


def alarm(stage: Stage, name: str, metric: str, policy: str, **changes: Any) -> None:
    values: dict[str, Any] = {
        "AlarmName": name,
        "Namespace": "AWS/SageMaker",
        "MetricName": metric,
        "Dimensions": ENDPOINT,
        "Statistic": "Average",
        "Period": 60,
        "EvaluationPeriods": 2,
        "DatapointsToAlarm": 2,
        "Threshold": 1,
        "ComparisonOperator": "GreaterThanOrEqualToThreshold",
        "TreatMissingData": "missing",
        "AlarmActions": [policy],
    }
    stage.cloudwatch.put_metric_alarm(**{**values, **changes})


def from_zero(stage: Stage) -> None:
    policy = step_policy(
        stage, "from-zero", [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}]
    )
    alarm(stage, "from-zero", "HasBacklogWithoutCapacity", policy)


def tracking(stage: Stage, target: float = 2.0) -> Any:
    return stage.scaling.put_scaling_policy(
        **RESOURCE,
        PolicyName="backlog",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={
            "TargetValue": target,
            "ScaleInCooldown": 0,
            "ScaleOutCooldown": 0,
            "CustomizedMetricSpecification": {
                "Namespace": "AWS/SageMaker",
                "MetricName": "ApproximateBacklogSizePerInstance",
                "Dimensions": ENDPOINT,
                "Statistic": "Average",
            },
        },
    )


def desired(stage: Stage) -> int:
    return int(stage.emulator.status()["my-ep"]["desired"])


def test_from_zero_to_many_and_back_to_zero(stage):
    stage.start(
        endpoint(initial_instance_count=0, max_concurrent_invocations_per_instance=1),
        minute_seconds=0.06,
    )
    stage.in_service(0)
    register(stage, 0, 3)
    from_zero(stage)
    made = tracking(stage, 2.0)["Alarms"]
    assert len(made) == 2
    assert all("TargetTracking-endpoint/my-ep" in one["AlarmName"] for one in made)
    for _ in range(12):
        stage.invoke("sleep=0.25")
    stage.listener.wait(12)
    wait_until(lambda: desired(stage) == 0, what="scaling back to zero")
    stage.in_service(0)
    counts = [count for _, count in stage.emulator.history["my-ep"]]
    assert counts[0] == counts[-1] == 0
    assert max(counts) == 3
    activities = stage.scaling.describe_scaling_activities(ServiceNamespace="sagemaker")
    causes = [one["Cause"] for one in activities["ScalingActivities"]]
    assert causes[-1] == "monitor alarm from-zero in state ALARM triggered policy from-zero"
    assert "AlarmLow" in causes[0]


def test_target_tracking_waits_three_minutes_out_and_fifteen_in(stage):
    stage.start(endpoint(initial_instance_count=1), minute_seconds=MINUTE)
    stage.in_service(1)
    register(stage, 0, 3)
    names = [one["AlarmName"] for one in tracking(stage, 10.0)["Alarms"]]
    found = stage.cloudwatch.describe_alarms(AlarmNames=names)["MetricAlarms"]
    told = {(one["EvaluationPeriods"], one["Period"], one["Threshold"]) for one in found}
    assert told == {(3, 60, 10.0), (15, 60, 9.0)}


def test_exact_capacity_steps_scale_on_a_metric_of_ones_own(stage):
    stage.start(endpoint(initial_instance_count=0), minute_seconds=0.1)
    stage.in_service(0)
    register(stage, 0, 2)
    out = step_policy(
        stage,
        "out",
        [
            {"MetricIntervalLowerBound": 0, "MetricIntervalUpperBound": 20, "ScalingAdjustment": 1},
            {"MetricIntervalLowerBound": 20, "ScalingAdjustment": 2},
        ],
        "ExactCapacity",
    )
    back = step_policy(
        stage,
        "in",
        [{"MetricIntervalUpperBound": 0, "ScalingAdjustment": 0}],
        "ExactCapacity",
    )
    own = {"Namespace": "Backburner", "EvaluationPeriods": 1, "DatapointsToAlarm": 1}
    alarm(stage, "out", "Outstanding", out, Statistic="Maximum", **own)
    low = {"Threshold": 0, "ComparisonOperator": "LessThanOrEqualToThreshold"}
    alarm(stage, "in", "Outstanding", back, **{**own, **low})

    def publish(value: float, until: int) -> None:
        def step() -> bool:
            stage.emulator.put_metric("Backburner", "Outstanding", {"EndpointName": "my-ep"}, value)
            return desired(stage) == until

        wait_until(step, what=f"{until} instances for {value}")

    publish(5, until=1)
    publish(30, until=2)
    publish(0, until=0)


def test_a_raised_minimum_scales_at_once_without_any_alarm(stage):
    stage.start(endpoint(initial_instance_count=0))
    stage.in_service(0)
    register(stage, 0, 2)
    assert desired(stage) == 0
    stage.scaling.register_scalable_target(**RESOURCE, MinCapacity=1)
    assert desired(stage) == 1
    (target,) = stage.scaling.describe_scalable_targets(ServiceNamespace="sagemaker")[
        "ScalableTargets"
    ]
    assert (target["MinCapacity"], target["MaxCapacity"]) == (1, 2)


def test_a_minimum_raised_during_an_update_is_met_after_it(stage):
    stage.start(
        endpoint(initial_instance_count=1), minute_seconds=MINUTE, provisioning_delay_seconds=0.4
    )
    register(stage, 0, 3)
    stage.scaling.register_scalable_target(**RESOURCE, MinCapacity=2)
    assert desired(stage) == 1
    failed = stage.scaling.describe_scaling_activities(ServiceNamespace="sagemaker")
    assert failed["ScalingActivities"][0]["StatusCode"] == "Failed"
    wait_until(lambda: desired(stage) == 2)


def test_scaling_in_waits_for_the_cooldown(stage):
    stage.start(endpoint(initial_instance_count=0), minute_seconds=0.05)
    stage.in_service(0)
    register(stage, 0, 2)
    up = step_policy(
        stage, "up", [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}], cooldown=600
    )
    down = step_policy(
        stage, "down", [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": -1}], cooldown=0
    )
    alarm(stage, "up", "Up", up, EvaluationPeriods=1, DatapointsToAlarm=1)
    alarm(stage, "down", "Down", down, EvaluationPeriods=1, DatapointsToAlarm=1)
    stage.emulator.put_metric("AWS/SageMaker", "Up", {"EndpointName": "my-ep"}, 1)
    wait_until(lambda: desired(stage) == 1)
    stage.in_service(1)

    def is_down():
        stage.emulator.put_metric("AWS/SageMaker", "Down", {"EndpointName": "my-ep"}, 1)
        return desired(stage) == 0

    wait_until(is_down)
    told = stage.scaling.describe_scaling_activities(ServiceNamespace="sagemaker")
    down_at, up_at = (one["StartTime"] for one in told["ScalingActivities"])
    assert (down_at - up_at).total_seconds() >= 0.49  # ten simulated minutes are 0.5 s


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda s: register(s, 2, 1), "ValidationException"),
        (
            lambda s: s.scaling.register_scalable_target(**RESOURCE, MinCapacity=1),
            "ValidationException",
        ),
        (
            lambda s: s.scaling.register_scalable_target(
                **{**RESOURCE, "ResourceId": "endpoint/none/variant/AllTraffic"},
                MinCapacity=0,
                MaxCapacity=1,
            ),
            "ValidationException",
        ),
        (
            lambda s: s.scaling.register_scalable_target(
                **{**RESOURCE, "ServiceNamespace": "ecs"}, MinCapacity=0, MaxCapacity=1
            ),
            "ValidationException",
        ),
        (lambda s: s.scaling.deregister_scalable_target(**RESOURCE), "ObjectNotFoundException"),
        (lambda s: step_policy(s, "p", []), "ObjectNotFoundException"),
        (
            lambda s: s.scaling.delete_scaling_policy(**RESOURCE, PolicyName="p"),
            "ObjectNotFoundException",
        ),
    ],
)
def test_bad_scaling_calls_are_refused(shared, call, code):
    with pytest.raises(ClientError) as caught:
        call(shared)
    assert caught.value.response["Error"]["Code"] == code


def test_suspended_scaling_out_does_nothing_until_it_is_resumed(stage):
    stage.start(endpoint(initial_instance_count=0), minute_seconds=0.05)
    stage.in_service(0)
    register(stage, 0, 2)
    up = step_policy(stage, "up", [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}])
    alarm(stage, "up", "Up", up, EvaluationPeriods=1, DatapointsToAlarm=1)

    def suspend(*, is_suspended: bool) -> None:
        stage.scaling.register_scalable_target(
            **RESOURCE, SuspendedState={"DynamicScalingOutSuspended": is_suspended}
        )

    def is_up() -> bool:
        stage.emulator.put_metric("AWS/SageMaker", "Up", {"EndpointName": "my-ep"}, 1)
        return desired(stage) > 0

    suspend(is_suspended=True)
    for _ in range(20):
        assert not is_up()
        time.sleep(0.01)
    suspend(is_suspended=False)
    wait_until(is_up)


def test_a_deleted_policy_does_nothing_any_more(stage):
    stage.start(endpoint(initial_instance_count=0), minute_seconds=0.05)
    stage.in_service(0)
    register(stage, 0, 2)
    up = step_policy(stage, "up", [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}])
    alarm(stage, "up", "Up", up, EvaluationPeriods=1, DatapointsToAlarm=1)
    stage.scaling.delete_scaling_policy(**RESOURCE, PolicyName="up")
    stage.emulator.put_metric("AWS/SageMaker", "Up", {"EndpointName": "my-ep"}, 1)

    def is_in_alarm():
        (told,) = stage.cloudwatch.describe_alarms(AlarmNames=["up"])["MetricAlarms"]
        return told["StateValue"] == "ALARM"

    wait_until(is_in_alarm)
    assert desired(stage) == 0


@pytest.mark.parametrize(
    ("kind", "config", "complaint"),
    [
        ("PredictiveScaling", {}, "not supported"),
        ("StepScaling", {}, "StepScalingPolicyConfiguration is required"),
        (
            "TargetTrackingScaling",
            {
                "TargetTrackingScalingPolicyConfiguration": {
                    "TargetValue": 70,
                    "PredefinedMetricSpecification": {
                        "PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"
                    },
                }
            },
            "Only CustomizedMetricSpecification",
        ),
    ],
)
def test_policies_that_can_never_work_are_refused(stage, kind, config, complaint):
    stage.start(endpoint(initial_instance_count=0))
    register(stage)
    with pytest.raises(ClientError, match=complaint):
        stage.scaling.put_scaling_policy(**RESOURCE, PolicyName="p", PolicyType=kind, **config)


def test_deregistering_takes_the_policies_and_their_alarms_along(stage):
    stage.start(endpoint(initial_instance_count=0))
    stage.in_service(0)
    arn = register(stage)["ScalableTargetARN"]
    assert arn.startswith("arn:aws:application-autoscaling:us-east-1:123456789012:scalable-target/")
    tracking(stage)
    tracking(stage, 3.0)
    (policy,) = stage.scaling.describe_scaling_policies(ServiceNamespace="sagemaker")[
        "ScalingPolicies"
    ]
    assert policy["PolicyName"] == "backlog"
    assert len(stage.cloudwatch.describe_alarms()["MetricAlarms"]) == 2
    stage.scaling.deregister_scalable_target(**RESOURCE)
    assert stage.cloudwatch.describe_alarms()["MetricAlarms"] == []
    listed = stage.scaling.describe_scaling_policies(ServiceNamespace="sagemaker")
    assert listed["ScalingPolicies"] == []


def test_a_policy_may_track_an_expression_over_several_metrics(stage):
    stage.start(endpoint(initial_instance_count=1), minute_seconds=0.06)
    stage.in_service(1)
    register(stage, 0, 3)
    metric = {"Namespace": "Own", "Dimensions": [{"Name": "EndpointName", "Value": "my-ep"}]}
    stage.scaling.put_scaling_policy(
        **RESOURCE,
        PolicyName="math",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={
            "TargetValue": 5,
            "CustomizedMetricSpecification": {
                "Metrics": [
                    {
                        "Id": name,
                        "ReturnData": False,
                        "MetricStat": {"Stat": "Maximum", "Metric": {"MetricName": name, **metric}},
                    }
                    for name in ("waiting", "running")
                ]
                + [{"Id": "e1", "Expression": "FILL(waiting, 0) + FILL(running, 0)"}],
            },
        },
    )

    def is_scaled():
        for name in ("waiting", "running"):
            stage.emulator.put_metric("Own", name, {"EndpointName": "my-ep"}, 6)
        return desired(stage) == 3

    wait_until(is_scaled)
