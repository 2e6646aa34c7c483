"""One mail an hour: what ends within it is in one mail, none twice, none never."""

import re
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from backburner.domain.delivery import Channel, DeliveryStatus
from backburner.domain.errors import InvalidRequest
from backburner.ports import Delete, QueueName
from backburner.services import deliver, mailing, records, replaying
from backburner.services.mails.report import SHOWN_WHOLE
from tests import oracle
from tests.tap import Crash, PortError, crash_after, fault_at, meanwhile, meanwhile_at
from tests.world import a_world_in_memory

ADA, BOB = "ada@example.com", "bob@example.com"
HOUR = 3600.0


@pytest.fixture
def world(world):
    """The tenant acme wants one mail an hour; it is 20 minutes past."""
    wanting_digests(world)
    return world


def wanting_digests(world: Any) -> None:
    mailing.change(world.env, "acme", {"digest": "hourly"})
    world.advance(HOUR - world.clock.now() % HOUR + 1200)


def ended(world: Any, address: str = ADA, **options: Any) -> Any:
    batch = world.submit(1, metadata={"notify_email": address}, **options)
    world.run()
    return batch


def end_of_the_hour(world: Any) -> float:
    now: float = world.clock.now()
    return now + HOUR - now % HOUR


def after_the_hour(world: Any, minutes: int = 10) -> None:
    world.advance(end_of_the_hour(world) - world.clock.now())
    for _ in range(minutes):
        world.tick()
        world.run()


def mails(world: Any) -> list[Any]:
    return [mail for sent in world.mailer.sent.values() for mail in sent]


def delivery(world: Any, batch: Any) -> Any:
    (found,) = (one for one in world.deliveries(batch) if one.channel is Channel.EMAIL)
    return found


def told(world: Any) -> Counter[str]:
    """How often mails tell of each batch."""
    return Counter(
        line.rpartition("/")[2]
        for mail in mails(world)
        for line in mail.text.splitlines()
        if "/v1/batches/" in line
    )


def test_what_ends_within_an_hour_is_in_one_mail_after_it(world):
    batches = [ended(world) for _ in range(3)]
    world.advance(1200)
    batches.append(ended(world))
    assert mails(world) == []
    for batch in batches:  # which ask how it went, once it may be known
        assert delivery(world, batch).status is DeliveryStatus.PENDING
        assert delivery(world, batch).not_before > end_of_the_hour(world)
    after_the_hour(world)
    (mail,) = mails(world)
    assert mail.subject == "4 batches ended (all completed)"
    assert set(told(world)) == {batch.id for batch in batches}
    assert {delivery(world, batch).status for batch in batches} == {DeliveryStatus.DELIVERED}
    assert all(f"/v1/links/{world.batch(batch).output_file_id}?" in mail.text for batch in batches)
    assert world.is_quiet


def test_a_digest_of_two_says_of_each_which_it_is(world):
    ended(world), ended(world)
    after_the_hour(world)
    (mail,) = mails(world)
    assert mail.text.startswith("2 batches ended\n\nCompleted: in.jsonl\n\n")
    assert mail.text.count("\nCompleted: in.jsonl\n\n") == 2
    assert re.findall(r"<h1[^>]*>([^<]+)</h1>", mail.html) == ["2 batches ended"]


def test_a_digest_is_not_sent_before_its_hour_is_over(world):
    batch = ended(world)
    early = delivery(world, batch)
    deliver.deliver(world.env, "acme", early.digest_id, early.name)
    assert mails(world) == []
    batches = [batch, ended(world)]
    after_the_hour(world)
    assert set(told(world)) == {one.id for one in batches}


def test_a_digest_of_one_batch_is_its_mail(world):
    batch = ended(world)
    after_the_hour(world)
    (mail,) = mails(world)
    assert mail.subject == "Completed: in.jsonl (1 request)"
    assert delivery(world, batch).status is DeliveryStatus.DELIVERED


def test_each_hour_each_address_and_each_tenant_has_its_own(world):
    mailing.change(world.env, "globex", {"digest": "hourly"})
    ended(world), ended(world), ended(world, BOB), ended(world, tenant="globex")
    after_the_hour(world)
    ended(world)
    after_the_hour(world)
    assert sorted((mail.to, mail.text.count("/v1/batches/")) for mail in mails(world)) == [
        (ADA, 1),
        (ADA, 1),
        (ADA, 2),
        (BOB, 1),
    ]
    assert len({mail.message_id for mail in mails(world)}) == 4


