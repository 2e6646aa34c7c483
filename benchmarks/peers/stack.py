"""Our stack in a process of its own, and a client of it."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.peers import driver, effects, processes

CATALOG = Path(__file__).parent.parent / "catalog.toml"
#: How often a client asks for a result that is not there yet.
POLL_SECONDS = 0.05


@dataclass(slots=True)
class Stack:
    """A stack in a process of its own, and a client of it."""

    process: subprocess.Popen[bytes]
    session: aiohttp.ClientSession
    #: Id of each job's response.
    ids: dict[int, str] = field(default_factory=dict)

    def cpu_seconds(self) -> float:
        times = os.times()
        return times.user + times.system + processes.cpu_seconds([self.process.pid])

    async def submit(self, number: int) -> None:
        body = {"model": "null", "input": prompt(number), "background": True}
        async with self.session.post("/v1/responses", json=body) as answer:
            answer.raise_for_status()
            self.ids[number] = (await answer.json())["id"]

    async def submit_all(self, numbers: Iterator[int]) -> None:
        async def some() -> None:
            for number in numbers:
                await self.submit(number)

        await asyncio.gather(*(some() for _ in range(driver.IN_FLIGHT)))

    async def status(self, number: int) -> str:
        """Status of a job; `completed` only with the answer it should have."""
        async with self.session.get(f"/v1/responses/{self.ids[number]}") as answer:
            if answer.status == 404:
                return "missing"
            answer.raise_for_status()
            response = await answer.json()
        if response["status"] == "completed":
            text = response["output"][0]["content"][0]["text"]
            return "completed" if text == prompt(number) else "wrong"
        return str(response["status"])

    async def read(self, number: int, poll_seconds: float) -> None:
        """Wait for a job's result."""
        while (status := await self.status(number)) != "completed":
            if status not in ("queued", "in_progress"):
                raise RuntimeError(f"job {number} is {status}")
            await asyncio.sleep(poll_seconds)

    async def upload(self, path: Path) -> str:
        """Create a batch of the file; its id."""
        with path.open("rb") as stream:
            form = aiohttp.FormData()
            form.add_field("purpose", "batch")
            form.add_field("file", stream, filename=path.name)
            async with self.session.post("/v1/files", data=form) as answer:
                answer.raise_for_status()
                file_id = (await answer.json())["id"]
        body = {
            "input_file_id": file_id,
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
        }
        async with self.session.post("/v1/batches", json=body) as answer:
            answer.raise_for_status()
            return str((await answer.json())["id"])

    async def lines(self, batch_id: str, seconds: float) -> list[dict[str, Any]]:
        """Lines of a batch's output once it has ended; none if it has not in time."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            async with self.session.get(f"/v1/batches/{batch_id}") as answer:
                answer.raise_for_status()
                batch = await answer.json()
            if batch["status"] == "completed":
                async with self.session.get(f"/v1/files/{batch['output_file_id']}/content") as out:
                    data = await out.read()
                return [json.loads(line) for line in data.split(b"\n")[:-1]]
            await asyncio.sleep(POLL_SECONDS)
        return []


@asynccontextmanager
async def running(folder: Path, *options: str) -> AsyncIterator[Stack]:
    """Run `backburner up` on the folder, durable as it always is."""
    command = [
        sys.executable, "-m", "backburner_local.cli", "up", "--json", "--port", "0",
        "--catalog", str(CATALOG), "--max-instances", "1", "--data-dir", str(folder), *options,
    ]  # fmt: skip
    environment = {**os.environ, "BACKBURNER_LOG_LEVEL": "WARNING"}
    process = await asyncio.to_thread(
        subprocess.Popen, command, stdout=subprocess.PIPE, env=environment
    )
    with process:
        try:
            assert process.stdout is not None
            url = json.loads(process.stdout.readline())["url"]
            key = (folder / "dev.key").read_text(encoding="utf-8").strip()
            headers = {"Authorization": f"Bearer {key}"}
            async with aiohttp.ClientSession(url, headers=headers) as session:
                yield Stack(process, session)
        finally:
            if process.poll() is None:
                processes.stop(process, 30)


def prompt(number: int) -> str:
    """What a job asks the model."""
    return f"Job {number} {effects.PAYLOAD}"


def write_file(path: Path, count: int) -> None:
    """The jobs as lines of a batch."""
    with path.open("w", encoding="utf-8") as stream:
        for number in range(count):
            messages = [{"role": "user", "content": prompt(number)}]
            line = {
                "custom_id": str(number),
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": {"model": "null", "messages": messages},
            }
            stream.write(json.dumps(line) + "\n")
