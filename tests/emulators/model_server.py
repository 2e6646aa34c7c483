"""A tiny model server for tests; a call's custom attributes say how it behaves.

Usage: ``model_server.py PORT [deaf]``; ``deaf`` ignores SIGTERM.
"""

import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    running = 0
    lock = threading.Lock()
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self.answer(200 if self.path == "/ping" else 404, b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        what, _, value = (self.headers.get("X-Amzn-SageMaker-Custom-Attributes") or "").partition(
            "="
        )
        getattr(self, f"do_{what}", self.do_echo)(body, value)

    def do_echo(self, body: bytes, value: str) -> None:
        self.answer(200, body, self.headers.get("Content-Type") or "application/octet-stream")

    def do_headers(self, body: bytes, value: str) -> None:
        self.answer(200, json.dumps(self.headers.items()).encode())

    def do_status(self, body: bytes, value: str) -> None:
        self.answer(int(value), b'{"error":"model says no"}')

    def do_sleep(self, body: bytes, value: str) -> None:
        time.sleep(float(value))
        self.answer(200, body)

    def do_peak(self, body: bytes, value: str) -> None:
        """How many ran at once while this one did, and the process they ran in."""
        with self.lock:
            Handler.running += 1
        time.sleep(float(value) / 2)
        peak = Handler.running
        time.sleep(float(value) / 2)
        with self.lock:
            Handler.running -= 1
        self.answer(200, f"{peak} {os.getpid()}".encode())

    def do_large(self, body: bytes, value: str) -> None:
        self.answer(200, b"x" * int(value))

    def do_chunked(self, body: bytes, value: str) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"2\r\nok\r\n0\r\n\r\n")

    def do_wordy(self, body: bytes, value: str) -> None:
        self.answer(200, body, "text/plain", {"X-Wordy": "w" * int(value)})

    def do_garbage(self, body: bytes, value: str) -> None:
        self.wfile.write(b"this is not HTTP at all\r\n\r\n")
        self.close_connection = True

    def do_hangup(self, body: bytes, value: str) -> None:
        self.close_connection = True

    def do_crash(self, body: bytes, value: str) -> None:
        """Die; only once when the value names a file that then exists."""
        if value and Path(value).exists():
            self.answer(200, b"survived")
            return
        if value:
            Path(value).touch()
        os._exit(3)

    def answer(
        self,
        status: int,
        body: bytes,
        content_type: str = "application/json",
        headers: dict[str, str] | None = None,
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        for name, text in (headers or {}).items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


if __name__ == "__main__":
    if "deaf" in sys.argv:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
