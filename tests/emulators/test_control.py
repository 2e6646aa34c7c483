"""The control plane through boto3: endpoints made, updated, listed and deleted by anyone."""

import json
import os
import sys
import urllib.request
from typing import Any

import pytest
from botocore.exceptions import ClientError, WaiterError

from backburner_local.emulators.sagemaker import Endpoint
from tests.emulators.conftest import ERROR, SUCCESS, Stage, endpoint, wait_until

ROLE = "arn:aws:iam::123456789012:role/sagemaker"
ASYNC = {
    "ClientConfig": {"MaxConcurrentInvocationsPerInstance": 16},
    "OutputConfig": {
        "S3OutputPath": "s3://bucket/out/",
        "S3FailurePath": "s3://bucket/failed/",
        "NotificationConfig": {
            "SuccessTopic": SUCCESS,
            "ErrorTopic": ERROR,
            "IncludeInferenceResponseIn": ["ERROR_NOTIFICATION_TOPIC"],
        },
    },
}
FAST = {"Delay": 1, "MaxAttempts": 10}


def create_config(stage: Stage, name: str, count: int = 1, **changes: Any) -> Any:
    variant: dict[str, Any] = {
        "VariantName": "AllTraffic",
        "ModelName": "model",
        "InitialInstanceCount": count,
    }
    return stage.control.create_endpoint_config(
        EndpointConfigName=name,
        ProductionVariants=[{**variant, "InstanceType": "ml.g5.xlarge"}],
        **{"AsyncInferenceConfig": ASYNC, **changes},
    )


@pytest.fixture
def made(stage):
    """An endpoint that a foreign user created."""
    stage.start()
    stage.control.create_model(
        ModelName="model",
        ExecutionRoleArn=ROLE,
        PrimaryContainer={"Image": "vllm:latest", "Environment": {"A": "1"}},
    )
    create_config(stage, "config")
    answer = stage.control.create_endpoint(EndpointName="my-ep", EndpointConfigName="config")
    assert answer["EndpointArn"] == "arn:aws:sagemaker:us-east-1:123456789012:endpoint/my-ep"
    return stage


def test_an_endpoint_created_by_boto3_works(made):
    waiter = made.control.get_waiter("endpoint_in_service")
    made.in_service(1)
    waiter.wait(EndpointName="my-ep", WaiterConfig=FAST)
    told = made.describe()
    assert told["AsyncInferenceConfig"] == ASYNC
    assert told["EndpointConfigName"] == "config"
    (variant,) = told["ProductionVariants"]
    assert (variant["CurrentInstanceCount"], variant["DesiredInstanceCount"]) == (1, 1)
    assert variant["DeployedImages"][0]["SpecifiedImage"] == "vllm:latest"
    topic, _ = made.result()
    assert topic == SUCCESS


def test_its_resources_are_described_as_they_were_made(made):
    config = made.control.describe_endpoint_config(EndpointConfigName="config")
    assert config["AsyncInferenceConfig"] == ASYNC
    assert config["ProductionVariants"][0]["InstanceType"] == "ml.g5.xlarge"
    model = made.control.describe_model(ModelName="model")
    assert model["PrimaryContainer"]["Image"] == "vllm:latest"


def test_an_endpoint_declared_in_code_is_described_like_any_other(shared):
    config = shared.control.describe_endpoint_config(EndpointConfigName="my-ep")
    assert config["AsyncInferenceConfig"]["OutputConfig"]["S3OutputPath"] == "s3://bucket/out/"
    assert "AsyncInferenceConfig" not in shared.describe("sync-ep")


def test_endpoints_are_listed(shared):
    def names(**filters: Any) -> list[str]:
        return [
            one["EndpointName"] for one in shared.control.list_endpoints(**filters)["Endpoints"]
        ]

    by_name = {"SortBy": "Name", "SortOrder": "Ascending"}
    assert names(**by_name) == ["my-ep", "no-failure-path", "sync-ep"]
    assert names(NameContains="sync") == ["sync-ep"]
    assert names(StatusEquals="Deleting") == []
    pages = shared.control.get_paginator("list_endpoints").paginate(
        **by_name, PaginationConfig={"PageSize": 2}
    )
    assert [len(page["Endpoints"]) for page in pages] == [2, 1]


def test_an_update_replaces_the_fleet_and_keeps_the_scaled_count(made):
    made.in_service(1)
    made.scaling.register_scalable_target(
        ServiceNamespace="sagemaker",
        ResourceId="endpoint/my-ep/variant/AllTraffic",
        ScalableDimension="sagemaker:variant:DesiredInstanceCount",
        MinCapacity=2,
        MaxCapacity=2,
    )
    made.in_service(2)
    _, before = made.result("peak=0")
    create_config(made, "config-2")
    made.control.update_endpoint(
        EndpointName="my-ep", EndpointConfigName="config-2", RetainAllVariantProperties=True
    )
    made.in_service(2)
    assert made.describe()["EndpointConfigName"] == "config-2"
    _, after = made.result("peak=0")
    pids = [
        made.read(one["responseParameters"]["outputLocation"]).split()[1] for one in (before, after)
    ]
    assert pids[0] != pids[1]


