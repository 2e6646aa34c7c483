"""The container that answers: one small server in plain Python; a call's body says how it behaves.

Usage: ``serve.py serve`` as SageMaker starts it (port 8080), or ``serve.py PORT``.
"""

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """Echoes `say`, after `sleep` seconds, with `status`, and tells how many ran at once."""

    protocol_version = "HTTP/1.1"
    lock = threading.Lock()
    running = 0
    peak = 0

    def do_GET(self) -> None:
        self.answer(200 if self.path == "/ping" else 404, b"")

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        with self.lock:
            Handler.running += 1
            Handler.peak = max(Handler.peak, Handler.running)
        time.sleep(asked.get("sleep", 0))
        with self.lock:
            Handler.running -= 1
        answer = {"said": asked.get("say"), "peak": Handler.peak, "headers": self.headers.keys()}
        self.answer(asked.get("status", 200), json.dumps(answer).encode())

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """Takes many calls at once: it is not what limits concurrency."""

    request_queue_size = 256
    daemon_threads = True


if __name__ == "__main__":
    is_local = sys.argv[1].isdigit()
    address = ("127.0.0.1", int(sys.argv[1])) if is_local else ("0.0.0.0", 8080)
    Server(address, Handler).serve_forever()
