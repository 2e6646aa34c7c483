"""What goes over the wire to S3, and what comes back where a test says so."""

import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from unittest.mock import patch

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from moto.core.botocore_stubber import BotocoreStubber, MockRawResponse

from backburner.adapters.clients import Clients
from backburner.adapters.s3.writing import Sizes

#: The answer to a request, or None: moto answers.
Answer = Callable[[AWSPreparedRequest], AWSResponse | None]

KEYS: dict[str, Any] = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
BUCKET = "backburner-test"
#: A hundred-thousandth of what S3 asks for; moto is told so too.
SMALL = Sizes(least=50, sent=80, copied=2500)

CLIENTS = Clients(region_name="us-east-1", **KEYS)


def uploads_left() -> list[str]:
    """Keys of the uploads that were neither completed nor aborted."""
    found = CLIENTS.s3.list_multipart_uploads(Bucket=BUCKET)
    return [upload["Key"] for upload in found.get("Uploads", ())]


class Wire:
    """Counts what is asked of moto; answers where moto has no fitting answer."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, AWSPreparedRequest]] = []
        self.answers: dict[str, Answer] = {}

    @property
    def calls(self) -> Counter[str]:
        return Counter(operation for operation, _ in self.requests)

    def sent(self, operation: str, header: str) -> list[Any]:
        """A header's values in the requests of an operation."""
        return [one.headers.get(header) for name, one in self.requests if name == operation]


@contextmanager
def tapped() -> Iterator[Wire]:
    wire = Wire()
    ask_moto: Any = BotocoreStubber.__call__

    def take(
        stubber: BotocoreStubber, event_name: str, request: AWSPreparedRequest, **rest: Any
    ) -> AWSResponse | None:
        operation = event_name.rpartition(".")[2]
        wire.requests.append((operation, request))
        given = wire.answers[operation](request) if operation in wire.answers else None
        answered: AWSResponse | None = given or ask_moto(stubber, event_name, request, **rest)
        return answered

    with patch.object(BotocoreStubber, "__call__", take):
        yield wire


def answer(request: AWSPreparedRequest, status: int, body: str) -> AWSResponse:
    headers: Any = {}
    raw: Any = MockRawResponse(body)
    return AWSResponse(request.url, status, headers, raw)


def refuse(status: int, code: str) -> Answer:
    """An answer with one of S3's errors."""
    body = f"<Error><Code>{code}</Code><Message>No.</Message></Error>"
    return lambda request: answer(request, status, "" if request.method == "HEAD" else body)


def first(*answers: Answer) -> Answer:
    """Each answer once; then moto answers."""
    left = list(answers)
    return lambda request: left.pop(0)(request) if left else None


class BreakingWay:
    """A way to a server whose connections break after so many bytes of an answer's body."""

    def __init__(self, port: int) -> None:
        self._server = ("127.0.0.1", port)
        #: By connection, the bytes of bodies that come through; None, or none left: all do.
        self.breaks: list[int | None] = []
        #: Whether a break is a reset; an orderly end otherwise.
        self.is_rude = False
        self.connections = 0
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
                self.connections += 1
                server = socket.create_connection(self._server)
                left = self.breaks.pop(0) if self.breaks else None
                for carry in (lambda a, b, n: self._up(a, b), self._down):
                    threading.Thread(target=carry, args=(client, server, left), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                server.sendall(data)
            server.shutdown(socket.SHUT_RDWR)

    def _down(self, client: socket.socket, server: socket.socket, left: int | None) -> None:
        head = b""
        with suppress(OSError), server, client:
            while data := server.recv(65536):
                if left is None:
                    client.sendall(data)
                    continue
                head, body = _parted(head, data)
                client.sendall(data[: len(data) - len(body)] + body[:left])
                left -= len(body)
                if left < 0 or (left == 0 and body):
                    if self.is_rude:
                        linger = struct.pack("ii", 1, 0)
                        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    # Else whoever reads from it keeps it open.
                    client.shutdown(socket.SHUT_RD if self.is_rude else socket.SHUT_RDWR)
                    return


def _parted(head: bytes, data: bytes) -> tuple[bytes, bytes]:
    """The answer's head as far as it came, and what of the data is body."""
    if head.endswith(b"\r\n\r\n"):
        return head, data
    whole = head + data
    end = whole.find(b"\r\n\r\n")
    return (whole, b"") if end < 0 else (whole[: end + 4], whole[end + 4 :])
