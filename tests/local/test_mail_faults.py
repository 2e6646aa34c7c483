"""Mails while the mail server and we fail: in a world of memory, beside no stack of this process.

A stack's schedules would meet the faults that are meant for the world.
"""

import re
from dataclasses import replace

import pytest

from backburner.domain.delivery import DeliveryStatus
from backburner_local.adapters.smtp import Security, SmtpMailer, SmtpServer
from tests import oracle
from tests.mail_server import MailServer, now_and_then
from tests.tap import Crash, fault_at
from tests.world import a_world_in_memory


@pytest.mark.parametrize("digest", ["none", "hourly"])
def test_every_mail_arrives_once_although_every_third_try_fails_and_the_stack_dies(digest, tally):
    """It dies before or after any call; only between taking and noting may a mail come twice."""
    count = 40
    with MailServer(refuse=now_and_then(0.3, seed=7)) as server, a_world_in_memory() as world:
        here = SmtpServer(host="127.0.0.1", port=server.port, security=Security.NONE)

        def restart() -> None:
            """Nothing of the process before is left but what it stored."""
            mailer = SmtpMailer(here, "queue@example.com", world.clock)
            world.set_env(replace(world.untapped, mailer=mailer, secrets={}, known_keys={}))

        restart()
        if digest == "hourly":
            from backburner.services import mailing

            mailing.change(world.env, "acme", {"digest": digest})
        batches = []
        died_after_sending = 0
        for number in range(count):
            told = {"notify_email": f"user{number % 7}@example.com"}
            batches.append(world.submit(1, metadata=told))
            with world.tap.hooked(fault_at(number % 23, ("before", "after")[number % 2])):
                try:
                    world.run()
                except Crash:  # between sending and noting, it is one of the last two calls
                    died_after_sending += "mailer.send" in world.tap.calls[-2:]
                    restart()
            world.advance(20)
        world.settle(minutes=24 * 60)
        taken = server.by_event_id()
        told_of = {
            name
            for one in server.taken
            for name in re.findall(r"/v1/batches/(\w+)", one.data.decode().replace("=\r\n", ""))
        }
        assert told_of == {batch.id for batch in batches}
        assert sum(taken.values()) - len(taken) <= died_after_sending
        if digest == "none":
            assert set(taken) == {f"evt_{batch.id}" for batch in batches}
            assert server.tries > count * 1.2
        for batch in batches:
            found = {one.status for one in world.deliveries(batch)}
            assert found == {DeliveryStatus.DELIVERED}
        oracle.check_step(world)
        tally(f"mails over SMTP while tries fail, digest {digest}", len(taken))
