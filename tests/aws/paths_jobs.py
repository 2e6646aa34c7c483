"""Every path of shards that run as jobs of Bedrock."""

from dataclasses import replace
from typing import Any

import pytest

from backburner.domain.batch import Batch, BatchStatus
from backburner.domain.catalog import Catalog
from backburner.domain.shard import ShardStatus
from backburner_local import events as aws_events
from backburner_local.adapters.messages import Message
from tests.aws.jobs import JOB_MODELS, ended
from tests.aws.scenarios import SMALL, scenario
from tests.aws.world import AwsWorld, requests
from tests.world import MINUTE, Line, chat

HOUR = 60 * MINUTE


def asked(count: int = 3, *, model: str = "large", **body: Any) -> list[Line]:
    names = [f"{model}-{number}-{len(body)}" for number in range(count)]
    return [chat(name, model=model, max_tokens=16, **body) for name in names]


def mixed() -> list[Line]:
    """Requests for the endpoint, and for two models of jobs."""
    return [*requests(2), *asked(), *asked(model="profile")]


def forget_jobs(world: AwsWorld, batch: Batch) -> None:
    """Have the ARNs of the batch's jobs been lost."""
    for shard in world.shards(batch):
        if shard.status is ShardStatus.IN_FLIGHT:
            world.own.dynamodb.update_item(
                TableName=world.recorder.table.name,
                Key={
                    "partition": {"S": f"acme/{batch.id}"},
                    "sort": {"S": f"shard/{shard.id}"},
                },
                UpdateExpression="REMOVE #job",
                ExpressionAttributeNames={"#job": "job"},
            )


def cancelled(world: AwsWorld) -> Batch:
    """A batch on three backends that is being cancelled, with jobs whose ARNs were lost."""
    before = len(world.jobs.jobs)
    batch = world.submit(mixed())
    world.pump("plan", "dispatch")
    assert len(world.jobs.jobs) == before + 2
    forget_jobs(world, batch)
    assert world.post(f"/v1/batches/{batch.id}/cancel").status == 200
    assert {job["status"] for job in world.jobs.jobs[before:]} == {"Stopping"}
    return batch


@scenario(has_jobs=True, sizes=SMALL)
def jobs_of_models_of_all_kinds_run_and_are_told_of(world: AwsWorld) -> None:
    batch = world.submit([line for name in JOB_MODELS for line in asked(model=name)])
    world.recorder.refuse("s3", "UploadPart", after=1)
    world.pump("plan", "dispatch", strict=False)
    world.tick(15)
    assert len(world.jobs.jobs) >= len(JOB_MODELS)
    world.recorder.refuse("s3", "UploadPart", after=1)
    for job in world.jobs.jobs:
        world.jobs.end(job)
        world.invoke_often("on_job", ended(job))
    world.pump()
    assert world.batch(batch).status is BatchStatus.COMPLETED
    assert world.batch(batch).completed == 3 * len(JOB_MODELS)


@scenario(has_jobs=True, sizes=SMALL)
def nobody_tells_of_a_job_whose_creator_died(world: AwsWorld) -> None:
    batch = world.submit([*asked(3), *asked(1, n=2)])
    world.pump("plan", "dispatch")
    forget_jobs(world, batch)
    (job,) = world.jobs.jobs
    world.jobs.end(job, "PartiallyCompleted")
    world.recorder.refuse("s3", "UploadPart", after=1)
    world.clock.advance(2 * MINUTE)
    with pytest.raises(ExceptionGroup):
        world.reap()
    world.tick(3)
    assert world.batch(batch).completed == 3
    assert world.batch(batch).failed == 1


@scenario(has_jobs=True)
def a_job_is_looked_at_before_it_ends(world: AwsWorld) -> None:
    world.submit(asked())
    world.pump("plan", "dispatch")
    world.tick(3)
    (job,) = world.jobs.jobs
    assert job["status"] == "InProgress"


@scenario(has_jobs=True)
def the_catalog_has_no_model_of_jobs_any_more(world: AwsWorld) -> None:
    batch = world.submit(asked())
    world.pump("plan", "dispatch")
    (job,) = world.jobs.jobs
    waiting = world.submit([*asked(3), *asked(3, model="profile")])
    world.pump("plan")
    for name, env in world.environments.items():
        models = {name: one for name, one in env.catalog.models.items() if not one.has_jobs}
        own = next(iter(models.values()))
        models["large"] = replace(own, name="large", cut=replace(own.cut, lines=1))
        world.environments[name] = replace(env, catalog=Catalog(models))
    world.jobs.end(job)
    world.invoke("on_job", ended(job))
    world.pump()
    assert world.batch(batch).completed == 3
    world.clock.advance(10 * MINUTE)
    world.tick(1)
    while world.outstanding:
        world.answer()
        world.pump()
    after = world.batch(waiting)
    assert (after.completed, after.failed) == (3, 3)


