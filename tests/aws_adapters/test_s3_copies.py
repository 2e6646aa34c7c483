"""Copies within S3: by whom the bytes are read, and what happens if the source changes."""

from unittest.mock import patch

import moto.s3.models
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backburner.adapters.s3 import S3Blobs
from backburner.domain.errors import Busy, NotFound
from tests.aws.light_moto import light_aws
from tests.aws_adapters.wire import BUCKET, CLIENTS, SMALL, first, refuse, uploads_left
from tests.effort import tried

# ---------------------------------------------------------------- copy and compose


def test_a_copy_is_of_what_was_seen_and_is_not_read(blobs, wire):
    blobs.put("a", b"content")
    etag = blobs.stat("a").etag
    wire.requests.clear()
    blobs.copy("a", "b")
    assert wire.calls == {"HeadObject": 1, "CopyObject": 1}
    # moto does not look at the condition.
    assert wire.sent("CopyObject", "x-amz-copy-source-if-match") == [etag.encode()]


def test_a_copy_has_none_of_the_tags_that_its_source_was_given(s3, blobs, wire):
    s3.put_object(Bucket=BUCKET, Key="a", Body=b"content", Tagging="team=blue")
    blobs.copy("a", "b")
    # moto copies them all the same; S3 would ask whether the caller may.
    assert wire.sent("CopyObject", "x-amz-tagging-directive") == [b"REPLACE"]
    assert blobs.get("b") == b"content"


def test_a_large_copy_is_made_by_parts(blobs, wire):
    content = b"".join(b"%04d" % n for n in range(1500))
    blobs.put("a", content)
    etag = blobs.stat("a").etag
    wire.requests.clear()
    copied = blobs.copy("a", "b")
    assert wire.calls["UploadPartCopy"] == 3
    assert wire.calls["GetObject"] == 0
    assert wire.sent("UploadPartCopy", "x-amz-copy-source-if-match") == [etag.encode()] * 3
    assert blobs.get("b") == content
    assert copied == blobs.stat("b")


def test_a_source_that_is_replaced_is_looked_at_anew(blobs, wire):
    blobs.put("a", b"content")
    replaced = refuse(412, "PreconditionFailed")
    wire.answers["CopyObject"] = first(replaced, replaced)
    assert blobs.copy("a", "b").size == 7
    assert wire.calls["HeadObject"] == 3
    wire.answers["CopyObject"] = replaced
    with pytest.raises(Busy):
        blobs.copy("a", "b")


def test_a_source_that_is_removed_meanwhile_is_not_found(blobs, wire):
    blobs.put("a", b"content")
    wire.answers["CopyObject"] = refuse(404, "NoSuchKey")
    with pytest.raises(NotFound):
        blobs.copy("a", "b")


def test_a_part_that_is_replaced_meanwhile_spoils_the_whole(blobs, wire):
    blobs.put("a", b"x" * 100)
    wire.answers["UploadPartCopy"] = refuse(412, "PreconditionFailed")
    with pytest.raises(Busy):
        blobs.compose("b", ["a", "a"])
    assert blobs.stat("b") is None
    assert uploads_left() == []


def test_large_parts_are_joined_without_being_read(blobs, wire):
    for n in range(3):
        blobs.put(f"{n}", b"%d" % n * 1000)
    wire.requests.clear()
    blobs.compose("all", ["0", "1", "2"])
    assert wire.calls == {
        "HeadObject": 3,
        "CreateMultipartUpload": 1,
        "UploadPartCopy": 3,
        "CompleteMultipartUpload": 1,
    }
    assert blobs.get("all") == b"0" * 1000 + b"1" * 1000 + b"2" * 1000


def test_small_parts_are_gathered(blobs, wire):
    for n in range(20):
        blobs.put(f"{n}", b"%02d" % n)
    wire.requests.clear()
    blobs.compose("all", [f"{n}" for n in range(20)])
    assert wire.calls == {"HeadObject": 20, "GetObject": 20, "PutObject": 1}
    assert blobs.get("all") == b"".join(b"%02d" % n for n in range(20))


def test_of_a_large_part_after_a_small_one_only_the_beginning_is_read(blobs, wire):
    blobs.put("small", b"s" * 10)
    blobs.put("large", b"l" * 1000)
    wire.requests.clear()
    blobs.compose("all", ["small", "large", "small", "large"])
    ranges = wire.sent("GetObject", "Range")
    assert ranges == [b"bytes=0-9", b"bytes=0-39"] * 2
    assert wire.calls["UploadPartCopy"] == 2
    assert blobs.get("all") == (b"s" * 10 + b"l" * 1000) * 2


def test_no_parts_make_an_empty_object_and_one_a_copy(blobs, wire):
    blobs.put("empty", b"")
    blobs.put("a", b"x" * 100)
    assert blobs.compose("none", []).size == 0
    assert blobs.compose("all", ["empty", "a", "empty"]) == blobs.stat("all")
    assert (blobs.get("none"), blobs.get("all")) == (b"", b"x" * 100)
    assert wire.calls["CreateMultipartUpload"] == 0


SIZES = st.sampled_from([0, 1, 10, 49, 50, 51, 79, 80, 81, 99, 100, 101, 160, 2500, 2501, 6000])


@settings(max_examples=tried(6, long=30), deadline=None)
@given(st.lists(SIZES, max_size=6))
def test_parts_of_any_size_are_joined(sizes):
    # moto refuses parts that are too small, as S3 does.
    with light_aws(), patch.object(moto.s3.models, "S3_UPLOAD_PART_MIN_SIZE", SMALL.least):
        CLIENTS.s3.create_bucket(Bucket=BUCKET)
        blobs = S3Blobs(CLIENTS, BUCKET, sizes=SMALL)
        contents = [bytes([65 + n]) * size for n, size in enumerate(sizes)]
        for n, content in enumerate(contents):
            blobs.put(f"{n}", content)
        made = blobs.compose("all", [f"{n}" for n in range(len(sizes))])
        assert blobs.get("all") == b"".join(contents)
        assert made == blobs.stat("all")
