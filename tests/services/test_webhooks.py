"""Webhooks: who is told of an end, how it is signed, and what becomes of who stays away."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from backburner.domain.batch import Batch, BatchKind, BatchStatus
from backburner.domain.delivery import LONGEST_SECONDS, POLICIES, Channel, Delivery, DeliveryStatus
from backburner.domain.errors import Conflict, InvalidRequest, NotFound, Undelivered
from backburner.domain.webhook import DEAD_IN_A_ROW, EVENT_TYPES, Endpoint
from backburner.ports import HookAnswer, QueueName
from backburner.services import batches, outbox, progressing, replaying, webhooks
from tests import oracle
from tests.backend import answer_with, by_name
from tests.late import Late
from tests.memory import Posted
from tests.tap import crash_after, meanwhile_at
from tests.world import World

if TYPE_CHECKING:
    import openai
else:
    openai = Late("openai")

HOUR = 3600.0
URL = "https://hooks.example.com/x"
POLICY = POLICIES[Channel.WEBHOOK]


def an_endpoint(world: World, *, tenant: str = "acme", url: str = URL, **given: Any) -> Endpoint:
    asked = {"name": "n", "url": url, "event_types": list(EVENT_TYPES), **given}
    return webhooks.create(world.env, tenant, asked)


def answers(*statuses: int, retry_after: float = 0.0) -> Callable[[Posted], HookAnswer]:
    """These in turn, and the last one from then on."""
    left = list(statuses)

    def answer(_: Posted) -> HookAnswer:
        status = left.pop(0) if len(left) > 1 else left[0]
        return HookAnswer(status=status, retry_after_seconds=retry_after)

    return answer


def nobody(_: Posted) -> HookAnswer:
    raise Undelivered("It did not answer in time.")


def told(world: World, batch: Batch) -> Delivery:
    (found,) = (one for one in world.deliveries(batch) if one.channel is Channel.WEBHOOK)
    return found


def seen(world: World, endpoint: Endpoint) -> Endpoint:
    return webhooks.find(world.env, "acme", endpoint.id)


# ---------------------------------------------------------------- who is told


def test_an_endpoint_is_told_of_what_it_asked_for(world):
    an_endpoint(world, event_types=["batch.completed", "response.failed"])
    done = world.submit(2)
    failed = world.submit(b'{"bad')
    answered, refused = world.respond("well"), world.respond("badly")
    world.settle(by_name({"badly": 400}))
    events = {one.event["data"]["id"]: one.event["type"] for one in world.receiver.posted}
    assert events == {done.id: "batch.completed", refused.id: "response.failed"}
    assert {batch.status for batch in map(world.batch, (failed, answered))} == {
        BatchStatus.FAILED,
        BatchStatus.COMPLETED,
    }
    oracle.check_end(world)


def test_the_event_has_ids_and_counts_and_is_the_one_of_the_topic(world):
    an_endpoint(world)
    batch = world.submit(3)
    world.settle(by_name({"acme-2": 400}))
    (posted,) = world.receiver.posted
    assert posted.url == URL
    assert posted.event == world.told[0].event
    assert posted.event["id"] == posted.headers["webhook-id"] == f"evt_{batch.id}"
    assert posted.event["data"]["request_counts"] == {"total": 3, "completed": 2, "failed": 1}


def test_of_two_endpoints_that_are_made_at_once_both_are_there(world):
    other = partial(an_endpoint, world, url=f"{URL}/other")
    with world.tap.hooked(meanwhile_at("store.transact", world.tap, other)):
        an_endpoint(world)
    urls = {one.url for one in webhooks.load(world.env, "acme").endpoints}
    assert urls == {URL, f"{URL}/other"}
    third = partial(an_endpoint, world, url=f"{URL}/third")
    with world.tap.hooked(meanwhile_at("store.transact", world.tap, third)):
        an_endpoint(world, url=f"{URL}/fourth")
    assert len(webhooks.load(world.env, "acme").endpoints) == 4


def test_each_endpoint_is_told_and_no_other_tenant_s(world):
    urls = [f"https://hooks.example.com/{number}" for number in range(3)]
    for url in urls:
        an_endpoint(world, url=url)
    an_endpoint(world, tenant="other")
    batch = world.submit(1)
    world.settle()
    assert sorted(one.url for one in world.receiver.posted) == urls
    assert {one.event["id"] for one in world.receiver.posted} == {f"evt_{batch.id}"}
    oracle.check_end(world)


def cut_short(request: Any) -> Any:
    body = {"choices": [{"finish_reason": "length", "message": {"content": "he"}}]}
    return {"line": request["line"], "status_code": 200, "body": body}


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (None, "response.completed"),
        (answer_with(400), "response.failed"),
        (cut_short, "response.incomplete"),
        (
            lambda request: {"line": request["line"], "status_code": 200, "body": {"choices": []}},
            "response.failed",
        ),
    ],
)
def test_a_response_s_event_is_named_by_the_status_that_its_client_sees(world, reply, kind):
    an_endpoint(world)
    world.respond()
    world.answer(reply=reply)
    world.pump()
    assert [one.event["type"] for one in world.receiver.posted] == [kind]


def test_a_response_that_was_cancelled_or_came_too_late_says_so_too(world):
    an_endpoint(world)
    cancelled, late = world.respond("a"), world.respond("b", window="1h")
    batches.cancel(world.env, "acme", cancelled.id, kind=BatchKind.RESPONSE)
    world.lose()
    world.lose()
    world.advance(HOUR)
    world.settle()
    kinds = {one.event["data"]["id"]: one.event["type"] for one in world.receiver.posted}
    assert kinds == {cancelled.id: "response.cancelled", late.id: "response.failed"}
    oracle.check_end(world)


def test_other_single_requests_are_told_as_requests(world):
    an_endpoint(world)
    world.respond(kind=BatchKind.REQUEST)
    world.answer()
    world.pump()
    assert [one.event["type"] for one in world.receiver.posted] == ["request.completed"]


def test_an_endpoint_made_while_the_batch_runs_is_told_of_its_end(world):
    world.submit(1)
    world.pump(QueueName.PLAN, QueueName.DISPATCH)
    an_endpoint(world)
    world.settle()
    assert len(world.receiver.posted) == 1


def test_an_endpoint_that_is_gone_meanwhile_is_told_nothing(world):
    endpoint = an_endpoint(world)
    batch = world.submit(b'{"bad')
    world.pump(QueueName.PLAN)
    webhooks.delete(world.env, "acme", endpoint.id)
    world.settle()
    assert world.receiver.posted == []
    assert told(world, batch).status is DeliveryStatus.DEAD


# ---------------------------------------------------------------- callback URLs


def test_a_batch_may_name_a_url_of_its_own(world):
    secret = webhooks.rotate_callback_secret(world.env, "acme", keeps_old=False)
    an_endpoint(world)
    batch = world.submit(1, callback_url="https://mine.example.com/1")
    response = world.respond(callback_url="https://mine.example.com/2")
    world.settle()
    own = {one.url: one for one in world.receiver.posted if "mine" in one.url}
    assert {url: one.event["data"]["id"] for url, one in own.items()} == {
        "https://mine.example.com/1": batch.id,
        "https://mine.example.com/2": response.id,
    }
    assert all(oracle.is_signed(one, (secret,)) for one in own.values())
    assert len(world.receiver.posted) == 4
    oracle.check_end(world)


def test_a_callback_without_a_secret_to_sign_with_is_refused(world):
    with pytest.raises(InvalidRequest, match="x-callback-secret") as refused:
        world.submit(1, callback_url=URL)
    assert refused.value.param == "callback_url"
    with pytest.raises(InvalidRequest, match="x-callback-secret"):
        world.respond(callback_url=URL)
    assert world.all_batches() == []


@pytest.mark.parametrize("url", ["http://example.com", "https://10.0.0.1", "https://localhost", 7])
def test_a_callback_to_where_no_webhook_may_go_is_refused(world, url):
    webhooks.rotate_callback_secret(world.env, "acme", keeps_old=False)
    with pytest.raises(InvalidRequest, match="callback_url"):
        world.submit(1, callback_url=url)
    assert world.all_batches() == []


def test_a_retry_is_told_where_the_first_batch_was(world):
    webhooks.rotate_callback_secret(world.env, "acme", keeps_old=False)
    batch = world.submit(2, callback_url=URL)
    world.settle(by_name({"acme-1": 400}))
    again = world.retry(batch)
    world.settle()
    assert [one.event["data"]["id"] for one in world.receiver.posted] == [batch.id, again.id]


# ---------------------------------------------------------------- signatures


def unwrap(posted: Posted, secret: str) -> Any:
    """As a client of OpenAI's would."""
    client = openai.OpenAI(api_key="x", webhook_secret=secret)
    return client.webhooks.unwrap(posted.body, posted.headers)


