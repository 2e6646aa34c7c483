"""First figures, each beside its floor in the same run (make bench).

The engine answers at once, so what is measured is everything else.
"""

import argparse
import asyncio
import json
import os
import platform
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import msgspec

from backburner_local.client import ENDED, Client
from benchmarks import cold_start

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Running:
    """A stack in a process of its own."""

    url: str
    key: str
    pid: int
    data_dir: Path

    @property
    def client(self) -> Client:
        return Client.connect(self.url, self.key)

    def peak_mib(self) -> int:
        """Most memory that the process ever held, without its instances."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        return int(status.split("VmHWM:")[1].split()[0]) // 1024

    def cpu_seconds(self) -> float:
        """CPU time of the stack and of everything it started."""
        ticks = 0
        for pid in _tree(self.pid):
            fields = (
                Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
            )
            ticks += sum(map(int, fields[11:13]))
        return ticks / os.sysconf("SC_CLK_TCK")


def _tree(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text(encoding="ascii").split():
            yield from _tree(int(child))


@contextmanager
def running(*options: str) -> Iterator[Running]:
    """Run `backburner up` with the null engine, durable as it always is."""
    with tempfile.TemporaryDirectory(
        prefix="backburner-bench-", dir=os.environ.get("BENCH_DIR")
    ) as folder:
        command = [
            sys.executable, "-m", "backburner_local.cli", "up", "--json", "--port", "0",
            "--engine", "null", "--catalog", str(HERE / "catalog.toml"), "--max-instances", "1",
            "--data-dir", folder, *options,
        ]  # fmt: skip
        environment = {**os.environ, "BACKBURNER_LOG_LEVEL": "WARNING"}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as stack:
            assert stack.stdout is not None
            url = json.loads(stack.stdout.readline())["url"]
            key = (Path(folder) / "dev.key").read_text(encoding="utf-8").strip()
            try:
                yield Running(url, key, stack.pid, Path(folder))
            finally:
                stack.send_signal(signal.SIGTERM)
                stack.wait(60)


def write_requests(path: Path, count: int) -> None:
    """Short requests: about 170 bytes a line."""
    with path.open("w", encoding="utf-8") as stream:
        for number in range(count):
            body = {"model": "null", "messages": [{"role": "user", "content": f"Say {number}."}]}
            line = {
                "custom_id": f"request-{number}",
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": body,
            }
            stream.write(json.dumps(line) + "\n")


def strict_parse(path: Path) -> float:
    """Floor of a batch: lines a second that one core parses, and nothing else."""
    started = time.perf_counter()
    count = 0
    with path.open("rb") as stream:
        for line in stream:
            msgspec.json.decode(line)
            count += 1
    return count / (time.perf_counter() - started)


def measure_batch(count: int) -> list[tuple[str, str]]:
    """One batch from the start of its upload to the end of reading its ordered output."""
    with running() as stack:
        path = stack.data_dir / "input.jsonl"
        write_requests(path, count)
        client = stack.client
        _warm(client)
        idle_mib = stack.peak_mib()
        cpu = stack.cpu_seconds()
        started = time.perf_counter()
        batch = client.create_batch(
            input_file_id=client.upload(path)["id"],
            endpoint="/v1/chat/completions",
            completion_window="24h",
        )
        while (batch := client.batch(batch["id"]))["status"] not in ENDED:
            time.sleep(0.1)
        data = b"".join(client.content(batch["output_file_id"]))
        seconds = time.perf_counter() - started
        cpu = stack.cpu_seconds() - cpu
        ids = [json.loads(line)["custom_id"] for line in data.split(b"\n")[:-1]]
        assert ids == [f"request-{number}" for number in range(count)]
        floor = strict_parse(path)
        rate = count / seconds
        return [
            ("lines", f"{count:,}"),
            ("lines a second, upload to ordered output read", f"{rate:,.0f}"),
            ("floor: strict parse of the same file, lines a second", f"{floor:,.0f}"),
            ("share of the floor", f"{rate / floor:.1%}"),
            ("CPU a line, all processes", f"{cpu / count * 1e6:.0f} µs"),
            (
                "peak memory of the stack, without its instance",
                f"{stack.peak_mib()} MiB (idle: {idle_mib} MiB)",
            ),
        ]


def _warm(client: Client) -> None:
    """Have the instance started: scaling is not what is measured here."""
    answer = client.http.post(
        "/v1/responses", json={"model": "null", "input": "Hello", "background": True}
    ).raise_for_status()
    path = f"/v1/responses/{answer.json()['id']}"
    while client.http.get(path).json()["status"] != "completed":
        time.sleep(0.05)


async def _submit_all(
    stack: Running, count: int, connections: int
) -> tuple[float, list[float], list[str]]:
    """Submit single requests; the rate, each one's seconds, and the ids."""
    latencies: list[float] = []
    ids: list[str] = []
    left = iter(range(count))

    async def one(session: aiohttp.ClientSession) -> None:
        for number in left:
            body = {"model": "null", "input": f"Say {number}.", "background": True}
            started = time.perf_counter()
            async with session.post("/v1/responses", json=body) as answer:
                answer.raise_for_status()
                ids.append((await answer.json())["id"])
            latencies.append(time.perf_counter() - started)

    headers = {"Authorization": f"Bearer {stack.key}"}
    async with aiohttp.ClientSession(stack.url, headers=headers) as session:
        started = time.perf_counter()
        await asyncio.gather(*(one(session) for _ in range(connections)))
        return count / (time.perf_counter() - started), latencies, ids


