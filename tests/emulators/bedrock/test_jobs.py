"""A job's way from its creation to its end, as boto3 sees it."""

import contextlib
import json
import time

import pytest
from botocore.exceptions import ClientError

from tests.emulators.bedrock.stage import HURRY, MISTRAL, Stage, ask, record, records
from tests.emulators.conftest import wait_until

LAST = 24 * 3600


def test_a_job_answers_every_record_and_tells_so(shared: Stage):
    arn = shared.create(records(5))
    job = shared.until(arn)
    assert job["status"] == "Completed"
    assert job["modelId"] == f"arn:aws:bedrock:us-east-1::foundation-model/{MISTRAL}"
    lines = {line["recordId"]: line for line in shared.output(arn)}
    assert lines.keys() == {one["recordId"] for one in records(5)}
    line = lines["R0000000002"]
    assert line["modelInput"] == ask("say 2")
    assert line["modelOutput"]["output"]["message"]["content"] == [{"text": "say 2"}]
    assert shared.keys(arn) == ["manifest.json.out", "records.jsonl.out"]
    assert shared.manifest(arn) == {
        "totalRecordCount": 5,
        "processedRecordCount": 5,
        "successRecordCount": 5,
        "errorRecordCount": 0,
        "inputTokenCount": sum(
            one["modelOutput"]["usage"]["inputTokens"] for one in lines.values()
        ),
        "outputTokenCount": sum(
            one["modelOutput"]["usage"]["outputTokens"] for one in lines.values()
        ),
    }
    wait_until(lambda: "Completed" in shared.statuses(arn))
    walked = ["Submitted", "Validating", "Scheduled", "InProgress", "Completed"]
    assert shared.statuses(arn) == walked


def test_the_counters_are_zero_before_the_records_are_known(stage):
    arn = stage.start(validating_seconds=60).create(records(4))
    job = stage.until(arn, "Validating")
    assert {job[f"{kind}RecordCount"] for kind in ("total", "processed", "success", "error")} == {0}


def test_a_job_whose_every_record_failed_is_still_completed(shared):
    arn = shared.create([record(n, {"messages": []}) for n in range(3)])
    job = shared.until(arn)
    assert (job["status"], job["successRecordCount"], job["errorRecordCount"]) == (
        "Completed",
        0,
        3,
    )
    assert "message" not in job
    assert {line["error"]["errorCode"] for line in shared.output(arn)} == {400}
    assert not any("modelOutput" in line for line in shared.output(arn))


def test_the_output_has_another_order_than_the_input_and_the_same_each_time(shared):
    arn = shared.create(records(30))
    shared.until(arn)
    told = [line["recordId"] for line in shared.output(arn)]
    given = [one["recordId"] for one in records(30)]
    assert told != given
    assert sorted(told) == given


def test_records_of_the_same_id_are_all_answered(shared):
    same = [{"recordId": "SAME", "modelInput": ask(f"say {n}")} for n in range(3)]
    arn = shared.create(same)
    shared.until(arn)
    assert [line["recordId"] for line in shared.output(arn)] == ["SAME"] * 3


def test_a_record_without_an_id_gets_one(shared):
    arn = shared.create([{"modelInput": ask("say 1")}, {"modelInput": ask("say 2")}])
    shared.until(arn)
    ids = {line["recordId"] for line in shared.output(arn)}
    assert len(ids) == 2
    assert all(len(one) == 11 and one.isalnum() for one in ids)


def test_members_that_bedrock_does_not_know_are_not_echoed(shared):
    arn = shared.create([{**record(1), "custom": 1}])
    shared.until(arn)
    (line,) = shared.output(arn)
    assert line.keys() == {"recordId", "modelInput", "modelOutput"}


def test_output_and_manifest_grow_while_the_job_runs(stage):
    arn = stage.start(answers=10).create(records(40))
    assert stage.processed(arn, 10)["status"] == "InProgress"
    wait_until(lambda: "manifest.json.out" in stage.keys(arn), what="a manifest")
    wait_until(lambda: stage.manifest(arn)["processedRecordCount"] == 10, what="the last flush")
    assert stage.manifest(arn)["totalRecordCount"] == 40
    assert len(stage.output(arn)) == 10
    stage.gate.open()
    stage.until(arn)
    assert len(stage.output(arn)) == stage.manifest(arn)["processedRecordCount"] == 40


# ---- stopping


