"""What mails say, and what they never say."""

import json
import re
import smtplib
from dataclasses import replace
from email import message_from_bytes, policy
from email.message import EmailMessage
from html import unescape
from typing import Any

import pytest

from backburner.domain.delivery import Channel, DeliveryStatus
from backburner.domain.errors import AddressRefused, InvalidRequest, NotFound
from backburner.domain.mailing import Cause
from backburner.ports import Mail, QueueName, Update
from backburner.services import batches, deliver, files, inline, links, mailing, records, submit
from backburner.services.mails.report import duration, money, plain
from tests import oracle
from tests.backend import by_name
from tests.tap import crash_after, meanwhile_at
from tests.world import CHAT, a_catalog, a_model, chat

ADA = "ada@example.com"
TELL = {"notify_email": ADA}


def sent(world: Any) -> Mail:
    """The last mail that was handed over."""
    mail: Mail = list(world.mailer.sent.values())[-1][-1]
    return mail


def delivery(world: Any, batch: Any) -> Any:
    (found,) = (one for one in world.deliveries(batch) if one.channel is Channel.EMAIL)
    return found


# ---------------------------------------------------------------- what they say


def test_a_mail_tells_how_it_went_and_where_the_results_are(world):
    batch = world.submit(3, metadata=TELL)
    world.advance(65)
    world.settle(by_name({"acme-2": 400}))
    after, mail = world.batch(batch), sent(world)
    assert mail.to == ADA
    assert mail.subject == "Completed with failures: in.jsonl (2 of 3 succeeded)"
    assert mail.message_id == f"evt_{batch.id}"
    *text, results, errors = re.sub(r"\?tenant=acme\S+", "?…", mail.text).split(
        "http://here/v1/links/"
    )
    assert text == [
        "Completed with failures: in.jsonl\n"
        "\n"
        "Succeeded:  2 of 3\n"
        "Failed:     1\n"
        "Duration:   1 min 5 s\n"
        "Model:      mistral\n"
        f"Batch:      {batch.id}\n"
        "\n"
        "Why requests failed:\n"
        "  1 x the model's server answered 400 (http_400)\n"
        "\n"
        "Results:\n"
    ]
    assert results == f"{after.output_file_id}?…\nErrors:\n"
    assert errors == (
        f"{after.error_file_id}?…\n"
        "Until 22 June 2025, 15:07 UTC, whoever has these links can read the files.\n"
        "\n"
        "Status:\n"
        f"http://here/v1/batches/{batch.id}\n"
        "This one needs an API key.\n"
        "\n"
        "-- \n"
        "You get this mail because acme has ada@example.com told of its batches.\n"
        f"No more such mails: http://here/v1/unsubscribe?…\n"
    )
    oracle.check_end(world)


def html_as_text(page: str) -> list[str]:
    """What the elements of a page say."""
    pieces = re.findall(r">([^<>]+)<", page.partition("<body")[2])
    return [
        unescape(one).replace("\N{MULTIPLICATION SIGN}", "x").strip()
        for one in pieces
        if one.strip()
    ]


def test_html_and_text_say_the_same(world):
    world.submit(3, metadata=TELL)
    world.settle(by_name({"acme-2": 400}))
    mail = sent(world)
    assert mail.html is not None
    for value in re.findall(r"^\w+: {2,}(.+)$", mail.text, re.MULTILINE):
        assert value in mail.html
    said = html_as_text(mail.html)
    assert [one for one in said if one not in mail.text] == ["(needs an API key)"]
    links_of_text = set(re.findall(r"http://\S+", mail.text))
    links_of_html = {one.replace("&amp;", "&") for one in re.findall(r'href="([^"]+)"', mail.html)}
    assert links_of_text == links_of_html
    assert mail.unsubscribe_url in links_of_text


def test_html_loads_nothing_runs_nothing_and_knows_dark_screens(world):
    world.submit(1, metadata=TELL)
    world.settle()
    page = sent(world).html or ""
    assert "None" not in page
    assert not re.search(r"<(script|img|link|iframe|object)|url\(|@import|onload", page)
    assert 'name="color-scheme" content="light dark"' in page
    assert "prefers-color-scheme: dark" in page
    assert "width=device-width" in page


