"""Objects as files: what people do to the folder, and what may not get out of it."""

import errno
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from backburner.domain.errors import Busy, InvalidRequest, NotFound
from backburner.ports import Clock
from backburner_local.adapters import files
from backburner_local.adapters.clock import FixedClock
from backburner_local.adapters.durable import write_secret
from backburner_local.adapters.files import DirectoryBlobs

URL = "http://127.0.0.1:8088"


@pytest.fixture
def clock():
    return FixedClock()


def open_bucket(
    folder: Path, clock: Clock | None = None, *, durable: bool = False, **options: Any
) -> DirectoryBlobs:
    return DirectoryBlobs(
        folder, "bucket", clock or FixedClock(), b"secret", URL, durable=durable, **options
    )


#: Objects up to this size are read at once.
SMALL = files._SMALL_BYTES


@pytest.fixture
def blobs(tmp_path, clock):
    return open_bucket(tmp_path, clock)


def keys(blobs: DirectoryBlobs) -> list[str]:
    return [found.key for found in blobs.list("")]


# ---------------------------------------------------------------- files and folders


def test_an_object_is_a_plain_file(blobs, tmp_path):
    blobs.put("a/b c.txt", b"content")
    assert (tmp_path / "bucket/a/b c.txt").read_bytes() == b"content"
    (tmp_path / "bucket/a/own.txt").write_bytes(b"a user's")
    assert blobs.get("a/own.txt") == b"a user's"
    assert keys(blobs) == ["a/b c.txt", "a/own.txt"]


def test_an_edit_of_a_file_changes_its_etag(blobs, tmp_path):
    blobs.put("a", b"one")
    before = blobs.stat("a").etag
    time.sleep(0.02)
    (tmp_path / "bucket/a").write_bytes(b"two")
    assert blobs.stat("a").etag != before


def test_objects_written_within_one_tick_of_the_kernel_have_times_of_their_own(blobs, tmp_path):
    for n in range(50):
        blobs.put(str(n), b"same size")
    times = {path.stat().st_mtime_ns for path in (tmp_path / "bucket").iterdir()}
    assert len(times) == 50


@pytest.mark.parametrize("size", [0, 1, SMALL - 1, SMALL, SMALL + 1, 3 * SMALL])
def test_an_object_is_read_whole_or_in_parts_whatever_its_size(blobs, size):
    data = random.Random(size).randbytes(size)
    blobs.put("a.bin", data)
    assert blobs.get("a.bin") == data
    assert blobs.get("a.bin", start=4, length=5) == data[4:9]
    with blobs.read("a.bin", start=2) as stream:
        assert stream.read(3) + stream.read() == data[2:]


@pytest.mark.parametrize("seen", [0, 2, 5, 9])
def test_a_file_that_grew_or_shrank_since_its_size_was_seen_is_read_to_its_end(tmp_path, seen):
    path = tmp_path / "a.txt"
    path.write_bytes(b"12345")
    with files._whole(os.open(path, os.O_RDONLY), seen) as stream:
        assert stream.read() == b"12345"


def test_an_edit_of_the_source_does_not_reach_the_copy(blobs, tmp_path):
    blobs.put("a", b"one")
    blobs.copy("a", "copy")
    with (tmp_path / "bucket/a").open("r+b") as opened:
        opened.write(b"XXX")
    assert blobs.get("copy") == b"one"
    assert (tmp_path / "bucket/copy").stat().st_nlink == 1


def test_a_source_that_is_being_written_is_not_copied_torn(blobs, tmp_path, monkeypatch):
    blobs.put("a", b"one")
    real = files._copy
    turns = []

    def copy_while_edited(source, out):
        real(source, out)
        turns.append(1)
        if len(turns) <= edits:
            os.utime(tmp_path / "bucket/a", ns=(len(turns), len(turns)))

    monkeypatch.setattr(files, "_copy", copy_while_edited)
    edits = 2
    assert blobs.copy("a", "copy").size == 3
    turns.clear()
    edits = 100
    with pytest.raises(Busy, match="being written"):
        blobs.copy("a", "copy2")
    assert keys(blobs) == ["a", "copy"]