def measure_singles(count: int, connections: int) -> list[tuple[str, str]]:
    """Single requests over HTTP, each durable before its answer; beside a bare SQLite queue."""
    with running() as stack:
        client = stack.client
        _warm(client)
        cpu = stack.cpu_seconds()
        started = time.perf_counter()
        rate, latencies, ids = asyncio.run(_submit_all(stack, count, connections))
        for name in reversed(ids):
            while client.http.get(f"/v1/responses/{name}").json()["status"] != "completed":
                time.sleep(0.05)
        end_to_end = count / (time.perf_counter() - started)
        cpu = stack.cpu_seconds() - cpu
        floor_submit, floor_end = bare_queue(stack.data_dir / "floor.sqlite", count)
        cuts = statistics.quantiles(latencies, n=100)
        return [
            ("requests, connections", f"{count:,}, {connections}"),
            ("submissions a second", f"{rate:,.0f}"),
            ("floor: bare SQLite queue, one durable job a transaction", f"{floor_submit:,.0f}"),
            ("share of the floor", f"{rate / floor_submit:.0%}"),
            ("submission p50, p99", f"{cuts[49] * 1e3:.1f} ms, {cuts[98] * 1e3:.1f} ms"),
            ("end to end a second", f"{end_to_end:,.0f}"),
            ("floor: the same queue, insert, claim and finish", f"{floor_end:,.0f}"),
            ("share of the floor", f"{end_to_end / floor_end:.0%}"),
            ("CPU a request, all processes", f"{cpu / count * 1e6:,.0f} µs"),
        ]


def bare_queue(path: Path, count: int) -> tuple[float, float]:
    """Floor of single requests: jobs a second put into a durable SQLite table, and worked off."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE jobs (id INTEGER PRIMARY KEY, body TEXT, state INTEGER)")
    connection.execute("CREATE INDEX waiting ON jobs (id) WHERE state = 0")
    body = "x" * 200
    started = time.perf_counter()
    for _ in range(count):
        connection.execute("INSERT INTO jobs (body, state) VALUES (?, 0)", (body,))
    submitted = time.perf_counter()
    for _ in range(count):
        (job,) = connection.execute(
            "SELECT id FROM jobs WHERE state = 0 ORDER BY id LIMIT 1"
        ).fetchone()
        connection.execute("UPDATE jobs SET state = 1 WHERE id = ?", (job,))
        connection.execute("UPDATE jobs SET state = 2 WHERE id = ?", (job,))
    ended = time.perf_counter()
    connection.close()
    return count / (submitted - started), count / (ended - started)


def render(sections: dict[str, list[tuple[str, str]]]) -> str:
    """The results as a page."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`. Machines are noisy: compare the shares of the floor, which was",
        "measured in the same run. The engine answers at once; what is accepted is fsynced first.",
        "Beside what people would use instead: [peers.md](peers.md).",
        "",
        f"{time.strftime('%Y-%m-%d')} · commit {commit} · {os.cpu_count()} cores, {_processor()} ·"
        f" Python {platform.python_version()} · load average at the end {os.getloadavg()[0]:.1f}",
    ]
    for title, rows in sections.items():
        lines += ["", f"## {title}", "", "| | |", "|---|---|"]
        lines += [f"| {name} | {value} |" for name, value in rows]
    return "\n".join(lines) + "\n"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def main() -> None:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--output", type=Path, default=HERE / "results.md")
    arguments = parser.parse_args()
    sections = {
        "A batch": measure_batch(arguments.lines),
        "Single requests, 1 connection": measure_singles(arguments.requests // 5, 1),
        "Single requests, 16 connections": measure_singles(arguments.requests, 16),
        "Cold start, median of 10 fresh processes": cold_start.measure(),
    }
    page = render(sections)
    print(page)
    arguments.output.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
