"""What callers may do with jobs: create once, find, list, tag; and what they are refused."""

import time
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from backburner_local.emulators.bedrock.models import FoundationModel
from tests.emulators.bedrock.stage import CLAUDE, MISTRAL, ROLE, Stage, records


def code_of(caught: "pytest.ExceptionInfo[ClientError]") -> str:
    return str(caught.value.response["Error"]["Code"])


# ---- once


def test_the_same_token_creates_one_job(shared: Stage):
    request = shared.request(clientRequestToken="a" * 64)
    arns = {shared.bedrock.create_model_invocation_job(**request)["jobArn"] for _ in range(3)}
    assert len(arns) == 1


def test_a_token_cannot_be_used_for_another_job(shared):
    request = shared.request(clientRequestToken="token-of-one")
    shared.bedrock.create_model_invocation_job(**request)
    with pytest.raises(ClientError) as caught:
        shared.bedrock.create_model_invocation_job(**{**request, "jobName": "other"})
    assert code_of(caught) == "ConflictException"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400


def test_what_a_token_that_is_used_again_answers_is_a_choice(stage):
    stage.start(changed_repeat="first_job")
    request = stage.request(clientRequestToken="token")
    arn = stage.bedrock.create_model_invocation_job(**request)["jobArn"]
    other = stage.bedrock.create_model_invocation_job(**{**request, "jobName": "other"})["jobArn"]
    assert other == arn


def test_a_job_whose_creator_never_heard_of_it_is_found_with_the_same_token(stage):
    stage.start(lose_answer_every_nth=2)
    request = stage.request(clientRequestToken="token")
    stage.run()
    arn = stage.bedrock.create_model_invocation_job(**request)["jobArn"]  # tried again by botocore
    assert [job["jobArn"] for job in stage.emulator.status().values()].count(arn) == 1
    assert len(stage.emulator.status()) == 2


def test_names_may_be_used_again_unless_the_knob_says_otherwise(stage):
    stage.start()
    assert stage.create(jobName="same") != stage.create(jobName="same")
    stage.emulator.turn(unique_job_names=True)
    with pytest.raises(ClientError, match="ConflictException"):
        stage.create(jobName="same")


# ---- quotas


def test_a_model_has_so_many_slots_and_other_peoples_jobs_hold_some(stage):
    stage.start(slots_per_model=3, scheduled_seconds=60, foreign_jobs={MISTRAL: 1})
    first = stage.create()
    stage.create()
    with pytest.raises(ClientError) as caught:
        stage.create()
    assert code_of(caught) == "ServiceQuotaExceededException"
    stage.create(modelId=CLAUDE)
    stage.bedrock.stop_model_invocation_job(jobIdentifier=first)
    stage.until(first)
    stage.create()


def test_other_peoples_jobs_are_listed_and_can_come_and_go(stage):
    stage.start(foreign_jobs={MISTRAL: 2, CLAUDE: 1})
    listed = stage.bedrock.list_model_invocation_jobs(statusEquals="InProgress")
    names = [job["jobName"] for job in listed["invocationJobSummaries"]]
    assert sorted(names) == ["of-someone-else-000", "of-someone-else-000", "of-someone-else-001"]
    stage.emulator.turn(foreign_jobs={})
    assert stage.bedrock.list_model_invocation_jobs()["invocationJobSummaries"] == []


def test_profiles_of_a_model_share_its_slots_and_a_custom_model_has_its_own(stage):
    stage.start(slots_per_model=1, slots_per_custom_model=1, scheduled_seconds=60)
    stage.create(modelId=CLAUDE)
    with pytest.raises(ClientError, match="ServiceQuotaExceededException"):
        stage.create(modelId=f"us.{CLAUDE}")
    custom = f"arn:aws:bedrock:us-east-1:123456789012:custom-model/{CLAUDE}:200k/abcdefghij12"
    stage.create(modelId=custom)
    with pytest.raises(ClientError, match="ServiceQuotaExceededException"):
        stage.create(modelId=custom)


def test_a_quota_may_be_full_although_the_list_does_not_show_it(stage):
    stage.start(quota_error_every_nth=2)
    stage.create()
    with pytest.raises(ClientError, match="ServiceQuotaExceededException"):
        stage.create()