def test_a_copy_works_where_the_kernel_cannot_help(blobs, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EXDEV, "cross-device")

    blobs.put("a", b"content" * 1000)
    monkeypatch.setattr(os, "copy_file_range", refuse)
    assert blobs.copy("a", "copy").size == 7000
    blobs.compose("twice", ["a", "copy"])
    assert blobs.get("twice") == b"content" * 2000


def test_an_object_cannot_be_where_a_folder_is_nor_below_another_object(blobs):
    blobs.put("a/b", b"1")
    blobs.put("c", b"2")
    for key in ("a", "c/d", "c/d/e"):
        with pytest.raises(InvalidRequest, match="directory"):
            blobs.put(key, b"3")
        with pytest.raises(InvalidRequest, match="directory"):
            blobs.copy("a/b", key)
    assert keys(blobs) == ["a/b", "c"]
    assert (blobs.get("a/b"), blobs.get("c")) == (b"1", b"2")


def test_folders_that_become_empty_are_removed_but_for_those_to_keep(tmp_path):
    blobs = open_bucket(tmp_path, kept_folders=["drop/"])
    for key in ("batches/acme/b1/out", "drop/acme/in"):
        blobs.put(key, b"")
        blobs.delete(key)
    found = {str(path.relative_to(tmp_path / "bucket")) for path in tmp_path.rglob("bucket/**/*")}
    assert found == {"batches", "drop", "drop/acme"}


def test_what_is_no_regular_file_is_no_object(blobs, tmp_path):
    os.mkfifo(tmp_path / "bucket/pipe")
    (tmp_path / "bucket/loop").symlink_to("loop")
    (tmp_path / "bucket/up").symlink_to("..")
    (tmp_path / "bucket/folder").mkdir()
    (tmp_path / os.fsdecode(b"bucket/not-utf-8-\xff")).mkdir()
    (tmp_path / os.fsdecode(b"bucket/latin-\xe9.txt")).write_bytes(b"")
    for key in ("pipe", "loop", "up", "folder"):
        assert blobs.stat(key) is None
        with pytest.raises(NotFound):
            blobs.get(key)
    assert keys(blobs) == []


def test_nothing_is_written_outside_the_bucket(blobs, tmp_path):
    for key in ("../escaped", "/tmp/escaped", "a/../../escaped", "..", ".staging/../../escaped"):
        with pytest.raises(InvalidRequest):
            blobs.put(key, b"")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".staging", "bucket"]


def test_deep_folders_are_listed(blobs, tmp_path):
    key = "/".join(["d"] * 500)
    blobs.put(key, b"")
    assert keys(blobs) == [key]


# ---------------------------------------------------------------- durability


def test_a_durable_object_is_synced_with_all_folders_that_were_made(tmp_path, monkeypatch):
    synced = []
    real = os.fsync

    def record(descriptor):
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        synced.append(os.path.relpath(path, tmp_path))
        real(descriptor)

    blobs = open_bucket(tmp_path, durable=True)
    monkeypatch.setattr(os, "fsync", record)
    blobs.put("a/b/c", b"1")
    assert synced[0].startswith(".staging/")
    assert synced[1:] == ["bucket", "bucket/a", "bucket/a/b"]
    synced.clear()
    blobs.put("a/b/d", b"1")
    assert synced[1:] == ["bucket/a/b"]


