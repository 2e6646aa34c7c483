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
              s3_endpoint=sys.argv[3], sns_endpoint=sys.argv[3])
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
        assert line.startswith("SageMaker asynchronous inference is emulated at http://127.0.0.1:")
        yield line.split()[-1]
        process.terminate()
        assert process.wait(10) == 0


def receive(sqs: Any, queue: str) -> list[Any]:
    """The messages SNS put into a queue."""
    found = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=0)
    return [json.loads(json.loads(one["Body"])["Message"]) for one in found.get("Messages", [])]


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