# ---- models


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (CLAUDE, f"arn:aws:bedrock:us-east-1::foundation-model/{CLAUDE}"),
        (f"eu.{CLAUDE}", f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/eu.{CLAUDE}"),
        (
            f"arn:aws:bedrock:us-east-1::foundation-model/{CLAUDE}",
            f"arn:aws:bedrock:us-east-1::foundation-model/{CLAUDE}",
        ),
        (
            f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.{CLAUDE}",
            f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.{CLAUDE}",
        ),
    ],
)
def test_a_model_is_told_by_its_arn(shared, asked, told):
    assert shared.job(shared.create(modelId=asked))["modelId"] == told


@pytest.mark.parametrize(
    "model_id",
    [
        "no.such-model-v1:0",
        f"xx.{CLAUDE}",
        "arn:aws:bedrock:us-east-1::foundation-model/no.such-v1",
        "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/unknown",
        "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abcdefghij12",
    ],
)
def test_an_unknown_model_is_refused(shared, model_id):
    with pytest.raises(ClientError, match="model identifier is invalid") as caught:
        shared.create(modelId=model_id)
    assert code_of(caught) == "ValidationException"


def test_further_models_and_profiles_can_be_told(stage):
    own = FoundationModel(id="own.model-v1:0", display_name="Own Model", family="openai")
    profile = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"
    stage.start(models=(own,), application_profiles={profile: own.id})
    assert stage.run(modelId=profile)["status"] == "Completed"
    assert stage.run(modelId=own.id)["status"] == "Completed"


# ---- finding


def test_a_job_is_found_by_its_arn_and_by_its_id(shared):
    arn = shared.create()
    assert arn.startswith("arn:aws:bedrock:us-east-1:123456789012:model-invocation-job/")
    assert shared.job(arn)["jobArn"] == shared.job(arn[-12:])["jobArn"] == arn


@pytest.mark.parametrize("operation", ["get_model_invocation_job", "stop_model_invocation_job"])
def test_a_job_that_is_not_there_is_not_found(shared, operation):
    with pytest.raises(ClientError) as caught:
        getattr(shared.bedrock, operation)(jobIdentifier="abcdefghij12")
    assert code_of(caught) == "ResourceNotFoundException"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404


def test_a_list_comes_page_by_page_newest_first_though_jobs_are_created_meanwhile(stage):
    stage.start()
    created = [stage.create() for _ in range(5)]
    page = stage.bedrock.list_model_invocation_jobs(maxResults=2)
    seen = [job["jobArn"] for job in page["invocationJobSummaries"]]
    stage.create()
    while "nextToken" in page:
        page = stage.bedrock.list_model_invocation_jobs(maxResults=2, nextToken=page["nextToken"])
        seen += [job["jobArn"] for job in page["invocationJobSummaries"]]
    assert seen == created[::-1]


def test_the_paginator_finds_all_in_the_order_asked_for(stage):
    stage.start()
    created = [stage.create() for _ in range(5)]
    pages = stage.bedrock.get_paginator("list_model_invocation_jobs").paginate(
        sortBy="CreationTime", sortOrder="Ascending", PaginationConfig={"PageSize": 2}
    )
    assert [job["jobArn"] for page in pages for job in page["invocationJobSummaries"]] == created


def test_a_list_can_be_narrowed(stage):
    stage.start(stick_every_nth=3)

    def named(**filters: Any) -> list[str]:
        told = stage.bedrock.list_model_invocation_jobs(sortOrder="Ascending", **filters)
        return [job["jobName"] for job in told["invocationJobSummaries"]]

    for name in ("backburner-1", "backburner-2"):
        stage.until(stage.create(jobName=name))
    time.sleep(0.002)
    between = datetime.now(UTC)
    stage.until(stage.create(jobName="backburner-3"), "Scheduled")
    assert named(nameContains="burner-") == ["backburner-1", "backburner-2", "backburner-3"]
    assert named(nameContains="other") == []
    assert named(statusEquals="Completed") == ["backburner-1", "backburner-2"]
    assert named(statusEquals="Scheduled") == ["backburner-3"]
    assert named(submitTimeAfter=between) == ["backburner-3"]
    assert named(submitTimeBefore=between) == ["backburner-1", "backburner-2"]
    assert named(submitTimeAfter=between + timedelta(days=1)) == []


