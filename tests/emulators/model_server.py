"""A tiny model server for tests; a call's custom attributes say how it behaves.

Usage: ``model_server.py PORT [deaf]``; ``deaf`` ignores SIGTERM.
"""

import json
import os
import signal
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        self.answer(200 if self.path == "/ping" else 404, b"")

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        what, _, value = (self.headers.get("X-Amzn-SageMaker-Custom-Attributes") or "").partition(
            "="
        )
        getattr(self, f"do_{what}", self.do_echo)(body, value)

    def do_echo(self, body, value):
        self.answer(200, body, self.headers.get("Content-Type") or "application/octet-stream")

    def do_headers(self, body, value):
        self.answer(200, json.dumps(self.headers.items()).encode())

    def do_status(self, body, value):
        self.answer(int(value), b'{"error":"model says no"}')

    def do_sleep(self, body, value):
        time.sleep(float(value))
        self.answer(200, body)

    def do_large(self, body, value):
        self.answer(200, b"x" * int(value))

    def do_chunked(self, body, value):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"2\r\nok\r\n0\r\n\r\n")

    def do_wordy(self, body, value):
        self.answer(200, body, "text/plain", {"X-Wordy": "w" * int(value)})

    def do_garbage(self, body, value):
        self.wfile.write(b"this is not HTTP at all\r\n\r\n")
        self.close_connection = True

    def do_hangup(self, body, value):
        self.close_connection = True

    def do_crash(self, body, value):
        """Die; only once when the value names a file that then exists."""
        if value and Path(value).exists():
            self.answer(200, b"survived")
            return
        if value:
            Path(value).touch()
        os._exit(3)

    def answer(self, status, body, content_type="application/json", headers=None):
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        for name, text in (headers or {}).items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


if __name__ == "__main__":
    if "deaf" in sys.argv:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