@pytest.mark.parametrize("name", ["", "Nightly"])
def test_the_subject_names_the_outcome_and_what_its_owner_calls_it(world, name):
    shown = name or "in.jsonl"
    told = TELL | ({"name": name} if name else {})
    world.submit(3, metadata=told)
    world.settle()
    assert sent(world).subject == f"Completed: {shown} (3 requests)"
    world.submit(b'{"bad', metadata=told)
    world.settle()
    assert sent(world).subject == f"Failed: {shown} (the input was not accepted)"
    assert "1 x the line is not a JSON object (invalid_json_line)" in sent(world).text
    batch = world.submit(20, metadata=told)
    world.settle(by_name({f"acme-{number}": 500 for number in range(21)}))
    assert sent(world).subject == f"Failed: {shown} (0 of 20 succeeded)"
    assert "16 x not run: too many of the first requests failed (canary_failed)" in sent(world).text
    batch = world.submit(3, metadata=told)
    batches.cancel(world.env, "acme", batch.id, kind=batch.kind)
    world.settle()
    assert sent(world).subject == f"Cancelled: {shown} (not started)"
    batch = world.submit(3, metadata=told)
    world.pump(QueueName.PLAN)
    batches.cancel(world.env, "acme", batch.id, kind=batch.kind)
    world.settle()
    assert sent(world).subject == f"Cancelled: {shown} (0 of 3 succeeded)"
    world.submit(1, metadata=told, window="15m")
    world.pump(QueueName.PLAN)
    world.advance(3600)
    world.settle()
    assert sent(world).subject == f"Expired: {shown} (0 of 1 succeeded)"


def test_a_single_request_is_called_by_its_id_or_its_name(world):
    response = world.respond(metadata=TELL)
    world.settle()
    assert sent(world).subject == f"Completed: response {response.id}"
    assert f"http://here/v1/responses/{response.id}\n" in sent(world).text
    assert "/v1/links/" not in sent(world).text
    world.respond("two", metadata=TELL | {"name": "Letter"})
    world.settle(by_name({"two": 400}))
    assert sent(world).subject == "Failed: Letter"
    assert "(http_400)" in sent(world).text


def test_a_batch_whose_file_is_gone_is_called_by_its_id(world):
    batch = world.submit(1, metadata=TELL)
    world.pump()
    files.delete(world.env, "acme", batch.input_file_id or "")
    world.settle()
    assert sent(world).subject == f"Completed: batch {batch.id} (1 request)"


def test_a_batch_that_was_dropped_is_called_by_its_file_name(world):
    mailing.change(world.env, "dropper", {"address": ADA})
    world.notify_upload(world.drop("team a/jobs 1.jsonl", [chat("a")]))
    world.settle()
    assert sent(world).subject == "Completed: jobs 1.jsonl (1 request)"


def test_a_batch_whose_requests_came_with_it_is_called_by_its_id(world):
    new = submit.NewBatch(route=CHAT, completion_window="24h", metadata=TELL)
    batch = inline.submit_requests(world.env, "acme", new, [chat("a")])
    world.settle()
    assert sent(world).subject == f"Completed: batch {batch.id} (1 request)"


HOSTILE = [
    ("a\r\nBcc: eve@example.com", "a Bcc: eve@example.com"),
    ("a\u2028b\u2029c\x85d\x00e\x1bf", "a b c d e f"),
    ("\u202egnp.exe\u202c \u2066x\u2069", "gnp.exe x"),
    ("=?utf-8?q?x=0ABcc:_eve@example.com?=", "= ?utf-8?q?x=0ABcc:_eve@example.com?="),
    ("\ud800 lone", "lone"),
    ("see https://evil.example/x", "see https: //evil.example/x"),
    ("x" * 61, "x" * 59 + "…"),
    ("x" * 60, "x" * 60),
    ("  \t ", "batch"),
    ("Überfällige 报告 תקציר 😀", "Überfällige 报告 תקציר 😀"),
]


@pytest.mark.parametrize(("name", "shown"), HOSTILE)
def test_a_name_is_one_line_and_no_header(world_on_disk, name, shown):
    world = world_on_disk
    if name.isspace() or "\ud800" in name:  # metadata holds neither in the store
        assert plain(name, 60) == ("" if name.isspace() else shown)
        return
    world.submit(1, metadata=TELL | {"name": name})
    world.settle()
    (path,) = world.mails()
    raw = path.read_bytes()
    mail = message_from_bytes(raw, policy=policy.default)
    assert isinstance(mail, EmailMessage)
    assert mail["Subject"] == f"Completed: {shown} (1 request)"
    assert mail["Bcc"] is None
    assert not mail.defects
    assert set(re.findall(rb"^([A-Za-z-]+):", raw.partition(b"\r\n\r\n")[0], re.MULTILINE)) == {
        *(b"From", b"To", b"Subject", b"Date", b"Message-ID", b"X-Backburner-Event-Id"),
        *(b"Auto-Submitted", b"MIME-Version", b"Content-Type", b"List-Unsubscribe"),
    }


def test_a_name_is_text_in_html(world):
    world.submit(1, metadata=TELL | {"name": "<script>alert('x')</script> & \" more"})
    world.settle()
    page = sent(world).html or ""
    assert "<script" not in page
    assert "<bdi>&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt; &amp; &quot; more</bdi>" in page