def test_a_tenant_that_wants_none_is_mailed_at_once(world):
    ended(world, tenant="globex")
    assert len(mails(world)) == 1
    mailing.change(world.env, "acme", {"digest": "none"})
    ended(world)
    assert len(mails(world)) == 2


def test_what_waits_is_sent_although_the_tenant_changes_its_mind(world):
    ended(world)
    mailing.change(world.env, "acme", {"digest": "none"})
    after_the_hour(world)
    assert len(mails(world)) == 1


def test_a_mail_server_that_is_away_gets_the_same_digest_later(world):
    class Away:
        asked = 0

        def send(self, mail: Any) -> None:
            self.asked += 1
            if self.asked < 4:
                raise OSError("The mail server is away.")
            good.send(mail)

    good = world.mailer
    world.set_env(replace(world.untapped, mailer=Away()))
    batches = [ended(world) for _ in range(2)]
    after_the_hour(world, minutes=30)
    (mail,) = mails(world)
    assert mail.text.count("/v1/batches/") == 2
    assert {delivery(world, batch).status for batch in batches} == {DeliveryStatus.DELIVERED}
    oracle.check_step(world)


@pytest.mark.parametrize("why", ["off", "refused"])
def test_members_of_a_digest_that_can_not_be_sent_are_dead_with_its_reason(world, why):
    class Refusing:
        def send(self, mail: Any) -> None:
            raise InvalidRequest("Looks like spam.")

    batch = ended(world)
    if why == "off":
        mailing.change(world.env, "acme", {"enabled": False})
    else:
        world.set_env(replace(world.untapped, mailer=Refusing()))
    after_the_hour(world)
    found = delivery(world, batch)
    assert found.status is DeliveryStatus.DEAD
    assert found.digest_id is None
    words = {"off": "The tenant has turned its mails off.", "refused": "Looks like spam."}
    assert found.last_error == words[why]


def test_a_member_whose_digest_was_lost_is_dead_and_says_so(world):
    batch = ended(world)
    member = delivery(world, batch)
    lost = records.delivery_key("acme", member.digest_id, member.name)
    (digest,) = world.store.get(lost)
    assert (digest["event_type"], digest["target"]) == ("batch.digest", ADA)
    assert (digest["event_id"], digest["ttl"]) == (f"evt_{member.digest_id}", member.ttl)
    world.untapped.store.transact(Delete(lost))
    after_the_hour(world)
    found = delivery(world, batch)
    assert (found.status, found.last_error) == (DeliveryStatus.DEAD, "Its digest was lost.")


def test_a_member_that_is_dead_is_listed_and_told_in_a_later_digest_if_asked_for(world):
    class Refusing:
        def send(self, mail: Any) -> None:
            raise InvalidRequest("Looks like spam.")

    good = world.mailer
    batch = ended(world)
    world.set_env(replace(world.untapped, mailer=Refusing()))
    after_the_hour(world)
    world.set_env(replace(world.untapped, mailer=good))
    dead, _ = replaying.page_of_dead(world.env, "acme", after=None, limit=10)
    name = replaying.id_of(delivery(world, batch))
    assert name in {replaying.id_of(one) for one in dead}
    replaying.replay(world.env, "acme", name)
    world.settle(minutes=180)
    assert told(world) == {batch.id: 1}
    assert delivery(world, batch).status is DeliveryStatus.DELIVERED


def test_who_comes_when_the_digest_was_begun_is_in_the_next(world):
    """Its clock is behind: what counts is that the digest was begun."""
    first = ended(world)
    digest_id = delivery(world, first).digest_id
    world.advance(HOUR)
    deliver.deliver(world.env, "acme", digest_id, delivery(world, first).name)
    world.advance(-HOUR)
    late = ended(world)
    assert delivery(world, late).digest_id is None
    world.settle(minutes=240)
    assert told(world) == {first.id: 1, late.id: 1}
    assert len(mails(world)) == 2


def test_a_mail_of_very_many_batches_is_short_enough_for_mail_programs(world):
    for _ in range(SHOWN_WHOLE + 40):
        ended(world)
    after_the_hour(world, minutes=20)
    (mail,) = mails(world)
    assert mail.text.count("/v1/batches/") == SHOWN_WHOLE + 40
    short = r"^Completed: in\.jsonl \(1 request\)\nhttp://here/v1/batches/\S+\n\n"
    assert len(re.findall(short, mail.text, re.MULTILINE)) == 40
    assert len((mail.html or "").encode()) < 102_000