def test_a_stopped_job_keeps_what_it_has_paid_for(stage):
    arn = stage.start(answers=10).create(records(40))
    stage.processed(arn, 10)
    assert stage.bedrock.stop_model_invocation_job(jobIdentifier=arn)
    assert stage.job(arn)["status"] == "Stopping"
    stage.gate.open()
    job = stage.until(arn)
    assert job["status"] == "Stopped"
    done = stage.output(arn)
    assert len(done) == 12  # two were in the model's hands
    assert job["processedRecordCount"] == stage.manifest(arn)["processedRecordCount"] == len(done)
    assert job["totalRecordCount"] == 40
    assert stage.emulator.totals().by_record_id.keys() == {line["recordId"] for line in done}


def test_a_job_that_is_stopped_before_it_runs_writes_nothing(stage):
    arn = stage.start(scheduled_seconds=60).create()
    stage.until(arn, "Scheduled")
    stage.bedrock.stop_model_invocation_job(jobIdentifier=arn)
    assert stage.until(arn)["status"] == "Stopped"
    assert stage.keys(arn) == []


@pytest.mark.parametrize("code", ["ValidationException", "ConflictException"])
def test_a_job_that_has_ended_cannot_be_stopped(stage, code):
    stage.start(stop_again_code=code)
    arn = stage.create()
    stage.until(arn)
    with pytest.raises(ClientError, match=code) as caught:
        stage.bedrock.stop_model_invocation_job(jobIdentifier=arn)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400


def test_a_job_that_is_being_stopped_cannot_be_stopped_again(stage):
    arn = stage.start(stopping_seconds=60, in_progress_seconds=60).create()
    stage.bedrock.stop_model_invocation_job(jobIdentifier=arn)
    with pytest.raises(ClientError, match="ValidationException"):
        stage.bedrock.stop_model_invocation_job(jobIdentifier=arn)


def test_whoever_stops_a_job_as_it_ends_finds_one_end_and_all_that_was_done(stage):
    stage.start(concurrency=1)
    for _ in range(5):
        arn = stage.create(records(3))
        stage.processed(arn, 2)
        with contextlib.suppress(ClientError):
            stage.bedrock.stop_model_invocation_job(jobIdentifier=arn)
        job = stage.until(arn)
        assert job["status"] in {"Stopped", "Completed"}
        assert len(stage.output(arn)) == job["processedRecordCount"] >= 2


# ---- time


def test_a_job_that_waits_too_long_expires_and_says_when_its_validation_ended(stage):
    stage.start(stick_every_nth=1)
    arn = stage.create()
    waiting = stage.until(arn, "Scheduled")
    stage.emulator.advance(LAST + 60)
    job = stage.until(arn)
    assert job["status"] == "Expired"
    assert job["endTime"] == waiting["lastModifiedTime"]
    assert job["lastModifiedTime"] >= job["jobExpirationTime"]
    assert stage.keys(arn) == []


def test_when_an_expired_job_ended_is_a_choice(stage):
    stage.start(stick_every_nth=1, expired_end_time="expiry")
    arn = stage.create()
    stage.until(arn, "Scheduled")
    stage.emulator.advance(LAST + 60)
    job = stage.until(arn)
    assert job["endTime"] == job["lastModifiedTime"]


def test_a_job_that_runs_out_of_time_keeps_what_it_has(stage):
    arn = stage.start(answers=10).create(records(40), timeoutDurationInHours=48)
    stage.processed(arn, 10)
    stage.emulator.advance(2 * LAST)
    assert stage.job(arn)["status"] == "InProgress"
    stage.gate.open()
    job = stage.until(arn)
    assert job["status"] == "PartiallyCompleted"
    assert len(stage.output(arn)) == job["processedRecordCount"] == 12


def test_only_what_is_missing_in_a_partial_job_need_be_run_again(stage):
    stage.start(partial_every_nth=2, partial_at=0.5)
    stage.run(records(1))
    first = stage.create(records(10))
    assert stage.until(first)["status"] == "PartiallyCompleted"
    done = {line["recordId"] for line in stage.output(first)}
    assert len(done) == 5
    second = stage.create([one for one in records(10) if one["recordId"] not in done])
    assert stage.until(second)["status"] == "Completed"
    ran = [one for one in stage.emulator.ran() if one.job_id in first + second]
    assert len(ran) == len({one.content for one in ran}) == 10


def test_time_can_be_made_shorter(stage):
    stage.start(scheduled_seconds=7200, time_scale=1e-4)
    arn = stage.create()
    job = stage.until(arn)
    assert job["status"] == "Completed"
    assert (job["endTime"] - job["submitTime"]).total_seconds() >= 0.7
    assert (job["jobExpirationTime"] - job["submitTime"]).total_seconds() == pytest.approx(8.64)


# ---- restarts


