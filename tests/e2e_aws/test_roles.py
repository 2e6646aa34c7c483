"""What the functions' roles allow: enough, as the other tests show, and no more."""

import json
import re

import pytest

from tests.e2e_aws.clients import ACCOUNT, REGION
from tests.e2e_aws.conftest import World
from tests.e2e_aws.sagemaker import ENDPOINT

pytestmark = pytest.mark.e2e_aws

#: Who may call which action of SageMaker. ministack never sees these calls, so that only asking
#: its IAM tells.
SAGEMAKER = {
    "ApiFunction": ["sagemaker:InvokeEndpointAsync"],
    "DispatchFunction": ["sagemaker:InvokeEndpointAsync"],
    "PlanFunction": [],
    "OnSuccessFunction": [],
    "DeliverFunction": [],
}

#: Who is called without a queue, by S3, a topic or a schedule.
KEEP_WHAT_FAILED = (
    "OnUploadFunction",
    "OnSuccessFunction",
    "OnErrorFunction",
    "ReportBacklogFunction",
    "ReapFunction",
    "ReportBacklogFunctionEveryMinute",
    "ReapFunctionEveryMinute",
)

_WORRIES = re.compile("AccessDenied|not authorized|Traceback|ERROR")


def allowed(world: World, function: str, actions: list[str], resource: str) -> list[str]:
    """Those of the actions that a function's role may do."""
    role = f"arn:aws:iam::{ACCOUNT}:role/{world.deployment.resources[f'{function}Role']}"
    with world.aws.client("iam") as iam:
        answer = iam.simulate_principal_policy(
            PolicySourceArn=role, ActionNames=actions, ResourceArns=[resource]
        )
    return [
        one["EvalActionName"]
        for one in answer["EvaluationResults"]
        if one["EvalDecision"] == "allowed"
    ]


@pytest.mark.parametrize(("function", "expected"), SAGEMAKER.items())
def test_only_those_who_dispatch_may_invoke_the_endpoint(world, function, expected):
    endpoint = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:endpoint/{ENDPOINT}"
    asked = ["sagemaker:InvokeEndpointAsync", "sagemaker:DeleteEndpoint"]
    assert allowed(world, function, asked, endpoint) == expected
    other = endpoint.replace(ENDPOINT, "someone-elses")
    assert allowed(world, function, asked, other) == []


def test_nobody_was_refused_anything(world):
    """In all that ran before; these tests come last."""
    for function in world.deployment.functions:
        told = [line for line in world.deployment.log(function) if _WORRIES.search(line)]
        assert told == [], function


def test_nothing_was_given_up(world):
    with world.aws.client("sqs") as sqs:
        for name, url in world.deployment.resources.items():
            if name.endswith("DeadLetters"):
                found = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)
                assert found.get("Messages", []) == [], name


@pytest.mark.parametrize("function", ["ReportBacklogFunction", "ReapFunction"])
def test_a_schedule_may_call_its_function(world, function):
    arn = world.deployment.configuration(function)["FunctionArn"]
    actions = ["lambda:InvokeFunction"]
    assert allowed(world, f"{function}EveryMinute", actions, arn) == actions


@pytest.mark.parametrize("function", ["Plan", "Dispatch", "Finalize", "Deliver"])
def test_a_queue_may_be_read_with_the_role_of_its_function(world, function):
    """Lambda's pollers do that; ministack's ask nobody."""
    resources = world.deployment.resources
    queue = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{resources[f'{function}Queue'].rpartition('/')[2]}"
    actions = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"]
    assert allowed(world, f"{function}Function", actions, queue) == actions


def test_every_function_may_write_its_log(world):
    for function in world.deployment.functions:
        group = world.deployment.configuration(function)["LoggingConfig"]["LogGroup"]
        stream = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{group}:log-stream:x"
        actions = ["logs:CreateLogStream", "logs:PutLogEvents"]
        assert allowed(world, function, actions, stream) == actions, function


def test_what_schedules_and_topics_could_not_deliver_may_be_kept(world):
    queue = f"arn:aws:sqs:{REGION}:{ACCOUNT}:"
    queue += world.deployment.resources["EventDeadLetters"].rpartition("/")[2]
    actions = ["sqs:SendMessage"]
    for function in KEEP_WHAT_FAILED:
        assert allowed(world, function, actions, queue) == actions, function


def test_a_function_that_loses_a_permission_fails_and_says_which(world):
    """Without this, nothing would show that roles are enforced at all."""
    role = world.deployment.resources["ReportBacklogFunctionRole"]
    denial = {"Effect": "Deny", "Action": "dynamodb:*", "Resource": "*"}
    assert world.deployment.invoke("ReportBacklogFunction", {}) == (None, None)
    with world.aws.client("iam") as iam:
        iam.put_role_policy(
            RoleName=role,
            PolicyName="denied",
            PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [denial]}),
        )
        try:
            error, answer = world.deployment.invoke("ReportBacklogFunction", {})
        finally:
            iam.delete_role_policy(RoleName=role, PolicyName="denied")

    assert error == "Unhandled"
    told = json.dumps(answer) + "".join(world.deployment.log("ReportBacklogFunction"))
    assert "is not authorized to perform: dynamodb:" in told


@pytest.mark.parametrize("function", ["ReportBacklogFunction", "ReapFunction"])
def test_what_runs_every_minute_may_do_all_it_does(world, function):
    assert world.deployment.invoke(function, {}) == (None, None)
