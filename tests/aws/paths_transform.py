"""Every path of shards that run as transform jobs."""

import json
from typing import Any

import pytest
from moto.sagemaker.models import sagemaker_backends

from backburner.domain.batch import Batch, BatchStatus
from backburner_local import events as aws_events
from backburner_local.adapters.messages import Message
from backburner_local.template import ACCOUNT, REGION
from tests.aws.paths_jobs import asked
from tests.aws.scenarios import SMALL, scenario
from tests.aws.world import TRANSFORMED, AwsWorld, requests
from tests.backend import succeed
from tests.world import MINUTE, jsonl

STOP = "StopTransformJob"


def jobs() -> dict[str, Any]:
    """moto's own, by name: whether they are over is up to the test."""
    found: dict[str, Any] = sagemaker_backends[ACCOUNT][REGION].transform_jobs
    return found


def told(name: str) -> dict[str, Any]:
    """EventBridge's word of a job that ended."""
    return {
        "source": "aws.sagemaker",
        "detail-type": "SageMaker Transform Job State Change",
        "detail": {"TransformJobName": name, "TransformJobStatus": "Completed"},
    }


def end_jobs(world: AwsWorld, *, but_for: int = 0) -> list[str]:
    """Write what jobs would, but for their last objects; returns their names.

    To moto a job is over when it is created, and has written nothing.
    """
    for name in jobs():
        job = world.own.sagemaker.describe_transform_job(TransformJobName=name)
        source, target = (
            uri.removeprefix(f"s3://{world.bucket}/")
            for uri in (
                job["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"],
                job["TransformOutput"]["S3OutputPath"],
            )
        )
        keys = world.objects(source)
        for key in keys[: len(keys) - but_for]:
            lines = world.own.s3.get_object(Bucket=world.bucket, Key=key)["Body"].read()
            output = jsonl([succeed(json.loads(line)) for line in lines.splitlines()])
            world.own.s3.put_object(
                Bucket=world.bucket, Key=f"{target}{key.rpartition('/')[2]}.out", Body=output
            )
    return list(jobs())


@scenario(has_jobs=True, sizes=SMALL)
def a_batch_runs_as_a_transform_job(world: AwsWorld) -> None:
    batch = world.submit(asked(4, model=TRANSFORMED))
    world.pump("plan", "dispatch")
    (job,) = end_jobs(world)
    world.recorder.refuse("s3", "UploadPart", after=1)
    world.invoke_often("on_job", told(job))
    world.pump()
    assert world.batch(batch).status is BatchStatus.COMPLETED
    assert world.batch(batch).completed == 4
    world.invoke("on_job", told(job))


@scenario(has_jobs=True, sizes=SMALL)
def nobody_tells_of_a_transform_job(world: AwsWorld) -> None:
    batch = world.submit(asked(4, model=TRANSFORMED))
    world.pump("plan", "dispatch")
    end_jobs(world, but_for=1)
    world.recorder.refuse("s3", "UploadPart", after=1)
    world.clock.advance(2 * MINUTE)
    with pytest.raises(ExceptionGroup):
        world.reap()
    world.tick(2)
    end_jobs(world)
    world.tick(3)
    assert world.batch(batch).completed == 4


@scenario(has_jobs=True)
def requests_of_a_transform_job_are_gone(world: AwsWorld) -> None:
    batch = world.submit(asked(4, model=TRANSFORMED))
    world.pump("plan")
    (shard,) = world.shards(batch)
    world.delete_object(shard.input_key or "")
    world.pump("dispatch")
    assert not jobs()


def cancelled(world: AwsWorld) -> Batch:
    """A batch that is being cancelled, with two transform jobs that go on."""
    batch = world.submit([*requests(2), *asked(6, model=TRANSFORMED)])
    world.pump("plan", "dispatch")
    for job in jobs().values():
        job.transform_job_status = "InProgress"
    assert world.post(f"/v1/batches/{batch.id}/cancel").status == 200
    return batch


@scenario(has_jobs=True)
def transform_jobs_of_a_batch_that_stops_are_stopped_by_whoever_sees_it(world: AwsWorld) -> None:
    batch = cancelled(world)
    message = Message(
        id="1",
        queue="plan",
        body=json.dumps({"tenant": "acme", "batch_id": batch.id}),
        receives=1,
        receipt="1",
        sent_at=0.0,
    )
    world.invoke("plan", aws_events.sqs("plan", [message]))
    first, *_ = jobs()
    jobs()[first].transform_job_status = "Stopped"
    world.invoke("on_job", told(first))
    world.answer()
    cancelled(world)
    world.fail(status=400)
    world.tick(2)
    stopped = {call.function for call in world.recorder.calls if call.operation == STOP}
    assert stopped == {"api", "plan", "on_job", "on_success", "on_error", "reap"}
