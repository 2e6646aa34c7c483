"""Batch transform through boto3: what jobs run, what they write, how they end."""

import gzip
import json
import os
from contextlib import closing
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.emulators.botocore_shapes import error_problems, response_problems
from tests.emulators.conftest import client, wait_until
from tests.emulators.transforming import TransformStage, seen

LINES = {"SplitType": "Line"}


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return tmp_path_factory.mktemp("seen") / "seen"


@pytest.fixture(scope="module")
def shared(tmp_path_factory, log):
    """One emulator for all tests of this module that look only at jobs of their own."""
    stage = TransformStage(tmp_path_factory.mktemp("transform")).start()
    stage.make_model(SEEN=str(log))
    yield stage
    stage.stop()


@pytest.fixture
def stage(tmp_path):
    stage = TransformStage(tmp_path)
    yield stage
    stage.stop()


def test_a_job_transforms_each_object_of_a_prefix(shared):
    shared.put("all", a_txt=b"one\ntwo\n", deep_=b"three")
    shared.objects.put("bucket", "in/all/sub/b.txt", b"four")
    name = shared.create("all")
    waiter = shared.sagemaker.get_waiter("transform_job_completed_or_stopped")
    waiter.wait(TransformJobName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 20})
    assert shared.outputs("all") == {
        "a.txt.out": b"ONE\nTWO\n",
        "deep..out": b"THREE",
        "sub/b.txt.out": b"FOUR",
    }
    told = shared.describe(name)
    assert told["TransformJobStatus"] == "Completed"
    assert response_problems("sagemaker", "DescribeTransformJob", told) == []
    assert told["CreationTime"] <= told["TransformStartTime"] <= told["TransformEndTime"]
    assert "FailureReason" not in told


@pytest.mark.parametrize(
    ("strategy", "megabytes", "assembled", "bodies", "output"),
    [
        ("SingleRecord", 1, "None", ["a", "b", "c"], b"ABC"),
        ("SingleRecord", 1, "Line", ["a", "b", "c"], b"A\nB\nC\n"),
        ("MultiRecord", 1, "None", ["a\nb\nc"], b"A\nB\nC"),
        ("MultiRecord", 0, "Line", ["a\nb\nc"], b"A\nB\nC\n"),
    ],
)
def test_lines_are_sent_alone_or_together(
    shared, log, strategy, megabytes, assembled, bodies, output
):
    folder = f"lines-{strategy}-{assembled}-{megabytes}".lower()
    shared.put(folder, x_txt=b"a\nb\n\nc\n")
    before = len(seen(log)) if log.exists() else 0
    shared.run(
        folder,
        BatchStrategy=strategy,
        MaxPayloadInMB=megabytes,
        source=LINES,
        target={"AssembleWith": assembled},
    )
    assert [body for _, body in seen(log)[before:]] == bodies
    assert shared.outputs(folder) == {"x.txt.out": output}


def test_a_payload_holds_as_many_lines_as_fit(shared, log):
    line = b"x" * 400_000
    shared.put("fit", x_txt=b"\n".join([line] * 5))
    before = len(seen(log)) if log.exists() else 0
    shared.run("fit", BatchStrategy="MultiRecord", MaxPayloadInMB=1, source=LINES)
    assert [body.count("\n") + 1 for _, body in seen(log)[before:]] == [2, 2, 1]


def test_a_record_that_is_too_large_fails_its_object_unsent(shared):
    shared.put("large", big_txt=b"x" * 1_100_000, small_txt=b"y")
    name = shared.create("large", MaxPayloadInMB=1)
    assert shared.ended(name)["FailureReason"].startswith("ClientError")
    assert shared.outputs("large") == {"small.txt.out": b"Y"}
    assert shared.emulator.transform_counts()[name].invocations == 1


def test_packed_objects_are_unpacked(shared):
    shared.put("packed", x_gz=gzip.compress(b"hello"), broken_gz=b"no gzip")
    told = shared.run("packed", source={"CompressionType": "Gzip"})
    assert told["TransformJobStatus"] == "Failed"
    assert shared.outputs("packed") == {"x.gz.out": b"HELLO"}


