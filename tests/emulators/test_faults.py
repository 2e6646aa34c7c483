"""Checklist 12: faults on purpose, to prove that handlers are idempotent."""

from functools import partial

import pytest
from botocore.exceptions import ClientError

from tests.emulators.conftest import Stage, client, endpoint, wait_until


def ids(stage: Stage) -> list[str]:
    return [message["inferenceId"] for _, message in stage.listener.results()]


@pytest.mark.parametrize(
    "knob", ["duplicate_notification_every_nth", "duplicate_enqueue_every_nth"]
)
def test_every_second_invocation_is_told_twice(stage, knob):
    stage.start(endpoint(), **{knob: 2})
    for number in range(4):
        stage.invoke(InferenceId=f"id-{number}")
    stage.listener.wait(6)
    counted = sorted(ids(stage).count(f"id-{number}") for number in range(4))
    assert counted == [1, 1, 2, 2]


def test_the_two_notifications_of_one_invocation_are_the_same_bytes(stage):
    stage.start(endpoint(), duplicate_notification_every_nth=1)
    stage.invoke()
    stage.listener.wait(2)
    first, second = stage.listener.raw_results()
    assert first == second


def test_a_lost_notification_leaves_its_output(stage):
    stage.start(endpoint(), lose_notification_every_nth=2)
    answers = [stage.invoke(InferenceId=f"id-{number}") for number in range(4)]
    for answer in answers:
        key = answer["OutputLocation"].removeprefix("s3://bucket/")
        wait_until(partial(stage.objects.exists, "bucket", key))
    stage.listener.wait(2)
    stage.stop()
    assert len(ids(stage)) == 2


def test_a_client_that_got_no_answer_enqueues_its_request_again(stage):
    stage.start(endpoint(), unavailable_after_enqueue_every_nth=2)
    for number in range(3):
        stage.invoke(InferenceId=f"id-{number}")
    stage.listener.wait(5)
    assert sorted(ids(stage).count(f"id-{number}") for number in range(3)) == [1, 2, 2]


@pytest.mark.parametrize(
    ("knob", "code", "status"),
    [
        ("unavailable_every_nth", "ServiceUnavailable", 503),
        ("throttle_every_nth", "ThrottlingException", 429),
    ],
)
def test_refusals_look_like_those_of_aws(stage, knob, code, status):
    stage.start(endpoint(initial_instance_count=0), **{knob: 1})
    patient = client("sagemaker-runtime", stage.emulator.url, retries={"total_max_attempts": 2})
    with pytest.raises(ClientError) as caught:
        patient.invoke_endpoint_async(EndpointName="my-ep", Body=b"x")
    patient.close()
    answer = caught.value.response
    assert answer["Error"]["Code"] == code
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == status
    assert answer["ResponseMetadata"]["RetryAttempts"] == 1
