"""Mail of a stack on this machine, over real sockets, from the batch to the receiver's click."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from backburner.domain.delivery import Channel, DeliveryStatus
from backburner_local.adapters.smtp import Security, SmtpServer
from backburner_local.client import Client
from backburner_local.options import Options
from backburner_local.stack import Stack
from tests.local.stacks import CHAT, lines, requests, wait_until
from tests.mail_server import MailServer

ADA, NOBODY = "ada@example.com", "nobody@example.com"


# ---------------------------------------------------------------- a stack


def unknown(step: str, about: str) -> str | None:
    """Nobody is not there."""
    return "550 5.1.1 No such user" if (step, about) == ("RCPT", NOBODY) else None


@pytest.fixture(scope="module")
def mail_server() -> Iterator[MailServer]:
    with MailServer(refuse=unknown) as server:
        yield server


@pytest.fixture(scope="module")
def stack(tmp_path_factory, mail_server) -> Iterator[Stack]:
    options = Options(
        data_dir=tmp_path_factory.mktemp("mail") / "data",
        port=0,
        engine="null",
        minute_seconds=1.0,
        durable=False,
        smtp=SmtpServer(host="127.0.0.1", port=mail_server.port, security=Security.NONE),
        mail_from="queue@example.com",
    )
    with Stack(options) as running:
        yield running


@pytest.fixture(scope="module")
def client(stack) -> Iterator[Client]:
    key = (stack.options.data_dir / "dev.key").read_text().strip()
    with Client.connect(stack.url, key) as connected:
        yield connected


def run(client: Client, folder: Any, **metadata: str) -> dict[str, Any]:
    path = folder / "tickets.jsonl"
    path.write_bytes(requests(3))
    batch = client.create_batch(
        input_file_id=client.upload(path)["id"],
        endpoint=CHAT,
        completion_window="24h",
        metadata=metadata,
    )
    ended: dict[str, Any] = wait_until(
        lambda: one if (one := client.batch(batch["id"]))["status"] == "completed" else None,
        "the end of the batch",
    )
    return ended


def delivered(stack: Stack, batch: dict[str, Any]) -> DeliveryStatus:
    """How its mail's delivery ended."""
    from backburner.services import outbox

    def look() -> DeliveryStatus | None:
        found = outbox.of_batch(stack.env, stack.env.drop_tenant, batch["id"])
        (mail,) = (one for one in found if one.channel is Channel.EMAIL)
        return mail.status if mail.status is not DeliveryStatus.PENDING else None

    return wait_until(look, "the end of the delivery")


def test_a_batch_is_mailed_its_link_opens_its_file_and_its_receiver_ends_it(
    stack, client, mail_server, tmp_path
):
    batch = run(client, tmp_path, notify_email=ADA, name="Nightly")
    assert delivered(stack, batch) is DeliveryStatus.DELIVERED
    (mail,) = (one for one in mail_server.taken if batch["id"] in one.event_id)
    assert (mail.sender, mail.recipient) == ("queue@example.com", ADA)
    assert mail.message["Subject"] == "Completed: Nightly (3 requests)"
    text = mail.message.get_body(("plain",)).get_content()
    (link,) = re.findall(r"^http\S+/v1/links/\S+", text, re.MULTILINE)
    with httpx.Client(follow_redirects=True) as stranger:
        results = stranger.get(link)
        assert len(lines(results.content)) == 3
        assert "attachment" in results.headers["content-disposition"]
        assert stranger.get(link.replace("signature=", "signature=x")).status_code == 404
        (url,) = re.findall(r"^List-Unsubscribe: <(.+)>\r?$", mail.data.decode(), re.MULTILINE)
        assert b"<form" in stranger.get(url).content
        stranger.post(url, data={"List-Unsubscribe": "One-Click"})
    again = run(client, tmp_path, notify_email=ADA)
    assert delivered(stack, again) is DeliveryStatus.DEAD
    assert not [one for one in mail_server.taken if again["id"] in one.event_id]


def test_an_address_that_the_server_does_not_know_is_tried_once(
    stack, client, mail_server, tmp_path
):
    tries = mail_server.tries
    for _ in range(2):
        assert delivered(stack, run(client, tmp_path, notify_email=NOBODY)) is DeliveryStatus.DEAD
    assert mail_server.tries == tries + 1