def test_an_emulator_can_be_stopped_in_the_middle_of_an_update(stage):
    stage.start(endpoint())
    stage.in_service(1)
    world = stage.emulator._started.result()[0]
    hosted = world.control.endpoints["my-ep"]
    (old,) = hosted.pool.instances
    slow = endpoint(instance_command=[sys.executable, "-c", "import time; time.sleep(60)"])
    stage.emulator._on_loop(lambda _: hosted.replace(slow, 1))
    pools = hosted._pools
    new = wait_until(lambda: len(pools) == 2 and pools[1].instances and pools[1].instances[0])
    wait_until(lambda: new.pid is not None)
    stage.stop()
    for pid in (old.pid, new.pid):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_deleted_endpoint_is_gone_with_its_work_and_its_scalable_target(made):
    made.in_service(1)
    made.scaling.register_scalable_target(
        ServiceNamespace="sagemaker",
        ResourceId="endpoint/my-ep/variant/AllTraffic",
        ScalableDimension="sagemaker:variant:DesiredInstanceCount",
        MinCapacity=0,
        MaxCapacity=1,
    )
    made.control.delete_endpoint(EndpointName="my-ep")
    with pytest.raises(ClientError, match="not found"):
        made.invoke()
    wait_until(lambda: not made.control.list_endpoints()["Endpoints"])
    made.control.get_waiter("endpoint_deleted").wait(EndpointName="my-ep", WaiterConfig=FAST)
    left = made.scaling.describe_scalable_targets(ServiceNamespace="sagemaker")
    assert left["ScalableTargets"] == []
    made.control.delete_endpoint_config(EndpointConfigName="config")
    made.control.delete_model(ModelName="model")


def test_work_of_an_endpoint_created_again_after_a_restart_is_taken_up(stage):
    stage.start(endpoint(initial_instance_count=0))
    stage.invoke(InferenceId="early")
    stage.stop()
    stage.start()
    with pytest.raises(ClientError, match="not found"):
        stage.invoke()
    stage.emulator.create_endpoint(endpoint())
    assert stage.listener.wait()[0][1]["inferenceId"] == "early"


@pytest.mark.parametrize(
    ("operation", "members", "complaint"),
    [
        ("describe_endpoint", {"EndpointName": "no"}, 'Could not find endpoint "arn:aws:sage'),
        ("describe_model", {"ModelName": "no"}, 'Could not find model "arn'),
        (
            "describe_endpoint_config",
            {"EndpointConfigName": "no"},
            'Could not find endpoint configuration "arn',
        ),
        (
            "create_endpoint",
            {"EndpointName": "my-ep", "EndpointConfigName": "my-ep"},
            'Cannot create already existing endpoint "arn',
        ),
        (
            "create_endpoint",
            {"EndpointName": "bad_name", "EndpointConfigName": "my-ep"},
            "regular expression pattern",
        ),
        ("create_model", {"ModelName": "m"}, "needs a container"),
        (
            "create_endpoint_config",
            {
                "EndpointConfigName": "c",
                "ProductionVariants": [{"VariantName": "v", "ModelName": "no"}],
            },
            "Could not find model",
        ),
        (
            "update_endpoint_weights_and_capacities",
            {
                "EndpointName": "my-ep",
                "DesiredWeightsAndCapacities": [{"VariantName": "no", "DesiredInstanceCount": 1}],
            },
            "Could not find variant",
        ),
    ],
)
def test_bad_calls_are_validation_exceptions(shared, operation, members, complaint):
    with pytest.raises(ClientError, match=complaint) as caught:
        getattr(shared.control, operation)(**members)
    assert caught.value.response["Error"]["Code"] == "ValidationException"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400


def test_an_endpoint_in_progress_cannot_be_updated(stage):
    stage.start(endpoint(), provisioning_delay_seconds=30)
    assert stage.describe()["EndpointStatus"] == "Creating"
    with pytest.raises(ClientError, match="Cannot update in-progress endpoint"):
        stage.control.update_endpoint_weights_and_capacities(
            EndpointName="my-ep",
            DesiredWeightsAndCapacities=[{"VariantName": "AllTraffic", "DesiredInstanceCount": 2}],
        )


def test_an_image_nobody_mapped_is_refused(stage):
    stage.start(command=())
    stage.control.create_model(
        ModelName="model", ExecutionRoleArn=ROLE, PrimaryContainer={"Image": "unknown"}
    )
    create_config(stage, "config")
    with pytest.raises(ClientError, match="which command stands for image unknown"):
        stage.control.create_endpoint(EndpointName="my-ep", EndpointConfigName="config")


def test_an_update_that_retains_nothing_starts_from_the_initial_count(made):
    made.in_service(1)
    create_config(made, "two", count=2)
    made.control.update_endpoint(EndpointName="my-ep", EndpointConfigName="two")
    made.in_service(2)


def test_a_console_can_ask_for_the_status(shared):
    with urllib.request.urlopen(f"{shared.emulator.url}/_emulator/status") as response:
        told = json.load(response)["my-ep"]
    assert told["status"] == "InService"
    assert told["instances"] == {"in_service": 1}
    assert [count for _, count in told["history"]] == [0, 1]


def test_operations_can_be_called_in_process(shared):
    told = shared.emulator.call("sagemaker", "DescribeEndpoint", {"EndpointName": "my-ep"})
    assert told["EndpointStatus"] == "InService"


def test_a_command_names_its_port():
    assert Endpoint(name="e", instance_command=["serve", "--port={port}"]).command(80) == [
        "serve",
        "--port=80",
    ]


def test_a_waiter_sees_a_failed_endpoint(stage):
    broken = endpoint(instance_command=["/no/such/program"])
    stage.start(broken, replace_backoff_seconds=0.01)
    wait_until(lambda: stage.describe()["EndpointStatus"] == "Failed")
    with pytest.raises(WaiterError):
        stage.control.get_waiter("endpoint_in_service").wait(
            EndpointName="my-ep", WaiterConfig=FAST
        )
