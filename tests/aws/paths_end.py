"""Every path to a batch's end, and of those who look after it: finalize, deliver, the schedules."""

from dataclasses import replace

from backburner.domain.batch import BatchStatus
from backburner.domain.delivery import POLICIES, Channel, DeliveryStatus
from backburner.services import mailing
from tests.aws import account
from tests.aws.scenarios import LIMITS, SMALL, scenario
from tests.aws.world import AwsWorld, requests
from tests.backend import answer_with, by_name
from tests.world import MINUTE, load_event

HOUR = 60 * MINUTE
MAX_ATTEMPTS = POLICIES[Channel.EVENTS].max_attempts

# ---------------------------------------------------------------- finalize


@scenario(sizes=SMALL)
def large_files_are_written_by_parts(world: AwsWorld) -> None:
    world.notify_upload(world.drop("large.jsonl", requests(20)))
    world.pump()
    while world.outstanding:
        world.answer(reply=by_name({"line-1": 400}))
        world.pump("plan", "dispatch")
    for operation in ("UploadPart", "UploadPartCopy"):
        world.recorder.refuse("s3", operation, after=1)
        world.pump("finalize", strict=False)
        assert not world.objects("results/")
        world.clock.advance(LIMITS.work_seconds)
        world.reap()
    world.pump()
    assert len(world.objects("results/")) == 2


@scenario()
def results_are_lost_before_the_files_are_written(world: AwsWorld) -> None:
    batch = world.submit(60)
    world.pump()
    while world.outstanding:
        world.answer(reply=by_name({"line-2": 400}))
        world.pump("plan", "dispatch")
    for key in world.objects(f"batches/acme/{batch.id}/"):
        world.delete_object(key)
    world.pump("finalize", strict=False)
    assert not world.batch(batch).is_terminal
    world.clock.advance(25 * HOUR)
    world.reap()
    world.pump()
    assert world.batch(batch).failed > 0


@scenario()
def a_batch_ends_whose_lines_nobody_knows_any_more(world: AwsWorld) -> None:
    batch = world.submit(60)
    world.pump()
    while world.outstanding:
        world.answer()
        world.pump("plan", "dispatch")
    for key in (*world.objects(f"batches/acme/{batch.id}/"), batch.input_key or ""):
        world.delete_object(key)
    for shard in world.shards(batch):
        name = {"partition": {"S": f"acme/{batch.id}"}, "sort": {"S": f"shard/{shard.id}"}}
        world.own.dynamodb.delete_item(TableName=world.recorder.table.name, Key=name)
    world.clock.advance(25 * HOUR)
    world.reap()
    world.pump(strict=False)
    assert world.batch(batch).status is BatchStatus.FAILED
    assert world.objects("errors/")


# ---------------------------------------------------------------- deliver


@scenario()
def people_and_programs_are_told(world: AwsWorld) -> None:
    batch = world.submit(2, metadata={"notify_email": "ann@example.com"})
    world.run()
    assert world.batch(batch).status is BatchStatus.COMPLETED
    world.deliver(batch, "email")
    assert world.recorder.names("deliver").count("sesv2:SendEmail") == 1


@scenario()
def a_mail_comes_back(world: AwsWorld) -> None:
    world.invoke("on_mail_event", load_event("sns_mailevents_bounce"))
    batch = world.submit(2, metadata={"notify_email": "ada@example.com"})
    world.run()
    (mail,) = (one for one in world.deliveries(batch) if one.channel is Channel.EMAIL)
    assert mail.status is DeliveryStatus.DEAD
    assert "sesv2:SendEmail" not in world.recorder.names("deliver")


@scenario()
def an_hour_is_told_in_one_mail(world: AwsWorld) -> None:
    mailing.change(world.env, "acme", {"digest": "hourly"})
    told = {"notify_email": "ann@example.com"}
    batches = [world.submit(2, metadata=told) for _ in range(2)]
    world.run()
    for batch in batches:
        world.deliver(batch, "email")
    (first, *_) = (one for one in world.deliveries(batches[0]) if one.channel is Channel.EMAIL)
    assert first.digest_id is not None
    world.clock.advance(2 * HOUR)
    world.reap()
    world.pump()
    assert world.recorder.names("deliver").count("sesv2:SendEmail") == 1
    world.clock.advance(HOUR)
    world.reap()
    world.pump()
    for batch in batches:
        assert {one.status for one in world.deliveries(batch)} == {DeliveryStatus.DELIVERED}


@scenario()
def telling_fails_for_now_and_for_good(world: AwsWorld) -> None:
    batch = world.submit(2)
    world.recorder.refuse("sns", "Publish", "Throttling", status=400)
    world.run()
    for _ in range(MAX_ATTEMPTS):
        world.clock.advance(2 * HOUR)
        world.recorder.refuse("sns", "Publish", "Throttling", status=400)
        world.deliver(batch, "events")
    world.recorder.forget_plans()
    assert world.recorder.names("deliver").count("sns:Publish") == MAX_ATTEMPTS