def test_a_token_of_a_list_that_is_none_is_refused(shared):
    with pytest.raises(ClientError, match="ValidationException"):
        shared.bedrock.list_model_invocation_jobs(nextToken="nonsense")


# ---- tags


def test_a_job_has_tags_that_can_be_changed(shared):
    arn = shared.create(tags=[{"key": "a", "value": "1"}])
    shared.bedrock.tag_resource(resourceARN=arn, tags=[{"key": "b", "value": "2"}])
    shared.bedrock.untag_resource(resourceARN=arn, tagKeys=["a", "never-there"])
    told = shared.bedrock.list_tags_for_resource(resourceARN=arn)["tags"]
    assert told == [{"key": "b", "value": "2"}]


def test_a_job_has_fifty_tags_at_most(shared):
    many = [{"key": f"k{n}", "value": "v"} for n in range(51)]
    with pytest.raises(ClientError, match="TooManyTagsException"):
        shared.create(tags=many)


# ---- permissions


def test_a_role_may_not_be_passed_by_everyone(stage):
    stage.start(denied_roles=(ROLE,))
    with pytest.raises(ClientError) as caught:
        stage.create()
    assert code_of(caught) == "AccessDeniedException"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


@pytest.mark.parametrize(("bucket", "action"), [("bucket", "GetObject"), ("closed", "PutObject")])
def test_a_bucket_that_the_role_does_not_reach_fails_the_job_later(stage, bucket, action):
    stage.start(denied_buckets=(bucket,))
    output = {"s3OutputDataConfig": {"s3Uri": "s3://closed/out/"}}
    job = stage.run(outputDataConfig=output)
    assert job["status"] == "Failed"
    assert action in job["message"]


# ---- calls


def test_calls_can_be_throttled(stage):
    stage.start(throttle_create_every_nth=2, throttle_every_nth=1)
    impatient = stage.client("bedrock", retries={"total_max_attempts": 1})
    impatient.create_model_invocation_job(**stage.request())
    for call in (
        lambda: impatient.create_model_invocation_job(**stage.request()),
        impatient.list_model_invocation_jobs,
    ):
        with pytest.raises(ClientError) as caught:
            call()
        assert code_of(caught) == "ThrottlingException"
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 429


def test_a_job_that_cannot_be_kept_is_not_created(stage):
    stage.start()
    kept = stage.root / "data" / "jobs"
    kept.rename(kept.with_name("elsewhere"))
    impatient = stage.client("bedrock", retries={"total_max_attempts": 1})
    with pytest.raises(ClientError) as caught:
        impatient.create_model_invocation_job(**stage.request())
    assert code_of(caught) == "InternalServerException"
    assert stage.emulator.status() == {}
    kept.with_name("elsewhere").rename(kept)
    assert stage.run()["status"] == "Completed"


def test_a_job_goes_on_although_its_state_cannot_be_kept(stage):
    arn = stage.start(stick_every_nth=1).create()
    stage.until(arn, "Scheduled")
    kept = stage.root / "data" / "jobs"
    kept.rename(kept.with_name("elsewhere"))
    stage.bedrock.stop_model_invocation_job(jobIdentifier=arn)
    assert stage.until(arn)["status"] == "Stopped"


def test_jobs_of_other_people_are_of_models_that_there_are(stage):
    with pytest.raises(ValueError, match="there is no model no"):
        stage.start(foreign_jobs={"no.such-model": 1})
    stage.emulator = None
    stage.start()
    with pytest.raises(ValueError, match="there is no model no"):
        stage.emulator.turn(foreign_jobs={"no.such-model": 1})
    assert stage.run()["status"] == "Completed"


def test_a_console_can_ask_for_the_status(shared):
    arn = shared.create(records(1))
    with urllib.request.urlopen(f"{shared.emulator.url}/_emulator/status") as response:
        assert response.headers["x-amzn-RequestId"]
        assert arn.encode() in response.read()


def test_an_operation_that_is_not_emulated_says_so(shared):
    with pytest.raises(ClientError, match="404"):
        shared.bedrock.list_foundation_models()