@pytest.fixture
def real_time(world, monkeypatch):
    """The clients look at their own clock."""
    monkeypatch.setattr("time.time", world.clock.now)


@pytest.mark.usefixtures("real_time")
def test_openai_s_client_believes_what_it_is_told_and_nothing_else(world):
    endpoint = an_endpoint(world)
    batch = world.submit(1)
    world.settle()
    (posted,) = world.receiver.posted
    event = unwrap(posted, endpoint.secrets[0].value)
    assert (event.type, event.data.id) == ("batch.completed", batch.id)
    other = an_endpoint(world).secrets[0].value
    with pytest.raises(openai.InvalidWebhookSignatureError):
        unwrap(posted, other)
    world.advance(301)
    with pytest.raises(openai.InvalidWebhookSignatureError):
        unwrap(posted, endpoint.secrets[0].value)


@pytest.mark.usefixtures("real_time")
def test_while_a_secret_is_replaced_both_are_believed_for_a_day(world):
    endpoint = an_endpoint(world)
    old = endpoint.secrets[0].value
    new = webhooks.rotate(world.env, "acme", endpoint.id, keeps_old=True).secrets[0].value

    def is_believed(secret: str) -> bool:
        world.submit(1)
        world.settle()
        try:
            return bool(unwrap(world.receiver.posted[-1], secret))
        except openai.InvalidWebhookSignatureError:
            return False

    assert [is_believed(old), is_believed(new)] == [True, True]
    world.advance(24 * HOUR)
    assert [is_believed(old), is_believed(new)] == [False, True]
    newest = webhooks.rotate(world.env, "acme", endpoint.id, keeps_old=False).secrets[0].value
    assert [is_believed(new), is_believed(newest)] == [False, True]


