"""A tiny container that takes shards; the prompt of a line says what it does to its object.

Usage: ``shard_server.py PORT``. The file that ``SEEN`` names has a line for each line that it ran.
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
        self.answer(200 if self.path == "/ping" else 404, b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        requests = [json.loads(line) for line in body.split(b"\n") if line]
        prompts = " ".join(str(request["body"]) for request in requests)
        if "refuse" in prompts:
            self.answer(400, b"")
        elif "break" in prompts:
            self.answer(500, b"")
        else:
            time.sleep(0.2 * prompts.count("slow"))
            self.note(requests)
            self.answer(200, b"\n".join(self.outcome(request) for request in requests))

    def outcome(self, request: dict[str, object]) -> bytes:
        told = [self.headers["Content-Type"], self.headers["Accept"]]
        outcome = {"line": request["line"], "status_code": 200, "body": {"told": told}}
        return json.dumps(outcome).encode()

    def note(self, requests: list[dict[str, object]]) -> None:
        if "SEEN" in os.environ:
            with LOCK, Path(os.environ["SEEN"]).open("a") as seen:
                seen.writelines(f"{request['custom_id']}\n" for request in requests)

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
