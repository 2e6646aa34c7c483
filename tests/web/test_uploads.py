"""Large files in parts."""

import hashlib
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from backburner.ports import Limits
from tests.tap import Crash, fault_at, meanwhile
from tests.web.conftest import Answer, Client, form, requests

HOUR = 3600
CONTENT = requests(10)
CUTS = (0, 100, 101, 700, len(CONTENT))
PIECES = [CONTENT[start:end] for start, end in pairwise(CUTS)]


def create(client: Client, **changes: Any) -> Answer:
    asked = {
        "bytes": len(CONTENT),
        "filename": "big.jsonl",
        "mime_type": "application/jsonl",
        "purpose": "batch",
    }
    given = {name: value for name, value in (asked | changes).items() if value is not None}
    return client.post("/v1/uploads", given)


def add(client: Client, upload_id: str, data: bytes, **options: Any) -> Answer:
    body, kind = form([("data", ("upload", data))])
    path = f"/v1/uploads/{upload_id}/parts"
    return client.ask("POST", path, body, {"content-type": kind}, **options)


def begin(client: Client, pieces: list[bytes] = PIECES, **changes: Any) -> tuple[str, list[str]]:
    """An upload with its parts: its id, and theirs."""
    upload_id = create(client, **changes).json["id"]
    return upload_id, [add(client, upload_id, piece).json["id"] for piece in pieces]


def complete(client: Client, upload_id: str, parts: Any, **more: Any) -> Answer:
    return client.post(f"/v1/uploads/{upload_id}/complete", {"part_ids": parts} | more)


def cancel(client: Client, upload_id: str) -> Answer:
    return client.post(f"/v1/uploads/{upload_id}/cancel")


def read(client: Client, file_id: str) -> bytes:
    return client.get(f"/v1/files/{file_id}/content").body


def test_parts_become_a_file_that_is_like_any_other(world, acme):
    made = create(acme, expires_after={"anchor": "created_at", "seconds": HOUR}).json
    assert made["object"] == "upload"
    assert made["expires_at"] - made["created_at"] == HOUR
    assert (made["status"], made["file"], made["bytes"]) == ("pending", None, len(CONTENT))
    assert made["x_part_bytes"] == Limits().part_bytes
    parts = [add(acme, made["id"], piece).json for piece in PIECES]
    assert {(one["object"], one["upload_id"]) for one in parts} == {("upload.part", made["id"])}
    done = complete(acme, made["id"], [one["id"] for one in parts]).json
    file = done.pop("file")
    assert done | {"file": None} == made | {"status": "completed"}
    assert acme.get(f"/v1/files/{file['id']}").json == file
    assert (file["filename"], file["bytes"], file["purpose"]) == (
        "big.jsonl",
        len(CONTENT),
        "batch",
    )
    assert file["expires_at"] - file["created_at"] == HOUR
    assert read(acme, file["id"]) == CONTENT
    assert world.keys("uploads/") == []
    world.clock.advance(HOUR)
    world.reap()
    assert world.keys("files/") == []


def test_a_file_of_parts_is_run_as_a_batch(world, acme):
    upload_id, parts = begin(acme)
    file_id = complete(acme, upload_id, parts).json["file"]["id"]
    asked = {"input_file_id": file_id, "endpoint": "/v1/chat/completions"}
    batch = acme.post("/v1/batches", asked).json
    world.finish()
    assert acme.get(f"/v1/batches/{batch['id']}").json["request_counts"]["completed"] == 10


def test_the_order_is_that_of_the_ids_and_parts_may_be_left_out(acme):
    upload_id, parts = begin(acme, [PIECES[2], b"wrong", *PIECES[:2], PIECES[3]])
    ordered = [parts[2], parts[3], parts[0], parts[4]]
    file_id = complete(acme, upload_id, ordered).json["file"]["id"]
    assert read(acme, file_id) == CONTENT


def test_a_part_that_is_sent_twice_is_one_part_and_may_be_named_twice(acme):
    upload_id, (part, again) = begin(acme, [b"same", b"same"], bytes=8)
    assert part == again
    file_id = complete(acme, upload_id, [part, again]).json["file"]["id"]
    assert read(acme, file_id) == b"samesame"