@pytest.mark.parametrize(
    ("filename", "shown"),
    [
        ("C:\\work\\in.jsonl", "in.jsonl"),
        ("../../etc/passwd", "passwd"),
        ("a\nb.jsonl", "a b.jsonl"),
    ],
)
def test_a_file_is_called_by_its_name_alone(world, filename, shown):
    batch = world.submit(1, metadata=TELL)
    key = records.file_key("acme", batch.input_file_id or "")
    world.store.transact(Update(key, set={"filename": filename}))
    world.settle()
    assert sent(world).subject == f"Completed: {shown} (1 request)"


def test_only_the_three_most_frequent_reasons_are_told(world):
    statuses = {f"acme-{n}": status for n, status in enumerate([400, 401, 401, 402, 403, 403], 1)}
    batch = world.submit(8, metadata=TELL)
    world.settle(by_name(statuses))
    found = re.findall(r"(\d+) x .*\((\w+)\)", sent(world).text)
    assert found == [("2", "http_401"), ("2", "http_403"), ("1", "http_400")]
    assert sum(world.batch(batch).reasons.values()) == world.batch(batch).failed == 6


@pytest.mark.parametrize(
    ("nanos", "text"),
    [
        (0, "$0.00"),
        (1_234_567_890_000, "$1,234.57"),
        (400_000_000, "$0.40"),
        (1_500_000, "$0.0015"),
        (99, "less than $0.0001"),
    ],
)
def test_money_is_written_as_people_do(nanos, text):
    assert money(nanos) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (200, "3 min 20 s"),
        (3599.9, "1 h 0 min"),
        (7500, "2 h 5 min"),
        (90_000, "25 h 0 min"),
    ],
)
def test_durations_are_written_as_people_do(seconds, text):
    assert duration(seconds) == text


def test_the_cost_is_told_where_the_model_has_a_price(world):
    world.submit(2, metadata=TELL)
    world.settle()
    assert "Cost:" not in sent(world).text
    priced = a_catalog(a_model(input_price=1.0, output_price=2.0))
    world.set_env(replace(world.untapped, catalog=priced))
    world.submit(2, metadata=TELL)
    world.settle()
    assert re.search(r"^Cost: +(\$\d|less than)", sent(world).text, re.MULTILINE)


# ---------------------------------------------------------------- links


def test_links_work_a_week_and_no_longer_than_the_files(world):
    batch = world.submit(1, metadata=TELL)
    world.settle()
    ended_at = world.batch(batch).ended_at
    assert ended_at is not None
    (expires,) = set(re.findall(r"expires=(\d+)", sent(world).text))
    assert int(expires) - int(ended_at) == 7 * 86400
    world.submit(1, metadata=TELL, output_expires_seconds=3600.0)
    world.settle()
    (expires,) = set(re.findall(r"expires=(\d+)", sent(world).text))
    assert int(expires) - int(world.clock.now()) <= 3600


def test_an_operator_may_want_no_links_that_need_no_key(world):
    world.set_env(replace(world.untapped, limits=replace(world.untapped.limits, link_seconds=0)))
    world.submit(1, metadata=TELL)
    world.settle()
    assert "/v1/links/" not in sent(world).text
    assert "/v1/batches/" in sent(world).text


def test_two_processes_sign_with_one_secret(world):
    first = links.to_file(world.env, "acme", "file-1", expires_at=2e9)
    other = replace(world.env, secrets={})
    assert links.to_file(other, "acme", "file-1", expires_at=2e9) == first


def test_two_processes_that_need_the_secret_at_once_sign_with_one(world):
    def sign() -> None:
        env = replace(world.env, secrets={})
        made.append(links.to_file(env, "acme", "file-1", expires_at=2e9))

    made: list[str] = []
    with world.tap.hooked(meanwhile_at("store.transact", world.tap, sign)):
        sign()
    first, second = made
    assert first == second


def test_links_of_another_deployment_are_others(world):
    link = links.to_file(world.env, "acme", "file-1", expires_at=2e9)
    elsewhere = replace(world.env, secrets={"links": "that of another"})
    assert links.to_file(elsewhere, "acme", "file-1", expires_at=2e9) != link


def test_a_link_for_half_a_character_is_none_of_ours(world):
    with pytest.raises(NotFound, match="not valid"):
        links.check_unsubscribing(world.env, tenant="acme", address="\ud800", signature="x")


# ---------------------------------------------------------------- who gets none


def refused(world: Any, batch: Any) -> str:
    found = delivery(world, batch)
    assert (found.status, found.attempts) == (DeliveryStatus.DEAD, 1)
    return str(found.last_error)


