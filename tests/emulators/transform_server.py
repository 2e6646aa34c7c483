"""A tiny model server for transform jobs; what is in a line says how it behaves.

Usage: ``transform_server.py PORT``. ``EXECUTION_PARAMETERS`` is what it tells of itself, and
``SEEN`` names a file that it notes its process and each body in.
"""

import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

LOCK = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        offered = os.environ.get("EXECUTION_PARAMETERS")
        if self.path == "/ping":
            self.answer(200, b"")
        elif self.path == "/execution-parameters" and offered is not None:
            self.answer(200, offered.encode())
        else:
            self.answer(404, b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.note(body)
        if b"refuse" in body:
            self.answer(400, b"no")
        elif b"break" in body:
            self.answer(500, b"no")
        elif b"die" in body:
            os._exit(3)
        elif b"flaky" in body and self.is_first(body):
            self.answer(503, b"not yet")
        elif b"environment" in body:
            self.answer(200, json.dumps(dict(os.environ)).encode())
        elif b"headers" in body:
            self.answer(200, json.dumps(dict(self.headers)).encode())
        else:
            if b"slow" in body:
                time.sleep(0.3)
            self.answer(200, body.upper())

    def note(self, body: bytes) -> None:
        if "SEEN" in os.environ:
            with LOCK, Path(os.environ["SEEN"]).open("a") as seen:
                seen.write(json.dumps([os.getpid(), body.decode()]) + "\n")

    def is_first(self, body: bytes) -> bool:
        with LOCK:
            lines = Path(os.environ["SEEN"]).read_text().splitlines()
        return [json.loads(line)[1] for line in lines].count(body.decode()) == 1

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True


if __name__ == "__main__":
    Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