def test_completing_again_gives_the_same_answer(acme):
    upload_id, parts = begin(acme)
    first = complete(acme, upload_id, parts)
    assert complete(acme, upload_id, parts).json == first.json
    other = complete(acme, upload_id, parts[::-1])
    assert (other.status, other.error["param"]) == (400, "id")
    acme.delete(f"/v1/files/{first.json['file']['id']}")
    assert complete(acme, upload_id, parts).json["file"] is None


def test_the_md5_is_that_of_the_whole(world, acme):
    upload_id, parts = begin(acme)
    wrong = complete(acme, upload_id, parts, md5=hashlib.md5(b"x").hexdigest())
    assert (wrong.status, wrong.error["param"]) == (400, "md5")
    assert acme.get("/v1/files").json["data"] == []
    right = hashlib.md5(CONTENT).hexdigest().upper()
    assert complete(acme, upload_id, parts, md5=right).json["status"] == "completed"


BAD_UPLOADS = {
    "no size": ({"bytes": None}, 400, "bytes"),
    "no bytes": ({"bytes": 0}, 400, "bytes"),
    "half a byte": ({"bytes": 0.5}, 400, "bytes"),
    "yes": ({"bytes": True}, 400, "bytes"),
    "too large": ({"bytes": Limits().file_bytes + 1}, 413, "bytes"),
    "no name": ({"filename": ""}, 400, "filename"),
    "no type": ({"mime_type": None}, 400, "mime_type"),
    "a strange type": ({"mime_type": "a\r\nb"}, 400, "mime_type"),
    "another purpose": ({"purpose": "assistants"}, 400, "purpose"),
    "a short life": (
        {"expires_after": {"anchor": "created_at", "seconds": 1}},
        400,
        "expires_after",
    ),
    "no span": ({"expires_after": 3600}, 400, "expires_after"),
}


@pytest.mark.parametrize(("changes", "status", "param"), BAD_UPLOADS.values(), ids=BAD_UPLOADS)
def test_a_bad_upload_is_refused_by_name(acme, changes, status, param):
    answer = create(acme, **changes)
    assert (answer.status, answer.error["param"]) == (status, param)


BAD_ENDS = {
    "no parts": ([], {}, "part_ids"),
    "no list": ("part_x", {}, "part_ids"),
    "no id": ([1], {}, "part_ids.0"),
    "an unknown part": (["part_" + "0" * 40], {}, "part_ids.0"),
    "a way out": (["../../x"], {}, "part_ids.0"),
    "too few bytes": (None, {}, "part_ids"),
    "no md5": (None, {"md5": "x"}, "md5"),
}


@pytest.mark.parametrize(("parts", "more", "param"), BAD_ENDS.values(), ids=BAD_ENDS)
def test_a_bad_end_is_refused_by_name_and_may_be_mended(acme, parts, more, param):
    upload_id, all_parts = begin(acme)
    answer = complete(acme, upload_id, all_parts[1:] if parts is None else parts, **more)
    assert (answer.status, answer.error["param"]) == (400, param)
    assert complete(acme, upload_id, all_parts).json["status"] == "completed"


def test_a_form_without_data_is_no_part(world, acme):
    upload_id = create(acme).json["id"]
    body, kind = form([("file", ("upload", b"x"))])
    answer = acme.ask("POST", f"/v1/uploads/{upload_id}/parts", body, {"content-type": kind})
    assert (answer.status, answer.error["param"]) == (400, "data")
    assert world.keys("uploads/") == []


def test_a_large_part_comes_in_an_object_that_is_removed(world, acme):
    upload_id = create(acme).json["id"]
    part = add(acme, upload_id, CONTENT, spool="tmp/body").json["id"]
    assert world.keys("tmp/") == []
    assert complete(acme, upload_id, [part]).json["status"] == "completed"


def test_a_cancelled_upload_takes_nothing_more(world, acme):
    upload_id, parts = begin(acme)
    assert cancel(acme, upload_id).json["status"] == "cancelled"
    assert cancel(acme, upload_id).json["status"] == "cancelled"
    assert world.keys("uploads/") == []
    for answer in (add(acme, upload_id, b"x"), complete(acme, upload_id, parts)):
        assert (answer.status, answer.error["message"]) == (400, "The upload is cancelled.")


