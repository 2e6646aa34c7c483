"""The checker of messages finds what is wrong with them, by botocore's own models."""

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.emulators import botocore_shapes as shapes

NOW = datetime(2026, 1, 1, tzinfo=UTC)
JOB_ARN = "arn:aws:bedrock:us-east-1:123456789012:model-invocation-job/6dy9j0cby1hy"
REQUEST: dict[str, Any] = {
    "jobName": "j",
    "roleArn": "arn:aws:iam::123456789012:role/r",
    "modelId": "mistral.mistral-large-2407-v1:0",
    "inputDataConfig": {"s3InputDataConfig": {"s3Uri": "s3://bucket/in.jsonl"}},
    "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://bucket/out/"}},
    "timeoutDurationInHours": 24,
}


def test_a_right_request_has_no_problems():
    assert shapes.request_problems("bedrock", "CreateModelInvocationJob", REQUEST) == []


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"jobName": "has_underscore"}, "does not match"),
        ({"jobName": "-" * 40 + "_"}, "does not match"),
        ({"jobName": "a" * 64}, "64 is more than 63"),
        ({"timeoutDurationInHours": 23}, "23 is less than 24"),
        ({"timeoutDurationInHours": "24"}, "str is no integer"),
        ({"modelInvocationType": "Nope"}, "is none of"),
        ({"whatever": 1}, "whatever is not in the model"),
        ({"inputDataConfig": {}}, "exactly one member"),
        ({"inputDataConfig": {"s3InputDataConfig": {}}}, "s3Uri is missing"),
        ({"tags": [{"key": "k"}]}, "value is missing"),
    ],
)
def test_what_the_model_forbids_is_found(changes, complaint):
    (problem,) = shapes.request_problems(
        "bedrock", "CreateModelInvocationJob", {**REQUEST, **changes}
    )
    assert complaint in problem


def test_a_response_is_held_against_its_model_without_boto3s_metadata():
    told = {"jobArn": JOB_ARN, "ResponseMetadata": {}}
    assert shapes.response_problems("bedrock", "CreateModelInvocationJob", told) == []
    assert shapes.response_problems("bedrock", "CreateModelInvocationJob", {}) != []
    assert shapes.response_problems("sagemaker", "StopTransformJob", {"x": 1}) != []


@pytest.mark.parametrize(("instant", "count"), [(NOW, 0), ("2026-01-01T00:00:00Z", 0), ("no", 1)])
def test_an_instant_may_be_as_boto3_or_as_json_has_it(instant, count):
    summary = {
        "jobArn": JOB_ARN,
        "jobName": "j",
        "submitTime": instant,
        **{name: REQUEST[name] for name in REQUEST if name not in {"timeoutDurationInHours"}},
    }
    told = {"invocationJobSummaries": [summary]}
    assert len(shapes.response_problems("bedrock", "ListModelInvocationJobs", told)) == count


@pytest.mark.parametrize(
    ("code", "status", "is_right"),
    [
        ("ConflictException", 400, True),
        ("ConflictException", 409, False),
        ("ResourceInUse", 400, False),
    ],
)
def test_an_error_must_be_one_of_the_operations_with_its_status(code, status, is_right):
    found = shapes.error_problems("bedrock", "CreateModelInvocationJob", code, status)
    assert (not found) is is_right


def test_the_members_of_a_message_are_written_like_those_of_the_model():
    known = shapes.members("bedrock", "CreateModelInvocationJob", of="input")
    assert "inputDataConfig.s3InputDataConfig.s3Uri" in known
    assert "tags[].key" in known
    assert shapes.members_in({**REQUEST, "tags": [{"key": "k", "value": "v"}]}) <= known


def test_every_violation_breaks_the_request_it_is_made_of():
    broken = dict(shapes.violations("bedrock", "CreateModelInvocationJob", REQUEST))
    assert {"jobName is missing", "jobName is too long", "timeoutDurationInHours is too small"} <= (
        broken.keys()
    )
    assert "inputDataConfig.s3InputDataConfig.s3Uri does not match the pattern" in broken
    for what, request in broken.items():
        assert shapes.request_problems("bedrock", "CreateModelInvocationJob", request), what
