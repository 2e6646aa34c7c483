"""The seam for objects: the same promises over a directory and over S3."""

import threading

import pytest
from moto.server import ThreadedMotoServer

from backburner_local.emulators.objects import (
    DirectoryObjects,
    ObjectUnavailable,
    S3Objects,
    split_location,
)
from tests.emulators.conftest import client


@pytest.fixture(scope="module")
def s3():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    s3 = client("s3", f"http://{host}:{port}")
    s3.create_bucket(Bucket="bucket")
    yield s3
    s3.close()
    server.stop()


@pytest.fixture(params=["directory", "s3"])
def objects(request, tmp_path):
    if request.param == "directory":
        return DirectoryObjects(tmp_path)
    return S3Objects(request.getfixturevalue("s3"))


def test_what_is_put_is_got(objects):
    objects.put("bucket", "a/b.json", b"1", "application/json")
    objects.put("bucket", "a/b.json", b"12")
    assert objects.get("bucket", "a/b.json") == b"12"
    assert objects.size("bucket", "a/b.json") == 2
    assert objects.exists("bucket", "a/b.json")


def test_what_is_not_there_is_unavailable(objects):
    assert not objects.exists("bucket", "no")
    for verb in (objects.get, objects.size):
        with pytest.raises(ObjectUnavailable, match="s3://bucket/no"):
            verb("bucket", "no")


@pytest.mark.parametrize(
    ("bucket", "key"),
    [("bucket", ""), ("bucket", "../x"), ("bucket", "a/../../x"), ("bucket", "a//b"),
     ("..", "x"), (".partial", "x"), ("a/b", "x"), ("bucket", "a\0b")],
)  # fmt: skip
def test_no_name_leaves_the_directory(tmp_path, bucket, key):
    objects = DirectoryObjects(tmp_path)
    assert not objects.exists(bucket, key)
    with pytest.raises(ObjectUnavailable):
        objects.put(bucket, key, b"")


def test_readers_see_whole_objects_only(tmp_path):
    objects = DirectoryObjects(tmp_path)
    bodies = {bytes([number]) * 300_000 for number in range(4)}
    objects.put("bucket", "key", next(iter(bodies)))
    stop = threading.Event()

    def write():
        while not stop.is_set():
            for body in bodies:
                objects.put("bucket", "key", body)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert all(objects.get("bucket", "key") in bodies for _ in range(200))
    finally:
        stop.set()
        writer.join()
    assert list((tmp_path / ".partial").iterdir()) == []


@pytest.mark.parametrize(
    ("location", "parts"),
    [
        ("s3://b/k", ("b", "k")),
        ("s3://b/a/b c.json", ("b", "a/b c.json")),
        ("https://b/k", ("b", "k")),
        ("s3://b", ("b", "")),
    ],
)
def test_locations_are_split(location, parts):
    assert split_location(location) == parts


def test_other_locations_are_refused():
    with pytest.raises(ValueError, match="not an S3 location"):
        split_location("file:///etc/passwd")
