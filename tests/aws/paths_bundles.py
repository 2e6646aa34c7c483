"""Every path of shards that travel together."""

from backburner.domain.batch import Batch, BatchStatus
from backburner.domain.bundle import is_bundle
from tests.aws.endpoint import Invocation
from tests.aws.jobs import ended
from tests.aws.paths_jobs import asked
from tests.aws.scenarios import LIMITS, SMALL, scenario
from tests.aws.world import COMBINED, MODEL, AwsWorld
from tests.world import MINUTE


def bundled(world: AwsWorld) -> tuple[list[Batch], Invocation]:
    """Single requests that waited for a slot, in the bundle that got one."""
    slots = world.env.catalog.models[MODEL].slots
    first = [world.respond() for _ in range(slots)]
    waiting = [world.respond() for _ in range(3)]
    world.answer()
    world.pump()
    (bundle,) = [one for one in world.outstanding if is_bundle(one.ref.batch_id)]
    return [*first, *waiting], bundle


def all_completed(world: AwsWorld, some: list[Batch]) -> None:
    assert {world.batch(one).status for one in some} == {BatchStatus.COMPLETED}


@scenario()
def single_requests_share_a_slot(world: AwsWorld) -> None:
    some, bundle = bundled(world)
    world.answer(bundle)
    world.run()
    all_completed(world, some)


@scenario()
def a_bundle_fails_as_a_whole(world: AwsWorld) -> None:
    some, bundle = bundled(world)
    world.fail(bundle)
    world.run()
    all_completed(world, some)


@scenario()
def nobody_tells_of_a_bundle_that_ended(world: AwsWorld) -> None:
    some, bundle = bundled(world)
    world.answer(bundle, told=False)
    world.tick(3)
    world.run()
    all_completed(world, some)


@scenario()
def a_bundle_gets_lost(world: AwsWorld) -> None:
    some, bundle = bundled(world)
    bundle.is_told = True
    world.run()
    world.clock.advance(LIMITS.lease_seconds)
    world.tick(2)
    world.run()
    all_completed(world, some)


@scenario()
def a_bundle_is_not_taken_by_the_endpoint(world: AwsWorld) -> None:
    slots = world.env.catalog.models[MODEL].slots
    some = [world.respond() for _ in range(slots + 3)]
    world.recorder.refuse(
        "sagemaker-runtime", "InvokeEndpointAsync", "ThrottlingException", status=400
    )
    world.run()
    all_completed(world, some)


@scenario(has_jobs=True, sizes=SMALL)
def small_batches_become_one_job(world: AwsWorld) -> None:
    some = [world.submit(asked(3, model=COMBINED)) for _ in range(2)]
    world.jobs.refusal = "The provided model identifier is invalid."
    world.pump("plan", "dispatch")
    assert not world.jobs.jobs
    world.tick(3)
    (job,) = world.jobs.jobs
    world.jobs.end(job, but_for=1)
    world.invoke_often("on_job", ended(job))
    world.pump()
    assert sorted(world.batch(one).completed for one in some) == [2, 3]
    # What was left waits for others as long as it may.
    world.clock.advance(60 * MINUTE)
    world.tick(2)
    (_, again) = world.jobs.jobs
    world.jobs.end(again)
    world.tick(3)
    all_completed(world, some)
    assert not [key for key in world.objects("batches/") if "bundle_" in key]