@pytest.mark.parametrize(
    ("cause", "tenant", "words"),
    [
        (Cause.UNSUBSCRIBED, "acme", "unsubscribed"),
        (Cause.BOUNCED, None, "came back"),
        (Cause.COMPLAINED, None, "spam"),
        (Cause.REFUSED, None, "knew no such address"),
    ],
)
def test_an_address_that_wants_or_takes_none_gets_none(world, cause, tenant, words):
    mailing.suppress(world.env, "ADA@example.com", cause, tenant=tenant)
    batch = world.submit(1, metadata=TELL)
    world.settle()
    assert words in refused(world, batch)
    assert world.mailer.sent == {}
    elsewhere = world.submit(1, tenant="globex", metadata=TELL)
    world.settle()
    assert world.mailed(f"evt_{elsewhere.id}") == ([ADA] if tenant else [])


def test_a_tenant_that_turned_its_mails_off_gets_none_until_it_turns_them_on(world):
    mailing.change(world.env, "acme", {"enabled": False})
    batch = world.submit(1, metadata=TELL)
    world.settle()
    assert refused(world, batch) == "The tenant has turned its mails off."
    mailing.change(world.env, "acme", {"enabled": True})
    world.submit(1, metadata=TELL)
    world.settle()
    assert len(world.mailer.sent) == 1


def test_all_addresses_that_get_none_are_found_however_many(world):
    for number in range(101):
        mailing.suppress(world.env, f"user{number}@example.com", Cause.BOUNCED)
    found, has_more = mailing.suppressions(world.env, None)
    assert (len(found), has_more) == (101, False)


class Refusing:
    """A mail server that refuses every address, with this error."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def send(self, mail: Mail) -> None:
        raise self.error


def test_an_address_that_the_mail_server_does_not_know_gets_no_more(world):
    good = world.mailer
    world.set_env(
        replace(world.untapped, mailer=Refusing(AddressRefused("No such address (550).")))
    )
    batch = world.submit(1, metadata=TELL)
    world.settle()
    assert refused(world, batch) == "No such address (550)."
    world.set_env(replace(world.untapped, mailer=good))
    again = world.submit(1, metadata=TELL)
    world.settle()
    assert refused(world, again) == "A mail server knew no such address."
    assert good.sent == {}


@pytest.mark.parametrize(
    "error", [InvalidRequest("Looks like spam."), smtplib.SMTPDataError(451, b"Later")]
)
def test_any_other_refusal_is_of_this_mail_alone(world, error):
    good = world.mailer
    world.set_env(replace(world.untapped, mailer=Refusing(error)))
    world.submit(1, metadata=TELL)
    world.run()
    world.set_env(replace(world.untapped, mailer=good))
    world.settle()
    batch = world.submit(1, metadata=TELL)
    world.settle()
    assert world.mailed(f"evt_{batch.id}") == [ADA]


def test_who_sent_and_died_sends_the_same_mail_again(world):
    batch = world.submit(b'{"bad', metadata=TELL)
    world.pump(QueueName.PLAN)
    with crash_after(world.tap, "mailer.send"):
        deliver.deliver(world.env, "acme", batch.id, delivery(world, batch).name)
    world.advance(600)
    world.settle()
    first, second = world.mailer.sent[f"evt_{batch.id}"]
    assert first == second


# ---------------------------------------------------------------- what they never say


def test_nothing_of_prompts_and_results_is_in_what_a_run_tells(world, caplog):
    """Markers are planted wherever a client or a model writes: none comes out where people look."""
    caplog.set_level("DEBUG")
    lines = [
        chat(f"custom-{n}", messages=[{"role": "user", "content": "PROMPTMARK"}]) for n in range(6)
    ]
    lines[0]["body"]["user"] = "PROMPTMARK"
    kinds = {
        "custom-1": (400, {"error": {"message": "bad: PROMPTMARK", "code": "PROMPTMARK"}}),
        "custom-2": (500, {"error": {"message": "RESULTMARK", "type": "RESULTMARK"}}),
    }

    def reply(request: dict[str, Any]) -> dict[str, Any]:
        status, body = kinds.get(request["custom_id"], (200, {"text": "RESULTMARK"}))
        return {"line": request["line"], "status_code": status, "body": body}

    batch = world.submit(lines, metadata=TELL)
    world.settle(reply)
    rejected = world.submit(
        b'{"custom_id": "PROMPTMARK", "method": "PROMPTMARK"\n{"model": "PROMPTMARK"}',
        metadata=TELL,
    )
    world.settle()
    mails = [mail for mails in world.mailer.sent.values() for mail in mails]
    assert len(mails) == 2
    told = {
        "mails": repr(mails),
        "events": json.dumps([[dict(one.event), dict(one.attributes)] for one in world.told]),
        "metrics": repr(world.published),
        "deliveries": repr([*world.deliveries(batch), *world.deliveries(rejected)]),
        "logs": caplog.text,
    }
    for where, text in told.items():
        assert text, where
        assert "MARK" not in text.upper().replace("BENCHMARK", ""), where
