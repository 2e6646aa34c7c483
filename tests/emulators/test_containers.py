"""Checklist 7 and 8: what becomes of each kind of answer, of slowness, and of age."""

import json
from typing import Any

import pytest

from tests.emulators.conftest import ERROR, SUCCESS, Stage, endpoint, wait_until

NO_LENGTH = "The response from container primary did not specify the required Content-Length header"
WORDY = (
    "Response received from the primary container has headers with length greater than 4096 bytes."
    " Reduce the length of your container's response headers and update your endpoint."
)


@pytest.mark.parametrize(
    ("behaviour", "reason", "failure_object"),
    [
        ("status=500", "Received server error (500) from model.", b'{"error":"model says no"}'),
        ("status=400", "Received client error (400) from model.", b'{"error":"model says no"}'),
        ("chunked", NO_LENGTH, None),
        ("wordy=4096", WORDY, None),
        ("wordy=60000", WORDY, None),
        ("garbage", "could not be read", None),
        ("hangup", "could not be read", None),
    ],
)
def test_a_bad_answer_fails_once_and_is_not_tried_again(shared, behaviour, reason, failure_object):
    answer = shared.invoke(behaviour)
    found = wait_until(lambda: _told(shared, answer["InferenceId"]))
    ((topic, message),) = found
    assert topic == ERROR
    assert message["invocationStatus"] == "Failed"
    assert message["failureReason"].startswith("ClientError: ")
    assert reason in message["failureReason"]
    written = shared.read(answer["FailureLocation"])
    assert written == (failure_object or message["failureReason"].encode())
    assert not shared.objects.exists("bucket", answer["OutputLocation"][len("s3://bucket/") :])


def test_headers_below_the_limit_are_fine(shared):
    topic, _ = shared.result("wordy=3800")
    assert topic == SUCCESS


def test_the_container_gets_what_sagemaker_forwards_and_nothing_else(shared):
    _, message = shared.result(
        "headers", InferenceId="mine", ContentType="application/jsonl", Accept="text/x"
    )
    headers = dict(json.loads(shared.read(message["responseParameters"]["outputLocation"])))
    assert {key: value for key, value in headers.items() if key != "Host"} == {
        "Content-Length": "5",
        "Content-Type": "application/jsonl",
        "Accept": "text/x",
        "X-Amzn-SageMaker-Custom-Attributes": "headers",
        "X-Amzn-SageMaker-Inference-Id": "mine",
    }


def test_an_input_object_is_fetched_when_its_turn_comes(shared):
    shared.objects.put("bucket", "in/1.json", b"from S3" * 100_000)
    topic, message = shared.result(InputLocation="s3://bucket/in/1.json")
    assert topic == SUCCESS
    assert message["requestParameters"]["inputLocation"] == "s3://bucket/in/1.json"
    written = shared.read(message["responseParameters"]["outputLocation"])
    assert written == b"from S3" * 100_000


@pytest.mark.parametrize("location", ["s3://bucket/missing", "s3://bucket/", "s3://bucket/../x"])
def test_an_input_that_cannot_be_fetched_fails_later_not_at_submit(shared, location):
    topic, message = shared.result(InputLocation=location)
    assert topic == ERROR
    assert "Unable to download" in message["failureReason"]


def test_failures_are_counted(shared):
    before = {name: sum(shared.metric(name)) for name in _COUNTERS}
    shared.result("status=500")
    shared.result("status=404")
    shared.result(InputLocation="s3://bucket/missing")
    after = {name: sum(shared.metric(name)) for name in _COUNTERS}
    assert {name: after[name] - before[name] for name in _COUNTERS} == {
        "Invocation5XXErrors": 1,
        "Invocation4XXErrors": 1,
        "RequestDownloadFailures": 1,
        "InvocationFailures": 3,
        "InvocationsProcesssed": 3,
    }


_COUNTERS = (
    "Invocation5XXErrors",
    "Invocation4XXErrors",
    "RequestDownloadFailures",
    "InvocationFailures",
    "InvocationsProcesssed",
)


def test_an_output_that_cannot_be_written_is_a_failure(stage):
    stage.start(endpoint(s3_output_path="s3://bucket/out/taken"))
    stage.objects.put("bucket", "out/taken", b"a file where a folder must be")
    topic, message = stage.result()
    assert topic == ERROR
    assert "Unable to upload" in message["failureReason"]
    assert sum(stage.metric("ResponseUploadFailures")) == 1


def test_an_endpoint_without_output_path_only_tells(stage):
    stage.start(
        endpoint(s3_output_path=None, include_inference_response_in=["SUCCESS_NOTIFICATION_TOPIC"])
    )
    assert "OutputLocation" not in stage.invoke()
    ((topic, message),) = stage.listener.wait()
    assert topic == SUCCESS
    assert "outputLocation" not in message["responseParameters"]
    assert message["responseBody"]["encoding"] == "BASE64"


def test_a_slow_container_is_given_up_after_the_invocation_timeout(stage):
    stage.start(endpoint(), time_scale=0.01)
    topic, message = stage.result("sleep=2", InvocationTimeoutSeconds=20)
    assert topic == ERROR
    assert "timed out" in message["failureReason"]
    topic, message = stage.result("sleep=0.1", InvocationTimeoutSeconds=100)
    assert topic == SUCCESS


def test_what_waits_longer_than_its_ttl_expires(stage):
    stage.start(endpoint(initial_instance_count=0), time_scale=0.01)
    stage.invoke(InferenceId="long", RequestTTLSeconds=21_600)
    stage.invoke(InferenceId="short", RequestTTLSeconds=60)
    ((topic, message),) = stage.listener.wait()
    assert (topic, message["inferenceId"]) == (ERROR, "short")
    assert "expired" in message["failureReason"]
    assert sum(stage.metric("ExpiredRequests")) == 1
    assert stage.emulator.status()["my-ep"]["waiting"] == 1


def _told(stage: Stage, inference_id: str) -> list[tuple[str, Any]]:
    results = stage.listener.results()
    return [one for one in results if one[1]["inferenceId"] == inference_id]
