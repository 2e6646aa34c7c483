"""An OpenAI-compatible server that does to a request what its prompt says."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.local.stacks import MODEL


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._answer(json.dumps({"data": [{"id": MODEL, "object": "model"}]}).encode())

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = asked["messages"][-1]["content"]
        fine = _completion(prompt)
        match prompt:
            case "answer with a page":
                self._answer(b"<html>Bad Gateway</html>")
            case "answer with nothing":
                self._answer(b"")
            case "answer with a list":
                self._answer(b"[" + fine + b"]")
            case "answer with half":
                self._answer(fine[: len(fine) // 2])
            case "answer with an error":
                self._answer(b'{"error":{"message":"CUDA out of memory"}}')
            case "hang up":
                self.close_connection = True
            case "hang up in the middle":
                self._answer(fine[: len(fine) // 2], length=len(fine))
                self.close_connection = True
            case "be slow":
                time.sleep(2.0)
                self.close_connection = True  # nobody waits any more
            case _:
                self._answer(fine)

    def _answer(self, body: bytes, length: int | None = None) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


def _completion(text: str) -> bytes:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    body = {"object": "chat.completion", "choices": [choice], "usage": usage}
    return json.dumps(body).encode()


@contextmanager
def hostile_server() -> Iterator[str]:
    """Its base URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
