"""Redis and PostgreSQL on free ports of 127.0.0.1, with their data in a folder that goes away."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

#: What Debian calls each server.
PACKAGES = {"redis": "redis-server", "postgres": "postgresql"}

#: Where Debian keeps what is not on the path.
_POSTGRES = "/usr/lib/postgresql/*/bin"


class MissingServerError(Exception):
    """A server is not installed; the message says how to install it."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs."""

    pid: int
    #: Where clients find it.
    variables: dict[str, str] = field(default_factory=dict)


def find(program: str) -> str:
    """Path of `redis-server`, `initdb` or `postgres`; raises MissingServerError."""
    found = shutil.which(program)
    if found is None:
        candidates = sorted(Path("/").glob(f"{_POSTGRES[1:]}/{program}"))
        found = str(candidates[-1]) if candidates else None
    if found is None:
        package = PACKAGES["redis" if program == "redis-server" else "postgres"]
        raise MissingServerError(f"{program} is not there: apt-get install {package}")
    return found


def install(server: str) -> None:
    """Install a server's Debian package, if it is not there and we may; don't start it."""
    try:
        find("redis-server" if server == "redis" else "initdb")
    except MissingServerError:
        if os.geteuid() or shutil.which("apt-get") is None:
            return
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        command = ["apt-get", "install", "--yes", "--no-install-recommends", PACKAGES[server]]
        subprocess.run(command, env=environment, check=False, stdout=subprocess.DEVNULL)


def version(server: str) -> str:
    """Such as `Redis 7.0.15`."""
    if server == "redis":
        words = _output(find("redis-server"), "--version").split()
        return f"Redis {next(word[2:] for word in words if word.startswith('v='))}"
    return f"PostgreSQL {_output(find('postgres'), '--version').split()[2]}"


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@contextmanager
def redis(folder: Path, appendfsync: str) -> Iterator[Server]:
    """Redis with an append-only file, fsynced `everysec` (its advice) or `always`."""
    port = _free_port()
    command = [
        find("redis-server"), "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder),
        "--appendonly", "yes", "--appendfsync", appendfsync, "--save", "", "--daemonize", "no",
    ]  # fmt: skip
    with _process(command, port) as process:
        yield Server(process.pid, {"PEERS_REDIS": f"redis://127.0.0.1:{port}/0"})


@contextmanager
def postgres(folder: Path) -> Iterator[Server]:
    """PostgreSQL as it comes: every commit is fsynced."""
    port, data = _free_port(), folder / "postgres"
    user = None if os.geteuid() else "postgres"  # it refuses to run as root
    data.mkdir()
    if user:
        folder.chmod(0o755)
        shutil.chown(data, user)
    initdb = [find("initdb"), "--auth", "trust", "--username", "bench", "--pgdata", str(data)]
    subprocess.run(initdb, user=user, check=True, stdout=subprocess.DEVNULL, cwd=folder)
    command = [
        find("postgres"), "-D", str(data), "-p", str(port), "-c", "listen_addresses=127.0.0.1",
        "-c", f"unix_socket_directories={data}",
    ]  # fmt: skip
    with _process(command, port, user) as process:
        _wait_for_postgres(data, process)
        dsn = f"host=127.0.0.1 port={port} user=bench dbname=postgres"
        yield Server(process.pid, {"PEERS_POSTGRES": dsn})


def _wait_for_postgres(data: Path, process: "subprocess.Popen[bytes]") -> None:
    """It listens before it lets anybody in."""
    while "ready" not in (data / "postmaster.pid").read_text(encoding="utf-8"):
        if process.poll() is not None:
            raise RuntimeError("PostgreSQL has ended")
        time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _process(
    command: list[str], port: int, user: str | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, user=user, cwd="/"
    )
    try:
        _wait_for_port(port, process)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for_port(port: int, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise RuntimeError(f"{process.args!r} does not listen")
