"""Answers that come piece by piece, over a socket."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from queue import Empty, Queue
from typing import Any

import httpx
import pytest

from backburner.domain.errors import NotFound
from backburner_local.adapters.clock import FixedClock
from backburner_local.adapters.files import DirectoryBlobs
from backburner_local.functions import LoadedFunction
from backburner_local.gateway import STREAM_RETRY_SECONDS, Gateway
from backburner_local.listening import listen
from backburner_local.template import Function
from tests.local.stacks import requests, wait_until

MOST = 2
HEADERS = {"content-type": "text/event-stream"}


class Pieces:
    """A stream of what the test puts into it; None ends it, an error breaks it."""

    def __init__(self) -> None:
        self.queue: Queue[Any] = Queue()

    def read(self) -> bytes | None:
        try:
            piece = self.queue.get_nowait()
        except Empty:
            return b""
        if isinstance(piece, Exception):
            raise piece
        return piece  # type: ignore[no-any-return]

    def next_pause(self) -> float:
        return 0.01


class Door:
    """A gateway before a function that answers each call with a stream of its own."""

    def __init__(self, folder: Any) -> None:
        self.streams: list[Pieces] = []
        self.events: list[dict[str, Any]] = []
        listener = listen("127.0.0.1", 0)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self.http = httpx.Client(base_url=url, timeout=30)
        declared = Function(name="Api", folder="", handler="", timeout_seconds=30, triggers=())
        self.gateway: Gateway | None = Gateway(
            listener,
            function=LoadedFunction(declared, self._handle),
            blobs=DirectoryBlobs(folder, "bucket", FixedClock(), b"key", url, durable=False),
            find_signed=lambda _: None,
            find_upload=lambda _: None,
            metrics=str,
            max_body_bytes=1000,
            streams=MOST,
        ).start()

    def close(self) -> None:
        """Stop the gateway, unless that was done."""
        self.http.close()
        gateway, self.gateway = self.gateway, None
        if gateway is not None:
            gateway.stop()

    def _handle(self, event: dict[str, Any], context: Any) -> Any:
        self.events.append(event)
        self.streams.append(Pieces())
        return {"statusCode": 200, "headers": HEADERS, "body": "", "stream": self.streams[-1]}


@pytest.fixture
def door(tmp_path) -> Iterator[Door]:
    made = Door(tmp_path)
    yield made
    made.close()


class TestPieces:
    def test_the_function_is_told_that_it_may_stream(self, door):
        with door.http.stream("GET", "/v1/one"):
            assert door.events[0]["requestContext"]["backburner"] == {"streams": True}

    def test_each_piece_comes_when_it_is_there(self, door):
        with door.http.stream("GET", "/v1/one") as answer:
            received = answer.iter_raw()
            assert answer.headers["content-type"] == "text/event-stream"
            for piece in (b"data: 1\n\n", b": still here\n\n"):
                door.streams[0].queue.put(piece)
                assert next(received) == piece
            door.streams[0].queue.put(None)
            assert list(received) == []

    @pytest.mark.parametrize("error", [NotFound("It was deleted."), RuntimeError("broken")])
    def test_one_that_breaks_ends_and_the_next_is_served(self, door, error):
        for _ in range(MOST + 1):
            with door.http.stream("GET", "/v1/one") as answer:
                door.streams[-1].queue.put(b"data: 1\n\n")
                door.streams[-1].queue.put(error)
                assert answer.read() == b"data: 1\n\n"


class TestBounds:
    def test_beyond_the_most_a_client_is_told_to_come_later(self, door):
        with ExitStack() as open_streams:
            for _ in range(MOST):
                open_streams.enter_context(door.http.stream("GET", "/v1/one"))
            refused = door.http.get("/v1/one")
            assert refused.status_code == 503
            assert refused.headers["retry-after"] == str(STREAM_RETRY_SECONDS)
            assert refused.json()["error"]["type"] == "server_error"

    def test_whoever_goes_makes_room(self, door):
        def is_served() -> bool:
            with door.http.stream("GET", "/v1/one") as answer:
                return bool(answer.status_code == 200)

        for _ in range(MOST + 1):
            wait_until(is_served, "a place after others have gone")

    def test_a_gateway_that_stops_ends_them(self, door):
        with door.http.stream("GET", "/v1/one") as answer:
            gateway, door.gateway = door.gateway, None
            stopping = threading.Thread(target=gateway.stop)
            began_at = time.monotonic()
            stopping.start()
            assert answer.read() == b""
            stopping.join()
            assert time.monotonic() - began_at < 5.0


class TestBatch:
    """A whole stack, and a client that watches a batch of it."""

    def test_a_watcher_sees_the_life_of_a_batch_and_is_not_asked_back(self, stack, client):
        batch = submit(client, 40)
        seen = list(watched(client, batch))
        names = [event["type"] for event in seen]
        again = client.http.get(
            f"/v1/batches/{batch}/events", headers={"Last-Event-ID": seen[-1]["id"]}
        )
        assert names[-2:] == ["batch.finalizing", "batch.completed"]
        assert seen[-1]["data"]["request_counts"]["completed"] == 40
        assert (again.status_code, again.content) == (204, b"")

    def test_one_that_was_cut_off_goes_on_where_it_was(self, stack, client):
        batch = submit(client, 300)
        client.http.post(f"/v1/batches/{batch}/pause")
        first = next(watched(client, batch))
        client.http.post(f"/v1/batches/{batch}/resume")
        rest = list(watched(client, batch, after=first["id"]))
        statuses = [one["type"] for one in [first, *rest] if one["type"] != "batch.progress"]
        assert len(statuses) == len(set(statuses)), "none is told twice"
        assert statuses[-1] == "batch.completed"


def submit(client: Any, count: int) -> str:
    uploaded = client.http.post(
        "/v1/files", data={"purpose": "batch"}, files={"file": ("in.jsonl", requests(count))}
    ).json()
    made: str = client.create_batch(
        input_file_id=uploaded["id"], endpoint="/v1/chat/completions", completion_window="24h"
    )["id"]
    return made


def watched(client: Any, batch: str, *, after: str = "") -> Iterator[dict[str, Any]]:
    """Events as they come, read as the standard has it: a blank line ends each."""
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": after} if after else {})
    fields: dict[str, str] = {}
    with client.http.stream("GET", f"/v1/batches/{batch}/events", headers=headers) as answer:
        for line in answer.iter_lines():
            name, _, value = line.partition(": ")
            fields |= {name: value} if line else {}
            if not line and "data" in fields:
                yield json.loads(fields["data"]) | {"id": fields["id"]}
            fields = fields if line else {}