def test_a_manifest_names_the_objects(shared):
    shared.put("listed", a_txt=b"a", b_txt=b"b", c_txt=b"c")
    manifest = [{"prefix": "s3://bucket/in/listed/"}, "b.txt", "a.txt"]
    shared.objects.put("bucket", "manifest.json", json.dumps(manifest).encode())
    of_manifest = {"S3DataType": "ManifestFile", "S3Uri": "s3://bucket/manifest.json"}
    shared.run("listed", source={"DataSource": {"S3DataSource": of_manifest}})
    assert shared.outputs("listed") == {"a.txt.out": b"A", "b.txt.out": b"B"}


def test_a_prefix_may_end_within_names(shared):
    shared.put("within", a1_txt=b"a", a2_txt=b"b", b_txt=b"c")
    source = {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/in/within/a"}
    shared.run("within", source={"DataSource": {"S3DataSource": source}})
    assert sorted(shared.outputs("within")) == ["a1.txt.out", "a2.txt.out"]


def test_an_answer_is_joined_with_its_record(shared):
    shared.put("join", x_jsonl=b'{"id":1,"body":"hi"}\n{"id":2,"body":"ho"}\n')
    shared.run(
        "join",
        BatchStrategy="SingleRecord",
        source={**LINES, "ContentType": "application/jsonlines"},
        target={"AssembleWith": "Line", "Accept": "application/jsonlines"},
        DataProcessing={
            "InputFilter": "$.body",
            "JoinSource": "Input",
            "OutputFilter": "$['id','SageMakerOutput']",
        },
    )
    expected = b'{"id":1,"SageMakerOutput":"HI"}\n{"id":2,"SageMakerOutput":"HO"}\n'
    assert shared.outputs("join") == {"x.jsonl.out": expected}


def test_objects_are_shared_out_and_none_is_split(shared, log):
    shared.put("two", **{f"{n}_txt": f"two-{n}\ntwo-{n}\n".encode() for n in range(5)})
    resources = {"InstanceType": "ml.m5.large", "InstanceCount": 2}
    told = shared.run(
        "two", TransformResources=resources, BatchStrategy="SingleRecord", source=LINES
    )
    assert told["TransformJobStatus"] == "Completed"
    by_process: dict[int, list[str]] = {}
    for pid, body in seen(log):
        if body.startswith("two-"):
            by_process.setdefault(pid, []).append(body[4:])
    assert sorted(map(sorted, by_process.values())) == [
        ["0", "0", "2", "2", "4", "4"],
        ["1", "1", "3", "3"],
    ]
    for pid in by_process:  # instances end with their job
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_the_container_is_told_of_its_job(shared):
    shared.put("told", x_txt=b"environment")
    shared.run(
        "told",
        MaxConcurrentTransforms=3,
        MaxPayloadInMB=2,
        BatchStrategy="SingleRecord",
        source=LINES,
        Environment={"OWN": "1"},
    )
    told = json.loads(shared.outputs("told")["x.txt.out"])
    wanted = {
        "SAGEMAKER_BATCH": "true",
        "SAGEMAKER_MAX_PAYLOAD_IN_MB": "2",
        "SAGEMAKER_BATCH_STRATEGY": "SINGLE_RECORD",
        "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS": "3",
        "OWN": "1",
    }
    assert {name: told.get(name) for name in wanted} == wanted


def test_the_container_is_told_only_what_was_asked(shared):
    shared.put("bare", a_txt=b"environment", b_txt=b"headers")
    shared.run("bare", source={"ContentType": "text/x"}, target={"Accept": "text/y"})
    told = json.loads(shared.outputs("bare")["a.txt.out"])
    assert {name for name in told if name.startswith("SAGEMAKER_")} == {"SAGEMAKER_BATCH"}
    headers = json.loads(shared.outputs("bare")["b.txt.out"])
    assert (headers["Content-Type"], headers["Accept"]) == ("text/x", "text/y")


@pytest.mark.parametrize(("asked", "strategy"), [({}, 3), ({"BatchStrategy": "MultiRecord"}, 1)])
def test_what_the_job_leaves_open_the_container_decides(shared, asked, strategy):
    offered = {"MaxConcurrentTransforms": 8, "BatchStrategy": "SINGLE_RECORD", "MaxPayloadInMB": 2}
    folder = f"offered-{strategy}"
    shared.put(folder, x_txt=b"a\nb\nc")
    name = shared.create(
        folder, source=LINES, Environment={"EXECUTION_PARAMETERS": json.dumps(offered)}, **asked
    )
    shared.ended(name)
    assert shared.emulator.transform_counts()[name].invocations == strategy


def test_a_bad_record_loses_its_object_and_fails_the_job(shared):
    shared.put("bad", a_txt=b"one\nrefuse\nthree", b_txt=b"four")
    told = shared.run("bad", BatchStrategy="SingleRecord", source=LINES)
    assert told["TransformJobStatus"] == "Failed"
    assert told["FailureReason"] == "ClientError: See job logs for more information"
    assert response_problems("sagemaker", "DescribeTransformJob", told) == []
    assert shared.outputs("bad") == {"b.txt.out": b"FOUR"}


@pytest.mark.parametrize(
    ("body", "retries", "invocations", "status"),
    [
        (b"flaky-1", 1, 2, "Completed"),
        (b"flaky-2", 0, 1, "Failed"),
        (b"break", 3, 4, "Failed"),
        (b"refuse", 3, 1, "Failed"),
    ],
)
def test_an_invocation_that_fails_is_repeated(shared, body, retries, invocations, status):
    folder = f"again-{body.decode()}"
    shared.put(folder, x_txt=body)
    name = shared.create(folder, ModelClientConfig={"InvocationsMaxRetries": retries})
    assert shared.ended(name)["TransformJobStatus"] == status
    assert shared.emulator.transform_counts()[name].invocations == invocations


def test_an_instance_that_dies_is_replaced_and_costs_only_what_killed_it(shared):
    shared.put("deadly", a_txt=b"die", b_txt=b"live")
    told = shared.run("deadly", ModelClientConfig={"InvocationsMaxRetries": 0})
    assert told["FailureReason"] == "AlgorithmError: See job logs for more information"
    assert shared.outputs("deadly") == {"b.txt.out": b"LIVE"}


def test_a_name_is_used_once(shared):
    shared.put("once", x_txt=b"x")
    name = shared.create("once")
    with pytest.raises(ClientError, match="must be unique within an AWS account") as caught:
        shared.create("once", TransformJobName=name)
    response = caught.value.response
    status = response["ResponseMetadata"]["HTTPStatusCode"]
    assert response["Error"]["Code"] == "ResourceInUse"
    assert error_problems("sagemaker", "CreateTransformJob", "ResourceInUse", status) == []


def test_events_tell_each_state(shared):
    shared.put("events", x_txt=b"x")
    name = shared.create("events", Tags=[{"Key": "k", "Value": "v"}])
    shared.ended(name)
    wait_until(lambda: shared.statuses(name) == ["InProgress", "Completed"])
    event = next(
        one
        for one in shared.events
        if one["detail"]["TransformJobName"] == name
        and one["detail"]["TransformJobStatus"] == "Completed"
    )
    arn = f"arn:aws:sagemaker:us-east-1:123456789012:transform-job/{name}"
    assert (event["resources"], event["detail"]["Tags"]) == ([arn], {"k": "v"})
    assert event["source"] == "aws.sagemaker"
    assert event["detail"]["TransformInput"]["SplitType"] == "None"


def test_events_have_what_the_sample_of_aws_has(shared):
    shared.put("sample", x_txt=b"x")
    with open("events/eventbridge_transform_job.json") as file:  # noqa: PTH123
        sample = json.load(file)
    name = shared.create(
        "sample",
        MaxConcurrentTransforms=1,
        MaxPayloadInMB=32,
        BatchStrategy="SingleRecord",
        Environment={},
        source={"ContentType": "application/jsonl", "CompressionType": "None", "SplitType": "None"},
        target={"Accept": "application/jsonl", "AssembleWith": "None", "KmsKeyId": ""},
    )
    shared.ended(name)
    wait_until(lambda: "Completed" in shared.statuses(name))
    event = next(
        one for one in reversed(shared.events) if one["detail"]["TransformJobName"] == name
    )
    assert event.keys() == sample.keys()
    assert event["detail"].keys() == sample["detail"].keys()
    for part in ("TransformInput", "TransformOutput", "TransformResources"):
        assert event["detail"][part].keys() == sample["detail"][part].keys()


def test_jobs_are_listed(shared):
    for number in (1, 2, 3):
        shared.put(f"list{number}", x_txt=b"refuse" if number == 2 else b"x")
        shared.create(f"list{number}", TransformJobName=f"numbered-{number}")
    assert shared.ended("numbered-2")["TransformJobStatus"] == "Failed"

    def names(**filters: Any) -> list[str]:
        told = shared.sagemaker.list_transform_jobs(NameContains="numbered-", **filters)
        assert response_problems("sagemaker", "ListTransformJobs", told) == []
        return [one["TransformJobName"] for one in told["TransformJobSummaries"]]

    assert names() == ["numbered-3", "numbered-2", "numbered-1"]
    assert names(SortBy="Name", SortOrder="Ascending") == ["numbered-1", "numbered-2", "numbered-3"]
    assert names(StatusEquals="Failed") == ["numbered-2"]
    assert names(CreationTimeBefore=0) == []
    first = shared.describe("numbered-1")["CreationTime"]
    assert names(CreationTimeAfter=first) == ["numbered-3", "numbered-2"]
    pages = shared.sagemaker.get_paginator("list_transform_jobs").paginate(
        NameContains="numbered-", PaginationConfig={"PageSize": 2}
    )
    assert [len(page["TransformJobSummaries"]) for page in pages] == [2, 1]


def test_jobs_have_tags(shared):
    shared.put("tags", x_txt=b"x")
    name = shared.create("tags", Tags=[{"Key": "a", "Value": "1"}])
    arn = shared.describe(name)["TransformJobArn"]
    shared.sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "b", "Value": "2"}])
    told = shared.sagemaker.list_tags(ResourceArn=arn)
    assert told["Tags"] == [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}]
    shared.ended(name)


