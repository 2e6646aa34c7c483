"""How much of an engine is idle while work waits: the price of handing shards over.

The engine takes the time that a GPU with continuous batching would (engines/token_time.py), and
keeps account of how much of its batch is in use. What counts is the time between the first full
batch and the last request that joins: all along there is work that it could do.
"""

import itertools
import json
import time
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.stack import Rows, Running, a_request, running

#: Requests that the engine runs together.
BATCH = 64
#: Shards are ten times as fast as those of a real model, so handing over costs ten times the share.
PACE = {
    "BACKBURNER_NULL_BATCH": str(BATCH),
    "BACKBURNER_NULL_STEP_SECONDS": "0.005",
    "BACKBURNER_NULL_PREFILL_SECONDS_PER_TOKEN": "0.00001",
}
#: Lengths of the answers, in tokens, in turn.
LENGTHS = (16, 128, 32, 48, 96, 24, 64)


@dataclass(frozen=True, slots=True)
class Account:
    """What the engine has done since it started."""

    at: float
    admitted: int
    used_seconds: float


def measure(count: int) -> Rows:
    """The idle share of a drain, with as many slots as the instance takes shards at once."""
    with running(environment=PACE) as stack:
        path = stack.data_dir / "input.jsonl"
        _write(path, count)
        stack.warm("paced")
        accounts = _watch(stack, path)
    first = next(one for one in accounts if one.admitted >= _full(count))
    last = next(one for one in reversed(accounts) if one.admitted <= count - BATCH)
    seconds = last.at - first.at
    share = 1 - (last.used_seconds - first.used_seconds) / (seconds * BATCH)
    return [
        ("lines, shards", f"{count:,}, {-(-count // 500)}"),
        ("shards at the instance at once, lines of one, the engine's batch", f"4, 500, {BATCH}"),
        ("seconds that were watched, all with work waiting", f"{seconds:.1f}"),
        ("share of the engine that was idle", f"{share:.2%}"),
        ("requests a second", f"{(last.admitted - first.admitted) / seconds:,.0f}"),
    ]


def _full(count: int) -> int:
    """Requests that have joined when the batch is full for sure: the canary has run alone."""
    return min(count // 10, 500)


def _write(path: Path, count: int) -> None:
    lengths = itertools.cycle(LENGTHS)
    with path.open("w", encoding="utf-8") as stream:
        for number in range(count):
            line = a_request(number, model="paced", max_tokens=next(lengths))
            stream.write(json.dumps(line) + "\n")


def _watch(stack: Running, path: Path) -> list[Account]:
    """Run the file, and look at the engine's account all the time."""
    (instance,) = stack.instances
    arguments = Path(f"/proc/{instance}/cmdline").read_text(encoding="utf-8").split("\0")
    url = f"http://127.0.0.1:{arguments[arguments.index('--port') + 1]}/metrics"
    batch = stack.submit(path)
    accounts: list[Account] = []
    with httpx.Client() as client:
        for turn in itertools.count():
            values = dict(line.split() for line in client.get(url).text.splitlines())
            accounts.append(
                Account(
                    float(values["backburner_engine_clock_seconds"]),
                    int(values["backburner_engine_requests_total"]),
                    float(values["backburner_engine_request_seconds_total"]),
                )
            )
            if turn % 20 == 0 and stack.client.batch(batch["id"])["status"] == "completed":
                return accounts
            time.sleep(0.05)
    raise AssertionError("it counts for ever")