def test_the_folder_of_a_new_bucket_is_durable_by_name(tmp_path, monkeypatch):
    synced = []
    real = os.fsync

    def record(descriptor):
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        real(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    open_bucket(tmp_path / "buckets", durable=True)
    assert synced == [tmp_path, tmp_path / "buckets"]


def test_a_secret_is_durable_with_its_name(tmp_path, monkeypatch):
    synced = []
    real = os.fsync

    def record(descriptor):
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        real(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    write_secret(tmp_path / "sign.key", "secret")
    assert synced == [tmp_path / "sign.key", tmp_path]
    assert (tmp_path / "sign.key").stat().st_mode & 0o777 == 0o600


def test_what_a_crash_left_in_the_staging_folder_is_removed_after_a_day(tmp_path):
    open_bucket(tmp_path)
    for name, age in (("old", 90_000), ("new", 100)):
        path = tmp_path / ".staging" / name
        path.write_bytes(b"half")
        os.utime(path, (time.time() - age, time.time() - age))
    open_bucket(tmp_path)
    assert [path.name for path in (tmp_path / ".staging").iterdir()] == ["new"]


def test_a_killed_writer_leaves_no_half_object(tmp_path):
    code = (
        "import sys, os, signal; from pathlib import Path\n"
        "from backburner_local.adapters.files import DirectoryBlobs\n"
        "from backburner_local.adapters.clock import FixedClock\n"
        "blobs = DirectoryBlobs(Path(sys.argv[1]), 'bucket', FixedClock(), b'', '')\n"
        "blobs.put('whole', b'1' * 100)\n"
        "with blobs.write('half') as out:\n"
        "    out.write(b'2' * 1000000); out.flush()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path])
    assert done.returncode == -9
    blobs = open_bucket(tmp_path)
    assert keys(blobs) == ["whole"]
    assert blobs.get("whole") == b"1" * 100


# ---------------------------------------------------------------- signed URLs


def path_of(url: str) -> str:
    return url.removeprefix(URL)


def test_a_signed_url_ends(blobs, clock):
    url = path_of(blobs.presign("a", seconds=60))
    assert blobs.verify(url) == "a"
    clock.advance(59)
    assert blobs.verify(url) == "a"
    clock.advance(1)
    assert blobs.verify(url) is None


def test_a_signed_url_says_what_the_file_is_called(blobs):
    url = blobs.presign("a b/+", seconds=60, filename='ü "x" &signature=1')
    expected = "/blobs/a%20b/%2B?expires=1750000060&filename=%C3%BC%20%22x%22%20%26signature%3D1"
    assert path_of(url).startswith(expected + "&signature=")
    assert blobs.verify(path_of(url)) == "a b/+"


TAMPERED = [
    lambda url: url.replace("/blobs/a", "/blobs/b"),
    lambda url: url.replace("/blobs/a", "/blobs/a/../b"),
    lambda url: url.replace("/blobs/a", "/blobs/A"),
    lambda url: url.replace("/blobs/a", "/other/a"),
    lambda url: url.replace("/blobs/a", "/blobs/"),
    lambda url: url.replace("expires=1750000060", "expires=1750000061"),
    lambda url: url.replace("expires=1750000060", "expires=01750000060"),
    lambda url: url.replace("expires=1750000060", "expires=-1"),
    lambda url: url.replace("expires=1750000060", "expires="),
    lambda url: url.replace("expires=1750000060&", ""),
    lambda url: url.replace("expires=1750000060", "expires=\u0661750000060"),
    lambda url: url.replace("expires=1750000060", "expires=1750000060&expires=9999999999"),
    lambda url: url.replace("filename=f", "filename=g"),
    lambda url: url.replace("filename=f&", ""),
    lambda url: url.replace("filename=f", "filename=f%0A"),
    lambda url: url + "0",
    lambda url: url[:-1],
    lambda url: url + "&extra=1",
    lambda url: url.partition("&signature=")[0],
    lambda url: url.partition("&signature=")[0] + "&signature=",
    lambda url: url.partition("&signature=")[0] + "&signature=é\ud800",
    lambda url: "",
    lambda url: "/blobs/a",
    lambda url: "http://[",
    lambda url: "?" + "&" * 100_000,
]


@pytest.mark.parametrize("tamper", TAMPERED)
def test_a_tampered_url_opens_nothing(blobs, tamper):
    url = path_of(blobs.presign("a", seconds=60, filename="f"))
    assert blobs.verify(url) == "a"
    tampered = tamper(url)
    assert tampered != url
    assert blobs.verify(tampered) is None


def test_a_url_of_another_key_or_bucket_opens_nothing(blobs, tmp_path, clock):
    url = path_of(blobs.presign("a", seconds=60))
    others = [
        DirectoryBlobs(tmp_path, "bucket", clock, b"other secret", URL),
        DirectoryBlobs(tmp_path, "bucket2", clock, b"secret", URL),
    ]
    assert [other.verify(url) for other in others] == [None, None]