@pytest.mark.parametrize(
    ("keeps", "left"), [("nothing", {}), ("finished_objects", {"a.txt.out": b"A"})]
)
def test_a_job_that_is_stopped_stores_nothing_of_what_it_did_not_finish(stage, keeps, left):
    stage.start(stopped_job_keeps=keeps)
    stage.make_model()
    stage.put("stop", a_txt=b"a", b_txt=b"\n".join([b"slow"] * 100))
    name = stage.create("stop", BatchStrategy="SingleRecord", source=LINES)
    wait_until(lambda: stage.outputs("stop"))
    stage.sagemaker.stop_transform_job(TransformJobName=name)
    assert stage.describe(name)["TransformJobStatus"] in {"Stopping", "Stopped"}
    assert stage.ended(name)["TransformJobStatus"] == "Stopped"
    assert stage.outputs("stop") == left
    wait_until(lambda: stage.statuses(name) == ["InProgress", "Stopping", "Stopped"])
    with pytest.raises(ClientError, match="rejected because the transform job is in status"):
        stage.sagemaker.stop_transform_job(TransformJobName=name)


def test_jobs_wait_as_long_as_knobs_say(stage):
    stage.start(waiting_seconds=0.2, ending_seconds=0.2)
    stage.make_model()
    stage.put("wait", x_txt=b"x")
    name = stage.create("wait")
    told = stage.describe(name)
    assert (told["TransformJobStatus"], "TransformStartTime" in told) == ("InProgress", False)
    told = stage.ended(name)
    assert (told["TransformEndTime"] - told["CreationTime"]).total_seconds() >= 0.4


