"""A batch from the start of its upload to the end of reading its ordered output."""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from benchmarks.stack import Rows, Running, peak_mib, running, write_requests

#: Lines of a shard: see the catalog.
LINES = 2000

#: What a million lines may take at most, in MiB.
MEMORY_MIB = 256


class _Named(msgspec.Struct):
    custom_id: str


#: Looks at all of a line, at little cost: what reads the output shares the cores.
_read = msgspec.json.Decoder(_Named).decode


def strict_parse(path: Path) -> float:
    """Floor of a batch: lines a second that one core parses, and nothing else."""
    started = time.perf_counter()
    count = 0
    with path.open("rb") as stream:
        for line in stream:
            msgspec.json.decode(line)
            count += 1
    return count / (time.perf_counter() - started)


def run(stack: Running, path: Path, count: int) -> float:
    """Run a file of so many requests; the seconds that it took. Its output is whole, in order."""
    started = time.perf_counter()
    batch = stack.ended(stack.submit(path))
    assert batch["status"] == "completed", batch
    expected = 0
    for line in _lines(stack.client.content(batch["output_file_id"])):
        assert _read(line).custom_id == f"request-{expected}"
        expected += 1
    assert expected == count
    return time.perf_counter() - started


def measure(count: int) -> Rows:
    """Speed and cost of a line."""
    with running() as stack:
        path = stack.data_dir / "input.jsonl"
        write_requests(path, count)
        stack.warm()
        idle_mib = stack.peak_mib()
        cpu, own_cpu = stack.cpu_seconds(), stack.cpu_seconds(instances=False)
        seconds = run(stack, path, count)
        cpu = stack.cpu_seconds() - cpu
        own_cpu = stack.cpu_seconds(instances=False) - own_cpu
        floor = strict_parse(path)
        rate = count / seconds
        return [
            ("lines, lines of a shard", f"{count:,}, {LINES:,}"),
            ("lines a second, upload to ordered output read", f"{rate:,.0f}"),
            ("floor: strict parse of the same file, lines a second", f"{floor:,.0f}"),
            ("share of the floor", f"{rate / floor:.1%}"),
            ("CPU a line, all processes", f"{cpu / count * 1e6:.0f} µs"),
            ("CPU a line, without the instance", f"{own_cpu / count * 1e6:.0f} µs"),
            (
                "peak memory of the stack, without its instance",
                f"{stack.peak_mib()} MiB (idle: {idle_mib} MiB)",
            ),
        ]


def measure_memory(count: int) -> Rows:
    """Memory at the largest file that is taken."""
    with running() as stack:
        path = stack.data_dir / "input.jsonl"
        write_requests(path, count)
        stack.warm()
        idle_mib = stack.peak_mib()
        seconds = run(stack, path, count)
        peak = stack.peak_mib()
        return [
            ("lines, size of the file", f"{count:,}, {path.stat().st_size >> 20} MiB"),
            ("lines of a shard", f"{LINES:,}"),
            ("peak memory of the stack, without its instance", f"{peak} MiB"),
            ("the same when idle", f"{idle_mib} MiB"),
            ("growth a line", f"{(peak - idle_mib) * 2**20 / count:.0f} bytes"),
            ("limit", f"{MEMORY_MIB} MiB: {'kept' if peak < MEMORY_MIB else 'broken'}"),
            ("peak memory of the instance", f"{max(map(peak_mib, stack.instances))} MiB"),
            ("lines a second, upload to ordered output read", f"{count / seconds:,.0f}"),
        ]


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    left = b""
    for chunk in chunks:
        *lines, left = (left + chunk).split(b"\n")
        yield from lines
    assert not left
