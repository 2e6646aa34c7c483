"""Measure what people would use instead, and us (make bench-peers).

    python -m benchmarks.peers                          # everything, some twenty minutes
    python -m benchmarks.peers --only backburner        # one row; the others are kept
    python -m benchmarks.peers --render                 # only the page and the plot

Rounds visit all peers, each time in another order, and each peer gets its own servers, its own
data and its own workers. A round begins with the floors that its peers are compared with.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from benchmarks.peers import effects, page, plot, processes, results, servers
from benchmarks.peers.results import Row
from benchmarks.peers.roster import BY_NAME, PEERS, Peer

ROOT = Path(__file__).parents[2]
#: Most that one run may take.
LIMIT_SECONDS = 600
#: Crashes that run side by side.
AT_ONCE = 3


class FailedError(Exception):
    """A peer could not be measured."""


def run(peer: Peer, what: str, appendfsync: str) -> dict[str, Any]:
    """Measure one peer once, with servers and data of its own."""
    parent = os.environ.get("BENCH_DIR")
    with (
        tempfile.TemporaryDirectory(prefix="backburner-peers-", dir=parent) as name,
        _server(peer, Path(name), appendfsync) as server,
    ):
        environment = {**os.environ, "PEERS_FOLDER": name, effects.FILE: f"{name}/effects"}
        if server is not None:
            environment |= {**server.variables, "PEERS_SERVER_PIDS": str(server.pid)}
        return _output(_command(peer, what), environment, Path(name) / "log")


@contextmanager
def _server(peer: Peer, folder: Path, appendfsync: str) -> Iterator[servers.Server | None]:
    if peer.server == "redis":
        with servers.redis(folder, appendfsync) as server:
            yield server
    elif peer.server == "postgres":
        with servers.postgres(folder) as server:
            yield server
    else:
        yield None


def _command(peer: Peer, what: str) -> list[str]:
    python = sys.executable
    if peer.environment:
        python = str(ROOT / ".venv-peers" / peer.environment / "bin" / "python")
    if peer.module:
        words = ["benchmarks.peers.driver", peer.module]
    else:
        words = ["benchmarks.peers.ours", "batch" if "batch" in peer.name else "responses"]
    return [python, "-m", *words, what, "--jobs", str(peer.jobs)]


def _output(command: list[str], environment: dict[str, str], log: Path) -> dict[str, Any]:
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=errors
        ) as process,
    ):
        try:
            output, _ = process.communicate(timeout=LIMIT_SECONDS)
        except BaseException:
            processes.kill(process)
            raise
    if process.returncode:
        raise FailedError(log.read_text(encoding="utf-8", errors="replace")[-2000:])
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    return found


def measure(chosen: list[Peer], arguments: argparse.Namespace) -> dict[str, Row]:
    """Figures of the chosen peers."""
    rows = {peer.name: Row() for peer in chosen}
    for turn in range(arguments.rounds):
        for name, figures in _round(rows, chosen, turn, arguments).items():
            rows[name].rounds.append(figures)
    crashed = chosen * arguments.crashes
    with ThreadPoolExecutor(AT_ONCE) as pool:  # mostly waiting, and nothing is timed closely
        attempts = pool.map(lambda peer: _attempt(rows, peer, "crash", arguments), crashed)
        for peer, found in zip(crashed, attempts, strict=True):
            if found is not None:
                rows[peer.name].crashes.append(found)
    for peer in chosen:
        rows[peer.name].measured = _circumstances(peer, arguments.appendfsync)
    return rows


def _round(
    rows: dict[str, Row], chosen: list[Peer], turn: int, arguments: argparse.Namespace
) -> dict[str, dict[str, Any]]:
    """One round, in its own order: figures of the chosen peers, each with its floor's rate."""
    floors = dict.fromkeys(BY_NAME[peer.floor] for peer in chosen)
    others = [peer for peer in chosen if peer not in floors]
    start = turn % max(1, len(others))
    found: dict[str, dict[str, Any]] = {}
    for peer in [*floors, *others[start:], *others[:start]]:
        if (figures := _attempt(rows, peer, "speed", arguments)) is not None:
            found[peer.name] = figures
    rates = {peer.name: found[peer.name]["end_rate"] for peer in floors if peer.name in found}
    return {
        peer.name: {**found[peer.name], "floor_rate": rates.get(peer.floor)}
        for peer in chosen
        if peer.name in found
    }


def _attempt(
    rows: dict[str, Row], peer: Peer, what: str, arguments: argparse.Namespace
) -> dict[str, Any] | None:
    try:
        found = run(peer, what, arguments.appendfsync)
    except (FailedError, servers.MissingServerError, subprocess.TimeoutExpired, OSError) as error:
        print(f"{peer.name} {what}: {error}", file=sys.stderr)
        lines = str(error).strip().splitlines() or [type(error).__name__]
        if peer.name in rows:
            rows[peer.name].trouble.append(f"{what}: {lines[-1]}")
        return None
    print(f"{peer.name} {what}: {json.dumps(found)}", flush=True)
    return found


def _circumstances(peer: Peer, appendfsync: str) -> dict[str, str]:
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude", "*"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    packages = []
    if peer.environment:
        path = Path(__file__).parent / "requirements" / f"{peer.environment}.txt"
        wanted = {peer.environment, "redis", "taskiq-redis", "psycopg"}
        lines = path.read_text(encoding="utf-8").splitlines()
        packages = [line.replace("==", " ") for line in lines if line.split("==")[0] in wanted]
    if peer.server:
        with suppress(servers.MissingServerError):
            packages.append(servers.version(peer.server))
    if peer.server == "redis":
        packages.append(f"appendfsync {appendfsync}")
    return {
        "date": time.strftime("%Y-%m-%d"),
        "commit": commit.stdout.strip(),
        "machine": f"{os.cpu_count()} cores, {_processor()}, Linux {platform.release()}",
        "python": platform.python_version(),
        "load": f"{os.getloadavg()[0]:.1f}",
        "versions": ", ".join(packages),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def main() -> None:
    """Measure, print, and write the page and the plot."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=BY_NAME, metavar="NAME", default=list(BY_NAME))
    parser.add_argument("--without", nargs="+", choices=BY_NAME, metavar="NAME", default=[])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--crashes", type=int, default=1)
    parser.add_argument("--appendfsync", choices=("everysec", "always"), default="everysec")
    parser.add_argument("--render", action="store_true", help="measure nothing")
    arguments = parser.parse_args()
    rows = results.load()
    if not arguments.render:
        wanted = set(arguments.only) - set(arguments.without)
        chosen = [peer for peer in PEERS if peer.name in wanted]
        for server in {peer.server for peer in chosen if peer.server}:
            servers.install(server)
        found = measure(chosen, arguments)
        rows = results.merge(results.load(), found)
        results.save(rows)
    text = page.render(rows)
    print(text)
    page.FILE.write_text(text, encoding="utf-8")
    plot.FILE.parent.mkdir(exist_ok=True)
    plot.FILE.write_text(plot.render(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