def test_a_job_needs_instances_that_its_quota_has_left(stage):
    stage.start(quotas={"ml.m5.large": 1}, waiting_seconds=60)
    stage.make_model()
    stage.put("quota", x_txt=b"x")
    name = stage.create("quota")
    with pytest.raises(ClientError, match="for transform job usage' is 1 Instances") as caught:
        stage.create("quota")
    assert caught.value.response["Error"]["Code"] == "ResourceLimitExceeded"
    stage.sagemaker.stop_transform_job(TransformJobName=name)
    stage.ended(name)
    stage.create("quota")


def test_a_job_without_capacity_fails(stage):
    stage.start(no_capacity_every_nth=1)
    stage.make_model()
    stage.put("none", x_txt=b"x")
    told = stage.run("none")
    assert told["FailureReason"].startswith("CapacityError: Unable to provision")
    assert "TransformStartTime" not in told


def test_a_container_that_never_starts_fails_its_job(stage):
    stage.start(command=["/no/such/program"])
    stage.make_model()
    stage.put("dead", x_txt=b"x")
    assert stage.run("dead")["FailureReason"].startswith("AlgorithmError")


def test_events_and_outputs_get_lost_if_a_test_wants_it(stage):
    stage.start(lose_event_every_nth=2, lost_output_every_nth=2, event_times="milliseconds")
    stage.make_model()
    stage.put("lost", a_txt=b"a", b_txt=b"b")
    name = stage.create("lost")
    assert stage.ended(name)["TransformJobStatus"] == "Failed"
    assert stage.outputs("lost") == {"a.txt.out": b"A"}
    wait_until(lambda: stage.events)
    assert stage.statuses(name) == ["InProgress"]
    assert stage.events[0]["detail"]["CreationTime"].isdigit()


