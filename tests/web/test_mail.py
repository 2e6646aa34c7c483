"""Links of mails, the page to unsubscribe, and what a tenant may say of its mails."""

import re
from urllib.parse import parse_qsl

import pytest

from backburner.domain.mailing import Cause
from backburner.services import links, mailing
from tests.web.conftest import Client, requests

ADA = "ada+batches@example.com"
TELL = {"notify_email": ADA}
ONE_CLICK = b"List-Unsubscribe=One-Click"


@pytest.fixture
def world(world_on_disk):
    """Its mails are files, headers and all."""
    return world_on_disk


@pytest.fixture
def stranger(world):
    """Somebody without a key, who has a mail."""
    return Client(None, world)


def follow(client: Client, link: str, method: str = "GET", body: bytes = b"", **changes: str):
    path, _, query = link.removeprefix("http://here").partition("?")
    form = {"content-type": "application/x-www-form-urlencoded"}
    return client.ask(method, path, body, form, query=dict(parse_qsl(query)) | changes)


def unsubscribing(world, tenant: str = "acme", address: str = ADA) -> str:
    return links.to_unsubscribe(world.env, tenant, address)


def is_mailed(world, client: Client, **metadata: str) -> bool:
    before = len(world.mails())
    client.batch(requests(1), metadata=TELL | metadata)
    world.finish()
    return len(world.mails()) > before


# ---------------------------------------------------------------- links to files


@pytest.fixture
def output(world, acme):
    """A batch's output file, and a link to it."""
    batch = acme.batch(requests(1))
    world.finish()
    file_id = acme.get(f"/v1/batches/{batch['id']}").json["output_file_id"]
    expires_at = world.clock.now() + 3600
    return file_id, links.to_file(world.env, "acme", file_id, expires_at=expires_at)


def test_a_link_leads_to_the_file_without_a_key_as_often_as_one_likes(
    world, acme, stranger, output
):
    file_id, link = output
    for _ in range(2):
        answer = follow(stranger, link)
        assert answer.status == 302
        assert answer.headers["cache-control"] == "no-store"
        key = world.blobs.verify(answer.headers["location"].removeprefix("http://here"))
        assert world.blobs.get(key or "") == acme.get(f"/v1/files/{file_id}/content").body


def test_a_link_ends_at_its_time(world, stranger, output):
    world.advance(3599)
    assert follow(stranger, output[1]).status == 302
    world.advance(1)
    answer = follow(stranger, output[1])
    assert (answer.status, answer.error["code"]) == (404, "invalid_link")
    assert "With an API key the file can still be read" in answer.error["message"]


@pytest.mark.parametrize(
    "change",
    [
        {"tenant": "other"},
        {"expires": "99999999999"},
        {"expires": "1e99"},
        {"expires": "²"},
        {"expires": ""},
        {"signature": ""},
        {"signature": "x"},
        {"signature": "\u20ac"},
        {"tenant": ""},
    ],
)
def test_a_link_that_was_changed_opens_nothing(stranger, output, change):
    answer = follow(stranger, output[1], **change)
    assert (answer.status, answer.error["code"]) == (404, "invalid_link")


def test_a_link_opens_one_file_of_one_tenant_and_is_no_other_link(
    world, acme, other, stranger, output
):
    file_id, link = output
    another = acme.upload(requests(1)).json["id"]
    assert follow(stranger, link.replace(file_id, another)).status == 404
    foreign = links.to_file(world.env, "other", file_id, expires_at=world.clock.now() + 9)
    assert follow(stranger, foreign).status == 404
    signature = dict(parse_qsl(unsubscribing(world).partition("?")[2]))["signature"]
    assert follow(stranger, link, signature=signature).status == 404


def test_a_link_to_a_file_that_is_gone_says_so(acme, stranger, output):
    file_id, link = output
    acme.delete(f"/v1/files/{file_id}")
    answer = follow(stranger, link)
    assert (answer.status, answer.error["code"]) == (404, None)


# ---------------------------------------------------------------- unsubscribing


def test_looking_at_the_page_changes_nothing(world, acme, stranger):
    for _ in range(3):
        page = follow(stranger, unsubscribing(world))
        assert page.status == 200
        assert page.headers["content-type"].startswith("text/html")
        assert ADA.encode() in page.body
        assert b'<form method="post">' in page.body
    assert acme.get("/v1/mail/suppressions").json["data"] == []
    assert is_mailed(world, acme)


@pytest.mark.parametrize("body", [ONE_CLICK, b"mails=no", b"", b"\xff\x00", b"x" * 100_000])
def test_whatever_is_posted_to_the_link_unsubscribes(world, acme, stranger, body):
    answer = follow(stranger, unsubscribing(world), "POST", body)
    assert answer.status == 200
    assert b"No more mails" in answer.body
    assert not is_mailed(world, acme)
    (found,) = acme.get("/v1/mail/suppressions").json["data"]
    assert (found["address"], found["cause"]) == (ADA, "unsubscribed")


def test_a_form_of_several_parts_unsubscribes(world, acme, stranger):
    """RFC 8058 lets mail programs send either kind of form."""
    part = b'content-disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click'
    body = b"--x\r\n" + part + b"\r\n--x--\r\n"
    assert follow(stranger, unsubscribing(world), "POST", body).status == 200
    assert not is_mailed(world, acme)


