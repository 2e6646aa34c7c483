"""Events of jobs, as EventBridge brings them."""

import pytest

from backburner.wire.jobs import EndedJob, ended_job

ARN = "arn:aws:bedrock:us-east-1:123456789012:model-invocation-job/abcdefghwxyz"


def bedrock(**detail: object) -> dict[str, object]:
    return {
        "source": "aws.bedrock",
        "detail-type": "Batch Inference Job State Change",
        "detail": {"batchJobName": "backburner-1", "batchJobArn": ARN, "status": "Completed"}
        | detail,
    }


def transform(**detail: object) -> dict[str, object]:
    return {
        "source": "aws.sagemaker",
        "detail-type": "SageMaker Transform Job State Change",
        "detail": {"TransformJobName": "backburner-1", "TransformJobStatus": "Completed"} | detail,
    }


@pytest.mark.parametrize(
    "status", ["Completed", "PartiallyCompleted", "Failed", "Stopped", "Expired"]
)
def test_the_end_of_a_job_of_bedrock_names_its_arn(status):
    assert ended_job(bedrock(status=status)) == EndedJob(backend="bedrock_batch", name=ARN)


@pytest.mark.parametrize("status", ["Completed", "Failed", "Stopped"])
def test_the_end_of_a_transform_job_names_the_job(status):
    expected = EndedJob(backend="sagemaker_transform", name="backburner-1")
    assert ended_job(transform(TransformJobStatus=status)) == expected


@pytest.mark.parametrize(
    "event",
    [
        *(bedrock(status=one) for one in ("Submitted", "Validating", "Scheduled", "InProgress")),
        *(transform(TransformJobStatus=one) for one in ("InProgress", "Stopping")),
        bedrock(batchJobArn=None),
        bedrock() | {"detail": None},
        bedrock() | {"source": "aws.sagemaker"},
        bedrock() | {"detail-type": "Bedrock Batch Inference Job State Change"},
        {},
    ],
)
def test_anything_else_is_left_alone(event):
    assert ended_job(event) is None
