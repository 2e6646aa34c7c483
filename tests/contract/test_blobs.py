"""What every Blobs promises."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from backburner.domain.errors import InvalidRequest, NotFound
from backburner.ports import Blobs

KEYS = [
    "file.jsonl",
    "batches/acme/batch_1/output.jsonl",
    "with space.txt",
    "plus+plus.txt",
    "per%20cent%2F.txt",
    "naïve/😀/データ.jsonl",
    "cafe\u0301.txt",  # not composed: another key than the next
    "caf\u00e9.txt",
    "back\\slash",
    "new\nline\ttab",
    "quote\"s and 'those' & <these> ?a=b#c",
    "...",
    ".hidden",
    "-rf",
    "~",
    "a..b/c.",
    "C:/x",
    "x" * 255,
    "/".join(["d" * 100] * 10),
]
#: What S3 takes and a directory can't: works, or is refused in words.
HOSTILE = [
    "",
    "/",
    "/etc/passwd",
    "//server/share",
    "../outside",
    "a/../../outside",
    "a/..",
    "..",
    ".",
    "./a",
    "a/./b",
    "a//b",
    "a/",
    "a\0b",
    "\0",
    "x" * 256,
    "é" * 128,
    "x/" * 512 + "x",
    "lone \ud800 surrogate",
    "s3://bucket/key",
]


def keys(blobs: Blobs, prefix: str = "") -> list[str]:
    return [found.key for found in blobs.list(prefix)]


def is_taken(blobs: Blobs, key: str) -> bool:
    try:
        blobs.put(key, b"hostile")
    except InvalidRequest:
        return False
    return True


# ---------------------------------------------------------------- keys


@pytest.mark.parametrize("key", KEYS)
def test_a_key_is_any_text(blobs, key):
    blobs.put(key, b"content")
    assert blobs.get(key) == b"content"
    assert keys(blobs) == [key]
    assert blobs.key_of(blobs.uri(key)) == key
    blobs.copy(key, "copy")
    blobs.delete(key)
    assert keys(blobs) == ["copy"]


@pytest.mark.parametrize("key", HOSTILE)
def test_a_key_that_cannot_be_is_refused_in_words(blobs, key):
    blobs.put("innocent", b"innocent")
    if is_taken(blobs, key):
        assert blobs.get(key) == b"hostile"
        blobs.delete(key)
    else:
        assert blobs.stat(key) is None
        for read in (blobs.get, lambda key: blobs.copy(key, "copy")):
            with pytest.raises(NotFound):
                read(key)
        with pytest.raises(InvalidRequest, match="key"):
            blobs.copy("innocent", key)
        with pytest.raises(InvalidRequest, match="key"), blobs.write(key):
            pass
        blobs.delete(key)
        assert list(blobs.list(key + "/")) == []
    assert keys(blobs) == ["innocent"]
    assert blobs.get("innocent") == b"innocent"


def test_all_keys_live_side_by_side(blobs):
    for key in KEYS:
        blobs.put(key, key.encode())
    assert keys(blobs) == sorted(KEYS, key=str.encode)
    assert [blobs.get(key) for key in KEYS] == [key.encode() for key in KEYS]


def test_a_location_is_of_this_bucket_or_no_key(blobs):
    assert blobs.uri("a/b c").startswith("s3://")
    assert blobs.uri("a/b c").endswith("/a/b c")
    assert blobs.key_of("s3://another-bucket/a") is None
    assert blobs.key_of(blobs.uri("")) is None
    assert blobs.key_of(blobs.uri("").rstrip("/") + "-2/a") is None
    assert blobs.key_of("https://example.com/a") is None


# ---------------------------------------------------------------- writing


def test_an_object_can_be_read_once_it_is_put(blobs):
    assert blobs.stat("a") is None
    blobs.put("a", b"12345", content_type="text/plain")
    found = blobs.stat("a")
    assert (found.key, found.size) == ("a", 5)
    assert found.content_type in ("text/plain", None)  # a directory keeps none
    assert found.etag
    blobs.put("empty", b"")
    assert (blobs.stat("empty").size, blobs.get("empty")) == (0, b"")


def test_a_put_replaces_what_was_there(blobs):
    blobs.put("a", b"long content")
    blobs.put("a", b"short")
    assert blobs.get("a") == b"short"


def test_the_etag_changes_whenever_the_content_does(blobs):
    etags = set()
    for n in range(200):
        blobs.put("a", f"{n:03}".encode())
        etags.add(blobs.stat("a").etag)
    assert len(etags) == 200
    assert blobs.stat("a") == blobs.stat("a")


def test_a_streamed_object_appears_when_its_block_ends(blobs):
    with blobs.write("a/streamed", content_type="application/jsonl") as out:
        for n in range(1000):
            out.write(b"%03d\n" % n)
        assert blobs.stat("a/streamed") is None
        assert keys(blobs) == []
    assert blobs.get("a/streamed") == b"".join(b"%03d\n" % n for n in range(1000))


def test_a_write_that_fails_leaves_nothing(blobs):
    blobs.put("kept", b"old")
    for key in ("kept", "new/one"):
        with pytest.raises(ZeroDivisionError), blobs.write(key) as out:
            out.writelines(b"half of it" * (10_000 // n) for n in (2, 1, 0))
    assert keys(blobs) == ["kept"]
    assert blobs.get("kept") == b"old"


def test_several_objects_are_written_at_once(blobs):
    blobs.put("some/3", b"old")
    written = {f"some/{n}": b"%d" % n * 1000 for n in range(20)}
    blobs.put_all(written)
    assert {key: blobs.get(key) for key in keys(blobs)} == written
    blobs.put_all({})
    blobs.put_all({"alone": b"1"})
    assert blobs.get("alone") == b"1"


def test_an_object_that_can_not_be_written_is_told_of_among_several(blobs):
    with pytest.raises(InvalidRequest):
        blobs.put_all({"a": b"1", "x" * 1025: b"2", "b": b"3"})


def test_a_reader_goes_on_reading_the_object_it_opened(blobs):
    blobs.put("a", b"old " * 100_000)
    with blobs.read("a") as opened:
        first = opened.read(4)
        blobs.put("a", b"new " * 100_000)
        assert first + opened.read() == b"old " * 100_000
    assert blobs.get("a", length=4) == b"new "


def test_many_puts_of_one_key_never_show_a_mix(blobs):
    contents = [bytes([65 + n]) * 50_000 for n in range(8)]
    blobs.put("contested/key", contents[0])

    def write(n):
        for _ in range(10):
            blobs.put("contested/key", contents[n])

    def read(_):
        return {blobs.get("contested/key") for _ in range(20)}

    with ThreadPoolExecutor(12) as pool:
        writing = pool.map(write, range(8))
        seen = set().union(*pool.map(read, range(4)))
        list(writing)
    assert seen <= set(contents)
    assert blobs.get("contested/key") in contents
    assert keys(blobs) == ["contested/key"]


def test_puts_and_deletes_of_neighbours_do_not_meet(blobs):
    def live(n):
        for turn in range(20):
            blobs.put(f"shared/folder/{n}", b"%d" % turn)
            assert blobs.get(f"shared/folder/{n}") == b"%d" % turn
            blobs.delete(f"shared/folder/{n}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(live, range(8)))
    assert keys(blobs) == []


# ---------------------------------------------------------------- reading

RANGES = [
    ({}, b"0123456789"),
    ({"start": 0}, b"0123456789"),
    ({"start": 4}, b"456789"),
    ({"start": 4, "length": 3}, b"456"),
    ({"length": 3}, b"012"),
    ({"start": 8, "length": 100}, b"89"),
    ({"start": 3, "length": 0}, b""),
    ({"start": 10}, b""),
    ({"start": 100, "length": 5}, b""),
]


@pytest.mark.parametrize(("span", "expected"), RANGES)
def test_a_range_is_the_bytes_that_there_are(blobs, span, expected):
    blobs.put("a", b"0123456789")
    assert blobs.get("a", **span) == expected


def test_an_object_is_streamed_in(blobs):
    blobs.put("a", b"one\ntwo\nthree")
    with blobs.read("a") as opened:
        assert opened.read(2) == b"on"
        assert list(opened) == [b"e\n", b"two\n", b"three"]


def test_an_object_is_streamed_in_from_a_byte_on(blobs):
    blobs.put("a", b"one\ntwo\nthree")
    for start in (0, 4, 12, 13, 99):
        with blobs.read("a", start=start) as opened:
            assert opened.read() == b"one\ntwo\nthree"[start:]


def test_what_is_not_there_is_not_found(blobs):
    blobs.put("folder/file", b"")
    for key in ("none", "folder", "folder/none", "folder/file/below"):
        assert blobs.stat(key) is None
        with pytest.raises(NotFound):
            blobs.get(key)
        with pytest.raises(NotFound), blobs.read(key):
            pass
        with pytest.raises(NotFound):
            blobs.copy(key, "target")
        with pytest.raises(NotFound):
            blobs.compose("target", ["folder/file", key])
    assert blobs.stat("target") is None


# ---------------------------------------------------------------- copy, compose, delete


def test_a_copy_stays_as_the_source_was(blobs):
    blobs.put("a", b"old" * 1000)
    copied = blobs.copy("a", "b/copy")
    assert copied == blobs.stat("b/copy")
    assert copied.size == 3000
    blobs.put("a", b"new")
    assert blobs.get("b/copy") == b"old" * 1000


def test_an_object_copied_onto_itself_is_the_same(blobs):
    blobs.put("a", b"content")
    blobs.copy("a", "a")
    assert blobs.get("a") == b"content"


def test_parts_are_joined_in_order(blobs):
    blobs.put("1", b"one" * 50_000)
    blobs.put("2", b"")
    blobs.put("3", b"three" * 50_000)
    made = blobs.compose("all", ["3", "2", "1", "1"])
    assert blobs.get("all") == b"three" * 50_000 + b"one" * 100_000
    assert made == blobs.stat("all")
    assert blobs.compose("all", ["all", "2"]).size == made.size


def test_deleting_what_is_not_there_is_no_error(blobs):
    for key in ("a", "b/c", "b/d"):
        blobs.put(key, b"")
    blobs.delete("a", "none", "b/c", "b", "b/d/e")
    assert keys(blobs) == ["b/d"]
    blobs.delete("b/d", "a")
    blobs.delete()
    assert keys(blobs) == []


def test_a_key_can_take_the_place_of_a_deleted_folder(blobs):
    blobs.put("a/b/c", b"1")
    blobs.delete("a/b/c")
    blobs.put("a/b", b"2")
    blobs.delete("a/b")
    blobs.put("a", b"3")
    assert keys(blobs) == ["a"]


# ---------------------------------------------------------------- list


def test_objects_are_listed_by_prefix_and_sorted_by_key(blobs):
    names = ["a", "a#b", "b/", "b.txt", "b/1", "b/10", "b/2", "b/c/d", "b0", "é", "\uffff", "😀"]
    names.remove("b/")
    for name in reversed(names):
        blobs.put(name, name.encode())
    assert keys(blobs) == sorted(names, key=str.encode)
    assert keys(blobs, "b") == ["b.txt", "b/1", "b/10", "b/2", "b/c/d", "b0"]
    assert keys(blobs, "b/") == ["b/1", "b/10", "b/2", "b/c/d"]
    assert keys(blobs, "b/1") == ["b/1", "b/10"]
    assert keys(blobs, "b/c/d") == ["b/c/d"]
    assert keys(blobs, "b/c/d/") == []
    assert keys(blobs, "/b") == []
    assert keys(blobs, "z") == []
    assert list(blobs.list("b/1")) == [blobs.stat("b/1"), blobs.stat("b/10")]


def test_a_listing_survives_what_is_deleted_meanwhile(blobs):
    for n in range(20):
        blobs.put(f"f{n:02}/x", b"")
    listing = blobs.list("")
    assert next(listing).key == "f00/x"
    blobs.delete(*(f"f{n:02}/x" for n in range(1, 19)))
    assert [found.key for found in listing][-1] == "f19/x"


# ---------------------------------------------------------------- presigned URLs


@pytest.mark.parametrize("key", KEYS)
def test_a_signed_url_opens_its_object(blobs_world, key):
    blobs_world.blobs.put(key, b"content")
    for filename in (None, "", "results.jsonl", 'naïve "😀" + &;\r\n.txt'):
        url = blobs_world.blobs.presign(key, seconds=60, filename=filename)
        assert url.isascii()
        assert url.startswith("http")
        assert blobs_world.open(url) == b"content"


@pytest.mark.parametrize("key", KEYS)
def test_a_signed_url_takes_its_object(blobs_world, key):
    url = blobs_world.blobs.presign_upload(key, seconds=60)
    assert blobs_world.put(url, b"\x00content")
    assert blobs_world.blobs.get(key) == b"\x00content"


def test_a_signed_url_that_reads_writes_nothing_and_the_other_way_round(blobs_world):
    blobs_world.blobs.put("a", b"content")
    assert not blobs_world.put(blobs_world.blobs.presign("a", seconds=60), b"other")
    assert blobs_world.open(blobs_world.blobs.presign_upload("a", seconds=60)) is None
    url = blobs_world.blobs.presign_upload("a", seconds=60)
    assert not blobs_world.put(url.replace("/a?", "/b?"), b"other")
    assert blobs_world.blobs.get("a") == b"content"


def test_a_signed_url_says_what_its_object_is(blobs_world):
    blobs_world.blobs.put("a", b"content")
    url = blobs_world.blobs.presign("a", seconds=60, filename="b", content_type="image/png; q=1")
    assert blobs_world.open(url) == b"content"
    assert blobs_world.open(url.replace("png", "gif")) is None


def test_a_signed_url_opens_no_other_object(blobs_world):
    blobs_world.blobs.put("mine", b"mine")
    blobs_world.blobs.put("theirs", b"theirs")
    url = blobs_world.blobs.presign("mine", seconds=60)
    assert blobs_world.open(url.replace("mine", "theirs")) is None
    assert blobs_world.open(url.partition("?")[0]) is None