def test_every_attempt_has_its_own_time_and_the_same_id(world):
    world.receiver.answer = answers(500, 200)
    an_endpoint(world)
    world.submit(1)
    world.settle()
    first, second = world.receiver.posted
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    assert int(second.headers["webhook-timestamp"]) >= int(first.headers["webhook-timestamp"]) + 2


def test_a_log_shows_no_secret_and_no_url(world, caplog):
    caplog.set_level("DEBUG")
    endpoint = an_endpoint(world, url=f"{URL}/token")
    world.receiver.answer = answers(500)
    world.submit(1)
    world.run()
    assert "delivery.failed" in caplog.text
    assert endpoint.secrets[0].value not in caplog.text + repr(endpoint)
    assert "token" not in caplog.text


# ---------------------------------------------------------------- receivers that stay away


def test_attempts_go_on_for_days_with_growing_pauses(world):
    asked_at: list[float] = []

    def note(_: Posted) -> HookAnswer:
        asked_at.append(world.clock.now())
        return HookAnswer(status=503)

    world.receiver.answer = note
    an_endpoint(world)
    batch = world.submit(1)
    world.settle(minutes=75 * 60)
    delivery = told(world, batch)
    assert (delivery.status, delivery.attempts) == (DeliveryStatus.DEAD, POLICY.max_attempts)
    assert delivery.last_error == "It answered with status 503."
    assert len(asked_at) == POLICY.max_attempts
    for (before, after), least in zip(pairwise(asked_at), POLICY.pauses, strict=True):
        assert least <= after - before <= 1.2 * least + 3 * 60
    assert 60 * HOUR <= asked_at[-1] - asked_at[0] <= LONGEST_SECONDS


