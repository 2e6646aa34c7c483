"""Hostile bytes at the socket: each is refused or hung up on, none hangs, and others are served.

What is wrong in what a request says is in `tests/web/test_hostile.py`; here it is wrong as HTTP.
"""

import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import Any

import httpx
import pytest

from tests.local.stacks import requests

#: So long no answer may take.
PATIENCE_SECONDS = 20.0

#: Requests that are wrong in their first line.
LINES = {
    "no method": b" /v1/files HTTP/1.1",
    "no path": b"GET HTTP/1.1",
    "no slash": b"GET v1/files HTTP/1.1",
    "a method that no one knows": b"BREW /v1/files HTTP/1.1",
    "a method of signs": b"G(T /v1/files HTTP/1.1",
    "HTTP 1.0": b"GET /v1/files/none HTTP/1.0",
    "HTTP 2": b"PRI * HTTP/2.0",
    "HTTP 9": b"GET /v1/files HTTP/9.9",
    "a proxy's form": b"GET http://example.org/v1/files/none HTTP/1.1",
    "a tunnel": b"CONNECT example.org:443 HTTP/1.1",
    "all of the server": b"OPTIONS * HTTP/1.1",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40),
    "a long path": b"GET /v1/files/" + b"a" * 70_000 + b" HTTP/1.1",
    "a bare line feed": b"GET /v1/files/none HTTP/1.1\nX: 1",
}
#: What comes where an id is expected.
IDS = [
    b"\xff", b"\xed\xa0\x80", b"%ff", b"%ED%A0%80", b"%C0%AF", b"%", b"%zz", b"%00", b"%0d%0aX:1",
    b"..", b"%2e%2e%2f%2e%2e", b"a%2Fb", b"a;b", b"a?limit=%ff", b"a?limit=%ED%A0%80", b"a#b",
    b"a\\b", b"\x7f", b"a b", b"a\tb", b"a\0b", b"\xe2\x80\xa8", b"?", b"??&&==",
    b"a?" + b"x=1&" * 1500,
]  # fmt: skip
#: Headers that are wrong, each of a request with a body of two bytes.
HEADERS = {
    "no colon": b"Content-Length 2",
    "no name": b": 2\r\nContent-Length: 2",
    "a space in the name": b"X y: 1\r\nContent-Length: 2",
    "a folded line": b"X: 1\r\n 2\r\nContent-Length: 2",
    "a zero byte": b"X: a\0b\r\nContent-Length: 2",
    "no UTF-8": b"Idempotency-Key: \xff\xfe\r\nContent-Length: 2",
    "half a pair of surrogates": b"Idempotency-Key: \xed\xa0\x80\r\nContent-Length: 2",
    "a negative length": b"Content-Length: -1",
    "a length of letters": b"Content-Length: two",
    "a length with a sign": b"Content-Length: +2",
    "a length beyond all": b"Content-Length: " + b"9" * 40,
    "a length of half a world": b"Content-Length: 4611686018427387904",
    "two lengths": b"Content-Length: 2\r\nContent-Length: 3",
    "a length and chunks": b"Content-Length: 2\r\nTransfer-Encoding: chunked",
    "an unknown coding": b"Transfer-Encoding: xyz\r\nContent-Length: 2",
    "chunks twice": b"Transfer-Encoding: chunked, chunked",
    "one long header": b"X: " + b"a" * 100_000,
    "many headers": b"".join(b"X-%d: 1\r\n" % n for n in range(20_000)) + b"Content-Length: 2",
    "an expectation": b"Expect: 100-continue\r\nContent-Length: 2",
    "an unknown expectation": b"Expect: tea\r\nContent-Length: 2",
    "an upgrade": b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nContent-Length: 2",
    "a web socket": b"Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 2",
    "no gzip": b"Content-Encoding: gzip\r\nContent-Length: 2",
    "no deflate": b"Content-Encoding: deflate\r\nContent-Length: 2",
    "no brotli": b"Content-Encoding: br\r\nContent-Length: 2",
    "no zstd": b"Content-Encoding: zstd\r\nContent-Length: 2",
    "an unknown encoding": b"Content-Encoding: xyz\r\nContent-Length: 2",
    "a type of nothing": b"Content-Type: ;;;\r\nContent-Length: 2",
    "an unknown character set": b"Content-Type: text/json; charset=xyz\r\nContent-Length: 2",
}
CHUNKS = [
    size + b"\r\n{}\r\n0\r\n\r\n"
    for size in [b"zz", b"-2", b"1", b"", b"+2", b"0x2", b"f" * 30, b"2" + b";x" * 30_000]
]
CHUNKS += [b"2\r\n{}0\r\n\r\n", b"2\n{}\n0\n\n", b"2\r\n{}\r\n0\r\nX y\r\n\r\n"]
RANGES = [
    "bytes=", "bytes=a-b", "bytes=-", "bytes=--1", "bytes=1-0", "bytes=9999999999999999999-",
    "bytes=-0", "bytes=0-0,1-1", "bytes=" + "0-1," * 2000, "bytes = 0-1", "bits=0-1", "0-1",
    "bytes=0-1;q=1", "bytes=\u0661-", "bytes=0x0-0x1", "bytes=0-" + "9" * 300, "bytes=1e3-",
    "bytes=,", "bytes=0-\u20ac",
]  # fmt: skip


def status(line: socket.socket) -> int | None:
    """What is answered in the end; None: nothing, the server closed the connection."""
    heard = b""
    while piece := line.recv(1 << 16):
        heard += piece
        for found in re.findall(rb"HTTP/1\.[01] ([0-9]{3})", heard):
            if found != b"100":
                return int(found)
    return None


