"""What S3 asks of its adapter beyond the promises of every Blobs."""

from datetime import UTC, datetime, timedelta
from email.message import Message
from urllib.parse import parse_qs, urlsplit

import moto.s3.models
import pytest
import requests
from botocore.exceptions import ClientError

from backburner.adapters.clients import Clients
from backburner.adapters.s3 import S3Blobs
from backburner.adapters.s3.names import disposition
from backburner.adapters.s3.writing import MAX_PARTS, Sizes, Upload
from backburner.domain.errors import InvalidRequest
from tests.aws_adapters.wire import BUCKET, CLIENTS, KEYS, SMALL, answer, refuse, uploads_left
from tests.contract.on_s3 import is_signed

# ---------------------------------------------------------------- writing


def test_a_small_object_is_one_request_however_it_is_written(blobs, wire):
    blobs.put("put", b"x" * 79)
    with blobs.write("written") as out:
        out.writelines([b"x"] * 79)
    with blobs.write("empty"):
        pass
    assert wire.calls == {"PutObject": 3}
    assert blobs.get("written") == b"x" * 79
    assert blobs.get("empty") == b""


def test_a_large_object_is_sent_while_it_is_written(blobs, wire):
    with blobs.write("large") as out:
        for n in range(1, 101):
            out.write(b"%09d\n" % n)
            assert wire.calls["UploadPart"] == n * 10 // SMALL.sent, "more is kept than a part"
    assert wire.calls == {
        "CreateMultipartUpload": 1,
        "UploadPart": 13,
        "CompleteMultipartUpload": 1,
    }
    assert blobs.get("large") == b"".join(b"%09d\n" % n for n in range(1, 101))


def test_one_large_write_is_sent_in_parts(blobs, wire):
    with blobs.write("large") as out:
        assert out.write(b"x" * 1000) == 1000
    lengths = map(int, wire.sent("UploadPart", "X-Amz-Decoded-Content-Length"))
    assert list(lengths) == [80] * 12 + [40]
    assert blobs.stat("large").size == 1000


def test_every_part_and_the_whole_are_checked_by_their_checksums(blobs, wire):
    with blobs.write("large") as out:
        out.write(b"x" * 200)
    (completed,) = [one for name, one in wire.requests if name == "CompleteMultipartUpload"]
    assert completed.body.count(b"<ChecksumCRC32>") == 3
    assert wire.sent("UploadPart", "X-Amz-Trailer") == [b"x-amz-checksum-crc32"] * 3


def test_what_is_written_after_the_end_is_an_error(blobs):
    with blobs.write("a") as out:
        out.write(b"1")
    with pytest.raises(ValueError, match="closed"):
        out.write(b"2")
    assert blobs.get("a") == b"1"


