"""Files over HTTP."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backburner.ports import Limits
from tests.effort import tried
from tests.web.conftest import Answer, Client, form, requests

DAY = 86400


def upload(client: Client, parts: list[tuple[str, Any]]) -> Answer:
    body, kind = form(parts)
    return client.ask("POST", "/v1/files", body, {"content-type": kind})


FILE = ("file", ("in.jsonl", b"one\n"))
PURPOSE = ("purpose", "batch")
ANCHOR = ("expires_after[anchor]", "created_at")
SECONDS = ("expires_after[seconds]", "3600")


def test_an_upload_can_be_read_back(acme):
    file = acme.upload(b"one\ntwo").json
    assert (file["bytes"], file["filename"], file["purpose"]) == (7, "in.jsonl", "batch")
    assert file["status"] == "processed"
    assert acme.get(f"/v1/files/{file['id']}").json == file
    content = acme.get(f"/v1/files/{file['id']}/content")
    assert content.body == b"one\ntwo"
    assert content.headers["x-last-line"] == "2"
    assert content.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("spool", [None, "tmp/body"])
def test_a_large_body_comes_in_an_object_that_is_removed(world, acme, spool):
    file = acme.upload(requests(2), spool=spool).json
    assert acme.get(f"/v1/files/{file['id']}/content").body == requests(2)
    assert world.keys("tmp/") == []


def test_the_object_of_a_refused_body_is_removed_too(world, acme):
    acme.key = "wrong"
    assert acme.upload(b"", spool="tmp/body").status == 401
    assert acme.ask("PUT", "/v1/files", b"x", spool="tmp/body").status == 405
    assert world.keys("tmp/") == []


@pytest.mark.parametrize(
    "parts",
    [
        [PURPOSE, FILE],
        [FILE, PURPOSE],
        [SECONDS, FILE, ANCHOR, PURPOSE],
        [("visibility", "x"), PURPOSE, FILE],
    ],
)
def test_parts_come_in_any_order(acme, parts):
    answer = upload(acme, parts)
    assert (answer.status, answer.json["bytes"]) == (200, 4)


@pytest.mark.parametrize(
    ("given_name", "name"),
    [
        (None, "upload"),
        ("", "upload"),
        ("in.jsonl", "in.jsonl"),
        ("C:\\data\\in.jsonl", "in.jsonl"),
        ("../../etc/passwd", "passwd"),
        ("日本.jsonl", "日本.jsonl"),
        ("x" * 300, "x" * 255),
    ],
)
def test_a_filename_may_be_missing_and_has_no_folders(acme, given_name, name):
    answer = upload(acme, [PURPOSE, ("file", (given_name, b"x"))])
    assert answer.json["filename"] == name


def test_content_that_looks_like_a_boundary_stays_content(acme):
    data = b"--xXboundaryX\r\n--\r\n\r\n--xXboundaryXx-\n" + b"\r" * 70_000
    file = upload(acme, [PURPOSE, ("file", ("a", data))]).json
    assert acme.get(f"/v1/files/{file['id']}/content").body == data


def test_a_file_is_kept_for_30_days_or_as_asked_for(world, acme):
    kept = acme.upload(b"x").json
    assert kept["expires_at"] - kept["created_at"] == 30 * DAY
    short = upload(acme, [PURPOSE, ANCHOR, SECONDS, FILE]).json
    assert short["expires_at"] - short["created_at"] == 3600
    world.clock.advance(3600)
    assert acme.get(f"/v1/files/{short['id']}").status == 404
    assert [one["id"] for one in acme.get("/v1/files").json["data"]] == [kept["id"]]


BAD = {
    "no file": ([PURPOSE], "file"),
    "two files": ([PURPOSE, FILE, FILE], "file"),
    "no purpose": ([FILE], "purpose"),
    "a strange purpose": ([("purpose", "assistants"), FILE], "purpose"),
    "a purpose of ours": ([("purpose", "batch_output"), FILE], "purpose"),
    "an anchor alone": ([PURPOSE, FILE, ANCHOR], "expires_after"),
    "seconds alone": ([PURPOSE, FILE, SECONDS], "expires_after"),
    "too few seconds": (
        [PURPOSE, FILE, ANCHOR, ("expires_after[seconds]", "3599")],
        "expires_after",
    ),
    "too many seconds": (
        [PURPOSE, FILE, ANCHOR, ("expires_after[seconds]", "2592001")],
        "expires_after",
    ),
    "no number": ([PURPOSE, FILE, ANCHOR, ("expires_after[seconds]", "1h")], "expires_after"),
    "far too many": (
        [PURPOSE, FILE, ANCHOR, ("expires_after[seconds]", "9" * 5000)],
        "expires_after",
    ),
    "a long field": ([("x" * 70, "y" * 8193), PURPOSE, FILE], "x" * 64),
}


@pytest.mark.parametrize(("parts", "param"), BAD.values(), ids=BAD)
def test_a_bad_form_is_refused_and_leaves_nothing(world, acme, parts, param):
    answer = upload(acme, parts)
    assert (answer.status, answer.error["param"]) == (400, param)
    assert world.keys("files/") == []
    assert acme.get("/v1/files").json["data"] == []


def test_a_form_has_a_bounded_number_of_fields(acme):
    answer = upload(acme, [*[(f"f{n}", "x") for n in range(33)], PURPOSE, FILE])
    assert answer.status == 400


GOOD_BODY, GOOD_TYPE = form([PURPOSE, FILE])
NO_FORM = {
    "JSON": (b"{}", "application/json"),
    "no type": (GOOD_BODY, ""),
    "no boundary": (GOOD_BODY, "multipart/form-data"),
    "another boundary": (GOOD_BODY, "multipart/form-data; boundary=other"),
    "a boundary too long": (GOOD_BODY, "multipart/form-data; boundary=" + "x" * 5000),
    "a strange type": (GOOD_BODY, "multipart/form-data; boundary=\u20ac"),
    "no end": (GOOD_BODY[:-4], GOOD_TYPE),
    "half of it": (GOOD_BODY[: len(GOOD_BODY) // 2], GOOD_TYPE),
    "nothing": (b"", GOOD_TYPE),
    "no names": (
        b"--b\r\ncontent-type: x\r\n\r\ndata\r\n--b--\r\n",
        "multipart/form-data; boundary=b",
    ),
    "no headers": (b"--b\r\n\r\ndata\r\n--b--\r\n", "multipart/form-data; boundary=b"),
    "long headers": (
        b"--b\r\ncontent-disposition: " + b"x" * 100_000 + b"\r\n\r\n\r\n--b--\r\n",
        "multipart/form-data; boundary=b",
    ),
}


@pytest.mark.parametrize(("body", "kind"), NO_FORM.values(), ids=NO_FORM)
def test_what_is_no_form_is_refused(world, acme, body, kind):
    answer = acme.ask("POST", "/v1/files", body, {"content-type": kind})
    assert (answer.status, answer.error["type"]) == (400, "invalid_request_error")
    assert world.keys("files/") == []


@settings(
    max_examples=tried(40, long=400),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(cut=st.integers(0, len(GOOD_BODY)), noise=st.binary(max_size=20))
def test_a_damaged_form_is_never_an_error_of_ours(acme, cut, noise):
    damaged = GOOD_BODY[:cut] + noise + GOOD_BODY[cut + len(noise) :]
    answer = acme.ask("POST", "/v1/files", damaged, {"content-type": GOOD_TYPE})
    assert answer.status in (200, 400)


class TestWithASmallLimit:
    @pytest.fixture
    def limits(self):
        return Limits(file_bytes=1000)

    def test_a_file_over_the_limit_is_refused_by_name(self, world, acme):
        assert acme.upload(b"x" * 1000).status == 200
        answer = acme.upload(b"x" * 1001)
        assert (answer.status, answer.error["param"]) == (413, "file")
        assert "1000 bytes" in answer.error["message"]
        assert len(world.keys("files/")) == 1


def test_files_are_listed_page_by_page_in_either_order(acme):
    made = [acme.upload(b"x").json["id"] for _ in range(5)]
    newest = acme.get("/v1/files", limit=3).json
    assert ([one["id"] for one in newest["data"]], newest["has_more"]) == (made[:1:-1], True)
    rest = acme.get("/v1/files", limit=3, after=newest["last_id"]).json
    assert ([one["id"] for one in rest["data"]], rest["has_more"]) == (made[1::-1], False)
    oldest = acme.get("/v1/files", order="asc").json
    assert [one["id"] for one in oldest["data"]] == made
    assert oldest["has_more"] is False
    assert acme.get("/v1/files", purpose="batch_output").json["data"] == []


@pytest.mark.parametrize(
    "query", [{"limit": 0}, {"limit": 10001}, {"limit": "-1"}, {"order": "up"}, {"after": "\u0130"}]
)
def test_a_bad_page_is_refused(acme, query):
    answer = acme.get("/v1/files", **query)
    assert (answer.status, answer.error["param"]) == (400, next(iter(query)))


def test_a_deleted_file_is_gone(world, acme):
    file_id = acme.upload(b"x").json["id"]
    answer = acme.delete(f"/v1/files/{file_id}")
    assert answer.json == {"id": file_id, "object": "file", "deleted": True}
    for ask in (acme.get, acme.delete):
        assert ask(f"/v1/files/{file_id}").status == 404
    assert acme.get(f"/v1/files/{file_id}/content").status == 404
    assert world.keys("files/") == []


def test_a_large_file_is_read_by_a_link_that_needs_no_key(world, acme):
    data = b"x" * (4 * 1024 * 1024 + 1)
    file_id = acme.upload(data, spool="tmp/body").json["id"]
    answer = acme.get(f"/v1/files/{file_id}/content")
    assert answer.status == 302
    link = answer.headers["location"].removeprefix("http://here")
    assert world.env.blobs.verify(link) == f"files/acme/{file_id}"


@pytest.mark.parametrize("offset", ["-1", "x", "1e3", "9" * 12])
def test_a_bad_offset_is_refused(acme, offset):
    file_id = acme.upload(b"x").json["id"]
    assert acme.get(f"/v1/files/{file_id}/content", offset=offset).status == 400
