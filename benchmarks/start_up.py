"""Time from `backburner up` to its URL, in a fresh folder, beside the start of a bare server.

Modules were compiled before, as they are where it was started once or installed as a wheel.
"""

import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.stack import Rows, command, cpu_seconds, temporary_folder

ROUNDS = 5

_BARE = """
import asyncio
from aiohttp import web
async def main():
    runner = web.AppRunner(web.Application())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0], flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""

BARE = "floor: a bare aiohttp server"


def measure() -> Rows:
    """Medians, as rows of the page."""
    found: dict[str, list[tuple[float, float]]] = {}
    with temporary_folder() as compiled:
        for turn in range(ROUNDS + 1):
            for name, times in _round(compiled).items():
                if turn:  # the first round compiles, and warms the disk's cache
                    found.setdefault(name, []).append(times)
    return [
        (
            name,
            f"{statistics.median(one for one, _ in times):.2f} s · "
            f"CPU {statistics.median(one for _, one in times):.2f} s",
        )
        for name, times in found.items()
    ]


def _round(compiled: Path) -> dict[str, tuple[float, float]]:
    times = {BARE: _start([sys.executable, "-c", _BARE], compiled)}
    for engine in ("null", "openvino"):
        with temporary_folder() as folder:
            times[f"`backburner up --engine {engine}`"] = _start(
                command(folder, engine=engine), compiled
            )
    return times


def _start(arguments: list[str], compiled: Path) -> tuple[float, float]:
    """Seconds until the first line of output, and the CPU seconds that the process spent."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(compiled)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    started = time.perf_counter()
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        seconds = time.perf_counter() - started
        cpu = cpu_seconds(process.pid)
        process.send_signal(signal.SIGTERM)
    return seconds, cpu
