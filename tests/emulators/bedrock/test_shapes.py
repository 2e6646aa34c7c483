"""Requests and responses are those of botocore's own models: members, enumerations, errors."""

from typing import Any

import pytest
from botocore import xform_name
from botocore.exceptions import ClientError

from backburner_local.emulators.bedrock.checks import CREATE, LIST
from backburner_local.emulators.bedrock.job import OVER, Status
from backburner_local.emulators.wire import ApiError
from tests.emulators import botocore_shapes as shapes
from tests.emulators.bedrock.stage import MISTRAL, Stage

KEY = "arn:aws:kms:us-east-1:123456789012:key/00000000-0000-0000-0000-000000000000"
OPERATIONS = [
    "CreateModelInvocationJob",
    "GetModelInvocationJob",
    "ListModelInvocationJobs",
    "StopModelInvocationJob",
    "TagResource",
    "UntagResource",
    "ListTagsForResource",
]


def whole_request(stage: Stage) -> dict[str, Any]:
    """One with every member that there is."""
    request = stage.request(clientRequestToken=f"token-{next(stage._names)}")
    where = request["inputDataConfig"]["s3InputDataConfig"]
    where |= {"s3InputFormat": "JSONL", "s3BucketOwner": "123456789012"}
    where = request["outputDataConfig"]["s3OutputDataConfig"]
    where |= {"s3EncryptionKeyId": KEY, "s3BucketOwner": "123456789012"}
    return request | {
        "timeoutDurationInHours": 168,
        "vpcConfig": {"subnetIds": ["subnet-0a"], "securityGroupIds": ["sg-0a"]},
        "tags": [{"key": "project", "value": "backburner"}],
    }


def test_a_request_with_every_member_is_taken_and_told_again(shared: Stage):
    request = whole_request(shared)
    assert shapes.members_in(request) == shapes.members(
        "bedrock", "CreateModelInvocationJob", of="input"
    )
    answer = shared.bedrock.create_model_invocation_job(**request)
    assert shapes.response_problems("bedrock", "CreateModelInvocationJob", answer) == []
    told = shared.until(answer["jobArn"])
    del request["tags"], request["modelId"]
    assert request.items() <= told.items()


def test_the_emulators_rules_know_the_members_of_the_model():
    for name, rule in (("CreateModelInvocationJob", CREATE), ("ListModelInvocationJobs", LIST)):
        shape = shapes.operation("bedrock", name).input_shape
        assert rule.members.keys() == shape.members.keys()
        assert sorted(rule.required) == sorted(shape.required_members)


def test_what_the_model_forbids_is_refused(shared):
    broken = list(shapes.violations("bedrock", "CreateModelInvocationJob", whole_request(shared)))
    assert len(broken) > 40
    for what, request in broken:
        with pytest.raises(ApiError) as caught:
            shared.emulator.call("bedrock", "CreateModelInvocationJob", request)
        assert (what, caught.value.code) == (what, "ValidationException")
        assert caught.value.message.startswith(("1 validation error detected: Value ", "2 valid"))


@pytest.mark.parametrize("name", ["ListModelInvocationJobs"])
def test_what_the_model_forbids_in_a_query_is_refused(shared, name):
    request = {
        "statusEquals": "Completed",
        "nameContains": "a",
        "maxResults": 1,
        "sortBy": "CreationTime",
        "sortOrder": "Ascending",
    }
    assert shared.emulator.call("bedrock", name, request) is not None
    for what, broken in shapes.violations("bedrock", name, request):
        with pytest.raises(ApiError) as caught:
            shared.emulator.call("bedrock", name, broken)
        assert (what, caught.value.code) == (what, "ValidationException")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"jobName": "has_underscore"}, "at 'jobName' failed to satisfy constraint: Member must"),
        ({"jobName": "-" * 40 + "_"}, "at 'jobName'"),
        ({"jobName": "a" * 100}, "length less than or equal to 63"),
        ({"clientRequestToken": "a_b"}, "at 'clientRequestToken'"),
        ({"clientRequestToken": "a-"}, "at 'clientRequestToken'"),
        ({"timeoutDurationInHours": 500}, "value less than or equal to 168"),
        ({"modelInvocationType": "Nope"}, r"enum value set: \[InvokeModel, Converse\]"),
        ({"roleArn": "role"}, "at 'roleArn'"),
        (
            {"inputDataConfig": {"s3InputDataConfig": {"s3Uri": "s3://bucket/dt=2026/in.jsonl"}}},
            "at 'inputDataConfig.s3InputDataConfig.s3Uri'",
        ),
        (
            {"outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://bucket/a b/"}}},
            "at 'outputDataConfig.s3OutputDataConfig.s3Uri'",
        ),
    ],
)
def test_what_boto3_lets_through_the_service_refuses(shared, changes, complaint):
    with pytest.raises(ClientError, match=complaint) as caught:
        shared.create(**changes)
    assert caught.value.response["Error"]["Code"] == "ValidationException"


