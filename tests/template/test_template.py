"""The template: what every function and queue must have, and that the local stack reads it."""

from pathlib import Path
from typing import Any

import pytest

from backburner_local import functions, template
from tests.template.expand import expand

ROOT = Path(__file__).parents[2]
TEMPLATE = template.load(ROOT / "template.yaml", {"CreateEndpoint": "true"})
EXPANDED = expand(ROOT / "template.yaml")["Resources"]


def of_type(kind: str) -> dict[str, dict[str, Any]]:
    return {n: r.get("Properties", {}) for n, r in EXPANDED.items() if r["Type"] == kind}


def test_the_template_has_every_function_of_the_pipeline():
    folders = {path.parent.name for path in (ROOT / "functions").glob("*/app.py")}
    assert {Path(f.folder).name for f in TEMPLATE.functions} == folders


@pytest.mark.parametrize("function", TEMPLATE.functions, ids=lambda f: f.name)
def test_every_handler_can_be_imported(function):
    assert callable(functions.load(ROOT, function).handler)


@pytest.mark.parametrize("function", TEMPLATE.functions, ids=lambda f: f.name)
def test_every_function_has_a_trigger(function):
    assert function.triggers


@pytest.mark.parametrize("function", TEMPLATE.functions, ids=lambda f: f.name)
def test_a_queue_hides_its_messages_longer_than_its_function_runs(function):
    for trigger in function.triggers:
        if trigger.kind == "SQS":
            queue = TEMPLATE.queues[trigger.properties["Queue"]]
            assert queue.visibility_seconds > function.timeout_seconds
            assert queue.max_receives > 1


def test_every_queue_that_is_read_has_dead_letters():
    queues = of_type("AWS::SQS::Queue")
    for name in TEMPLATE.queues:
        target = queues[name]["RedrivePolicy"]["deadLetterTargetArn"]["Fn::GetAtt"][0]
        assert target in queues


def test_the_drop_folder_does_not_feed_on_its_own_results():
    (drop,) = (
        trigger.properties["Filter"]["S3Key"]["Rules"]
        for function in TEMPLATE.functions
        for trigger in function.triggers
        if trigger.kind == "S3"
    )
    (prefix,) = (rule["Value"] for rule in drop if rule["Name"] == "prefix")
    assert prefix == "drop/"
    assert not any(other.startswith(prefix) for other in ("results/", "rejected/", "files/"))


def test_no_function_has_a_wildcard_resource_or_a_full_access_policy():
    for name, role in of_type("AWS::IAM::Role").items():
        if name == "ModelRole":
            continue
        for policy in role.get("Policies", []):
            found = policy["PolicyDocument"]["Statement"]
            for statement in found if isinstance(found, list) else [found]:
                assert statement["Resource"] != "*", name
        assert not any("FullAccess" in str(arn) for arn in role.get("ManagedPolicyArns", []))


def test_the_endpoint_scales_from_zero_to_the_most_and_back_on_our_own_backlog():
    (target,) = of_type("AWS::ApplicationAutoScaling::ScalableTarget").values()
    assert target["MinCapacity"] == 0
    for alarm in of_type("AWS::CloudWatch::Alarm").values():
        assert alarm["Namespace"] == "Backburner"
        assert alarm["MetricName"] in ("WantedInstances", "OutstandingRequests")
        assert [d["Name"] for d in alarm["Dimensions"]] == ["EndpointName"]


def test_the_local_stack_resolves_what_it_needs():
    (endpoint,) = TEMPLATE.of_type("AWS::SageMaker::Endpoint").values()
    assert endpoint["EndpointName"] == "backburner-mistral"
    config = TEMPLATE.of_type("AWS::SageMaker::EndpointConfig")[endpoint["EndpointConfigName"]]
    output = config["AsyncInferenceConfig"]["OutputConfig"]
    assert output["S3OutputPath"] == "s3://backburner-123456789012-us-east-1/async/output/"
    assert output["NotificationConfig"]["SuccessTopic"].startswith("arn:aws:sns:us-east-1:")
