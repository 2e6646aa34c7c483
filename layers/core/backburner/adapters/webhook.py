"""Posts to URLs that others named, over connections to addresses that were looked at first.

A name is resolved once, every address that it has must be allowed, and the connection goes to one
of these: were the name resolved again to connect, it could lead elsewhere by then. The server's
certificate must be good for the name all the same. No redirect is followed, no proxy asked, and
nothing kept of what is answered but the status and `Retry-After`.
"""

import socket
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from socket import create_connection

from backburner.domain.errors import Undelivered
from backburner.domain.targets import Target, is_allowed, to_target
from backburner.ports import HookAnswer

#: Seconds until a connection to one address is given up, and the whole attempt.
CONNECT_SECONDS, TOTAL_SECONDS = 5.0, 20.0

#: Most bytes that are read of an answer: status and headers have to be in them.
MOST_BYTES = 64 * 1024

_AGENT = "Backburner-Webhooks/1"

#: Host and port to addresses, as the system knows them.
Resolve = Callable[[str, int], list[str]]


def resolve(host: str, port: int) -> list[str]:
    """All addresses of a host, in the system's order; raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(one[4][0]) for one in found))


@dataclass(slots=True, kw_only=True)
class HttpsWebhooks:
    """Webhooks over HTTPS; safe to share between threads."""

    #: Whether this machine may be reached, and without TLS.
    may_be_local: bool = False
    resolve: Resolve = resolve
    connect_seconds: float = CONNECT_SECONDS
    total_seconds: float = TOTAL_SECONDS
    #: Whose certificates are good; None: whomever the system trusts. Those are read when they are
    #: first needed.
    tls: ssl.SSLContext | None = None

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> HookAnswer:
        target = to_target(url, may_be_local=self.may_be_local)
        ends_at = time.monotonic() + self.total_seconds
        request = _request(target, headers, body)
        try:
            with self._connect(target, ends_at) as connection:
                _send(connection, request, ends_at)
                head = _head(connection, ends_at)
        except ssl.SSLCertVerificationError as error:
            reason = f"Its certificate is not good: {error.verify_message}."
            raise Undelivered(reason) from None
        except TimeoutError:
            raise Undelivered("It did not answer in time.") from None
        except OSError as error:
            raise Undelivered(f"It can't be reached: {_reason(error)}.") from None
        return _answer(head)

    def _connect(self, target: Target, ends_at: float) -> socket.socket:
        """A connection to an address that was looked at."""
        error: OSError | None = None
        for address in self._addresses(target):
            try:
                plain = create_connection(
                    (address, target.port), timeout=min(self.connect_seconds, _left(ends_at))
                )
            except OSError as why:
                error = why
                continue
            return self._encrypted(plain, target, ends_at) if target.is_encrypted else plain
        raise error or OSError("no address")

    def _addresses(self, target: Target) -> list[str]:
        """All of the host's; one that is not allowed is reason enough to refuse them all."""
        try:
            found = self.resolve(target.host, target.port)
        except OSError:  # said no better than below: names of our network are nobody's business
            found = []
        if not found or not all(is_allowed(one, may_be_local=self.may_be_local) for one in found):
            raise Undelivered("Its host has no public address.")
        return found

    def _encrypted(self, plain: socket.socket, target: Target, ends_at: float) -> socket.socket:
        try:
            if self.tls is None:
                self.tls = ssl.create_default_context()
            plain.settimeout(_left(ends_at))
            return self.tls.wrap_socket(plain, server_hostname=target.host)
        except BaseException:
            plain.close()
            raise


def _request(target: Target, headers: Mapping[str, str], body: bytes) -> bytes:
    lines = {
        "Host": target.authority,
        "User-Agent": _AGENT,
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Accept": "*/*",
        "Connection": "close",
        **headers,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {target.path} HTTP/1.1\r\n{head}\r\n".encode("ascii") + body


def _send(connection: socket.socket, request: bytes, ends_at: float) -> None:
    connection.settimeout(_left(ends_at))
    try:
        connection.sendall(request)
    except (BrokenPipeError, ConnectionResetError):
        return  # it may have answered before it read everything


def _head(connection: socket.socket, ends_at: float) -> bytes:
    """Status and headers of the answer; each byte may come late, and all of them together not."""
    data = b""
    while True:
        head, end, rest = data.partition(b"\r\n\r\n")
        if end and not _is_interim(head):
            return head
        if end:
            data = rest
            continue
        if len(data) > MOST_BYTES:
            raise Undelivered("Its answer has more than 64 KB of headers.")
        connection.settimeout(_left(ends_at))
        more = connection.recv(MOST_BYTES)
        if not more:
            raise Undelivered("It closed the connection without an answer.")
        data += more


def _is_interim(head: bytes) -> bool:
    """Whether it is a 1xx: another follows."""
    return head.startswith((b"HTTP/1.1 1", b"HTTP/1.0 1"))


def _answer(head: bytes) -> HookAnswer:
    first, *lines = head.split(b"\r\n")
    version, status, *_ = [*first.split(b" "), b""]
    if not version.startswith(b"HTTP/1.") or not status.isdigit() or len(status) != 3:
        raise Undelivered("What it answered is not HTTP.")
    for line in lines:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"retry-after":
            seconds = _retry_after(value.strip().decode("latin-1"))
            return HookAnswer(status=int(status), retry_after_seconds=seconds)
    return HookAnswer(status=int(status))


def _retry_after(value: str) -> float:
    """Seconds, whether they were given as such or as a date (RFC 9110); 0 for what is neither."""
    if value.isascii() and value.isdigit():
        return float(value[:9])
    with suppress(ValueError):
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    return 0.0


def _left(ends_at: float) -> float:
    """Seconds; raises TimeoutError if there are none."""
    left = ends_at - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _reason(error: OSError) -> str:
    """Without addresses: these may be of names that are none of the tenant's business."""
    if isinstance(error, ssl.SSLError):
        return error.reason or "TLS failed"
    return error.strerror or type(error).__name__