def test_a_receiver_that_asks_to_wait_is_waited_for(world):
    world.receiver.answer = answers(503, 200, retry_after=2000.0)
    an_endpoint(world)
    batch = world.submit(1)
    world.run()
    for _ in range(32):
        world.tick()
        assert len(world.receiver.posted) == 1
    world.settle()
    assert len(world.receiver.posted) == 2
    assert told(world, batch).status is DeliveryStatus.DELIVERED


def test_a_receiver_that_does_not_answer_is_tried_again(world):
    world.receiver.answer = nobody
    an_endpoint(world)
    batch = world.submit(1)
    world.run()
    assert told(world, batch).last_error == "It did not answer in time."
    world.receiver.answer = answers(200)
    world.settle()
    assert told(world, batch).status is DeliveryStatus.DELIVERED
    oracle.check_end(world)


def test_a_receiver_that_never_answers_does_not_hold_up_the_others(world):
    asked_at: list[float] = []

    def dawdle(posted: Posted) -> HookAnswer:
        if posted.url == URL:
            asked_at.append(world.clock.now())
            world.advance(20)
            raise Undelivered("It did not answer in time.")
        return HookAnswer(status=200)

    world.receiver.answer = dawdle
    an_endpoint(world)
    an_endpoint(world, url=f"{URL}/other")
    made = [world.submit(1) for _ in range(20)]
    began = world.clock.now()
    world.run()
    assert len(asked_at) == 1
    assert len(world.receiver.posted) == len(made)
    assert world.clock.now() == began + 20
    unasked = [one for batch in made for one in world.deliveries(batch) if not one.attempts]
    assert {one.not_before for one in unasked} == {began + 20 + 60}
    world.tick(10)
    assert 5 <= len(asked_at) <= 12
    world.receiver.answer = answers(200)
    world.settle()
    assert {told.status for batch in made for told in world.deliveries(batch)} == {
        DeliveryStatus.DELIVERED
    }


def test_a_crash_after_the_post_posts_again_with_the_same_id(world):
    an_endpoint(world)
    batch = world.submit(b'{"bad')
    world.pump(QueueName.PLAN)
    with crash_after(world.tap, "webhooks.post"):
        world.pump()
    world.settle()
    assert [one.event["id"] for one in world.receiver.posted] == [f"evt_{batch.id}"] * 2
    oracle.check_end(world)


def given_up(world: World, count: int) -> list[Batch]:
    """Batches whose end could not be told at all."""
    made = [world.submit(b'{"bad') for _ in range(count)]
    pass_days(world)
    return made


def pass_days(world: World) -> None:
    """Until all attempts were made, half an hour after the other."""
    while not world.is_quiet:
        world.pump()
        world.advance(HOUR / 2)
        world.reap()


def what_is_said_of_disabled(endpoint: Endpoint, unsubscribe_url: str | None) -> list[str]:
    header = '-H "Authorization: Bearer $KEY" -H "Content-Type: application/json"'
    return [
        f"The webhook endpoint {endpoint.id} (n) was disabled.",
        "",
        "10 deliveries in a row were given up.",
        "",
        "It is told nothing more until it is updated, if only with its own name:",
        "",
        f"  curl http://here/v1/webhook_endpoints/{endpoint.id} {header} -d '{{}}'",
        "",
        "What it missed is kept as long as the batches are, and can be sent again:",
        "",
        "  http://here/v1/x-deliveries?status=dead",
        "",
        "-- ",
        f"No more mails of acme: {unsubscribe_url}",
        "",
    ]