def test_several_mistakes_are_told_together(shared):
    with pytest.raises(ClientError, match=r"2 validation errors detected: .*jobName.*; .*roleArn"):
        shared.create(jobName="_", roleArn="x")


def test_between_them_the_states_of_jobs_tell_every_member(stage):
    stage.start(min_records=2)
    ended = stage.until(stage.bedrock.create_model_invocation_job(**whole_request(stage))["jobArn"])
    failed = stage.run([b'{"modelInput": {}}\n'])
    assert failed["message"]
    told = shapes.members_in(ended) | shapes.members_in(failed)
    wanted = shapes.members("bedrock", "GetModelInvocationJob")
    assert wanted - told == set()
    page = stage.bedrock.list_model_invocation_jobs(maxResults=1)
    assert shapes.response_problems("bedrock", "ListModelInvocationJobs", page) == []
    rest = stage.bedrock.list_model_invocation_jobs()
    told = shapes.members_in(page) | shapes.members_in(rest)
    assert shapes.members("bedrock", "ListModelInvocationJobs") - told == set()


def test_the_states_are_those_of_the_model():
    shape = shapes.operation("bedrock", "GetModelInvocationJob").output_shape
    assert [str(status) for status in Status] == shape.members["status"].enum
    assert {"Completed", "PartiallyCompleted", "Failed", "Stopped", "Expired"} == OVER


def test_a_job_is_told_rightly_in_every_state(stage):
    lasting = ("submitted", "validating", "scheduled", "in_progress")
    stage.start(**{f"{state}_seconds": 3600.0 for state in lasting})
    arn = stage.create()
    for status in ("Submitted", "Validating", "Scheduled", "InProgress", "Completed"):
        told = stage.until(arn, status)
        assert shapes.response_problems("bedrock", "GetModelInvocationJob", told) == []
        stage.emulator.advance(3601)


def test_every_error_is_one_of_its_operation_with_its_status(stage):
    stage.start(slots_per_model=1, stick_every_nth=1)
    first = stage.request(clientRequestToken="token")
    arn = stage.bedrock.create_model_invocation_job(**first)["jobArn"]
    nobody = "arn:aws:bedrock:us-east-1:123456789012:model-invocation-job/abcdefghij12"
    many = [{"key": f"k{n}", "value": "v"} for n in range(60)]
    calls: list[tuple[str, dict[str, Any], str]] = [
        ("CreateModelInvocationJob", stage.request(), "ServiceQuotaExceededException"),
        ("CreateModelInvocationJob", stage.request(jobName="_"), "ValidationException"),
        ("CreateModelInvocationJob", {**first, "jobName": "b"}, "ConflictException"),
        ("GetModelInvocationJob", {"jobIdentifier": nobody}, "ResourceNotFoundException"),
        ("StopModelInvocationJob", {"jobIdentifier": nobody}, "ResourceNotFoundException"),
        ("ListModelInvocationJobs", {"maxResults": 2000}, "ValidationException"),
        ("TagResource", {"resourceARN": arn, "tags": many}, "TooManyTagsException"),
        ("TagResource", {"resourceARN": nobody, "tags": []}, "ResourceNotFoundException"),
        ("UntagResource", {"resourceARN": nobody, "tagKeys": []}, "ResourceNotFoundException"),
        ("ListTagsForResource", {"resourceARN": nobody}, "ResourceNotFoundException"),
    ]
    for operation, request, code in calls:
        method = getattr(stage.bedrock, xform_name(operation))
        with pytest.raises(ClientError) as caught:
            method(**request)
        told = caught.value.response
        assert told["Error"]["Code"] == code
        status = told["ResponseMetadata"]["HTTPStatusCode"]
        assert shapes.error_problems("bedrock", operation, code, status) == []
    stage.emulator.turn(throttle_every_nth=1, throttle_create_every_nth=1)
    for operation in OPERATIONS:
        with pytest.raises(ApiError) as refused:
            stage.emulator.call("bedrock", operation, {})
        problems = shapes.error_problems(
            "bedrock", operation, refused.value.code, refused.value.status
        )
        assert problems == []


def test_tags_are_told_as_the_model_has_them(shared):
    arn = shared.create(tags=[{"key": "a", "value": ""}], modelId=MISTRAL)
    told = shared.bedrock.list_tags_for_resource(resourceARN=arn)
    assert shapes.response_problems("bedrock", "ListTagsForResource", told) == []
    assert told["tags"] == [{"key": "a", "value": ""}]
