"""Checklist 1-3: what InvokeEndpointAsync answers to boto3."""

import re
import uuid

import pytest
from botocore.exceptions import ClientError

from tests.emulators.conftest import client, wait_until

UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"


def test_an_accepted_invocation_is_answered_with_202_and_its_locations(shared):
    answer = shared.invoke(InferenceId="id-1")
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 202
    assert answer["InferenceId"] == "id-1"
    assert headers["content-type"] == "application/json"
    assert headers["x-amzn-sagemaker-outputlocation"] == answer["OutputLocation"]
    assert headers["x-amzn-sagemaker-failurelocation"] == answer["FailureLocation"]
    assert re.fullmatch(UUID, headers["x-amzn-requestid"])


def test_an_inference_id_is_made_when_the_caller_has_none(shared):
    first, second = shared.invoke(), shared.invoke()
    assert uuid.UUID(first["InferenceId"]) != uuid.UUID(second["InferenceId"])


def test_the_output_is_named_by_a_uuid_that_is_not_the_inference_id(shared):
    chosen = str(uuid.uuid4())
    answer = shared.invoke(InferenceId=chosen)
    found = re.fullmatch(rf"s3://bucket/out/({UUID})\.out", answer["OutputLocation"])
    assert found is not None
    stem = found[1]
    assert stem != chosen
    assert answer["FailureLocation"] == f"s3://bucket/failed/{stem}-error.out"


@pytest.mark.parametrize(
    ("members", "location"),
    [
        ({"Filename": "r1.json"}, "s3://bucket/out/r1.json"),
        ({"S3OutputPathExtension": "jobs/j1", "Filename": "r1"}, "s3://bucket/out/jobs/j1/r1"),
        ({"S3OutputPathExtension": "/jobs/", "Filename": "r1"}, "s3://bucket/out/jobs/r1"),
    ],
)
def test_the_caller_may_name_the_output(shared, members, location):
    answer = shared.invoke(Body=b"named", **members)
    assert answer["OutputLocation"] == location
    wait_until(lambda: shared.objects.exists("bucket", location.removeprefix("s3://bucket/")))


def test_a_named_output_is_overwritten(shared):
    for body in (b"first", b"second"):
        _, told = shared.result(Body=body, Filename="again.json")
        assert shared.read(told["responseParameters"]["outputLocation"]) == body


def test_an_endpoint_without_failure_path_names_no_failure_location(shared):
    answer = shared.runtime.invoke_endpoint_async(EndpointName="no-failure-path", Body=b"x")
    assert "FailureLocation" not in answer
    assert "OutputLocation" in answer


@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        ({"EndpointName": "nobody"}, "Endpoint nobody of account 123456789012 not found."),
        ({"EndpointName": "no_body"}, "'endpointName' failed to satisfy"),
        ({"EndpointName": "sync-ep"}, "no AsyncInferenceConfig"),
        ({"InputLocation": "s3://bucket/in"}, "Exactly one of InputLocation and Body"),
        ({"Body": b""}, "Exactly one of InputLocation and Body"),
        ({"Body": b"x" * 128_001}, "length less than or equal to 128000"),
        ({"Body": b"", "InputLocation": "ftp://bucket/in"}, "'inputLocation' failed"),
        ({"RequestTTLSeconds": 21_601}, "less than or equal to 21600"),
        ({"InvocationTimeoutSeconds": 3_601}, "less than or equal to 3600"),
        ({"Filename": "a.b.c"}, "'filename' failed to satisfy"),
        ({"Filename": "f" * 33}, "length less than or equal to 32"),
        ({"Filename": ".hidden"}, "'filename' failed to satisfy"),
        ({"InferenceId": "i" * 65}, "length less than or equal to 64"),
        ({"S3OutputPathExtension": "s3://x"}, "'s3OutputPathExtension' failed"),
        ({"S3OutputPathExtension": "a/../../b"}, "must not contain"),
        ({"S3OutputPathExtension": "a b"}, "'s3OutputPathExtension' failed"),
        ({"CustomAttributes": "c" * 1025}, "length less than or equal to 1024"),
        ({"Filename": "a.b.c", "RequestTTLSeconds": 21_601}, "2 validation errors detected: "),
    ],
)
def test_a_bad_call_is_a_validation_error(shared, members, complaint):
    with pytest.raises(ClientError, match=re.escape(complaint)) as caught:
        shared.runtime.invoke_endpoint_async(**{"EndpointName": "my-ep", "Body": b"x", **members})
    answer = caught.value.response
    assert answer["Error"]["Code"] == "ValidationError"
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert answer["ResponseMetadata"]["RetryAttempts"] == 0


@pytest.mark.parametrize(
    "members",
    [{"RequestTTLSeconds": 59}, {"InvocationTimeoutSeconds": 0}, {"InferenceId": ""}],
)
def test_minimums_are_checked_by_the_server_too(shared, members):
    careless = client("sagemaker-runtime", shared.emulator.url, parameter_validation=False)
    with pytest.raises(ClientError, match="greater than or equal to") as caught:
        careless.invoke_endpoint_async(EndpointName="my-ep", Body=b"x", **members)
    careless.close()
    assert caught.value.response["Error"]["Code"] == "ValidationError"


@pytest.mark.parametrize(
    "members",
    [
        {"Body": b"x" * 128_000},
        {"RequestTTLSeconds": 60},
        {"RequestTTLSeconds": 21_600, "InvocationTimeoutSeconds": 3_600},
        {"InvocationTimeoutSeconds": 1},
        {"Filename": "f" * 32},
        {"InferenceId": "i" * 64},
        {"InferenceId": "two words"},
        {"CustomAttributes": "c" * 1024},
    ],
)
def test_limits_are_inclusive(shared, members):
    answer = shared.runtime.invoke_endpoint_async(
        **{"EndpointName": "my-ep", "Body": b"x", **members}
    )
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 202


def test_the_synchronous_call_is_refused(shared):
    with pytest.raises(ClientError, match="only receive asynchronous") as caught:
        shared.runtime.invoke_endpoint(EndpointName="my-ep", Body=b"x")
    assert caught.value.response["Error"]["Code"] == "ValidationError"


def test_one_inference_id_twice_is_two_invocations(shared):
    first, second = (shared.invoke(InferenceId="twice") for _ in range(2))
    assert first["OutputLocation"] != second["OutputLocation"]

    def told():
        results = shared.listener.results()
        return sum(message["inferenceId"] == "twice" for _, message in results) == 2

    wait_until(told)
