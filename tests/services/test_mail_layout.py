"""How a mail is laid out: as plain text, and as a page whose elements all end."""

from html.parser import HTMLParser
from typing import Any

import pytest

from backburner.domain.delivery import Channel, Delivery
from backburner.domain.webhook import Endpoint
from backburner.services.mails import compose, disabled, page, text
from backburner.services.mails.report import SHOWN_WHOLE, Link, Reason, Report, Tone

MIXED = Report(
    outcome="Completed with failures",
    name="in & out.jsonl",
    summary="2 of 1,003 succeeded",
    tone=Tone.MIXED,
    rows=(("Succeeded", "2 of 1,003"), ("Model", "a<b>")),
    reasons=(Reason(count=1001, code="http_400", words="it answered <400>"),),
    files=(
        Link(label="Results", url="http://here/r?a=1&b=2"),
        Link(label="Errors", url="http://here/e"),
    ),
    expires="22 June 2025, 15:07 UTC",
    status=Link(label="Status", url="http://here/v1/batches/batch_1"),
)
GOOD = Report(
    outcome="Completed",
    name="b",
    summary="1 request",
    tone=Tone.GOOD,
    rows=(("Batch", "batch_2"),),
    reasons=(),
    status=Link(label="Status", url="http://here/v1/batches/batch_2"),
)
ABOUT = {"heading": "What & why", "why": "As <you> asked.", "unsubscribe_url": "http://here/u?a&b"}


class Elements(HTMLParser):
    """What stands in a page's body: each text with the classes around it; links with theirs."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.said: list[tuple[str, str]] = []
        self.links: list[str] = []
        self._open: list[tuple[str, str]] = []
        self.feed(source.partition("<body")[2].partition(">")[2])
        assert [tag for tag, _ in self._open] == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        given = dict(attrs)
        if tag not in ("br", "bdi", "table", "tr"):
            assert given["style"]
        if tag == "a":
            self.links.append(given["href"])
        if tag != "br":
            self._open.append((tag, given.get("class") or ""))

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("body", "html"):
            assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            names = [name for _, name in self._open if name not in ("", "page")]
            self.said.append(("/".join(names), data.strip()))


def laid_out(*reports: Report) -> Elements:
    source = page.render(reports, **ABOUT)
    assert "None" not in source
    assert "XX" not in source
    return Elements(source)


MIXED_TEXT = """\
Succeeded:  2 of 1,003
Model:      a<b>

Why requests failed:
  1,001 x it answered <400> (http_400)

Results:
http://here/r?a=1&b=2
Errors:
http://here/e
Until 22 June 2025, 15:07 UTC, whoever has these links can read the files.

Status:
http://here/v1/batches/batch_1
This one needs an API key.
"""
GOOD_TEXT = """\
Batch:      batch_2

