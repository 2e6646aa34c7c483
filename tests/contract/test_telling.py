"""What every Mailer, Events and Metrics promises."""

import math
from dataclasses import replace
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest

from backburner.domain.errors import InvalidRequest
from backburner.ports import Mail

MAIL = Mail(
    to="ada@example.com",
    subject="Your batch batch_1 is done",
    text="120 requests succeeded.\n\nhttps://example.com/v1/files/file_1\n",
    message_id="evt_1.ada",
)


def parse(arrived: bytes) -> EmailMessage:
    return message_from_bytes(arrived, policy=policy.default)


# ---------------------------------------------------------------- Mailer


def test_a_mail_arrives(mailer_world):
    mailer_world.mailer.send(MAIL)
    (arrived,) = mailer_world.arrived()
    message = parse(arrived)
    assert message["To"] == "ada@example.com"
    assert message["From"] == "backburner@example.com"
    assert message["Subject"] == MAIL.subject
    assert message["Date"].datetime.timestamp() > 0
    assert "evt_1.ada" in message["Message-ID"]
    assert message["X-Backburner-Event-Id"] == "evt_1.ada"
    assert message.get_content().replace("\r\n", "\n") == MAIL.text
    assert not message.defects


@pytest.mark.parametrize(
    "text", ["naïve 😀", "x" * 2000, ".\r\nMAIL FROM:<x@example.com>\r\n", "From here\n", ""]
)
def test_any_text_arrives_as_it_was(mailer_world, text):
    mailer_world.mailer.send(replace(MAIL, subject="Fertig: naïve 😀 " + "wort " * 40, text=text))
    message = parse(mailer_world.arrived()[0])
    assert message["Subject"] == "Fertig: naïve 😀 " + "wort " * 40
    expected = text.replace("\r\n", "\n")
    assert message.get_content().replace("\r\n", "\n").rstrip("\n") == expected.rstrip("\n")


def test_a_mail_is_read_as_text_or_as_html(mailer_world):
    page = "<!doctype html><html><body><p>120 requests: naïve 😀</p></body></html>\n"
    mailer_world.mailer.send(replace(MAIL, html=page))
    message = parse(mailer_world.arrived()[0])
    assert message.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    text, html = (part.get_content().replace("\r\n", "\n") for part in message.iter_parts())
    assert (text, html) == (MAIL.text, page)
    assert not message.defects


@pytest.mark.parametrize(
    ("scheme", "one_click"), [("https", "List-Unsubscribe=One-Click"), ("http", None)]
)
def test_a_mail_says_how_to_end_such_mails_in_one_line(mailer_world, scheme, one_click):
    url = f"{scheme}://example.com/v1/unsubscribe?signature={'x' * 300}"
    mailer_world.mailer.send(replace(MAIL, unsubscribe_url=url))
    arrived = mailer_world.arrived()[0]
    assert f"List-Unsubscribe: <{url}>\r\n".encode() in arrived
    assert parse(arrived)["List-Unsubscribe-Post"] == one_click


def test_a_mail_answers_to_no_machine(mailer_world):
    mailer_world.mailer.send(MAIL)
    assert parse(mailer_world.arrived()[0])["Auto-Submitted"] == "auto-generated"


HEADERS = [
    "x\nBcc: eve@example.com",
    "x\r\nBcc: eve@example.com",
    "x\rBcc: eve@example.com",
    "x\n\nBody of eve",
    "x\0y",
    "x\u2028Bcc: eve@example.com",
    "x\x85Bcc: eve@example.com",
    "=?utf-8?q?x=0ABcc:_eve@example.com?=",
    "=?utf-8?b?eApCY2M6IGV2ZUBleGFtcGxlLmNvbQ==?=",
]


@pytest.mark.parametrize("hostile", HEADERS)
@pytest.mark.parametrize("field", ["subject", "to", "message_id", "unsubscribe_url"])
def test_no_header_can_be_smuggled_in(mailer_world, field, hostile):
    value = f"{hostile}@example.com" if field == "to" else hostile
    with pytest.raises(InvalidRequest):
        mailer_world.mailer.send(replace(MAIL, **{field: value}))
    assert mailer_world.arrived() == []


ADDRESSES = [
    "",
    "ada",
    "@example.com",
    "ada@",
    "ada@example.com, eve@example.com",
    "ada@example.com eve@example.com",
    "Ada <ada@example.com>",
    "<ada@example.com>",
    "ada@exa mple.com",
    "ädä@example.com",
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_mail_goes_to_one_address(mailer_world, address):
    with pytest.raises(InvalidRequest):
        mailer_world.mailer.send(replace(MAIL, to=address))
    assert mailer_world.arrived() == []


@pytest.mark.parametrize("message_id", ["", "<>", "a b", "a<b", "ü"])
def test_a_message_id_is_ascii_without_spaces_or_brackets(mailer_world, message_id):
    with pytest.raises(InvalidRequest):
        mailer_world.mailer.send(replace(MAIL, message_id=message_id))


# ---------------------------------------------------------------- Events


def test_an_event_reaches_those_whose_filter_it_passes(events_world):
    attributes = {"type": "batch.completed", "tenant": "acme", "more": "x"}
    for number, about in enumerate(
        (
            attributes,
            {**attributes, "type": "batch.failed"},
            {**attributes, "type": "batch.expired"},
            {**attributes, "tenant": "globex"},
            {"type": "batch.completed"},
            {"type": "response.completed"},
        ),
        start=1,
    ):
        data = {"id": "batch_1"} | {name: about[name] for name in ("tenant",) if name in about}
        event = {"id": f"evt_{number}", "type": about["type"], "created_at": 1, "data": data}
        events_world.events.publish(event, about)
    assert [event["id"] for event in events_world.all()] == [f"evt_{n}" for n in range(1, 7)]
    assert [event["id"] for event in events_world.finished()] == ["evt_1", "evt_2"]


# ---------------------------------------------------------------- Metrics


def test_the_last_value_of_a_metric_is_seen_by_its_dimensions(metrics_world):
    publish = metrics_world.metrics.publish
    publish({"Backlog": 3, "BacklogPerInstance": 1.5}, {"Pool": "a"})
    publish({"Backlog": 7}, {"Pool": "b"})
    publish({"Backlog": 2}, {"Pool": "a"})
    publish({"Backlog": 9}, {})
    assert metrics_world.seen("Backlog", {"Pool": "a"}) == 2
    assert metrics_world.seen("Backlog", {"Pool": "b"}) == 7
    assert metrics_world.seen("Backlog", {}) == 9
    value = metrics_world.seen("BacklogPerInstance", {"Pool": "a"})
    assert value is not None
    assert math.isclose(value, 1.5)