def test_a_completed_upload_can_not_be_cancelled(acme):
    upload_id, parts = begin(acme)
    complete(acme, upload_id, parts)
    for answer in (cancel(acme, upload_id), add(acme, upload_id, b"x")):
        assert (answer.status, answer.error["message"]) == (400, "The upload is completed.")


def test_an_upload_ends_after_an_hour_and_leaves_nothing(world, acme):
    upload_id, parts = begin(acme)
    world.clock.advance(HOUR)
    for answer in (
        add(acme, upload_id, b"x"),
        complete(acme, upload_id, parts),
        cancel(acme, upload_id),
    ):
        assert (answer.status, answer.error["message"]) == (400, "The upload is expired.")
    assert world.reap() is None
    assert world.keys("") == []
    assert "expired" in complete(acme, upload_id, parts).error["message"]


def test_another_tenant_can_do_nothing_with_it(acme, other):
    upload_id, parts = begin(acme)
    for answer in (
        add(other, upload_id, b"x"),
        complete(other, upload_id, parts),
        cancel(other, upload_id),
    ):
        assert answer.status == 404
    own, _ = begin(other)
    assert complete(other, own, parts).json["file"]["id"]  # the same content is the same name
    assert complete(acme, upload_id, parts).status == 200


class TestWithSmallLimits:
    @pytest.fixture
    def limits(self):
        return Limits(part_bytes=100, file_bytes=5000)

    def test_a_part_over_the_limit_is_refused_by_name(self, world, acme):
        upload_id = create(acme).json["id"]
        assert add(acme, upload_id, b"x" * 100).status == 200
        answer = add(acme, upload_id, b"x" * 101)
        assert (answer.status, answer.error["param"]) == (413, "data")
        assert "100 bytes" in answer.error["message"]
        assert len(world.keys("uploads/")) == 1

    def test_an_upload_holds_three_times_its_size_at_most(self, world, acme):
        upload_id = create(acme, bytes=50).json["id"]
        taken = [add(acme, upload_id, b"%d" % n * 50).status for n in range(5)]
        assert taken == [200, 200, 200, 400, 400]
        assert len(world.keys("uploads/")) == 3
        assert cancel(acme, upload_id).status == 200


# ---------------------------------------------------------------- whatever dies, and when


def calls_of(world: Any, act: Any) -> list[str]:
    with world.tap.hooked(None):
        act()
        return list(world.tap.calls)


def test_a_crash_at_any_call_of_its_end_is_mended_by_asking_again(world, acme):
    upload_id, parts = begin(acme)
    calls = calls_of(world, lambda: complete(acme, upload_id, parts))
    assert "blobs.compose" in calls
    for number in range(len(calls)):
        for when in ("before", "after"):
            upload_id, parts = begin(acme)
            with world.tap.hooked(fault_at(number, when)), pytest.raises(Crash):
                complete(acme, upload_id, parts)
            file_id = complete(acme, upload_id, parts).json["file"]["id"]
            assert read(acme, file_id) == CONTENT
            assert acme.delete(f"/v1/files/{file_id}").status == 200
            assert world.keys("uploads/") == []


def test_a_crash_that_nobody_mends_leaves_nothing_after_an_hour(world, acme):
    upload_id, parts = begin(acme)
    number = calls_of(world, lambda: complete(acme, upload_id, parts)).index("blobs.compose")
    upload_id, parts = begin(acme)
    before = world.keys("files/")
    with world.tap.hooked(fault_at(number, "after")), pytest.raises(Crash):
        complete(acme, upload_id, parts)
    assert len(world.keys("files/")) == len(before) + 1
    world.clock.advance(HOUR)
    world.reap()
    assert world.keys("files/") == before
    assert world.keys("uploads/") == []


