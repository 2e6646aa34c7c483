"""Invocations over connections that fail: what was surely not started, and what may have been."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from io import BufferedReader

import pytest

from backburner.adapters.clients import IDLE_SECONDS, Clients
from backburner.adapters.sagemaker import SageMakerAsync
from backburner.domain.catalog import Model
from backburner.domain.errors import BackendError, BackendThrottled
from backburner.domain.shard import Cut, Shard, ShardStatus
from backburner.ports import Limits
from backburner_local.adapters.clock import FixedClock
from backburner_local.adapters.files import DirectoryBlobs
from tests.aws_adapters.wire import KEYS

MODEL = Model(
    name="m",
    backend="sagemaker_async",
    endpoint="my-ep",
    context_window=1000,
    routes=("/v1/chat/completions",),
    slots=4,
    slots_per_instance=4,
    max_instances=2,
    cut=Cut(lines=10, bytes=1000, tokens=1000),
)
SHARD = Shard(
    tenant="acme",
    batch_id="batch_1",
    id="00001",
    status=ShardStatus.IN_FLIGHT,
    model=MODEL.name,
    pool=MODEL.pool,
    first_line=1,
    last_line=1,
    line_count=1,
    attempt=1,
    created_at=0.0,
    deadline=3600.0,
)
TAKEN = b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


class Service:
    """Takes one invocation on each connection; a connection is dead after it, but looks alive."""

    def __init__(self) -> None:
        self.taken = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError), client, client.makefile("rb") as stream:
            if _body(stream):
                self.taken += 1
                client.sendall(TAKEN)
                _body(stream)  # the next one is never answered


def _body(stream: BufferedReader) -> bytes:
    """What is in the next request, once all of it has come."""
    length = 0
    while line := stream.readline().strip():
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return stream.read(length)


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    yield service
    with suppress(OSError):
        service.close()


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
def backend(service, clock, tmp_path) -> SageMakerAsync:
    clients = Clients(clock=clock, endpoint_url=service.url, region_name="us-east-1", **KEYS)
    blobs = DirectoryBlobs(tmp_path, "bucket", clock, b"key", "", durable=False)
    return SageMakerAsync(clients, blobs, Limits())


def test_a_connection_that_idled_is_not_trusted_with_an_invocation(backend, service, clock):
    """A function's container is frozen between two events, and its connections die unnoticed."""
    backend.submit(SHARD, MODEL, b"x")
    for idle in (IDLE_SECONDS + 1, 3600.0):
        clock.advance(idle)
        backend.submit(SHARD, MODEL, b"x")
    assert service.taken == 3


def test_an_invocation_that_got_no_answer_may_have_been_started(backend):
    backend.submit(SHARD, MODEL, b"x")
    with pytest.raises(BackendError) as caught:
        backend.submit(SHARD, MODEL, b"x")
    assert not isinstance(caught.value, BackendThrottled)


def test_an_invocation_without_a_connection_was_not_started(backend, service):
    service.close()
    with pytest.raises(BackendThrottled):
        backend.submit(SHARD, MODEL, b"x")