Status:
http://here/v1/batches/batch_2
This one needs an API key.
"""
END = """\
--\N{SPACE}
As <you> asked.
No more such mails: http://here/u?a&b
"""


def test_the_text_of_one_batch_has_no_title_below_its_heading():
    assert text.render([MIXED], **ABOUT) == f"What & why\n\n{MIXED_TEXT}\n{END}"


def test_the_text_of_several_names_each_and_of_very_many_some_in_short():
    some = [MIXED, *[GOOD] * SHOWN_WHOLE]
    said = text.render(some, **ABOUT)
    titled = f"Completed with failures: in & out.jsonl\n\n{MIXED_TEXT}\n"
    whole = f"Completed: b\n\n{GOOD_TEXT}\n" * (SHOWN_WHOLE - 1)
    short = "Completed: b (1 request)\nhttp://here/v1/batches/batch_2\n\n"
    assert said == f"What & why\n\n{titled}{whole}{short}{END}"


MIXED_CARD = [
    ("card/mixed", "Completed with failures"),
    ("card/ink", "in & out.jsonl"),
    ("card/dim line", "Succeeded"),
    ("card/ink line", "2 of 1,003"),
    ("card/dim line", "Model"),
    ("card/ink line", "a<b>"),
    ("card/ink", "Why requests failed"),
    ("card/ink", "1,001 \N{MULTIPLICATION SIGN} it answered <400>"),
    ("card/ink/dim", "(http_400)"),
    ("card/key", "Results"),
    ("card/key", "Errors"),
    (
        "card/dim",
        "Until 22 June 2025, 15:07 UTC, whoever has these links can read the files.",
    ),
    ("card/link", "Status"),
    ("card/dim", "(needs an API key)"),
]
GOOD_CARD = [
    ("card/good", "Completed"),
    ("card/ink", "b"),
    ("card/dim line", "Batch"),
    ("card/ink line", "batch_2"),
    ("card/link", "Status"),
    ("card/dim", "(needs an API key)"),
]
FOOT = [("dim", "As <you> asked."), ("dim/link", "No more such mails")]


def test_the_page_of_one_batch_is_its_card():
    found = laid_out(MIXED)
    assert found.said == [*MIXED_CARD, *FOOT]
    assert found.links == [
        "http://here/r?a=1&b=2",
        "http://here/e",
        "http://here/v1/batches/batch_1",
        "http://here/u?a&b",
    ]


def test_the_page_of_several_has_a_heading_and_of_very_many_some_are_but_a_line():
    found = laid_out(MIXED, GOOD)
    assert found.said == [("ink", "What & why"), *MIXED_CARD, *GOOD_CARD, *FOOT]
    found = laid_out(MIXED, *[GOOD] * SHOWN_WHOLE)
    line = ("ink/link", "Completed: b (1 request)")
    assert found.said[1 + len(MIXED_CARD) :] == [
        *GOOD_CARD * (SHOWN_WHOLE - 1),
        line,
        *FOOT,
    ]


@pytest.mark.parametrize(
    ("reports", "subject", "heading"),
    [
        ([MIXED], MIXED.subject, MIXED.title),
        ([GOOD, GOOD], "2 batches ended (all completed)", "2 batches ended"),
        ([GOOD, MIXED], "2 batches ended (1 without failures)", "2 batches ended"),
        ([MIXED] * 1000, "1,000 batches ended (0 without failures)", "1,000 batches ended"),
    ],
)
def test_the_subject_counts_those_that_went_well(reports, subject, heading):
    assert compose._heading(reports) == (subject, heading)


@pytest.mark.parametrize(
    ("reason", "said"),
    [("It says that it is gone.", "It says that it is gone."), (None, "It was enabled again")],
)
def test_a_mail_of_an_endpoint_that_was_disabled_says_why_and_what_to_do(world, reason, said):
    endpoint = Endpoint(
        id="we_1",
        name="hook",
        url="https://secret.example.com",
        event_types=("batch.completed",),
        created_at=0.0,
        updated_at=0.0,
        secrets=(),
        disabled_reason=reason,
    )
    told = Delivery(
        tenant="acme",
        batch_id="we_1",
        channel=Channel.EMAIL,
        target_id="ada",
        target="ada@example.com",
        event_id="evt_1",
        event_type="webhook_endpoint.disabled",
        created_at=0.0,
        tried_since=0.0,
        due_at=0.0,
    )
    mail = disabled.compose(world.env, endpoint, told)
    assert (mail.to, mail.message_id) == ("ada@example.com", "evt_1")
    assert mail.subject == "The webhook endpoint we_1 was disabled"
    assert "secret" not in mail.text
    first, blank, why, *rest = mail.text.split("\n")
    assert (first, blank) == ("The webhook endpoint we_1 (hook) was disabled.", "")
    assert why.startswith(said)
    assert [one for one in rest if one.startswith("  ")] == [
        "  curl http://here/v1/webhook_endpoints/we_1 -H "
        '"Authorization: Bearer $KEY" -H "Content-Type: application/json" -d \'{}\'',
        "  http://here/v1/x-deliveries?status=dead",
    ]
    assert [number for number, one in enumerate(rest) if not one] == [0, 2, 4, 6, 8, 11]
    assert rest[-3:] == ["-- ", f"No more mails of acme: {mail.unsubscribe_url}", ""]