@scenario(has_jobs=True)
def the_canary_of_a_retry_is_refused_for_good_and_the_rest_runs(world: AwsWorld) -> None:
    batch = world.submit(asked(12))
    for is_retry in (False, True):
        if is_retry:
            batch = world.batch(world.post(f"/v1/batches/{batch.id}/retry").json["id"])
        world.jobs.refusal = "The number of records is not supported."
        world.pump("plan", "dispatch")
        world.pump()
        world.tick(2)
    for job in world.jobs.jobs:
        world.jobs.end(job)
        world.invoke("on_job", ended(job))
    world.pump()
    assert world.batch(batch).completed == 8


@scenario(has_jobs=True)
def no_request_of_a_job_can_be_asked(world: AwsWorld) -> None:
    batch = world.submit(asked(n=2))
    world.pump("plan", "dispatch")
    assert not world.jobs.jobs
    world.tick(3)
    assert world.batch(batch).failed == 3


@scenario(has_jobs=True)
def requests_of_a_job_are_gone(world: AwsWorld) -> None:
    batch = world.submit(asked())
    world.pump("plan")
    (shard,) = world.shards(batch)
    world.delete_object(shard.input_key or "")
    world.pump("dispatch")
    assert not world.jobs.jobs


@scenario(has_jobs=True)
def a_job_is_refused_for_good(world: AwsWorld) -> None:
    batch = world.submit(asked())
    world.jobs.refusal = "The number of records is not supported."
    world.pump()
    assert world.batch(batch).failed == 3


@scenario(has_jobs=True)
def a_job_is_a_canary_and_leaves_something_to_be_tried_again(world: AwsWorld) -> None:
    batch = world.submit(asked(12))
    world.pump("plan", "dispatch")
    while running := [job for job in world.jobs.jobs if job["status"] == "InProgress"]:
        for job in running:
            # The first is a canary; the second leaves a request out.
            world.jobs.end(job, but_for=int(job is world.jobs.jobs[:2][-1] and len(running) > 1))
            world.invoke("on_job", ended(job))
        world.pump()
        world.tick(1)
    assert world.batch(batch).completed == 12
    assert len(world.jobs.jobs) > 2


@scenario(has_jobs=True)
def the_batch_has_ended_when_the_end_of_its_job_is_heard_again(world: AwsWorld) -> None:
    batch = world.submit(asked())
    world.pump("plan", "dispatch")
    (job,) = world.jobs.jobs
    world.jobs.end(job)

    def be_fast() -> None:
        world.invoke("on_job", ended(job))
        world.pump()
        assert world.batch(batch).status is BatchStatus.COMPLETED

    # Just as the outcomes are written down.
    world.recorder.meanwhile("s3", "PutObject", be_fast, after=1)
    world.invoke("on_job", ended(job))
    assert not world.objects("batches/")


@scenario(has_jobs=True)
def there_is_such_a_job_already(world: AwsWorld) -> None:
    world.submit(asked())
    world.recorder.refuse("bedrock", "CreateModelInvocationJob", "ConflictException", status=400)
    world.pump("plan", "dispatch")
    world.tick(2)
    assert not world.jobs.jobs


@scenario(has_jobs=True)
def jobs_wait_for_room_in_the_account(world: AwsWorld) -> None:
    world.submit(asked())
    world.recorder.refuse("bedrock", "CreateModelInvocationJob", "ServiceQuotaExceededException")
    world.pump("plan", "dispatch")
    assert not world.jobs.jobs
    world.report_backlog()


@scenario(has_jobs=True)
def jobs_of_a_batch_that_stops_are_stopped_by_whoever_sees_it(world: AwsWorld) -> None:
    batch = cancelled(world)
    message = Message(
        id="1",
        queue="plan",
        body=f'{{"tenant":"acme","batch_id":"{batch.id}"}}',
        receives=1,
        receipt="1",
        sent_at=0.0,
    )
    world.invoke("plan", aws_events.sqs("plan", [message]))
    first = world.jobs.jobs[0]
    world.jobs.end(first, "Stopped")
    world.invoke("on_job", ended(first))
    world.answer()
    cancelled(world)
    world.fail(status=400)
    world.tick(2)
