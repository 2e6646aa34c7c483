"""Checklist 4-6: notifications byte for byte."""

import base64
import json
import re
from typing import Any

import pytest

from backburner_local.emulators.sagemaker import Endpoint, Knobs, notifications
from backburner_local.emulators.sagemaker.invocation import Invocation
from tests.emulators.conftest import ERROR, SUCCESS, endpoint, wait_until

MILLISECONDS = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
FULL = Invocation(
    id=1,
    endpoint="async-embed-endpoint",
    inference_id="03a98604-cf1f-44d1-b9c4-801dcbbe792b",
    accepted_at=1711684084.2795,
    ttl_seconds=60,
    timeout_seconds=60,
    input_location="s3://bucket/in/3025.json",
    content_type="application/json",
    accept="application/json",
    output_location="s3://bucket/out/dd334eb2-0276-4107-972a-280e0eecfd30.out",
    failure_location="s3://bucket/failed/dd334eb2-0276-4107-972a-280e0eecfd30-error.out",
)
BARE = Invocation(
    id=2, endpoint="e", inference_id="i", accepted_at=0, ttl_seconds=60, timeout_seconds=60
)
TAIL = '"eventVersion":"1.0","eventSource":"aws:sagemaker","eventName":"InferenceResult"}'


def completed(invocation: Invocation, where: Endpoint, **changes: Any) -> str:
    values: dict[str, Any] = {
        "at": 1711684085.0775,
        "response": b"[1]",
        "content_type": "application/json",
    }
    return notifications.completed(invocation, where, Knobs(), **{**values, **changes})


def failed(invocation: Invocation, where: Endpoint, knobs: Knobs, **changes: Any) -> str:
    values: dict[str, Any] = {"at": 1.0, "reason": "ClientError: no", "response": b"body"}
    return notifications.failed(invocation, where, knobs, **{**values, **changes})


def test_a_success_is_told_in_the_bytes_that_were_captured_on_aws():
    assert completed(FULL, endpoint()) == (
        '{"awsRegion":"us-east-1","eventTime":"2024-03-29T03:48:05.077Z",'
        '"receivedTime":"2024-03-29T03:48:04.279Z","invocationStatus":"Completed",'
        '"requestParameters":{"accept":"application/json","contentType":"application/json",'
        '"endpointName":"async-embed-endpoint","inputLocation":"s3://bucket/in/3025.json"},'
        '"responseParameters":{"contentType":"application/json",'
        '"outputLocation":"s3://bucket/out/dd334eb2-0276-4107-972a-280e0eecfd30.out"},'
        '"inferenceId":"03a98604-cf1f-44d1-b9c4-801dcbbe792b",' + TAIL
    )


def test_what_the_caller_did_not_send_is_not_told():
    message = json.loads(completed(BARE, endpoint()))
    assert message["requestParameters"] == {"endpointName": "e"}
    assert message["responseParameters"] == {"contentType": "application/json"}


def test_a_failure_is_told_in_the_known_order():
    assert failed(BARE, endpoint(), Knobs()) == (
        '{"awsRegion":"us-east-1","eventTime":"1970-01-01T00:00:01.000Z",'
        '"receivedTime":"1970-01-01T00:00:00.000Z","invocationStatus":"Failed",'
        '"failureReason":"ClientError: no","requestParameters":{"endpointName":"e"},'
        '"inferenceId":"i",' + TAIL
    )


@pytest.mark.parametrize(
    ("knob", "found"),
    [
        ("absent", (None, None)),
        ("top_level", (FULL.failure_location, None)),
        ("response_parameters", (None, {"failureLocation": FULL.failure_location})),
    ],
)
def test_where_the_failure_location_is_told_is_a_knob(knob, found):
    message = json.loads(failed(FULL, endpoint(), Knobs(failure_location_in=knob)))
    assert (message.get("failureLocation"), message.get("responseParameters")) == found


@pytest.mark.parametrize(
    ("topics", "size", "is_success", "is_included"),
    [
        (["SUCCESS_NOTIFICATION_TOPIC"], 128 * 1024, True, True),
        (["SUCCESS_NOTIFICATION_TOPIC"], 128 * 1024 + 1, True, False),
        (["ERROR_NOTIFICATION_TOPIC"], 1, True, False),
        (["ERROR_NOTIFICATION_TOPIC"], 1, False, True),
        (["SUCCESS_NOTIFICATION_TOPIC"], 1, False, False),
        ([], 1, True, False),
    ],
)
def test_a_response_is_included_when_asked_for_and_small(topics, size, is_success, is_included):
    where, response = endpoint(include_inference_response_in=topics), b"\xff" * size
    if is_success:
        text = completed(FULL, where, response=response)
    else:
        text = failed(FULL, where, Knobs(), response=response)
    message = json.loads(text)
    assert ("responseBody" in message) == is_included
    if is_included:
        assert base64.b64decode(message["responseBody"].pop("content")) == response
        assert message["responseBody"] == {
            "message": "Check S3 path location(if configured) or Cloudwatch for additional"
            " details.",
            "encoding": "BASE64",
        }
        names = list(message)
        assert names.index("responseBody") == names.index("inferenceId") - 1


def test_creating_updating_and_scaling_send_test_notifications_to_both_topics(stage):
    stage.start(endpoint(initial_instance_count=0))
    wait_until(lambda: sorted(stage.listener.tests()) == sorted([SUCCESS, ERROR]))
    assert {message for _, message in stage.listener.heard} == {
        '{"eventVersion":"1.0","eventSource":"aws:sagemaker","eventName":"TestNotification"}'
    }
    stage.control.update_endpoint_weights_and_capacities(
        EndpointName="my-ep",
        DesiredWeightsAndCapacities=[{"VariantName": "AllTraffic", "DesiredInstanceCount": 0}],
    )
    wait_until(lambda: len(stage.listener.tests()) == 4)


def test_what_is_published_is_compact_and_in_order(shared):
    shared.result(
        InferenceId="told", ContentType="text/csv", Accept="text/plain", CustomAttributes="x=1"
    )
    (raw,) = [one for one in shared.listener.raw_results() if '"told"' in one]
    assert re.fullmatch(
        rf'{{"awsRegion":"us-east-1","eventTime":"{MILLISECONDS}","receivedTime":"{MILLISECONDS}",'
        r'"invocationStatus":"Completed","requestParameters":{"accept":"text/plain",'
        r'"contentType":"text/csv","customAttributes":"x=1","endpointName":"my-ep"},'
        r'"responseParameters":{"contentType":"text/csv","outputLocation":"s3://bucket/out/'
        r'[0-9a-f-]{36}\.out"},"inferenceId":"told",' + re.escape(TAIL),
        raw,
    )


def test_the_output_is_there_when_its_notification_comes(shared):
    topic, message = shared.result(Body=b"there")
    assert topic == SUCCESS
    assert shared.read(message["responseParameters"]["outputLocation"]) == b"there"
