"""Receivers on real sockets hear of every end, whoever is away or dies meanwhile."""

import json
import random
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from tests.late import Late
from tests.local.stacks import CHAT, MODEL, Up, wait_until
from tests.receiver import Heard, Receiver, Reply

if TYPE_CHECKING:
    import openai
else:
    openai = Late("openai")

#: Of tries that fail.
FAILING = 0.3


def flaky(seed: int, most: int) -> Any:
    """Answers as a receiver that is not well; each event fails so often at most."""
    dice, failed = random.Random(seed), Counter[str]()

    def reply(heard: Heard) -> Reply:
        if failed[heard.event_id] >= most or dice.random() >= FAILING:
            return Reply()
        failed[heard.event_id] += 1
        return Reply(status=dice.choice((None, 429, 500, 503)))

    return reply


def submit(up: Up, number: int) -> str:
    """A batch of one request; returns its id."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": f"say {number}"}]}
    asked = [{"custom_id": "only", "body": body}]
    made = up.client.create_batch(endpoint=CHAT, completion_window="24h", requests=asked)
    return str(made["id"])


def revive(up: Up) -> None:
    up.kill()
    wait_until(lambda: not up.processes(), "the end of the killed stack's instances")
    up.start()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "kills", "most"),
    # Pauses are 2 and 15 seconds, then minutes.
    [(10, 0, 1), pytest.param(200, 2, 2, marks=pytest.mark.long)],
)
def test_every_end_is_heard_once_by_its_id_although_tries_fail_and_all_sides_die(
    tmp_path, monkeypatch, tally, count, kills, most
):
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    receiver = Receiver(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(receiver.certificate))
    receiver.reply = flaky(seed, most)
    up = Up(tmp_path / "data", "--local-webhooks")
    deaths = {count * (n + 1) // (kills + 1) for n in range(kills)}
    try:
        up.start()
        receiver.start()
        made = up.client.create_webhook(
            name="all", url=receiver.url, event_types=["batch.completed"]
        )
        secrets = [made["signing_secret"]]
        expected = set()
        for number in range(count):
            expected.add(f"evt_{submit(up, number)}")
            if number == count // 2:
                receiver.stop()
                keep = {"keep_old_secret_active_for_24_hours": True}
                rotated = up.client.webhook_action(made["id"], "/rotate_secret", **keep)
                secrets.append(rotated["signing_secret"])
                # Well from now on: what failed before it went may fail while it is away, too.
                receiver.reply = lambda _: Reply()
                if not kills:
                    receiver.start()
            if number in deaths:
                revive(up)
        if kills:
            time.sleep(1)
            receiver.start()
        wait_until(lambda: told(receiver) == expected, "the last event", 400)
    finally:
        up.end()
        receiver.stop()
    assert told(receiver) == expected
    # Who dies after it sent, and before it noted that, sends again: one poller or two for each.
    assert len(receiver.taken) - count <= 2 * kills
    assert all(believes(heard, secrets[0]) for heard in receiver.taken)
    assert believes(receiver.taken[-1], secrets[1]), "the new secret signs too"
    tally("ends told to webhooks", count)


def told(receiver: Receiver) -> set[str]:
    return {heard.event_id for heard in receiver.taken}


def believes(heard: Heard, secret: str) -> bool:
    """Whether OpenAI's client does, with this secret."""
    client = openai.OpenAI(api_key="x", webhook_secret=secret)
    event = client.webhooks.unwrap(heard.body, heard.headers)
    return event.id == heard.event_id and json.loads(heard.body)["id"] == event.id