def test_a_job_goes_on_after_a_restart_and_pays_for_no_record_twice(stage):
    arn = stage.start(answers=10).create(records(20))
    stage.processed(arn, 10)
    stage.stop()
    stage.start()
    job = stage.until(arn)
    assert (job["status"], job["successRecordCount"]) == ("Completed", 20)
    assert len(stage.output(arn)) == 20
    assert set(stage.emulator.totals().by_record_id.values()) == {1}


def test_jobs_and_their_tokens_outlive_a_restart(stage):
    stage.start()
    request = stage.request(clientRequestToken="token-1")
    arn = stage.bedrock.create_model_invocation_job(**request)["jobArn"]
    stage.until(arn)
    stage.stop()
    stage.start()
    assert stage.job(arn)["status"] == "Completed"
    assert stage.bedrock.create_model_invocation_job(**request)["jobArn"] == arn
    assert len(stage.emulator.status()) == 1


def test_a_job_that_was_being_stopped_is_stopped_after_a_restart(stage):
    arn = stage.start(answers=10, stopping_seconds=60).create(records(40))
    stage.processed(arn, 10)
    stage.bedrock.stop_model_invocation_job(jobIdentifier=arn)
    stage.stop()
    stage.start()
    job = stage.until(arn)
    assert job["status"] == "Stopped"
    assert len(stage.output(arn)) == job["processedRecordCount"] == 10


# ---- faults


def test_a_percentage_of_the_records_fails(stage):
    stage.start(fail_records_percent=20.0, record_failure_code=503)
    arn = stage.create(records(10))
    job = stage.until(arn)
    assert (job["status"], job["errorRecordCount"]) == ("Completed", 2)
    errors = [line["error"] for line in stage.output(arn) if "error" in line]
    assert [error["errorCode"] for error in errors] == [503, 503]
    assert len(stage.emulator.ran()) == 8


def test_a_percentage_of_the_records_is_missing(stage):
    stage.start(drop_records_percent=30.0)
    arn = stage.create(records(10))
    assert stage.until(arn)["status"] == "Completed"
    assert len(stage.output(arn)) == 7
    assert len(stage.emulator.ran()) == 10


def test_a_job_may_fail_after_it_has_run(stage):
    stage.start(fail_job_every_nth=1, job_failure="The service broke.")
    arn = stage.create()
    job = stage.until(arn)
    assert (job["status"], job["message"]) == ("Failed", "The service broke.")


def test_a_job_whose_output_cannot_be_written_fails(shared):
    request = shared.request()
    request["outputDataConfig"] = {"s3OutputDataConfig": {"s3Uri": "s3://bucket/..bad/../x/"}}
    arn = shared.bedrock.create_model_invocation_job(**request)["jobArn"]
    job = shared.until(arn)
    assert job["status"] == "Failed"
    assert "s3://bucket" in job["message"]


def test_a_job_whose_output_cannot_be_written_meanwhile_runs_to_its_end(stage):
    request = stage.start(answers=2).request(records(3))
    request["outputDataConfig"] = {"s3OutputDataConfig": {"s3Uri": "s3://bucket/..bad/../x/"}}
    arn = stage.bedrock.create_model_invocation_job(**request)["jobArn"]
    stage.processed(arn, 2)
    time.sleep(3 * HURRY["flush_seconds"])
    stage.gate.open()
    job = stage.until(arn)
    assert (job["status"], job["processedRecordCount"]) == ("Failed", 3)
    assert "s3://bucket" in job["message"]


def test_what_the_model_says_no_to_is_that_records_error(shared):
    arn = shared.create([record(1, ask("null:status=429")), record(2, ask("null:status=500"))])
    assert shared.until(arn)["status"] == "Completed"
    codes = {line["recordId"]: line["error"]["errorCode"] for line in shared.output(arn)}
    assert codes == {"R0000000001": 429, "R0000000002": 500}


def test_a_model_that_takes_too_long_fails_the_record(stage):
    stage.start(record_timeout_seconds=0.05)
    arn = stage.create([record(1, ask("null:delay=5")), record(2)])
    assert stage.until(arn)["status"] == "Completed"
    errors = [line["error"]["errorCode"] for line in stage.output(arn) if "error" in line]
    assert errors == [424]


def test_every_line_of_the_output_is_json(shared):
    arn = shared.create([record(1, ask('"quoted" \\ \u2028 ü'))])
    shared.until(arn)
    body = shared.objects.get("bucket", f"out/{arn[-12:]}/records.jsonl.out")
    (line,) = [json.loads(line) for line in body.split(b"\n")[:-1]]
    assert line["modelInput"] == ask('"quoted" \\ \u2028 ü')