def test_an_endpoint_that_stays_away_is_disabled_and_who_made_it_is_told(world):
    endpoint = an_endpoint(world, x_notify_email="ops@example.com")
    world.receiver.answer = answers(500)
    given_up(world, DEAD_IN_A_ROW - 1)
    assert seen(world, endpoint).is_enabled
    given_up(world, 1)
    found = seen(world, endpoint)
    assert not found.is_enabled
    assert found.disabled_reason == "10 deliveries in a row were given up."
    (mail,) = (mails[0] for mails in world.mailer.sent.values())
    assert mail.to == "ops@example.com"
    assert mail.subject == f"The webhook endpoint {endpoint.id} was disabled"
    assert mail.text.split("\n") == what_is_said_of_disabled(endpoint, mail.unsubscribe_url)
    assert URL not in mail.text
    posts = len(world.receiver.posted)
    missed = world.submit(1)
    world.settle()
    assert len(world.receiver.posted) == posts
    assert told(world, missed).status is DeliveryStatus.DEAD
    oracle.check_end(world)


def test_one_success_in_between_is_enough_to_stay(world):
    endpoint = an_endpoint(world)
    for _ in range(2):
        world.receiver.answer = answers(500)
        given_up(world, DEAD_IN_A_ROW - 1)
        assert seen(world, endpoint).dead_in_a_row == DEAD_IN_A_ROW - 1
        world.receiver.answer = answers(200)
        world.submit(1)
        world.settle()
        assert seen(world, endpoint).dead_in_a_row == 0


def test_an_endpoint_that_says_it_is_gone_is_disabled_at_once(world):
    endpoint = an_endpoint(world)
    world.receiver.answer = answers(410)
    batch = world.submit(1, metadata={"notify_email": "ada@example.com"})
    world.settle()
    assert seen(world, endpoint).disabled_reason == "It answered 410 Gone."
    assert told(world, batch).status is DeliveryStatus.DEAD
    assert len(world.receiver.posted) == 1
    mails = [mail for sent in world.mailer.sent.values() for mail in sent]
    assert {mail.to for mail in mails} == {"ada@example.com"}
    assert [f"{endpoint.id} was disabled" in mail.subject for mail in mails].count(True) == 1
    assert all(mail.unsubscribe_url for mail in mails)


def test_an_update_enables_it_again_and_what_it_missed_can_be_told(world):
    endpoint = an_endpoint(world)
    world.receiver.answer = answers(410)
    first = world.submit(1)
    world.settle()
    missed = world.submit(1)
    world.settle()
    webhooks.update(world.env, "acme", endpoint.id, {})
    assert seen(world, endpoint).is_enabled
    world.receiver.answer = answers(200)
    count, rest = replaying.replay_since(world.env, "acme", since=0.0, endpoint_id=endpoint.id)
    assert (count, rest) == (2, None)
    world.settle()
    taken = [one.event["data"]["id"] for one in world.receiver.posted if one.is_taken]
    assert sorted(taken) == sorted([first.id, missed.id])
    oracle.check_end(world)


def test_a_callback_that_is_gone_disables_nothing(world):
    webhooks.rotate_callback_secret(world.env, "acme", keeps_old=False)
    world.receiver.answer = answers(410)
    batch = world.submit(1, callback_url=URL)
    world.settle()
    assert told(world, batch).status is DeliveryStatus.DEAD


# ---------------------------------------------------------------- telling again


def test_what_was_given_up_is_told_again_with_the_same_id(world):
    an_endpoint(world)
    world.receiver.answer = answers(500)
    (batch,) = given_up(world, 1)
    posts = len(world.receiver.posted)
    world.receiver.answer = answers(200)
    again = replaying.replay(world.env, "acme", replaying.id_of(told(world, batch)))
    assert (again.status, again.attempts) == (DeliveryStatus.PENDING, 0)
    world.reap()  # which sees that it was asked for
    assert world.queue.counts(QueueName.DELIVER).waiting == 1
    world.settle()
    assert told(world, batch).status is DeliveryStatus.DELIVERED
    assert [one.event["id"] for one in world.receiver.posted[posts:]] == [f"evt_{batch.id}"]
    found, _ = replaying.page_of_dead(world.env, "acme", after=None, limit=10)
    assert found == []