def test_what_was_joined_of_other_parts_is_gone_after_an_hour(world, acme):
    upload_id, parts = begin(acme)
    wrong = [parts[0], parts[2], parts[1], parts[3]]
    assert complete(acme, upload_id, wrong, md5="0" * 32).error["param"] == "md5"
    file_id = complete(acme, upload_id, parts).json["file"]["id"]
    assert len(world.keys("files/")) == 2
    world.clock.advance(HOUR)
    world.reap()
    assert len(world.keys("files/")) == 1
    assert read(acme, file_id) == CONTENT


def test_two_who_complete_it_at_once_get_one_file(world, acme):
    upload_id, parts = begin(acme)
    count = len(calls_of(world, lambda: complete(acme, upload_id, parts)))
    for number in range(count):
        upload_id, parts = begin(acme)
        answers: list[Answer] = []

        end = partial(complete, acme, upload_id, parts)
        hook = meanwhile(number, world.tap, partial(lambda a, e: a.append(e()), answers, end))
        with world.tap.hooked(hook):
            answers.append(end())
        assert {one.status for one in answers} == {200}
        (file_id,) = {one.json["file"]["id"] for one in answers}
        assert read(acme, file_id) == CONTENT


def test_a_cancel_meanwhile_leaves_no_file_or_a_whole_one(world, acme):
    upload_id, parts = begin(acme)
    count = len(calls_of(world, lambda: complete(acme, upload_id, parts)))
    files = len(world.keys("files/"))
    for number in range(count):
        upload_id, parts = begin(acme)
        hook = meanwhile(number, world.tap, partial(cancel, acme, upload_id))
        with world.tap.hooked(hook):
            answer = complete(acme, upload_id, parts)
        files += answer.status == 200
        assert answer.status in (200, 400)
        assert len(world.keys("files/")) == files
        assert world.keys("uploads/") == []


def test_a_part_that_comes_while_the_upload_is_cancelled_is_not_left(world, acme):
    upload_id = create(acme).json["id"]
    count = len(calls_of(world, lambda: add(acme, upload_id, b"x")))
    for number in range(count):
        upload_id = create(acme).json["id"]
        hook = meanwhile(number, world.tap, partial(cancel, acme, upload_id))
        with world.tap.hooked(hook):
            assert add(acme, upload_id, b"x").status == 400
        assert [key for key in world.keys("uploads/") if upload_id in key] == []


class TestWhereTimeIsShort:
    """As on Lambda: parts too small for S3 are joined by groups, over several calls."""

    @pytest.fixture
    def limits(self):
        return Limits(joining_seconds=10.0, joined_bytes=300)

    def test_each_call_goes_on_where_the_last_one_stopped(self, world, acme):
        pieces = [CONTENT[start : start + 100] for start in range(0, len(CONTENT), 100)]
        upload_id, parts = begin(acme, pieces)
        composed: list[str] = []

        def slow(call: int, at: str, name: str) -> None:
            if name == "blobs.compose" and at == "after":
                composed.append(name)
                world.clock.advance(4.0)

        with world.tap.hooked(slow):
            answers = [complete(acme, upload_id, parts)]
            while answers[-1].status == 503:
                assert answers[-1].headers["retry-after"] == "1"
                answers.append(complete(acme, upload_id, parts))
        assert len(answers) > 1
        groups = -(-len(pieces) // 3)
        assert len(composed) == groups + 1, "none is joined twice"
        assert read(acme, answers[-1].json["file"]["id"]) == CONTENT
        assert world.keys("uploads/") == []

    def test_of_tiny_parts_no_more_are_joined_at_once_than_a_call_has_time_for(self, world, acme):
        content = CONTENT[:520]
        pieces = [content[start : start + 2] for start in range(0, len(content), 2)]
        upload_id, parts = begin(acme, pieces, bytes=len(content))
        calls = calls_of(world, lambda: complete(acme, upload_id, parts))
        assert calls.count("blobs.compose") == 3 + 1  # by bytes alone there would be 2 groups
        assert read(acme, acme.get("/v1/files").json["data"][0]["id"]) == content


def test_an_upload_that_is_asked_for_again_is_the_same(acme):
    acme.headers["x-stainless-retry-count"] = "0"
    first = create(acme).json
    acme.headers["x-stainless-retry-count"] = "1"
    assert create(acme).json == first
