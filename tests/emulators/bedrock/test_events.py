"""EventBridge's events of jobs: as documented, and lost, doubled, late and mixed up on request."""

import json
import re
import uuid
from datetime import datetime
from pathlib import Path

import pytest

from tests.emulators.bedrock.stage import MISTRAL
from tests.emulators.conftest import wait_until

DOCUMENTED = Path(__file__).parents[3] / "events" / "eventbridge_bedrock_job.json"
WALK = ["Submitted", "Validating", "Scheduled", "InProgress", "Completed"]


def test_an_event_is_as_documented(shared):
    arn = shared.create(jobName="backburner-told")
    job = shared.until(arn)
    wait_until(lambda: "Completed" in shared.statuses(arn))
    event = next(one for one in shared.told if one["detail"]["status"] == "Completed"
                 and one["resources"] == [arn])  # fmt: skip
    documented = json.loads(DOCUMENTED.read_text())
    assert event.keys() == documented.keys()
    assert event["detail"].keys() == documented["detail"].keys()
    assert uuid.UUID(event["id"])
    assert re.fullmatch(r"[A-Z][a-z]{2} [A-Z][a-z]{2} \d\d \d\d:\d\d:\d\d UTC \d{4}", event["time"])
    created = f"{job['submitTime']:%b} {job['submitTime'].day}, {job['submitTime']:%Y}, "
    assert event["detail"].pop("creationTime").startswith(created)
    assert event["detail"] == {
        "version": "0.0",
        "accountId": "123456789012",
        "batchJobName": "backburner-told",
        "batchJobArn": arn,
        "batchModelId": f"arn:aws:bedrock:us-east-1::foundation-model/{MISTRAL}",
        "status": "Completed",
        "failureMessage": "",
    }
    assert event["source"] == "aws.bedrock"
    assert event["detail-type"] == "Batch Inference Job State Change"


def test_the_creation_time_is_written_as_in_the_documentation(shared):
    shared.run()
    told = shared.told[-1]["detail"]["creationTime"]
    assert re.fullmatch(r"[A-Z][a-z]{2} \d{1,2}, \d{4}, \d{1,2}:\d\d:\d\d [AP]M", told)


def test_a_failed_jobs_event_says_why(shared):
    arn = shared.create([])
    job = shared.until(arn)
    wait_until(lambda: shared.statuses(arn)[-1] == "Failed")
    assert shared.told[-1]["detail"]["failureMessage"] == job["message"]


def test_the_time_of_an_event_may_be_as_in_others(stage):
    stage.start(event_time="iso").run()
    assert datetime.fromisoformat(stage.told[0]["time"])


def test_a_listener_that_is_not_there_is_told_again(stage):
    stage.refusals = 3
    arn = stage.start().create()
    wait_until(lambda: sorted(stage.statuses(arn)) == sorted(WALK))


@pytest.mark.parametrize(
    ("knobs", "told"),
    [
        ({}, WALK),
        ({"lose_event_every_nth": 1}, []),
        ({"lose_event_every_nth": 5}, WALK[:4]),
        ({"duplicate_event_every_nth": 5}, [*WALK, "Completed"]),
        ({"swap_event_every_nth": 4}, [*WALK[:3], "Completed", "InProgress"]),
        ({"delay_event_every_nth": 2, "event_delay_seconds": 60.0}, WALK[::2]),
    ],
)
def test_events_are_told_as_the_knobs_want(stage, knobs, told):
    arn = stage.start(**knobs).create()
    stage.until(arn)
    wait_until(lambda: len(stage.statuses(arn)) >= len(told))
    stage.stop()
    assert stage.statuses(arn) == told


def test_a_late_event_comes_at_last(stage):
    arn = stage.start(delay_event_every_nth=1, event_delay_seconds=0.05).create()
    wait_until(lambda: sorted(stage.statuses(arn)) == sorted(WALK))


def test_an_event_that_waits_for_the_next_is_told_if_none_comes(stage):
    arn = stage.start(swap_event_every_nth=5).create()
    wait_until(lambda: stage.statuses(arn) == WALK)