def test_what_is_told_again_and_fails_again_is_tried_as_long_again(world):
    an_endpoint(world)
    world.receiver.answer = answers(500)
    (batch,) = given_up(world, 1)
    replaying.replay(world.env, "acme", replaying.id_of(told(world, batch)))
    pass_days(world)
    assert told(world, batch).attempts == POLICY.max_attempts
    assert len(world.receiver.posted) == 2 * POLICY.max_attempts


def test_what_was_delivered_is_told_again_if_it_is_asked_for(world):
    an_endpoint(world)
    batch = world.submit(1)
    world.settle()
    name = replaying.id_of(told(world, batch))
    replaying.replay(world.env, "acme", name)
    replaying.replay(world.env, "acme", name)  # it is pending: no third one
    world.settle()
    assert len(world.receiver.posted) == 2


def test_of_two_who_ask_at_once_one_has_it_told(world):
    an_endpoint(world)
    batch = world.submit(1)
    world.settle()
    ask = partial(replaying.replay, world.env, "acme", replaying.id_of(told(world, batch)))
    with world.tap.hooked(None):
        world.tap.hook = meanwhile_at("store.transact", world.tap, ask)
        with pytest.raises(Conflict):
            ask()
    world.settle()
    assert len(world.receiver.posted) == 2


def test_what_was_given_up_since_an_instant_is_told_again_oldest_first(world):
    an_endpoint(world)
    world.receiver.answer = answers(410)
    world.submit(1)
    world.settle()
    world.advance(HOUR)
    since = world.clock.now()
    later = [world.submit(1) for _ in range(3)]
    world.settle()
    world.receiver.answer = answers(200)
    webhooks.update(world.env, "acme", webhooks.load(world.env, "acme").endpoints[0].id, {})
    assert replaying.replay_since(world.env, "acme", since=since) == (3, None)
    world.settle()
    taken = [one.event["data"]["id"] for one in world.receiver.posted if one.is_taken]
    assert sorted(taken) == [one.id for one in later]


def test_many_are_told_again_in_several_calls(world):
    an_endpoint(world)
    world.receiver.answer = answers(410)
    for _ in range(5):
        world.submit(1)
        world.advance(1)
        world.settle()
    counts: list[int] = []
    since: float | None = 0.0
    while since is not None:
        count, since = replaying.replay_since(world.env, "acme", since=since, at_most=2)
        counts.append(count)
    assert counts == [2, 2, 1]


@pytest.mark.parametrize(
    ("looks", "found"), [(replaying.LOOKS - 1, 1), (replaying.LOOKS, 0), (replaying.LOOKS + 1, 0)]
)
def test_a_call_looks_at_so_many_for_each_and_says_where_to_go_on(world, looks, found):
    an_endpoint(world, event_types=["batch.failed"])
    wanted = an_endpoint(world, event_types=["batch.completed"])
    world.receiver.answer = answers(410)
    for lines in (*[b'{"bad'] * looks, 1):
        world.submit(lines)
        world.settle()
        world.advance(1)
    ask = partial(replaying.replay_since, world.env, "acme", endpoint_id=wanted.id, at_most=1)
    count, since = ask(since=0.0)
    assert count == found
    if found:
        assert since is None
        return
    assert since is not None
    assert ask(since=since) == (1, None)