class Door:
    """The stack's socket."""

    def __init__(self, url: str, key: str) -> None:
        self.address = (httpx.URL(url).host, httpx.URL(url).port or 0)
        self.who = b"Host: here\r\nAuthorization: Bearer " + key.encode() + b"\r\n"

    @contextmanager
    def connected(self) -> Iterator[socket.socket]:
        with closing(socket.create_connection(self.address, timeout=PATIENCE_SECONDS)) as line:
            yield line

    def post(self, headers: bytes, body: bytes = b"{}", path: bytes = b"/v1/responses") -> bytes:
        return b"POST %s HTTP/1.1\r\n%s%s\r\n\r\n%s" % (path, self.who, headers, body)

    def ask(self, data: bytes, *, breaks_off: bool = False) -> int | None:
        """The status that is answered; None: the connection was closed. A hang is an error."""
        with self.connected() as line, suppress(BrokenPipeError, ConnectionResetError):
            line.sendall(data)
            if breaks_off:
                line.shutdown(socket.SHUT_WR)
            return status(line)
        return None


@pytest.fixture(scope="module")
def door(stack, dev_key) -> Door:
    return Door(stack.url, dev_key)


def get(door: Door, path: bytes) -> bytes:
    return b"GET %s HTTP/1.1\r\n%s\r\n" % (path, door.who)


def odd(answers: dict[Any, int | None]) -> dict[Any, int | None]:
    """Those that were not refused as the client's error."""
    return {name: found for name, found in answers.items() if not 400 <= (found or 0) < 500}


def test_what_is_no_request_is_refused(door):
    answers = {name: door.ask(line + b"\r\n" + door.who + b"\r\n") for name, line in LINES.items()}
    assert odd(answers) == {}


def test_ids_of_any_bytes_are_refused(door):
    paths = [b"/v1/files/%s", b"/openai/v1/batches/%s/cancel", b"/v1/models/%s", b"/%s"]
    answers = {(path, name): door.ask(get(door, path % name)) for path in paths for name in IDS}
    assert odd(answers) == {}


def test_bad_headers_are_refused(door):
    answers = {name: door.ask(door.post(header)) for name, header in HEADERS.items()}
    assert odd(answers) == {}


def test_bad_chunks_are_refused(door):
    paths = [b"/v1/responses", b"/v1/files", b"/v1/messages/batches"]
    chunked = b"Transfer-Encoding: chunked"
    answers = {
        (path, body): door.ask(door.post(chunked, body, path)) for path in paths for body in CHUNKS
    }
    assert odd(answers) == {}


@pytest.mark.parametrize("coding", ["length", "chunked"])
def test_an_upload_that_breaks_off_anywhere_is_forgotten(door, client, coding):
    before = client.http.get("/v1/files").json()
    body = form(b"in.jsonl")
    kind = b"Content-Type: multipart/form-data; boundary=b\r\n"
    if coding == "length":
        whole = door.post(kind + b"Content-Length: %d" % len(body), body, b"/v1/files")
    else:
        chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        whole = door.post(kind + b"Transfer-Encoding: chunked", chunks, b"/v1/files")
    cuts = range(1, len(whole) - 3, max(1, len(whole) // 60))
    answers = {cut: door.ask(whole[:cut], breaks_off=True) for cut in cuts}
    assert set(odd(answers).values()) <= {None}, "nobody is left who could hear it"
    assert client.http.get("/v1/files").json() == before


def test_who_sends_slowly_holds_up_nobody_and_is_answered(door, client):
    whole = door.post(b"Content-Length: 2")
    with ExitStack() as opened:
        lines = [opened.enter_context(door.connected()) for _ in range(100)]
        for number, line in enumerate(lines):
            line.sendall(whole[: number * len(whole) // 100])
        assert client.http.get("/v1/models", timeout=PATIENCE_SECONDS).status_code == 200
        for number, line in enumerate(lines):
            for byte in whole[number * len(whole) // 100 :]:
                line.sendall(bytes([byte]))
        assert [status(line) for line in lines] == [400] * 100


def test_ranges_of_any_kind_are_answered_with_what_they_name_or_refused(client):
    content = requests(3)
    made = client.http.post(
        "/v1/files", files={"file": ("in.jsonl", content)}, data={"purpose": "batch"}
    )
    path = f"/v1/files/{made.json()['id']}/content"
    for asked in RANGES:
        answer = client.http.get(path, headers={"Range": asked.encode()})
        assert answer.status_code in (200, 206, 416), asked
        if answer.status_code == 200:
            assert answer.content == content, asked
        elif answer.status_code == 206:
            assert answer.content in content, asked


@pytest.mark.parametrize("name", [b"\xff", b"\xed\xa0\x80", b"a\0b", b"%ED%A0%80", b"\xe2\x80\xae"])
def test_a_filename_of_any_bytes_can_be_shown_again(client, name):
    made = client.http.post(
        "/v1/files",
        content=form(name),
        headers={"Content-Type": "multipart/form-data; boundary=b"},
    )
    if made.status_code == 200:
        shown = client.http.get(f"/v1/files/{made.json()['id']}").json()
        assert shown["filename"].encode().decode().isprintable()
    else:
        assert made.status_code == 400


def form(filename: bytes) -> bytes:
    """An upload whose boundary is `b`."""
    said = b'--b\r\nContent-Disposition: form-data; name="'
    return (
        said + b'purpose"\r\n\r\nbatch\r\n' + said + b'file"; filename="' + filename + b'"\r\n\r\n'
        + requests(1) + b"\r\n--b--\r\n"
    )  # fmt: skip
