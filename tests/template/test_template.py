"""The pipeline: its functions, what triggers them, and what happens to what they can't do."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from backburner.ports import Limits
from backburner.services import mirror
from backburner_local import functions, template
from tests.template.expand import ROOT, expanded
from tests.template.resolved import TEMPLATE, of_type

#: Functions that AWS calls without waiting for an answer.
ASYNCHRONOUS = {"S3", "SNS", "ScheduleV2", "EventBridgeRule"}

#: Properties that name a resource within its account and Region.
NAMES = {
    "BucketName",
    "DashboardName",
    "EndpointName",
    "FunctionName",
    "LogGroupName",
    "Name",
    "QueueName",
    "RoleName",
    "TableName",
    "TopicName",
}


def test_the_template_has_every_function_of_the_pipeline():
    folders = {path.parent.name for path in (ROOT / "functions").glob("*/app.py")}
    assert {Path(f.folder).name for f in TEMPLATE.functions} == folders


@pytest.mark.parametrize("function", TEMPLATE.functions, ids=lambda f: f.name)
def test_every_handler_can_be_imported(function):
    assert callable(functions.load(ROOT, function).handler)


def test_every_trigger_has_a_sample_of_its_event_and_every_sample_a_trigger():
    of_kind = {"HttpApi": "api", "S3": "s3", "ScheduleV2": "schedule", "SQS": "sqs", "SNS": "sns"}
    of_kind["EventBridgeRule"] = "eventbridge"
    expected = set()
    for function in TEMPLATE.functions:
        assert function.triggers
        for trigger in function.triggers:
            source = {"SQS": "Queue", "SNS": "Topic"}.get(trigger.kind)
            about = str(trigger.properties[source]).rpartition(":")[2] if source else ""
            name = about.removesuffix("Queue").removesuffix("Topic").lower()
            expected.add("_".join(filter(None, (of_kind[trigger.kind], name))))
    samples = {path.stem for path in (ROOT / "events").glob("*.json")}
    assert all(any(sample.startswith(one) for sample in samples) for one in expected)
    expected.add("sns_test_notification")  # SageMaker's, on either topic
    assert all(any(sample.startswith(one) for one in expected) for sample in samples)


# ---------------------------------------------------------------- queues


@pytest.mark.parametrize("function", TEMPLATE.functions, ids=lambda f: f.name)
def test_a_queue_hides_its_messages_longer_than_its_function_runs(function):
    for trigger in function.triggers:
        if trigger.kind == "SQS":
            queue = TEMPLATE.queues[trigger.properties["Queue"]]
            assert trigger.properties["MaximumBatchingWindowInSeconds"] == 0
            assert trigger.properties["ScalingConfig"]["MaximumConcurrency"] >= 2
            assert trigger.properties["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
            assert queue.max_receives == 5
            if function.timeout_seconds <= 60:
                assert queue.visibility_seconds == 6 * function.timeout_seconds
            else:
                assert 0 < queue.visibility_seconds - function.timeout_seconds <= 60


def test_functions_run_as_long_as_their_services_reckon_with():
    timeouts = {function.name: function.timeout_seconds for function in TEMPLATE.functions}
    assert timeouts["Plan"] == timeouts["Finalize"] == Limits().work_seconds
    assert timeouts["Reap"] > Limits().reap_seconds
    assert timeouts["Dispatch"] > 10 * (Limits().dispatch_seconds + 20)  # messages, each with a job
    assert timeouts["Api"] < 30, "API Gateway waits no longer"


def test_every_queue_is_read_or_holds_dead_letters_which_take_from_it_alone():
    queues = TEMPLATE.of_type("AWS::SQS::Queue")
    read = {
        str(t.properties["Queue"])
        for f in TEMPLATE.functions
        for t in f.triggers
        if t.kind == "SQS"
    }
    for name in read:
        dead = queues[queues[name]["RedrivePolicy"]["deadLetterTargetArn"]]
        (source,) = dead["RedriveAllowPolicy"]["sourceQueueArns"]
        assert source.rpartition(":")[2] == queues[name]["QueueName"]
        assert dead["MessageRetentionPeriod"] == 14 * 86400
    dead_letters = {queues[name]["RedrivePolicy"]["deadLetterTargetArn"] for name in read}
    assert set(queues) == read | dead_letters | {"EventDeadLetters"}


# ---------------------------------------------------------------- events without a queue


@pytest.mark.parametrize("function", TEMPLATE.functions, ids=lambda f: f.name)
def test_what_an_asynchronous_function_can_not_do_is_kept(function):
    properties = TEMPLATE.resources[f"{function.name}Function"]["Properties"]
    kinds = {trigger.kind for trigger in function.triggers}
    assert ("EventInvokeConfig" in properties) == bool(kinds & ASYNCHRONOUS)
    for trigger in function.triggers:
        if trigger.kind in ASYNCHRONOUS:
            target = properties["EventInvokeConfig"]["DestinationConfig"]["OnFailure"]
            assert target == {"Type": "SQS", "Destination": "EventDeadLetters"}
        if trigger.kind == "SNS":
            redrive = trigger.properties["RedrivePolicy"]
            assert redrive == {"deadLetterTargetArn": "EventDeadLetters"}
        if trigger.kind in ("ScheduleV2", "EventBridgeRule"):
            assert trigger.properties["DeadLetterConfig"] == {"Arn": "EventDeadLetters"}
        if trigger.kind == "ScheduleV2":
            assert trigger.properties["RetryPolicy"]["MaximumEventAgeInSeconds"] == 60


def test_the_drop_folder_does_not_feed_on_its_own_results():
    (drop,) = (
        trigger.properties["Filter"]["S3Key"]["Rules"]
        for function in TEMPLATE.functions
        for trigger in function.triggers
        if trigger.kind == "S3"
    )
    assert drop == [{"Name": "prefix", "Value": mirror.DROP}]
    assert not any(other.startswith(mirror.DROP) for other in (mirror.RESULTS, mirror.REJECTED))


# ---------------------------------------------------------------- the endpoint


def test_the_endpoint_scales_from_zero_to_the_most_and_back_on_our_own_backlog():
    (target,) = TEMPLATE.of_type("AWS::ApplicationAutoScaling::ScalableTarget").values()
    assert (target["MinCapacity"], target["MaxCapacity"]) == (0, 2)
    policies = TEMPLATE.of_type("AWS::ApplicationAutoScaling::ScalingPolicy")
    acting = {
        alarm["MetricName"]: alarm["TreatMissingData"]
        for alarm in TEMPLATE.of_type("AWS::CloudWatch::Alarm").values()
        if set(alarm["AlarmActions"]) & set(policies)
    }
    assert acting == {"WantedInstances": "notBreaching", "OutstandingRequests": "missing"}


def test_the_endpoint_writes_and_tells_where_the_functions_look():
    (endpoint,) = TEMPLATE.of_type("AWS::SageMaker::Endpoint").values()
    assert endpoint["EndpointName"] == "backburner-mistral"
    config = TEMPLATE.of_type("AWS::SageMaker::EndpointConfig")[endpoint["EndpointConfigName"]]
    output = config["AsyncInferenceConfig"]["OutputConfig"]
    assert output["S3OutputPath"] == "s3://backburner-123456789012-us-east-1/async/output/"
    assert output["NotificationConfig"]["SuccessTopic"].startswith("arn:aws:sns:us-east-1:")


@pytest.mark.parametrize(
    ("parameters", "image", "artifact"),
    [
        (
            {},
            "763104351884.dkr.ecr.us-east-1.amazonaws.com/vllm:server-sagemaker-cuda-v2.3",
            "s3://backburner-123456789012-us-east-1/models/mistral/",
        ),
        (
            {
                "ModelImageUri": "111122223333.dkr.ecr.us-east-1.amazonaws.com/own/server:1",
                "ModelS3Uri": "s3://elsewhere/weights/v1/",
            },
            "111122223333.dkr.ecr.us-east-1.amazonaws.com/own/server:1",
            "s3://elsewhere/weights/v1/",
        ),
    ],
)
def test_the_models_role_may_read_its_image_and_its_artifact(parameters, image, artifact):
    loaded = template.load(ROOT / "template.yaml", {"CreateEndpoint": "true"} | parameters)
    (model,) = loaded.of_type("AWS::SageMaker::Model").values()
    container = model["PrimaryContainer"]
    assert container["Image"] == image
    assert container["ModelDataSource"]["S3DataSource"]["S3Uri"] == artifact
    (policy,) = loaded.of_type("AWS::IAM::Role")["ModelRole"]["Policies"]
    allowed = {one["Sid"]: one["Resource"] for one in policy["PolicyDocument"]["Statement"]}
    account, bucket = image.partition(".")[0], artifact.split("/")[2]
    assert allowed["Image"] == f"arn:aws:ecr:us-east-1:{account}:repository/*"
    # The reader gives a bucket's name where CloudFormation gives the ARN of one of its own.
    read = allowed["Artifact"].removeprefix("arn:aws:s3:::").removesuffix("*")
    assert read.endswith("/")
    assert artifact.removeprefix("s3://").startswith(read)
    assert f"arn:aws:s3:::{bucket}" in allowed["Buckets"] or bucket in allowed["Buckets"]


def test_the_steps_give_the_instances_that_are_wanted():
    policy = TEMPLATE.of_type("AWS::ApplicationAutoScaling::ScalingPolicy")["ScaleOutPolicy"]
    steps = policy["StepScalingPolicyConfiguration"]["StepAdjustments"]
    assert len(steps) <= 20, "no policy may have more"
    assert [s["MetricIntervalLowerBound"] for s in steps[1:]] == [
        s["MetricIntervalUpperBound"] for s in steps[:-1]
    ]
    for step in steps[:-1]:
        assert step["ScalingAdjustment"] == step["MetricIntervalUpperBound"], "1 is the threshold"


def test_the_instance_type_can_be_changed_once_nothing_scales_the_endpoint():
    parameters = {"CreateEndpoint": "true", "ScaleInstances": "false"}
    loaded = template.load(ROOT / "template.yaml", parameters)
    assert loaded.of_type("AWS::SageMaker::Endpoint")
    assert not loaded.of_type("AWS::ApplicationAutoScaling::ScalableTarget")
    assert not loaded.of_type("AWS::ApplicationAutoScaling::ScalingPolicy")
    assert not {"WorkAlarm", "IdleAlarm"} & set(loaded.resources)


def test_without_an_endpoint_of_its_own_the_stack_has_no_instances_and_no_scaling():
    loaded = template.load(ROOT / "template.yaml")
    assert not [one for one in loaded.resources.values() if "SageMaker" in one["Type"]]
    assert not loaded.of_type("AWS::ApplicationAutoScaling::ScalableTarget")


# ---------------------------------------------------------------- deploying it


def test_the_configuration_of_deployments_names_parameters_that_there_are():
    environments = tomllib.loads((ROOT / "samconfig.toml").read_text())
    del environments["version"]
    stacks, endpoints = set(), set()
    for environment in environments.values():
        stacks.add(environment["global"]["parameters"]["stack_name"])
        deploy = environment["deploy"]["parameters"]
        assert deploy["capabilities"] == ["CAPABILITY_IAM"]
        given = dict(one.split("=", 1) for one in deploy.get("parameter_overrides", ()))
        assert set(given) <= set(expanded()["Parameters"])
        endpoints.add(given.get("EndpointName"))
    assert len(stacks) == len(endpoints) == len(environments) == 3, "they may share an account"


def test_two_stacks_of_one_account_do_not_take_each_others_names():
    for resource in expanded()["Resources"].values():
        given = {n: v for n, v in resource.get("Properties", {}).items() if n in NAMES}
        for value in given.values():
            assert not isinstance(value, str)
            assert "Ref" in value or re.search(r"\$\{(AWS::StackName|EndpointName)\}", str(value))


def test_every_parameter_is_described_and_in_one_group():
    parameters = expanded()["Parameters"]
    assert all(one["Description"].strip() for one in parameters.values())
    groups = expanded()["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    grouped = [name for group in groups for name in group["Parameters"]]
    assert sorted(grouped) == sorted(parameters)


def test_every_output_is_described():
    assert all(one["Description"].strip() for one in expanded()["Outputs"].values())


def test_no_alias_of_yaml_is_left_for_cloudformation_to_refuse():
    events = yaml.parse((ROOT / "template.yaml").read_text())
    assert not [e for e in events if isinstance(e, yaml.AliasEvent) or getattr(e, "anchor", None)]


def test_the_functions_are_what_sam_makes_of_them():
    assert set(of_type("AWS::Lambda::Function")) == {
        f"{f.name}Function" for f in TEMPLATE.functions
    }
