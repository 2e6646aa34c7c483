"""Reading from S3: a little at a time, over connections that break."""

import io
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import BotoCoreError, ClientError
from moto.server import ThreadedMotoServer

from backburner.adapters.clients import Clients
from backburner.adapters.s3 import S3Blobs, reading
from backburner.domain.errors import Busy, NotFound
from tests.aws_adapters.wire import BUCKET, CLIENTS, KEYS, BreakingWay, refuse

# ---------------------------------------------------------------- reading


class LongBody(io.RawIOBase):
    """An answer's body that is made while it is read."""

    def __init__(self, size: int) -> None:
        self.size, self.taken, self.most = size, 0, 0

    def read(self, size: int | None = -1) -> bytes:
        asked = self.size if size is None or size < 0 else size
        data = b"0123456789abcde\n" * (min(asked, self.size - self.taken) // 16)
        self.taken += len(data)
        self.most = max(self.most, asked)
        return data


def test_a_stream_holds_a_little_of_a_long_object(blobs, wire):
    body = LongBody(16 * 1024 * 1024)
    headers: Any = {"Content-Length": str(body.size), "ETag": '"e"'}
    wire.answers["GetObject"] = lambda request: AWSResponse(request.url, 200, headers, body)
    with blobs.read("long") as opened:
        assert opened.readline() == b"0123456789abcde\n"
        assert body.taken <= 256 * 1024
        assert sum(1 for _ in opened) == body.size // 16 - 1
    assert body.most <= 256 * 1024


def test_a_range_asks_for_no_more(blobs, wire):
    blobs.put("a", b"0123456789")
    blobs.get("a", start=4, length=3)
    blobs.get("a", start=4)
    assert wire.sent("GetObject", "Range") == [b"bytes=4-6", b"bytes=4-"]


@pytest.mark.parametrize("span", [{"start": -1}, {"length": -1}])
def test_a_range_is_not_negative(blobs, span):
    blobs.put("a", b"0123456789")
    with pytest.raises(ValueError, match="negative"):
        blobs.get("a", **span)


def test_no_bytes_of_nothing_are_not_found(blobs):
    with pytest.raises(NotFound):
        blobs.get("none", length=0)


def test_an_object_that_may_not_be_seen_is_no_missing_one(blobs, wire):
    wire.answers["HeadObject"] = refuse(403, "AccessDenied")
    wire.answers["GetObject"] = refuse(403, "AccessDenied")
    with pytest.raises(ClientError, match="403"):
        blobs.stat("a")
    with pytest.raises(ClientError, match="AccessDenied"):
        blobs.get("a")


def test_a_missing_bucket_is_no_missing_object(s3):
    blobs = S3Blobs(CLIENTS, "another-bucket")
    for ask in (lambda: blobs.get("a"), lambda: list(blobs.list(""))):
        with pytest.raises(ClientError, match="NoSuchBucket"):
            ask()


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[BreakingWay, S3Blobs, S3Blobs]]:
    """A way to moto's server; the bucket seen by this way, and without it."""
    moto_server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    moto_server.start()
    host, port = moto_server.get_host_and_port()
    way = BreakingWay(port)
    clients = [
        Clients(region_name="us-east-1", endpoint_url=url, **KEYS)
        for url in (way.url, f"http://{host}:{port}")
    ]
    clients[1].s3.create_bucket(Bucket=BUCKET)
    yield way, S3Blobs(clients[0], BUCKET), S3Blobs(clients[1], BUCKET)
    for one in clients:
        one.s3.close()
    way.close()
    moto_server.stop()


CONTENT = b"".join(b"line %07d\n" % n for n in range(100_000))


@pytest.mark.parametrize("is_rude", [False, True], ids=["ended", "reset"])
def test_reading_goes_on_where_the_connection_broke(server, is_rude):
    way, broken, whole = server
    whole.put("a", CONTENT)
    way.is_rude = is_rude
    for breaks in ([0], [300_000], [0, 300_000, 0]):
        broken._s3.close()
        way.breaks[:] = breaks
        with broken.read("a") as opened:
            assert list(opened) == CONTENT.splitlines(keepends=True)
        assert way.breaks == []
    broken._s3.close()
    way.breaks[:] = [300_000]
    assert broken.get("a", start=5, length=1_000_000) == CONTENT[5:1_000_005]
    assert way.breaks == []


def test_reading_gives_up_when_nothing_comes_any_more(server):
    way, broken, whole = server
    whole.put("a", CONTENT)
    broken._s3.close()
    way.is_rude = False
    way.breaks[:] = [0] * (reading.TRIES + 1)
    with pytest.raises((BotoCoreError, OSError)), broken.read("a") as opened:
        opened.read()
    assert len(way.breaks) == 1
    way.breaks.clear()


def test_two_contents_are_never_mixed_when_the_connection_breaks(server):
    way, broken, whole = server
    whole.put("a", CONTENT)
    broken._s3.close()
    way.is_rude = False
    way.breaks[:] = [300_000]
    with broken.read("a") as opened:
        assert opened.readline() == b"line 0000000\n"
        whole.put("a", CONTENT.upper())
        with pytest.raises(Busy):
            opened.read()


def test_an_object_that_is_deleted_when_the_connection_breaks_is_not_found(server):
    way, broken, whole = server
    whole.put("a", CONTENT)
    broken._s3.close()
    way.is_rude = False
    way.breaks[:] = [300_000]
    with broken.read("a") as opened:
        assert opened.readline() == b"line 0000000\n"
        whole.delete("a")
        with pytest.raises(NotFound):
            opened.read()


class KeepsConnections(BaseHTTPRequestHandler):
    """Any object; moto's server ends the connection with each answer."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.send_header("ETag", '"e"')
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(CONTENT)

    def log_message(self, *_: object) -> None: ...


def test_connections_are_used_again_and_never_run_out():
    with ThreadingHTTPServer(("127.0.0.1", 0), KeepsConnections) as http:
        http.daemon_threads = True
        threading.Thread(target=http.serve_forever, daemon=True).start()
        way = BreakingWay(http.server_port)
        clients = Clients(region_name="us-east-1", endpoint_url=way.url, **KEYS)
        blobs = S3Blobs(clients, BUCKET)
        for _ in range(5):
            with blobs.read("a") as opened:
                assert opened.read() == CONTENT
            assert blobs.get("a") == CONTENT
        assert way.connections == 1
        for _ in range(60):  # more than the client keeps
            with blobs.read("a") as opened:
                assert opened.read(4) == b"line"
        assert blobs.get("a") == CONTENT
        clients.s3.close()
        way.close()
        http.shutdown()