@pytest.mark.parametrize("kind", ["none", "delivered", "another tenant's"])
def test_a_page_of_what_was_given_up_begins_after_one_of_them(world, kind):
    an_endpoint(world)
    batch = world.submit(1)
    world.settle()
    after = "nonsense" if kind == "none" else replaying.id_of(told(world, batch))
    tenant = "acme" if kind == "delivered" else "other"
    with pytest.raises(InvalidRequest, match="the id of a dead delivery") as caught:
        replaying.page_of_dead(world.env, tenant, after=after, limit=9)
    assert caught.value.param == "after"


def test_another_tenant_s_deliveries_are_nobody_s(world):
    an_endpoint(world)
    batch = world.submit(1)
    world.settle()
    with pytest.raises(NotFound):
        replaying.find(world.env, "other", replaying.id_of(told(world, batch)))
    assert outbox.of_batch(world.env, "other", batch.id) == []


# ---------------------------------------------------------------- progress


def go_on(world: World) -> None:
    """A minute passes, and a shard ends."""
    world.advance(61)
    world.answer()
    world.pump()


def test_who_asks_for_it_is_told_how_a_batch_goes_on_once_a_minute(world):
    an_endpoint(world, event_types=["batch.progress"])
    batch = world.submit(24)
    world.pump()
    for _ in range(3):
        go_on(world)
    told = [one.event for one in world.receiver.posted]
    assert {(one["object"], one["type"]) for one in told} == {("event", "batch.progress")}
    counts = [one["data"]["request_counts"]["completed"] for one in told]
    assert counts == sorted(set(counts))
    assert len(counts) == 3
    assert [one["id"] for one in told] == [f"evt_{batch.id}_{count}" for count in counts]
    since = [one["created_at"] - batch.created_at for one in told]
    assert since == pytest.approx([61, 122, 183], abs=1)
    assert all(one["data"]["status"] == "in_progress" for one in told)
    world.settle()
    assert len(world.receiver.posted) == 3
    oracle.check_end(world)


def test_several_who_ask_for_it_are_told_each_by_a_message_of_its_own(world):
    for number in range(3):
        an_endpoint(world, url=f"{URL}/{number}", event_types=["batch.progress"])
    world.submit(24)
    world.pump()
    go_on(world)
    assert sorted(one.url for one in world.receiver.posted) == [f"{URL}/{n}" for n in range(3)]


def test_the_only_one_who_asks_for_it_is_told_by_the_first_message(world):
    an_endpoint(world, event_types=["batch.progress"])
    batch = world.submit(24)
    world.pump()
    progressing.tell(world.env, {"tenant": "acme", "batch_id": batch.id, "ended": 4})
    assert [one.event["id"] for one in world.receiver.posted] == [f"evt_{batch.id}_4"]
    world.settle()


def test_one_message_tells_one_endpoint_alone_and_none_of_a_batch_that_has_ended(world):
    urls = [f"{URL}/{number}" for number in range(2)]
    first, _ = [an_endpoint(world, url=url, event_types=["batch.progress"]) for url in urls]
    batch = world.submit(24)
    world.pump()
    message = {"tenant": batch.tenant, "batch_id": batch.id, "ended": 4}
    progressing.tell(world.env, message)
    assert world.receiver.posted == []  # each has a message of its own
    named = message | {"endpoint_id": first.id}
    progressing.tell(world.env, named)
    assert [one.url for one in world.receiver.posted] == urls[:1]
    world.settle()
    told = len(world.receiver.posted)
    for gone in (named, named | {"batch_id": "batch_none"}):
        progressing.tell(world.env, gone)
    assert len(world.receiver.posted) == told


def test_nobody_else_is_and_what_fails_is_not_tried_again(world):
    an_endpoint(world, event_types=["batch.completed"])
    an_endpoint(world, tenant="other", event_types=["batch.progress"])
    world.submit(24)
    world.pump()
    go_on(world)
    assert world.receiver.posted == []
    an_endpoint(world, event_types=["batch.progress"])
    world.receiver.answer = nobody
    world.submit(24)
    world.pump()
    go_on(world)
    world.receiver.answer = answers(200)
    world.pump()
    assert world.receiver.posted == []
    world.settle()
