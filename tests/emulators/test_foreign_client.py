"""Someone else's program: S3, SNS and SQS of moto, and our emulator standing alone beside them."""

import json
import subprocess
import sys
from typing import Any

import pytest
from moto.server import ThreadedMotoServer

from tests.emulators.conftest import MODEL_SERVER, client, wait_until

RUN = """
import sys
from backburner_local.emulators.standalone import run_sagemaker
run_sagemaker(port=0, data_dir=sys.argv[1], instance_command=sys.argv[2],
              s3_endpoint=sys.argv[3], sns_endpoint=sys.argv[3], events_endpoint=sys.argv[3])
"""


@pytest.fixture(scope="module")
def moto():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def alone(moto, tmp_path):
    """The URL that the standalone emulator tells when it is ready."""
    command = f"{sys.executable} -I -S {MODEL_SERVER} {{port}}"
    with subprocess.Popen(
        [sys.executable, "-c", RUN, str(tmp_path), command, moto], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("SageMaker is emulated at http://127.0.0.1:")
        yield line.split()[-1]
        process.terminate()
        assert process.wait(10) == 0


def receive(sqs: Any, queue: str) -> list[Any]:
    """The messages SNS put into a queue."""
    found = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=0)
    return [json.loads(json.loads(one["Body"])["Message"]) for one in found.get("Messages", [])]


def read_lines(s3: Any, key: str) -> list[bytes]:
    body: bytes = s3.get_object(Bucket="transform", Key=key)["Body"].read()
    return body.splitlines()


def test_a_foreign_client_transforms_objects_and_hears_of_it_by_eventbridge(moto, alone):
    s3, sqs, events = client("s3", moto), client("sqs", moto), client("events", moto)
    control = client("sagemaker", alone)
    s3.create_bucket(Bucket="transform")
    s3.put_object(Bucket="transform", Key="in/a.jsonl", Body=b'{"x":1}\n{"x":2}\n')
    s3.put_object(Bucket="transform", Key="in/b.jsonl", Body=b'{"x":3}\n')
    queue = sqs.create_queue(QueueName="jobs")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
    events.put_rule(
        Name="jobs",
        EventPattern=json.dumps({"detail-type": ["SageMaker Transform Job State Change"]}),
    )
    events.put_targets(Rule="jobs", Targets=[{"Id": "queue", "Arn": arn["Attributes"]["QueueArn"]}])
    control.create_model(
        ModelName="m",
        ExecutionRoleArn="arn:aws:iam::123456789012:role/r",
        PrimaryContainer={"Image": "image", "ModelDataUrl": "s3://transform/model.tar.gz"},
    )
    source = {"S3DataType": "S3Prefix", "S3Uri": "s3://transform/in/"}
    control.create_transform_job(
        TransformJobName="foreign",
        ModelName="m",
        BatchStrategy="SingleRecord",
        TransformInput={
            "DataSource": {"S3DataSource": source},
            "ContentType": "application/json",
            "SplitType": "Line",
        },
        TransformOutput={"S3OutputPath": "s3://transform/out", "AssembleWith": "Line"},
        TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
    )
    waiter = control.get_waiter("transform_job_completed_or_stopped")
    waiter.wait(TransformJobName="foreign", WaiterConfig={"Delay": 1, "MaxAttempts": 20})
    assert control.describe_transform_job(TransformJobName="foreign")["TransformJobStatus"] == (
        "Completed"
    )
    assert read_lines(s3, "out/a.jsonl.out") == [b'{"x":1}', b'{"x":2}']
    assert read_lines(s3, "out/b.jsonl.out") == [b'{"x":3}']
    told: list[str] = []

    def is_told() -> bool:
        found = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=0)
        bodies = [json.loads(one["Body"]) for one in found.get("Messages", [])]
        told.extend(one["detail"]["TransformJobStatus"] for one in bodies)
        return "Completed" in told

    wait_until(is_told)
    assert told[0] == "InProgress"
    for one in (s3, sqs, events, control):
        one.close()


def test_a_foreign_client_gets_its_result_through_s3_sns_and_sqs(moto, alone):
    s3, sns, sqs = client("s3", moto), client("sns", moto), client("sqs", moto)
    runtime, control = client("sagemaker-runtime", alone), client("sagemaker", alone)
    s3.create_bucket(Bucket="bucket")
    topic = sns.create_topic(Name="results")["TopicArn"]
    queue = sqs.create_queue(QueueName="results")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn["Attributes"]["QueueArn"])
    control.create_model(
        ModelName="m",
        ExecutionRoleArn="arn:aws:iam::123456789012:role/r",
        PrimaryContainer={"Image": "image"},
    )
    control.create_endpoint_config(
        EndpointConfigName="c",
        ProductionVariants=[
            {"VariantName": "AllTraffic", "ModelName": "m", "InitialInstanceCount": 1}
        ],
        AsyncInferenceConfig={
            "OutputConfig": {
                "S3OutputPath": "s3://bucket/out",
                "S3FailurePath": "s3://bucket/failed",
                "NotificationConfig": {"SuccessTopic": topic, "ErrorTopic": topic},
            }
        },
    )
    control.create_endpoint(EndpointName="e", EndpointConfigName="c")
    s3.put_object(Bucket="bucket", Key="in/1.json", Body=b'{"prompt":"hello"}')
    good = runtime.invoke_endpoint_async(
        EndpointName="e", InputLocation="s3://bucket/in/1.json", ContentType="application/json"
    )
    bad = runtime.invoke_endpoint_async(EndpointName="e", Body=b"x", CustomAttributes="status=500")
    told = []

    def all_told():
        told.extend(receive(sqs, queue))
        names = [one["eventName"] for one in told]
        return names.count("InferenceResult") == 2 and "TestNotification" in names

    wait_until(all_told)
    statuses = {one["inferenceId"]: one["invocationStatus"] for one in told if "inferenceId" in one}
    assert statuses == {good["InferenceId"]: "Completed", bad["InferenceId"]: "Failed"}
    key = good["OutputLocation"].removeprefix("s3://bucket/")
    found = s3.get_object(Bucket="bucket", Key=key)
    assert found["Body"].read() == b'{"prompt":"hello"}'
    assert found["ContentType"] == "application/json"
    key = bad["FailureLocation"].removeprefix("s3://bucket/")
    assert s3.get_object(Bucket="bucket", Key=key)["Body"].read() == b'{"error":"model says no"}'
    for one in (s3, sns, sqs, runtime, control):
        one.close()