@scenario(EventBus=account.BUS)
def a_bus_is_told_too(world: AwsWorld) -> None:
    batch = world.submit(2)
    world.respond()
    world.run()
    assert world.batch(batch).status is BatchStatus.COMPLETED
    assert world.recorder.names("deliver").count("eventbridge:PutEvents") == 2


@scenario()
def the_end_of_a_single_request_is_told_at_once_or_later(world: AwsWorld) -> None:
    told = {"notify_email": "ann@example.com"}
    world.respond(metadata=told)
    world.run()
    world.respond(metadata=told)
    world.recorder.refuse("sns", "Publish", "Throttling", status=400)
    world.run()
    world.respond(metadata=told)
    while world.outstanding:
        world.fail()
        world.pump()
        world.clock.advance(MINUTE)
        world.pump()
    world.recorder.forget_plans()
    assert world.recorder.names("on_success").count("sns:Publish") == 2
    assert world.recorder.names("on_error").count("sns:Publish") == 1


# ---------------------------------------------------------------- the schedules


@scenario()
def the_backlog_is_reported(world: AwsWorld) -> None:
    world.report_backlog()
    world.submit(2)
    world.pump("plan")
    world.report_backlog()
    account.delete_endpoint(world.own, world.stack)
    world.report_backlog()
    assert world.recorder.names("report_backlog").count("sagemaker:DescribeEndpoint") == 3


@scenario()
def nobody_told_of_results_and_failures(world: AwsWorld) -> None:
    batch = world.submit(4)
    response = world.respond()
    world.pump()
    world.answer(told=False)
    world.fail(told=False)
    world.tick()
    while world.outstanding:
        world.fail(told=False)
        world.tick()
    assert world.batch(batch).is_terminal
    assert world.batch(response).is_terminal


@scenario()
def invocations_get_lost(world: AwsWorld) -> None:
    batch = world.submit(4)
    world.pump()
    while world.outstanding:
        for one in world.outstanding:
            one.is_told = True
        world.clock.advance(LIMITS.lease_seconds + 1)
        world.tick()
    assert world.batch(batch).failed == 4


@scenario()
def lines_of_results_that_nobody_told_of_are_tried_again(world: AwsWorld) -> None:
    batch = world.submit(4)
    world.pump()
    world.answer(reply=answer_with(429), told=False)
    world.tick()
    assert len(world.shards(batch)) == 2
    world.run()


@scenario()
def messages_get_lost(world: AwsWorld) -> None:
    unplanned = world.submit(60)
    world.lose("plan")
    world.clock.advance(LIMITS.work_seconds)
    world.reap()
    world.pump()
    world.answer()
    world.lose("plan")
    world.clock.advance(LIMITS.work_seconds)
    world.reap()
    world.pump()
    while world.outstanding:
        world.answer()
    for name in ("finalize", "deliver"):
        world.lose(name)
        world.clock.advance(LIMITS.work_seconds)
        world.reap()
        world.pump("finalize")
    world.pump()
    assert world.batch(unplanned).status is BatchStatus.COMPLETED
    assert world.recorder.names("deliver").count("sns:Publish") == 1


@scenario()
def batches_expire(world: AwsWorld) -> None:
    running = world.submit(60)
    world.pump()
    waiting = world.submit(8)
    world.pump("plan")
    world.clock.advance(24 * HOUR)
    world.reap()
    world.pump()
    world.tick(3)
    for batch in (running, waiting):
        assert world.batch(batch).status is BatchStatus.EXPIRED


@scenario()
def the_canary_s_end_is_seen_by_nobody_but_reap(world: AwsWorld) -> None:
    batch = world.submit(60)
    world.pump()
    world.answer(reply=answer_with(400), told=False)
    world.tick()
    assert world.batch(batch).status is BatchStatus.FAILED


@scenario(limits=replace(LIMITS, output_expires_seconds=HOUR))
def files_expire(world: AwsWorld) -> None:
    batch = world.submit(2)
    world.run()
    assert world.objects("files/")
    world.clock.advance(2 * HOUR)
    world.reap()
    assert not world.objects("files/")
    assert world.batch(batch).status is BatchStatus.COMPLETED


@scenario()
def the_batch_has_ended_when_reap_writes_a_second_result_down(world: AwsWorld) -> None:
    batch = world.submit(4)
    world.pump()
    (one,) = world.outstanding
    world.answer(reply=answer_with(429), told=False)
    world.clock.advance(LIMITS.look_seconds)

    def be_faster() -> None:
        world.answer(one)
        world.pump()

    world.recorder.meanwhile("s3", "PutObject", be_faster)
    world.reap()
    assert world.batch(batch).status is BatchStatus.COMPLETED
    assert not world.objects("batches/")