# ---------------------------------------------------------------- crashes and races


def scene() -> Any:
    """Two batches of a tenant that wants digests, and time until all are told."""
    return a_world_in_memory()


def play(world: Any, hook: Any = None) -> list[Any]:
    wanting_digests(world)
    batches = [ended(world), ended(world)]
    with world.tap.hooked(hook), suppress(Crash, PortError):
        after_the_hour(world, minutes=3)
    world.settle(minutes=240)
    return batches


def test_wherever_it_dies_each_batch_is_told_at_least_once_under_one_id():
    with scene() as world:
        wanting_digests(world)
        batches = [ended(world), ended(world)]
        with world.tap.hooked(None):
            after_the_hour(world, minutes=3)
            count = len(world.tap.calls)
        assert {delivery(world, one).status for one in batches} == {DeliveryStatus.DELIVERED}
    for number in range(count):
        for when in ("before", "after"):
            with scene() as world:
                batches = play(world, fault_at(number, when))
                assert set(told(world)) == {one.id for one in batches}, (number, when)
                assert len({mail.message_id for mail in mails(world)}) == 1
                found = {delivery(world, one).status for one in batches}
                assert found == {DeliveryStatus.DELIVERED}


def test_wherever_joining_dies_each_batch_is_told_once():
    with scene() as world:
        wanting_digests(world)
        batch = world.submit(b'{"bad', metadata={"notify_email": ADA})
        world.pump(QueueName.PLAN)
        with world.tap.hooked(None):
            deliver.deliver(world.env, "acme", batch.id, delivery(world, batch).name)
            count = len(world.tap.calls)
    for number in range(count):
        for when in ("before", "after"):
            with scene() as world:
                wanting_digests(world)
                batch = world.submit(b'{"bad', metadata={"notify_email": ADA})
                world.pump(QueueName.PLAN)
                with world.tap.hooked(fault_at(number, when)), suppress(Crash):
                    deliver.deliver(world.env, "acme", batch.id, delivery(world, batch).name)
                world.settle(minutes=240)
                assert told(world) == {batch.id: 1}, (number, when)
                assert delivery(world, batch).status is DeliveryStatus.DELIVERED


def test_of_two_that_join_or_send_at_once_each_is_told_once():
    for number in range(12):
        with scene() as world:
            wanting_digests(world)
            batches = [world.submit(b'{"bad', metadata={"notify_email": ADA}) for _ in range(2)]
            world.pump(QueueName.PLAN)
            first, second = (
                partial(deliver.deliver, world.env, "acme", one.id, delivery(world, one).name)
                for one in batches
            )
            with world.tap.hooked(meanwhile(number, world.tap, second)):
                first()
            world.settle(minutes=240)
            assert told(world) == {one.id: 1 for one in batches}, number


def test_of_two_messages_on_both_sides_of_the_hour_one_has_the_batch_told(world):
    batch = world.submit(b'{"bad', metadata={"notify_email": ADA})
    world.pump(QueueName.PLAN)
    join = partial(deliver.deliver, world.env, "acme", batch.id, delivery(world, batch).name)

    def join_later() -> None:
        world.advance(HOUR)
        join()

    with world.tap.hooked(meanwhile_at("store.transact", world.tap, join_later)):
        join()
    world.settle(minutes=240)
    assert told(world) == {batch.id: 1}


def test_a_crash_between_sending_and_noting_sends_the_same_digest_again(world):
    batches = [ended(world), ended(world)]
    digest_id = delivery(world, batches[0]).digest_id
    world.advance(HOUR)
    with crash_after(world.tap, "mailer.send"):
        deliver.deliver(world.env, "acme", digest_id, delivery(world, batches[0]).name)
    world.settle(minutes=120)
    first, second = mails(world)
    assert first == second


# ---------------------------------------------------------------- the tenant's own address


def test_batches_that_name_nobody_tell_the_tenants_address(world):
    mailing.change(world.env, "acme", {"digest": "none", "address": BOB})
    world.submit(1)
    world.submit(b'{"bad')
    world.submit(1, metadata={"notify_email": ADA})
    world.submit(1, tenant="globex")
    world.respond()
    world.settle()
    assert sorted(mail.to for mail in mails(world)) == [ADA, BOB, BOB]
