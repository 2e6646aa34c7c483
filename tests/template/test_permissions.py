"""Who may do what: each role what its function needs, by name."""

import json

import pytest

from backburner.adapters.eventbridge import SOURCE
from backburner.services import mirror
from backburner_local import template
from tests.template.expand import ROOT, expanded
from tests.template.prefixes import WRITTEN
from tests.template.resolved import TEMPLATE, listed, of_type, statements

FUNCTION_ROLES = [f"{function.name}FunctionRole" for function in TEMPLATE.functions]

#: Of functions that may end a batch, and stop its jobs with it.
STOPPING = ("ApiFunctionRole", "PlanFunctionRole", "OnSuccessFunctionRole", "OnErrorFunctionRole")

#: Actions that AWS knows no resources for.
WITHOUT_RESOURCE = {
    "ecr:GetAuthorizationToken": "a login at the registry, not at a repository",
    "cloudwatch:PutMetricData": "metrics have no ARN",
    "bedrock:ListModelInvocationJobs": "a list is of all jobs of the account",
    "servicequotas:ListServiceQuotas": "so is one of quotas",
}


@pytest.mark.parametrize("prefix", WRITTEN)
def test_objects_are_written_below_their_prefix(prefix):
    assert WRITTEN[prefix].startswith(prefix)


@pytest.mark.parametrize("name", [*FUNCTION_ROLES, "ModelRole", "TransformModelRole"])
def test_a_role_names_what_it_may_use(name):
    for statement in statements(name):
        actions = listed(statement["Action"])
        assert not [action for action in actions if "*" in action]
        if "*" in listed(statement["Resource"]):
            assert set(actions) <= set(WITHOUT_RESOURCE), name


@pytest.mark.parametrize("name", FUNCTION_ROLES)
def test_a_functions_objects_are_below_the_prefixes_that_there_are(name):
    for statement in statements(name):
        for action in listed(statement["Action"]):
            if not action.startswith("s3:") or action == "s3:ListBucket":
                continue
            for resource in listed(statement["Resource"]):
                key = resource.removeprefix("arn:aws:s3:::").partition("/")[2]
                prefix = key.partition("/")[0] + "/"
                assert prefix in (set(WRITTEN) | {mirror.DROP}), resource
                assert action == "s3:GetObject" or prefix in WRITTEN, resource


@pytest.mark.parametrize("name", FUNCTION_ROLES)
def test_who_reads_objects_can_tell_a_missing_one_from_a_forbidden_one(name):
    actions = {action for one in statements(name) for action in listed(one["Action"])}
    assert ("s3:GetObject" in actions) == ("s3:ListBucket" in actions)


def test_no_role_has_a_policy_of_somebody_else():
    roles = of_type("AWS::IAM::Role")
    assert set(FUNCTION_ROLES) < set(roles)
    assert not [name for name, role in roles.items() if role.get("ManagedPolicyArns")]


def test_the_roles_that_sam_makes_are_the_schedules_and_name_what_they_call():
    made = {n: r for n, r in of_type("AWS::IAM::Role").items() if n not in TEMPLATE.resources}
    assert set(made) == {"ReportBacklogFunctionEveryMinuteRole", "ReapFunctionEveryMinuteRole"}
    assert '"Resource": "*"' not in json.dumps(made)


def test_mail_is_sent_from_one_address_and_only_where_there_is_one():
    (mail,) = (
        one for one in statements("DeliverFunctionRole") if "ses:SendEmail" in listed(one["Action"])
    )
    assert mail["Condition"] == {"StringEquals": {"ses:FromAddress": "sender@example.com"}}
    assert [one.rpartition(":")[2] for one in mail["Resource"]] == [
        "identity/sender@example.com",
        "identity/example.com",
        "configuration-set/MailConfigurationSet",
    ]
    assert expanded()["Parameters"]["SenderAddress"]["Default"] == ""


@pytest.mark.parametrize("name", FUNCTION_ROLES)
def test_only_what_submits_sees_and_stops_may_use_transform_jobs(name):
    allowed = {
        action.removeprefix("sagemaker:")
        for one in statements(name)
        for action in listed(one["Action"])
        if "transform-job/backburner-*" in str(one["Resource"])
    }
    stops, sees = {"StopTransformJob"}, {"DescribeTransformJob", "StopTransformJob"}
    expected = {
        "DispatchFunctionRole": {"CreateTransformJob", "AddTags"},
        "OnJobFunctionRole": sees,
        "ReapFunctionRole": sees,
        **dict.fromkeys(STOPPING, stops),
    }
    assert allowed == expected.get(name, set())


@pytest.mark.parametrize("name", FUNCTION_ROLES)
def test_only_what_scales_and_invokes_may_use_the_endpoint(name):
    allowed = {
        action
        for one in statements(name)
        for action in listed(one["Action"])
        if action.startswith("sagemaker:") and "/backburner-*" not in str(one["Resource"])
    }
    everything = {
        "sagemaker:InvokeEndpointAsync",
        "sagemaker:DescribeEndpoint",
        "sagemaker:UpdateEndpointWeightsAndCapacities",
    }
    expected = {
        "ApiFunctionRole": everything,
        "DispatchFunctionRole": everything,
        "OnUploadFunctionRole": everything,
        "ReportBacklogFunctionRole": {"sagemaker:DescribeEndpoint"},
    }
    assert allowed == expected.get(name, set())


@pytest.mark.parametrize(
    ("given", "bus"),
    [
        ("default", "arn:aws:events:us-east-1:123456789012:event-bus/default"),
        ("learn", "arn:aws:events:us-east-1:123456789012:event-bus/learn"),
        (
            "arn:aws:events:eu-west-1:210987654321:event-bus/theirs",
            "arn:aws:events:eu-west-1:210987654321:event-bus/theirs",
        ),
    ],
)
def test_events_go_on_the_one_bus_that_was_named_and_with_our_name_alone(given, bus):
    loaded = template.load(ROOT / "template.yaml", {"EventBus": given})
    (policy,) = loaded.of_type("AWS::IAM::Role")["DeliverFunctionRole"]["Policies"]
    found = [
        one
        for one in policy["PolicyDocument"]["Statement"]
        if one and one["Action"] == "events:PutEvents"
    ]
    assert found == [
        {
            "Effect": "Allow",
            "Action": "events:PutEvents",
            "Resource": bus,
            "Condition": {"StringEquals": {"events:source": SOURCE}},
        }
    ]


def test_without_a_bus_nobody_may_put_events():
    roles = template.load(ROOT / "template.yaml", {}).of_type("AWS::IAM::Role")
    assert "events:PutEvents" not in json.dumps(roles, default=str)
