"""Servers of the model container as subprocesses on free loopback ports, and what they answer."""

import json
import subprocess
import sys
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

MODEL_DIR = Path(__file__).resolve().parents[2] / "model"
SHIPPED_MODEL = MODEL_DIR / "mistral-tiny"


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def outcomes(self):
        return [json.loads(line) for line in self.body.split(b"\n") if line]


@dataclass
class Server:
    process: subprocess.Popen[str]
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def send(self, method: str, path: str, body=None, **headers: str) -> Reply:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(
                method, path, body, {name.replace("_", "-"): text for name, text in headers.items()}
            )
            response = connection.getresponse()
            lower = {name.lower(): text for name, text in response.getheaders()}
            return Reply(response.status, lower, response.read())
        finally:
            connection.close()

    def invoke(self, body, content_type="application/json", **headers: str) -> Reply:
        data = body if isinstance(body, bytes | str) else json.dumps(body)
        return self.send("POST", "/invocations", data, content_type=content_type, **headers)

    def invoke_shard(self, lines) -> Reply:
        return self.invoke("\n".join(map(json.dumps, lines)), "application/jsonl")


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "backburner_model.server", "--port", "0", *arguments]


def read_port(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("ready http://127.0.0.1:"), line
    return int(line.split()[1].rsplit(":", 1)[1])


def start(*arguments: str) -> Server:
    process = subprocess.Popen(command(*arguments), stdout=subprocess.PIPE, text=True)
    try:
        return Server(process, read_port(process))
    except BaseException:
        end(process)
        raise


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
