"""Every path of a batch's work: planned, dispatched, collected."""

from functools import partial

from backburner.domain.batch import BatchStatus
from tests.aws import account
from tests.aws.endpoint import Invocation
from tests.aws.scenarios import LIMITS, SMALL, scenario
from tests.aws.world import AwsWorld, requests
from tests.backend import Reply, answer_with, by_name, succeed
from tests.world import MINUTE

# ---------------------------------------------------------------- planning


@scenario(sizes=SMALL)
def the_outcomes_of_many_bad_lines_are_many_parts(world: AwsWorld) -> None:
    bad = [b"no json"] * 20
    batch = world.submit([*bad, *requests(2)], x_on_invalid="skip")
    world.recorder.refuse("s3", "UploadPart", after=1)
    world.pump(strict=False)
    assert world.batch(batch).status is BatchStatus.VALIDATING
    world.clock.advance(LIMITS.work_seconds)
    world.reap()
    world.run()
    assert world.batch(batch).failed == len(bad)


@scenario()
def a_line_is_bad_after_shards_were_cut(world: AwsWorld) -> None:
    batch = world.submit([*requests(5), b"no json"])
    world.run()
    assert world.batch(batch).status is BatchStatus.FAILED
    assert not world.objects("batches/")


@scenario()
def the_input_is_gone_or_empty(world: AwsWorld) -> None:
    gone = world.submit(2)
    world.delete_object(gone.input_key or "")
    empty = world.submit(b"\n\n")
    world.run()
    for batch in (gone, empty):
        assert world.batch(batch).status is BatchStatus.FAILED


@scenario()
def every_line_is_bad_and_skipped(world: AwsWorld) -> None:
    batch = world.submit([b"no json"], x_on_invalid="skip")
    world.run()
    assert world.batch(batch).failed == 1


@scenario()
def the_canary_ends_while_its_batch_is_still_being_planned(world: AwsWorld) -> None:
    batch = world.submit(60)

    def be_fast() -> None:
        world.pump("dispatch")
        world.answer()

    # Just after the dispatcher was asked for, the planner looks what the batch needs next.
    world.recorder.meanwhile("dynamodb", "GetItem", be_fast, after=2)
    world.run()
    assert world.recorder.is_all_done
    assert world.batch(batch).status is BatchStatus.COMPLETED


@scenario()
def a_batch_expires_before_it_is_planned(world: AwsWorld) -> None:
    batch = world.submit(3)
    world.clock.advance(24 * 3600)
    world.run()
    assert world.batch(batch).status is BatchStatus.EXPIRED


# ---------------------------------------------------------------- dispatching


@scenario()
def a_shard_is_not_taken_by_the_endpoint(world: AwsWorld) -> None:
    batch = world.submit(3)
    world.recorder.refuse(
        "sagemaker-runtime", "InvokeEndpointAsync", "ThrottlingException", status=400
    )
    world.run()
    assert world.batch(batch).status is BatchStatus.COMPLETED


@scenario()
def the_endpoint_can_not_be_woken(world: AwsWorld) -> None:
    account.delete_endpoint(world.own, world.stack)
    world.submit(3)
    world.pump()
    account.create_endpoint(world.own, world.stack)
    world.run()


# ---------------------------------------------------------------- collecting


def large(request: dict[str, object]) -> dict[str, object]:
    """An outcome that is no small one."""
    done = succeed(request)
    done["body"]["more"] = "x" * 400
    return done


@scenario()
def some_lines_are_tried_again(world: AwsWorld) -> None:
    replies: list[Reply] = [
        by_name({"line-1": 429, "line-2": 503, "line-3": None}, otherwise=large),
        by_name({"line-1": 500}),
    ]
    batch = world.submit(4)
    world.pump()
    for reply in replies:
        world.answer(reply=reply)
        world.pump()
    world.run(reply=answer_with(503))
    assert world.batch(batch).status is BatchStatus.COMPLETED
    assert world.batch(batch).failed == 1


@scenario()
def invocations_fail(world: AwsWorld) -> None:
    batch = world.submit(4)
    response = world.respond()
    world.pump()
    while world.outstanding:
        world.fail()
        world.pump()
    assert world.batch(batch).failed == 4
    assert world.batch(response).status is BatchStatus.FAILED


@scenario()
def the_canary_fails(world: AwsWorld) -> None:
    for is_result in (True, False):
        batch = world.submit(60)
        world.pump()
        while world.outstanding:
            if is_result:
                world.answer(reply=answer_with(400))
            else:
                world.fail()
            world.pump()
        assert world.batch(batch).status is BatchStatus.FAILED


@scenario()
def the_canary_fails_in_part(world: AwsWorld) -> None:
    batch = world.submit(20)
    world.pump()
    world.answer(reply=by_name({"line-1": 500}))
    world.pump()
    while world.outstanding:
        world.fail()  # the canary's one line is tried again, and given up
        world.pump()
    assert world.batch(batch).failed > 0


@scenario()
def results_come_twice_and_out_of_place(world: AwsWorld) -> None:
    batch = world.submit(3)
    world.pump()
    (one,) = world.outstanding
    location = {"outputLocation": f"s3://{world.bucket}/{one.output_key}"}
    world.tell("on_success", one, "Completed", {"outputLocation": "s3://other/key"})
    world.pump()
    (again,) = world.outstanding[1:]
    world.tell("on_success", again, "Completed", location)  # of the attempt before
    world.run()
    world.answer(again)
    world.answer(again)
    assert world.batch(batch).status is BatchStatus.COMPLETED


@scenario()
def a_result_is_gone_when_it_is_told_of(world: AwsWorld) -> None:
    batch = world.submit(3)
    world.pump()
    (one,) = world.outstanding
    location = f"s3://{world.bucket}/{one.output_key}"
    world.tell("on_success", one, "Completed", {"outputLocation": location})
    assert len(world.shards(batch)) == 2
    world.run()


@scenario()
def the_batch_has_ended_when_a_second_result_is_written_down(world: AwsWorld) -> None:
    for is_result in (True, False):
        batch = world.submit(4)
        world.pump()
        (one,) = world.outstanding
        world.recorder.meanwhile("s3", "PutObject", partial(_end, world, one))
        if is_result:
            world.answer(one, reply=large)
        else:
            world.fail(one)
        assert world.recorder.is_all_done
        assert world.batch(batch).status is BatchStatus.COMPLETED
        assert not world.objects("batches/")


def _end(world: AwsWorld, one: Invocation) -> None:
    """Another function takes the result in, and the batch ends."""
    world.answer(one)
    world.pump()


@scenario()
def a_batch_stops_while_results_come_in(world: AwsWorld) -> None:
    batch = world.submit(120)
    world.pump()
    world.answer()
    world.pump()
    assert len(world.outstanding) > 1
    world.post(f"/v1/batches/{batch.id}/cancel")
    world.answer(reply=answer_with(429))
    world.fail()
    world.clock.advance(MINUTE)
    world.pump()
    while world.outstanding:
        world.answer()
    world.reap()
    world.pump()
    assert world.batch(batch).status is BatchStatus.CANCELLED