def test_the_last_ended_jobs_are_known(stage):
    stage.start(kept_jobs=1)
    stage.make_model()
    for number in range(3):
        stage.put(f"job{number}", x_txt=b"x")
        stage.run(f"job{number}")
    assert len(stage.sagemaker.list_transform_jobs()["TransformJobSummaries"]) == 2
    assert len({path.stem for path in (stage.root / "data" / "transform").iterdir()}) == 2


def test_a_create_may_be_throttled_or_break_after_it_worked(stage):
    stage.start(throttle_every_nth=2, broken_after_create_every_nth=1)
    stage.make_model()
    stage.put("odd", x_txt=b"x")
    once = stage.request("odd")
    with closing(client("sagemaker", stage.emulator.url, retries={"total_max_attempts": 1})) as api:
        codes = []
        for _ in range(3):
            with pytest.raises(ClientError) as caught:
                api.create_transform_job(**once)
            codes.append(caught.value.response["Error"]["Code"])
    assert codes == ["InternalFailure", "ThrottlingException", "ResourceInUse"]
    assert stage.ended(once["TransformJobName"])["TransformJobStatus"] == "Completed"


def test_a_job_goes_on_after_a_restart_without_what_it_had_finished(stage, tmp_path):
    log = tmp_path / "seen"
    stage.start()
    stage.make_model(SEEN=str(log))
    slow = {f"{n}_txt": f"slow-{n}".encode() for n in range(3)}
    stage.put("again", **slow)
    name = stage.create("again")
    wait_until(lambda: stage.outputs("again"))
    stage.stop()
    stage.start()
    assert stage.describe(name)["TransformJobStatus"] == "InProgress"
    stage.make_model(SEEN=str(log))
    assert stage.ended(name)["TransformJobStatus"] == "Completed"
    assert len(stage.outputs("again")) == 3
    assert [body for _, body in seen(log)].count("slow-0") == 1


def test_a_job_that_ended_is_known_after_a_restart(stage):
    stage.start()
    stage.make_model()
    stage.put("known", x_txt=b"x")
    name = stage.create("known")
    before = stage.ended(name)
    stage.stop()
    stage.start()
    after = stage.describe(name)
    del before["ResponseMetadata"], after["ResponseMetadata"]
    assert after == before