def test_a_large_write_that_fails_leaves_nothing(blobs, wire):
    with pytest.raises(ZeroDivisionError), blobs.write("large") as out:
        out.writelines(b"x" * (1000 // n) for n in (1, 0))
    assert wire.calls["AbortMultipartUpload"] == 1
    assert uploads_left() == []
    assert blobs.stat("large") is None


@pytest.mark.parametrize("operation", ["UploadPart", "CompleteMultipartUpload"])
def test_an_upload_that_s3_refuses_leaves_nothing(blobs, wire, operation):
    wire.answers[operation] = refuse(403, "AccessDenied")
    with pytest.raises(ClientError, match="AccessDenied"), blobs.write("large") as out:
        out.write(b"x" * 1000)
    assert uploads_left() == []
    assert blobs.stat("large") is None


def test_the_error_is_told_even_if_the_parts_can_not_be_removed(blobs, wire, caplog):
    wire.answers["AbortMultipartUpload"] = refuse(403, "AccessDenied")
    with pytest.raises(ZeroDivisionError), blobs.write("large") as out:
        out.writelines(b"x" * (1000 // n) for n in (1, 0))
    assert uploads_left() == ["large"]
    assert "upload.left" in caplog.text


@pytest.mark.parametrize(
    ("sent_parts", "mib"), [(0, 8), (999, 8), (1000, 16), (1999, 16), (2000, 32), (9999, 4096)]
)
def test_parts_grow_so_that_their_number_suffices(sent_parts, mib):
    upload = Upload(CLIENTS.s3, BUCKET, "a", "text/plain", Sizes())
    upload._parts = [None] * sent_parts
    assert upload._part_bytes() == mib * 1024 * 1024
    assert sent_parts < MAX_PARTS


def test_an_object_keeps_its_content_type(s3, blobs):
    kind = "application/jsonl"
    blobs.put("put", b"1", content_type=kind)
    for key, size in (("small", 10), ("large", 1000)):
        with blobs.write(key, content_type=kind) as out:
            out.write(b"x" * size)
    blobs.copy("small", "copy")
    with blobs.write("huge", content_type=kind) as out:
        out.write(b"x" * 3000)
    blobs.copy("huge", "copy by parts")
    for key in ("put", "small", "large", "copy", "copy by parts"):
        assert s3.head_object(Bucket=BUCKET, Key=key)["ContentType"] == kind, key


# ---------------------------------------------------------------- delete and list


def test_many_objects_are_deleted_in_few_requests(blobs, wire):
    blobs.put("key 0007", b"")
    blobs.delete(*(f"key {n:04}" for n in range(2500)))
    assert wire.calls["DeleteObjects"] == 3
    assert list(blobs.list("")) == []
    wire.requests.clear()
    blobs.delete("one")
    blobs.delete()
    blobs.delete("", "x" * 1025)
    assert wire.calls == {"DeleteObject": 1}


def test_an_object_that_can_not_be_deleted_is_an_error(blobs, wire):
    body = (
        "<DeleteResult><Error><Key>b</Key><Code>AccessDenied</Code>"
        "<Message>Access Denied</Message></Error></DeleteResult>"
    )
    wire.answers["DeleteObjects"] = lambda request: answer(request, 200, body)
    with pytest.raises(ClientError, match="AccessDenied"):
        blobs.delete("a", "b")


def test_keys_that_xml_can_not_name_are_deleted_one_by_one(blobs, wire):
    hostile = ["bell\x07", "not\ufffe", "char\uffff", "escape\x1b[0m"]
    for key in [*hostile, "a", "b\r\nc"]:
        blobs.put(key, b"")
    blobs.delete(*hostile, "a", "b\r\nc")
    assert list(blobs.list("")) == []
    assert wire.calls["DeleteObject"] == 4
    assert wire.calls["DeleteObjects"] == 1


def test_a_listing_reads_one_page_at_a_time(s3, blobs, wire):
    names = [f"key {n:04}" for n in range(1500)]
    bucket = moto.s3.models.s3_backends["123456789012"]["aws"]
    for name in names:
        bucket.put_object(BUCKET, name, b"")
    listing = blobs.list("key ")
    assert next(listing).key == names[0]
    assert wire.calls["ListObjectsV2"] == 1
    assert [found.key for found in listing] == names[1:]
    assert wire.calls["ListObjectsV2"] == 2


@pytest.mark.parametrize("key", ["", "x" * 1025, "é" * 513, "lone \ud800 surrogate"])
def test_a_key_that_s3_can_not_have_is_refused(blobs, wire, key):
    with pytest.raises(InvalidRequest, match="key"):
        blobs.put(key, b"")
    with pytest.raises(InvalidRequest, match="key"):
        blobs.presign(key, seconds=60)
    assert blobs.stat(key) is None
    assert wire.calls == {}


# ---------------------------------------------------------------- signed URLs


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1"])
def test_a_signed_url_names_the_regions_own_host_and_its_end(region):
    blobs = S3Blobs(Clients(region_name=region, **KEYS), BUCKET)
    url = blobs.presign("a/b c", seconds=60)
    split, query = urlsplit(url), parse_qs(urlsplit(url).query)
    assert split.scheme == "https"
    assert split.netloc == f"{BUCKET}.s3.{region}.amazonaws.com"
    assert split.path == "/a/b%20c"
    assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert query["X-Amz-Expires"] == ["60"]


def test_a_signed_url_ends(s3, blobs):
    # moto opens URLs for ever: our own reckoning stands for S3's.
    url = blobs.presign("a", seconds=60)
    now = datetime.now(UTC)
    assert is_signed(url, now=now + timedelta(seconds=58))
    assert not is_signed(url, now=now + timedelta(seconds=61))
    assert not is_signed(url.replace("X-Amz-Expires=60", "X-Amz-Expires=6000"))


FILENAMES = [
    ("results.jsonl", "results.jsonl"),
    ("with space.jsonl", "with space.jsonl"),
    ("naïve 😀.jsonl", "na_ve _.jsonl"),
    ('quote".jsonl', "quote_.jsonl"),
    ("back\\slash.jsonl", "back_slash.jsonl"),
    ("per%20cent.jsonl", "per_20cent.jsonl"),
    ("two\r\nSet-Cookie: lines", "two__Set-Cookie: lines"),
    ("semi;colon=1'2", "semi;colon=1'2"),
]


@pytest.mark.parametrize(("filename", "plain"), FILENAMES)
def test_a_signed_url_names_the_file_for_old_and_new_browsers(blobs, filename, plain):
    blobs.put("a", b"content")
    answer = requests.get(blobs.presign("a", seconds=60, filename=filename), timeout=5)
    header = answer.headers["Content-Disposition"]
    assert header.isascii()
    assert header.startswith(f'attachment; filename="{plain}"; ')
    message = Message()
    message["Content-Disposition"] = header.replace(f'filename="{plain}"; ', "")
    assert message.get_filename() == filename


def test_a_file_without_a_name_is_only_saved():
    assert disposition("") == "attachment"
    assert disposition("lone \ud800").endswith("UTF-8''lone%20%3F")
