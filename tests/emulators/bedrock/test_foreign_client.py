"""Someone else's program, written as AWS's pages show it, and our emulator standing alone."""

import json
import subprocess
import sys
import time
from typing import Any

import boto3
import pytest
from click.testing import CliRunner
from moto.server import ThreadedMotoServer

from backburner_local.cli import main
from tests.emulators.conftest import client

#: How the operator starts it.
RUN = [sys.executable, "-m", "backburner_local.cli", "emulate", "bedrock", "--port", "0"]
HURRY = {"submitted_seconds": 0.01, "validating_seconds": 0.01, "scheduled_seconds": 0.01}
NAME, ROLE = "my-batch-job", "arn:aws:iam::123456789012:role/MyBatchInferenceRole"
MODEL = "anthropic.claude-3-haiku-20240307-v1:0"
TERMINAL = {"Completed", "Failed", "Stopped", "PartiallyCompleted", "Expired"}


@pytest.fixture(scope="module")
def moto():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def account(moto, tmp_path_factory):
    """Environment of a program that has a whole account here, and knows of none of it."""
    data = tmp_path_factory.mktemp("alone")
    command = [*RUN, "--data-dir", str(data), "--s3-endpoint", moto]
    command += ["--events-endpoint", moto]
    for name, value in HURRY.items():
        command += ["--knob", f"{name}={value}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("Bedrock batch inference is emulated at http://127.0.0.1:")
        url = line.split()[-1]
        yield {
            "AWS_ENDPOINT_URL": moto,
            "AWS_ENDPOINT_URL_BEDROCK": url,
            "AWS_ENDPOINT_URL_SERVICE_QUOTAS": url,
            "AWS_ACCESS_KEY_ID": "x",
            "AWS_SECRET_ACCESS_KEY": "x",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        process.terminate()
        assert process.wait(10) == 0


@pytest.fixture
def aws(account, monkeypatch):
    for name, value in account.items():
        monkeypatch.setenv(name, value)
    boto3.setup_default_session()
    return boto3


def upload(aws: Any, count: int) -> None:
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="input-bucket")
    s3.create_bucket(Bucket="output-bucket")
    records = [
        {
            "recordId": f"CALL{number:07d}",
            "modelInput": {
                "anthropic_version": "bedrock-2023-05-31",
                "max_tokens": 1024,
                "messages": [
                    {"role": "user", "content": [{"type": "text", "text": f"Call {number}."}]}
                ],
            },
        }
        for number in range(count)
    ]
    body = "\n".join(json.dumps(record) for record in records)
    s3.put_object(Bucket="input-bucket", Key="abc.jsonl", Body=body)


def test_the_documented_flow_runs_unchanged(aws):
    upload(aws, 100)
    bedrock = aws.client(service_name="bedrock")

    response = bedrock.create_model_invocation_job(
        roleArn=ROLE,
        modelId=MODEL,
        jobName=NAME,
        inputDataConfig={"s3InputDataConfig": {"s3Uri": "s3://input-bucket/abc.jsonl"}},
        outputDataConfig={"s3OutputDataConfig": {"s3Uri": "s3://output-bucket/"}},
    )
    job_arn = response.get("jobArn")
    status = None
    for _ in range(600):
        status = bedrock.get_model_invocation_job(jobIdentifier=job_arn)["status"]
        if status in TERMINAL:
            break
        time.sleep(0.05)
    assert status == "Completed"

    listed = bedrock.list_model_invocation_jobs(
        maxResults=10, statusEquals="Completed", sortOrder="Descending"
    )
    assert job_arn in [job["jobArn"] for job in listed["invocationJobSummaries"]]

    s3 = aws.client("s3")
    prefix = f"{job_arn.split('/')[-1]}/"
    keys = [
        item["Key"]
        for page in s3.get_paginator("list_objects_v2").paginate(
            Bucket="output-bucket", Prefix=prefix
        )
        for item in page["Contents"]
    ]
    assert keys == [f"{prefix}abc.jsonl.out", f"{prefix}manifest.json.out"]
    output = s3.get_object(Bucket="output-bucket", Key=keys[0])["Body"]
    answers = {}
    for line in output.iter_lines():
        record = json.loads(line)
        answers[record["recordId"]] = record["modelOutput"]["content"][0]["text"]
    assert answers["CALL0000042"] == "Call 42."
    assert len(answers) == 100
    manifest = json.load(s3.get_object(Bucket="output-bucket", Key=keys[1])["Body"])
    assert (manifest["totalRecordCount"], manifest["errorRecordCount"]) == (100, 0)
    assert manifest["inputTokenCount"] > 0


def test_a_rule_of_eventbridge_takes_the_word_of_a_job_to_a_queue(aws):
    events, sqs = aws.client("events"), aws.client("sqs")
    queue = sqs.create_queue(QueueName="bedrock-jobs")["QueueUrl"]
    attributes = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
    pattern = {
        "source": ["aws.bedrock"],
        "detail-type": ["Batch Inference Job State Change"],
        "detail": {"batchJobName": [{"prefix": "heard-"}], "status": ["Failed"]},
    }
    events.put_rule(Name="bedrock-jobs", EventPattern=json.dumps(pattern))
    target = {"Id": "queue", "Arn": attributes["Attributes"]["QueueArn"]}
    events.put_targets(Rule="bedrock-jobs", Targets=[target])
    upload(aws, 99)
    job_arn = aws.client("bedrock").create_model_invocation_job(
        roleArn=ROLE,
        modelId=MODEL,
        jobName="heard-by-all",
        inputDataConfig={"s3InputDataConfig": {"s3Uri": "s3://input-bucket/abc.jsonl"}},
        outputDataConfig={"s3OutputDataConfig": {"s3Uri": "s3://output-bucket/"}},
    )["jobArn"]
    messages: list[Any] = []
    for _ in range(600):
        messages = sqs.receive_message(QueueUrl=queue).get("Messages", [])
        if messages:
            break
        time.sleep(0.05)
    (event,) = [json.loads(message["Body"]) for message in messages]
    assert event["detail"]["batchJobArn"] == job_arn
    least = "Batch job contains less records (99) than the required minimum of: 100"
    assert event["detail"]["failureMessage"] == least


def test_a_job_can_be_stopped(aws):
    bedrock = aws.client(service_name="bedrock")
    upload(aws, 100)
    job_arn = bedrock.create_model_invocation_job(
        roleArn=ROLE,
        modelId=MODEL,
        jobName="to-be-stopped",
        inputDataConfig={"s3InputDataConfig": {"s3Uri": "s3://input-bucket/"}},
        outputDataConfig={"s3OutputDataConfig": {"s3Uri": "s3://output-bucket/stopped/"}},
    )["jobArn"]
    bedrock.stop_model_invocation_job(jobIdentifier=job_arn)
    status = ""
    for _ in range(600):
        status = bedrock.get_model_invocation_job(jobIdentifier=job_arn)["status"]
        if status in TERMINAL:
            break
        time.sleep(0.05)
    assert status == "Stopped"


def test_the_limits_can_be_asked_of_service_quotas(aws):
    pages = aws.client("service-quotas").get_paginator("list_service_quotas")
    quotas = {
        quota["QuotaName"]: quota["Value"]
        for page in pages.paginate(ServiceCode="bedrock")
        for quota in page["Quotas"]
    }
    least = "Minimum number of records per batch inference job for Claude 3 Haiku"
    assert quotas[least] == 100


def test_an_input_that_is_not_in_the_bucket_fails_the_job(aws, moto):
    s3 = client("s3", moto)
    s3.create_bucket(Bucket="empty")
    bedrock = aws.client("bedrock")
    job_arn = bedrock.create_model_invocation_job(
        roleArn=ROLE,
        modelId=MODEL,
        jobName="no-input",
        inputDataConfig={"s3InputDataConfig": {"s3Uri": "s3://no-such-bucket/in.jsonl"}},
        outputDataConfig={"s3OutputDataConfig": {"s3Uri": "s3://empty/"}},
    )["jobArn"]
    job = {}
    for _ in range(600):
        job = bedrock.get_model_invocation_job(jobIdentifier=job_arn)
        if job["status"] in TERMINAL:
            break
        time.sleep(0.05)
    assert job["status"] == "Failed"
    assert "s3://no-such-bucket/in.jsonl" in job["message"]


@pytest.mark.parametrize(
    ("options", "code", "complaint"),
    [
        (["--knob", "nonsense=1"], 2, "There is no knob 'nonsense'"),
        (["--engine", "openai"], 2, "--engine openai needs --base-url"),
        (["--knob", 'foreign_jobs={"no": 1}'], 1, "The emulator can't start: there is no model no"),
    ],
)
def test_what_the_operator_got_wrong_is_told(tmp_path, options, code, complaint):
    told = CliRunner().invoke(
        main, ["emulate", "bedrock", "--port", "0", "--data-dir", str(tmp_path), *options]
    )
    assert told.exit_code == code
    assert complaint in told.output
