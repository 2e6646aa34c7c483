"""The front door: HTTP in, events to the function, HTTP out; large bodies and signed links."""

import base64
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from backburner_local.adapters.clock import FixedClock
from backburner_local.adapters.files import DirectoryBlobs
from backburner_local.functions import LoadedFunction
from backburner_local.gateway import SPOOL_BYTES, UPLOAD_BYTES, Gateway
from backburner_local.listening import listen
from backburner_local.template import Function
from tests.local.stacks import wait_until

MOST_BYTES = 3 * SPOOL_BYTES


@dataclass
class Door:
    """A gateway before a function that the test plays."""

    url: str
    http: httpx.Client
    blobs: DirectoryBlobs
    clock: FixedClock
    events: list[dict[str, Any]] = field(default_factory=list)
    #: Content of the bodies that were put aside, as the function saw them.
    bodies: list[bytes] = field(default_factory=list)
    answer: Any = None

    def handle(self, event: dict[str, Any], context: Any) -> Any:
        self.events.append(event)
        key = event["requestContext"].get("backburner", {}).get("bodyKey")
        if key is not None:
            self.bodies.append(self.blobs.get(key))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer or {"statusCode": 200, "headers": {}, "body": "ok"}

    def spooled(self) -> list[str]:
        return [stat.key for stat in self.blobs.list("spool/")]


