"""The page of results: each section says when and where it was measured."""

import os
import platform
import subprocess
import time
from pathlib import Path

from benchmarks.stack import Rows

_HEAD = """\
# Benchmarks

Written by `make bench`; the last section by `make bench-million`. Machines are noisy: compare the
shares of the floor, which was measured in the same run. The engine answers at once unless it is
said otherwise; what is accepted is fsynced first. Beside what people would use instead:
[peers.md](peers.md).
"""


def section(rows: Rows) -> str:
    """Where it was measured, and the rows."""
    lines = [_provenance(), "", "| | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in rows]
    return "\n".join(lines)


def write(path: Path, sections: dict[str, str], order: list[str]) -> str:
    """Put sections onto the page in their order; others stay as they are, unless unknown."""
    before = _read(path)
    kept = {title: sections.get(title) or before.get(title) for title in order}
    parts = [_HEAD, *(f"## {title}\n\n{body}\n" for title, body in kept.items() if body)]
    page = "\n".join(parts)
    path.write_text(page, encoding="utf-8")
    return page


def _read(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    _, *parts = path.read_text(encoding="utf-8").split("\n## ")
    return {title: body.strip("\n") for title, _, body in (part.partition("\n") for part in parts)}


def _provenance() -> str:
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return (
        f"{time.strftime('%Y-%m-%d')} · commit {commit} · {os.cpu_count()} cores, {_processor()} ·"
        f" Python {platform.python_version()} · load average at the end {os.getloadavg()[0]:.1f}"
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
