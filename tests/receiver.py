"""A receiver of webhooks: HTTPS on a real socket, with a certificate of its own.

What it is told it keeps, and answers as a test has it answer. It may end and come back on its port.
"""

import datetime
import ipaddress
import json
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

#: Name that the certificate is good for, beside `localhost` and 127.0.0.1.
NAME = "hooks.example.com"


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """One request."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def event(self) -> Any:
        return json.loads(self.body)

    @property
    def event_id(self) -> str:
        return self.headers["webhook-id"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What is answered; no status: the connection ends without an answer."""

    status: int | None = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


class Receiver:
    """Runs from `start` to `stop`, and again on the same port."""

    def __init__(self, folder: Path, *, is_encrypted: bool = True) -> None:
        self.certificate = folder / "receiver.pem"
        self.scheme = "https" if is_encrypted else "http"
        if is_encrypted and not self.certificate.exists():
            _write_certificate(self.certificate)
        self.reply: Callable[[Heard], Reply] = lambda _: Reply()
        #: All that was heard, and which of it was answered with 2xx.
        self.heard: list[Heard] = []
        self.taken: list[Heard] = []
        self.port = 0
        self._lock = threading.Lock()
        self._server: ThreadingHTTPServer | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/hook"

    @property
    def named_url(self) -> str:
        return f"{self.scheme}://{NAME}:{self.port}/hook"

    def trust(self) -> ssl.SSLContext:
        """For clients that believe this receiver alone."""
        return ssl.create_default_context(cafile=str(self.certificate))

    def forget(self) -> None:
        with self._lock:
            self.heard, self.taken = [], []
        self.reply = lambda _: Reply()

    def start(self) -> Self:
        server = _Server(("127.0.0.1", self.port), _handler(self))
        if self.scheme == "https":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate)
            # The handshake is the handler's: a client that dawdles must not keep others waiting.
            server.socket = context.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port = int(server.server_address[1])
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        self._server = server
        return self

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def take(self, heard: Heard) -> Reply:
        """Keep what came, and say what is answered."""
        reply = self.reply(heard)
        with self._lock:
            self.heard.append(heard)
            if reply.status is not None and 200 <= reply.status < 300:
                self.taken.append(heard)
        return reply


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that break off are what is tested."""


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = receiver.take(Heard(path=self.path, headers=headers, body=body))
            if reply.status is None:
                self.close_connection = True
                return
            self.send_response(reply.status)
            for name, value in {"content-length": str(len(reply.body)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body)

        def log_message(self, *_: Any) -> None:
            """Nobody reads it."""

    return Handler


def _write_certificate(path: Path) -> None:
    """One that signs itself, with its key; good for a day."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.datetime.now(datetime.UTC)
    names: list[x509.GeneralName] = [
        x509.DNSName(NAME),
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    ]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