@pytest.fixture
def door(tmp_path) -> Iterator[Door]:
    listener = listen("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    clock = FixedClock()
    blobs = DirectoryBlobs(tmp_path, "bucket", clock, b"key", url, durable=False)
    with httpx.Client(base_url=url, timeout=30) as http:
        made = Door(url, http, blobs, clock)

        def find_signed(path_and_query: str) -> Path | None:
            key = blobs.verify(path_and_query)
            path = tmp_path / "bucket" / key if key is not None else None
            return path if path is not None and path.is_file() else None

        declared = Function(name="Api", folder="", handler="", timeout_seconds=30, triggers=())
        gateway = Gateway(
            listener,
            function=LoadedFunction(declared, made.handle),
            blobs=blobs,
            find_signed=find_signed,
            find_upload=blobs.verify_upload,
            metrics=lambda: "backburner_batches 1\n",
            max_body_bytes=MOST_BYTES,
        ).start()
        yield made
        gateway.stop()


class TestEvents:
    def test_the_function_gets_the_request_as_an_http_api_hands_it_over(self, door):
        door.http.post(
            "/v1/thing%20one?a=1&b=x%26y&a=2",
            content=b'{"hello": 1}',
            headers={"X-Custom": "Value", "User-Agent": "tests"},
        )

        (event,) = door.events
        assert event["version"] == "2.0"
        assert event["rawPath"] == "/v1/thing one"
        assert event["rawQueryString"] == "a=1&b=x%26y&a=2"
        assert event["queryStringParameters"] == {"a": "1,2", "b": "x&y"}
        assert event["headers"]["x-custom"] == "Value"
        http = event["requestContext"]["http"]
        assert (http["method"], http["path"]) == ("POST", "/v1/thing one")
        assert (http["sourceIp"], http["userAgent"]) == ("127.0.0.1", "tests")
        assert event["isBase64Encoded"] is True
        assert base64.b64decode(event["body"]) == b'{"hello": 1}'

    def test_a_client_that_asks_whether_it_should_send_its_body_is_told_to(self, door):
        host, port = urlsplit(door.url).netloc.split(":")
        with socket.create_connection((host, int(port)), timeout=10) as client:
            client.sendall(
                b"POST /v1/files HTTP/1.1\r\nHost: here\r\nContent-Length: 4\r\n"
                b"Expect: 100-continue\r\nConnection: close\r\n\r\n"
            )
            assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
            assert door.events == []
            client.sendall(b"body")
            assert client.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")
        assert base64.b64decode(door.events[0]["body"]) == b"body"

    def test_a_path_may_have_any_character(self, door):
        door.http.get("/v1/files/one%0Atwo%00")
        (event,) = door.events
        assert event["rawPath"] == "/v1/files/one\ntwo\0"

    def test_without_query_and_body_there_are_none(self, door):
        door.http.get("/v1/models")
        (event,) = door.events
        assert "queryStringParameters" not in event
        assert "body" not in event
        assert event["isBase64Encoded"] is False

    def test_repeated_headers_are_joined(self, door):
        door.http.get("/", headers=[("X-Many", "a"), ("X-Many", "b")])
        assert door.events[0]["headers"]["x-many"] == "a,b"


class TestAnswers:
    def test_text_and_headers_come_back(self, door):
        door.answer = {
            "statusCode": 201,
            "headers": {"x-one": "1", "content-type": "application/json"},
            "multiValueHeaders": {"x-many": ["a", "b"]},
            "body": '{"naïve": true}',
        }
        answer = door.http.get("/")
        assert answer.status_code == 201
        assert answer.headers["x-one"] == "1"
        assert answer.headers["x-many"] == "a,b"
        assert answer.json() == {"naïve": True}

    def test_bytes_come_back(self, door):
        body = base64.b64encode(b"\x00\xff").decode()
        door.answer = {"statusCode": 200, "headers": {}, "body": body, "isBase64Encoded": True}
        assert door.http.get("/").content == b"\x00\xff"

    def test_a_function_that_breaks_is_an_error_of_the_server(self, door, caplog):
        door.answer = RuntimeError("it broke")
        answer = door.http.get("/")
        assert answer.status_code == 500
        assert answer.json() == {"message": "Internal Server Error"}
        assert "it broke" in caplog.text

    def test_metrics_are_those_of_prometheus(self, door):
        answer = door.http.get("/metrics")
        assert answer.text == "backburner_batches 1\n"
        assert answer.headers["content-type"].startswith("text/plain")
        assert door.events == []


class TestBodies:
    def test_a_small_body_is_in_the_event(self, door):
        body = b"x" * SPOOL_BYTES
        door.http.post("/", content=body)
        assert base64.b64decode(door.events[0]["body"]) == body
        assert door.bodies == []

    @pytest.mark.parametrize("how", ["with its length", "in chunks"])
    def test_a_large_body_is_put_aside_until_it_was_answered(self, door, how):
        body = bytes(range(256)) * (SPOOL_BYTES // 128)

        answer = door.http.post("/", content=body if how == "with its length" else iter([body]))

        assert answer.status_code == 200
        assert "body" not in door.events[0]
        assert door.bodies == [body]
        assert door.spooled() == []

    def test_a_body_that_is_put_aside_is_removed_though_the_function_broke(self, door):
        door.answer = RuntimeError("it broke")
        assert door.http.post("/", content=b"x" * (SPOOL_BYTES + 1)).status_code == 500
        assert door.spooled() == []

    @pytest.mark.parametrize("how", ["with its length", "in chunks"])
    def test_a_body_that_is_too_large_is_refused(self, door, how):
        body = b"x" * (MOST_BYTES + 1)

        answer = door.http.post("/", content=body if how == "with its length" else iter([body]))

        assert answer.status_code == 413
        error = answer.json()["error"]
        assert error["message"] == f"The body is larger than {MOST_BYTES} bytes."
        assert error["type"] == "invalid_request_error"
        assert door.events == []
        assert door.http.get("/").status_code == 200
        assert door.spooled() == []

    def test_the_largest_body_is_taken(self, door):
        assert door.http.post("/", content=b"x" * MOST_BYTES).status_code == 200

    def test_an_upload_that_breaks_off_leaves_nothing(self, door):
        host, port = urlsplit(door.url).netloc.split(":")
        with socket.create_connection((host, int(port))) as raw:
            head = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {MOST_BYTES}\r\n\r\n"
            raw.sendall(head.encode() + b"x" * (2 * SPOOL_BYTES))
        assert door.http.post("/", content=b"next").status_code == 200
        assert [base64.b64decode(event["body"]) for event in door.events] == [b"next"]
        assert door.spooled() == []


class TestLinks:
    @pytest.fixture
    def link(self, door):
        door.blobs.put("files/acme/file 1", b"0123456789")
        url = door.blobs.presign("files/acme/file 1", seconds=60, filename='re"sülts.jsonl')
        assert url.startswith(door.url)
        return url

    def test_a_signed_link_opens_its_object(self, door, link):
        answer = door.http.get(link)
        assert answer.status_code == 200
        assert answer.content == b"0123456789"
        assert answer.headers["content-disposition"].startswith("attachment; filename")
        assert "s%C3%BClts.jsonl" in answer.headers["content-disposition"]

    def test_a_link_says_what_it_opens(self, door):
        door.blobs.put("a", b"<b>")
        link = door.blobs.presign("a", seconds=60, content_type="text/plain; charset=utf-8")
        assert door.http.get(link).headers["content-type"] == "text/plain; charset=utf-8"

    def test_a_link_takes_its_object(self, door):
        link = door.blobs.presign_upload("raw/a", seconds=60)
        content = bytes(range(256)) * (SPOOL_BYTES // 128)
        assert door.http.put(link, content=content).status_code == 200
        assert door.blobs.get("raw/a") == content
        assert door.http.put(link, content=iter([b"by ", b"pieces"])).status_code == 200
        assert door.blobs.get("raw/a") == b"by pieces"

    def test_a_link_takes_nothing_that_it_may_not(self, door, link):
        assert door.http.put(link, content=b"x").status_code == 403
        upload = door.blobs.presign_upload("raw/a", seconds=60)
        assert door.http.put(upload.replace("raw/a", "raw/b"), content=b"x").status_code == 403
        assert door.http.get(upload).status_code == 403
        too_large = {"content-length": str(UPLOAD_BYTES + 1)}
        host, port = urlsplit(door.url).netloc.split(":")
        with closing(HTTPConnection(host, int(port), timeout=30)) as connection:
            connection.request("PUT", upload.removeprefix(door.url), headers=too_large)
            assert connection.getresponse().status == 413
        assert door.blobs.stat("raw/a") is None

    def test_a_download_can_be_resumed(self, door, link):
        answer = door.http.get(link, headers={"Range": "bytes=4-"})
        assert (answer.status_code, answer.content) == (206, b"456789")

    def test_a_link_that_has_expired_opens_nothing(self, door, link):
        door.clock.advance(61)
        assert door.http.get(link).status_code == 403

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("file%201", "file%202"),
            ("acme", "other"),
            ("signature=", "signature=0"),
            ("expires=", "expires=9"),
            ("filename=", "filename=x"),
            ("/blobs/files/", "/blobs//files/"),
            ("&signature", "&more=1&signature"),
        ],
    )
    def test_a_link_that_was_changed_opens_nothing(self, door, link, old, new):
        door.blobs.put("files/acme/file 2", b"secret")
        door.blobs.put("files/other/file 1", b"secret")
        assert old in link
        assert door.http.get(link.replace(old, new)).status_code == 403

    def test_without_a_signature_nothing_opens(self, door, link):
        assert door.http.get("/blobs/files/acme/file%201").status_code == 403

    def test_a_link_to_what_was_deleted_opens_nothing(self, door, link):
        door.blobs.delete("files/acme/file 1")
        assert door.http.get(link).status_code == 403


class TestListening:
    def test_port_0_takes_a_free_one(self):
        with closing(listen("127.0.0.1", 0)) as one, closing(listen("127.0.0.1", 0)) as other:
            assert 0 < one.getsockname()[1] != other.getsockname()[1] > 0

    def test_a_port_that_is_taken_is_named(self):
        with closing(listen("127.0.0.1", 0)) as one:
            port = one.getsockname()[1]
            with pytest.raises(OSError, match=f"can't listen at 127.0.0.1:{port}: Address already"):
                listen("127.0.0.1", port)


def test_what_is_asked_is_still_answered_when_it_stops(tmp_path):
    asked, may_answer = threading.Event(), threading.Event()

    def handle(event: dict[str, Any], context: Any) -> dict[str, Any]:
        asked.set()
        may_answer.wait(30)
        return {"statusCode": 200, "headers": {}, "body": "done"}

    listener = listen("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    declared = Function(name="Api", folder="", handler="", timeout_seconds=30, triggers=())
    gateway = Gateway(
        listener,
        function=LoadedFunction(declared, handle),
        blobs=DirectoryBlobs(tmp_path, "bucket", FixedClock(), b"key", url, durable=False),
        find_signed=lambda _: None,
        find_upload=lambda _: None,
        metrics=str,
        max_body_bytes=MOST_BYTES,
    ).start()
    answers: list[str] = []
    asking = threading.Thread(target=lambda: answers.append(httpx.get(url, timeout=30).text))
    asking.start()
    assert asked.wait(30)
    stopping = threading.Thread(target=gateway.stop)
    stopping.start()
    may_answer.set()
    stopping.join()
    asking.join()
    assert answers == ["done"]


@pytest.mark.slow
class TestWholeStack:
    def test_health_needs_no_key(self, stack):
        answer = httpx.get(f"{stack.url}/healthz")
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})

    def test_metrics_tell_of_the_backlog(self, stack):
        wanted = 'backburner_outstanding_requests{endpoint_name="backburner-mistral"} 0'
        wait_until(lambda: wanted in httpx.get(f"{stack.url}/metrics").text, "the report")

    def test_an_unknown_path_is_404_in_the_shape_of_openai(self, stack):
        answer = httpx.get(f"{stack.url}/v1/nothing")
        assert answer.status_code == 404
        assert answer.json()["error"].keys() == {"message", "type", "param", "code"}
        assert answer.json()["error"]["code"] == "unknown_url"

    def test_a_method_that_a_path_has_not_is_405_and_tells_those_it_has(self, stack):
        answer = httpx.delete(f"{stack.url}/v1/batches")
        assert answer.status_code == 405
        assert answer.headers["allow"] == "GET, POST"
        assert answer.json()["error"]["code"] == "method_not_allowed"

    def test_every_answer_has_an_id(self, stack, dev_key):
        headers = {"x-api-key": dev_key}
        answers = [httpx.get(f"{stack.url}/v1/models", headers=headers) for _ in range(2)]
        assert len({answer.headers["x-request-id"] for answer in answers}) == 2

    def test_many_clients_at_once_get_each_their_own_answer(self, stack, dev_key):
        headers = {"authorization": f"Bearer {dev_key}"}
        wrong: list[str] = []

        def ask(number: int) -> None:
            with httpx.Client(base_url=stack.url, headers=headers, timeout=60) as http:
                for turn in range(10):
                    name = f"none-{number}-{turn}"
                    message = http.get(f"/v1/models/{name}").json()["error"]["message"]
                    if name not in message:
                        wrong.append(json.dumps([name, message]))

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []


def test_a_line_longer_than_any_limit_of_the_api_reaches_the_function(door):
    door.http.get("/v1/files", params={"after": "\U0001f600" * 2048})
    assert len(door.events[-1]["rawQueryString"]) > 20_000
