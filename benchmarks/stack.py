"""A stack in a process of its own, as users start it, and what it costs."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backburner_local.client import ENDED, Client

HERE = Path(__file__).parent
#: Names and values of one section of the page.
Rows = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Running:
    """A stack that answers."""

    url: str
    key: str
    pid: int
    data_dir: Path
    client: Client

    @property
    def instances(self) -> list[int]:
        """Processes of its endpoint."""
        return [pid for pid in _tree(self.pid) if pid != self.pid]

    def peak_mib(self) -> int:
        """Most memory that it ever held, without its instances."""
        return peak_mib(self.pid)

    def cpu_seconds(self, *, instances: bool = True) -> float:
        """CPU time of the stack, and of everything it started."""
        pids = _tree(self.pid) if instances else iter((self.pid,))
        return sum(map(cpu_seconds, pids))

    def warm(self, model: str = "null") -> None:
        """Have the instance started: scaling is not what is measured here."""
        answer = self.client.http.post(
            "/v1/responses", json={"model": model, "input": "Hello", "background": True}
        ).raise_for_status()
        path = f"/v1/responses/{answer.json()['id']}"
        while self.client.http.get(path).json()["status"] != "completed":
            time.sleep(0.05)

    def submit(self, path: Path) -> dict[str, Any]:
        """Upload a file and make a batch of it."""
        return self.client.create_batch(
            input_file_id=self.client.upload(path)["id"],
            endpoint="/v1/chat/completions",
            completion_window="24h",
        )

    def ended(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The batch once it has ended."""
        while (batch := self.client.batch(batch["id"]))["status"] not in ENDED:
            time.sleep(0.1)
        return batch


def peak_mib(pid: int) -> int:
    """Most memory that a process ever held."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) // 1024


def cpu_seconds(pid: int) -> float:
    """CPU time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def _tree(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError):  # a thread that has just ended
            for child in (task / "children").read_text(encoding="ascii").split():
                yield from _tree(int(child))


def command(data_dir: Path, *options: str, engine: str = "null") -> list[str]:
    """What starts a stack at a free port."""
    return [
        sys.executable, "-m", "backburner_local.cli", "up", "--json", "--port", "0",
        "--engine", engine, "--data-dir", str(data_dir), *options,
    ]  # fmt: skip


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """On the disk that is measured: `BENCH_DIR`, or where temporary files are."""
    with tempfile.TemporaryDirectory(
        prefix="backburner-bench-", dir=os.environ.get("BENCH_DIR")
    ) as folder:
        yield Path(folder)


@contextmanager
def running(*options: str, environment: Mapping[str, str] | None = None) -> Iterator[Running]:
    """Run `backburner up` with the null engine and one instance, durable as it always is."""
    catalog = ("--catalog", str(HERE / "catalog.toml"), "--max-instances", "1")
    variables = {**os.environ, "BACKBURNER_LOG_LEVEL": "WARNING", **(environment or {})}
    with (
        temporary_folder() as folder,
        subprocess.Popen(
            command(folder, *catalog, *options),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=variables,
        ) as stack,
    ):
        assert stack.stdout is not None
        url = json.loads(stack.stdout.readline())["url"]
        key = (folder / "dev.key").read_text(encoding="utf-8").strip()
        try:
            with Client.connect(url, key) as client:
                yield Running(url, key, stack.pid, folder, client)
        finally:
            stack.send_signal(signal.SIGTERM)
            stack.wait(60)


def write_requests(path: Path, count: int, *, model: str = "null", **body: int) -> None:
    """Short requests: about 170 bytes a line."""
    with path.open("w", encoding="utf-8") as stream:
        for number in range(count):
            stream.write(json.dumps(a_request(number, model=model, **body)) + "\n")


def a_request(number: int, *, model: str = "null", **body: int) -> dict[str, Any]:
    """One line of a file."""
    return {
        "custom_id": f"request-{number}",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {
            "model": model,
            "messages": [{"role": "user", "content": f"Say {number}."}],
            **body,
        },
    }