def test_who_unsubscribed_may_subscribe_again(world, acme, stranger):
    follow(stranger, unsubscribing(world), "POST", ONE_CLICK)
    follow(stranger, unsubscribing(world), "POST", ONE_CLICK)
    answer = follow(stranger, unsubscribing(world), "POST", b"mails=again")
    assert b"again" in answer.body
    assert is_mailed(world, acme)
    assert follow(stranger, unsubscribing(world), "POST", b"mails=again").status == 200


def test_an_address_unsubscribes_from_one_tenant(world, acme, other, stranger):
    follow(stranger, unsubscribing(world), "POST", ONE_CLICK)
    assert not is_mailed(world, acme)
    assert is_mailed(world, other)
    assert other.get("/v1/mail/suppressions").json["data"] == []


@pytest.mark.parametrize("change", [{"tenant": "other"}, {"address": "bob@example.com"}])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_nobody_unsubscribes_others(world, other, stranger, method, change):
    answer = follow(stranger, unsubscribing(world), method, ONE_CLICK, **change)
    assert (answer.status, answer.error["code"]) == (404, "invalid_link")
    assert answer.error["message"] == "This link is not valid."
    assert is_mailed(world, other)


def test_the_link_of_the_mail_is_the_link_of_its_header(world, acme, stranger):
    assert is_mailed(world, acme)
    raw = world.mails()[0].read_bytes()
    (url,) = re.findall(rb"^List-Unsubscribe: <(.+)>\r$", raw, re.MULTILINE)
    follow(stranger, url.decode(), "POST", ONE_CLICK)
    assert not is_mailed(world, acme)


def test_a_strange_address_is_text_on_the_page(world, stranger):
    link = unsubscribing(world, address="a&b'c@example.com")
    page = follow(stranger, link).body
    assert b"a&amp;b&#x27;c@example.com" in page
    assert b"'none'" in follow(stranger, link).headers["content-security-policy"].encode()


# ---------------------------------------------------------------- what a tenant says


def test_a_tenant_turns_its_mails_off_and_on_again(world, acme, other):
    assert acme.get("/v1/mail").json == {
        "object": "mail_settings",
        "enabled": True,
        "address": None,
        "digest": "none",
    }
    assert acme.post("/v1/mail", {"enabled": False}).json["enabled"] is False
    assert not is_mailed(world, acme)
    assert is_mailed(world, other)
    assert acme.post("/v1/mail", {"enabled": True}).json["enabled"] is True
    assert is_mailed(world, acme)


def test_what_is_not_named_stays_as_it_is(acme):
    acme.post("/v1/mail", {"address": "team@example.com"})
    acme.post("/v1/mail", {"digest": "hourly"})
    assert acme.post("/v1/mail", {}).json == {
        "object": "mail_settings",
        "enabled": True,
        "address": "team@example.com",
        "digest": "hourly",
    }
    assert acme.post("/v1/mail", {"address": None}).json["address"] is None


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"enabled": "no"}, "enabled"),
        ({"enabled": None}, "enabled"),
        ({"address": "nobody"}, "address"),
        ({"address": "a@b.example, c@d.example"}, "address"),
        ({"address": ["a@b.example"]}, "address"),
        ({"address": "a@b.example\nBcc: c@d.example"}, "address"),
        ({"digest": "daily"}, "digest"),
        ({"digest": None}, "digest"),
        ({"digest": ["hourly"]}, "digest"),
        ({"digests": "hourly"}, "digests"),
        ({"x" * 100: 1}, "x" * 64),
    ],
)
def test_a_setting_that_is_none_is_named(acme, body, param):
    before = acme.get("/v1/mail").json
    answer = acme.post("/v1/mail", {"enabled": True} | body)
    assert (answer.status, answer.error["param"]) == (400, param)
    assert answer.error["message"].startswith(f"'{param}' ")
    assert acme.get("/v1/mail").json == before


def test_who_names_a_setting_that_there_is_not_is_told_which_there_are(acme):
    answer = acme.post("/v1/mail", {"digests": "hourly"})
    assert answer.error["message"] == "'digests' is none of 'enabled', 'address', 'digest'."


def test_a_tenant_lets_an_address_have_mails_again(world, acme, other, stranger):
    follow(stranger, unsubscribing(world), "POST", ONE_CLICK)
    (found,) = acme.get("/v1/mail/suppressions").json["data"]
    path = f"/v1/mail/suppressions/{found['id']}"
    assert other.delete(path).status == 404
    assert not is_mailed(world, acme)
    assert acme.delete(path).json == {
        "id": found["id"],
        "object": "mail_suppression",
        "deleted": True,
    }
    assert is_mailed(world, acme)
    again = acme.delete(path)
    assert (again.status, again.error["param"]) == (404, "id")
    assert acme.delete("/v1/mail/suppressions/settings").status == 404


def test_suppressions_come_in_pages(world, acme):
    for number in range(5):
        address = f"user{number}@example.com"
        mailing.suppress(world.env, address, Cause.UNSUBSCRIBED, tenant="acme")
    acme.post("/v1/mail", {"enabled": True})
    first = acme.get("/v1/mail/suppressions", limit=3).json
    rest = acme.get("/v1/mail/suppressions", limit=3, after=first["last_id"]).json
    assert (first["has_more"], rest["has_more"]) == (True, False)
    assert {one["address"] for one in [*first["data"], *rest["data"]]} == {
        f"user{number}@example.com" for number in range(5)
    }
