"""What jobs leave behind: one record a run, appended to a file that all workers share.

No queue's own results are asked, so that every queue is counted in the same way.
"""

import asyncio
import os
import struct
import time
from functools import cache
from pathlib import Path

#: Number of the job, and nanoseconds of the monotonic clock, which all processes share.
_RECORD = struct.Struct("<QQ")

#: Where the file is, and how long a job takes before it leaves its record.
FILE, SECONDS = "PEERS_EFFECTS", "PEERS_JOB_SECONDS"


#: What every job carries.
PAYLOAD = "x" * 1024


def work(number: int, payload: str) -> None:
    """Do one job."""
    _check(payload)
    if seconds := _seconds():
        time.sleep(seconds)
    record(number)


async def work_async(number: int, payload: str) -> None:
    """Do one job on an event loop."""
    _check(payload)
    if seconds := _seconds():
        await asyncio.sleep(seconds)
    record(number)


def _check(payload: str) -> None:
    if payload != PAYLOAD:
        raise ValueError("not the payload that was handed in")


def record(number: int) -> None:
    """Say that a job has run; a kill leaves whole records."""
    os.write(_file(), _RECORD.pack(number, time.monotonic_ns()))


@cache
def _file() -> int:
    return os.open(os.environ[FILE], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


@cache
def _seconds() -> float:
    return float(os.environ.get(SECONDS, "0"))


def count(path: Path) -> int:
    """Runs so far."""
    return path.stat().st_size // _RECORD.size if path.exists() else 0


def runs(path: Path) -> dict[int, list[int]]:
    """When each job ran, in nanoseconds."""
    found: dict[int, list[int]] = {}
    for number, moment in _RECORD.iter_unpack(path.read_bytes() if path.exists() else b""):
        found.setdefault(number, []).append(moment)
    return found
