"""Servers that a session of tests starts; they end with it, however it ends."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from tests.local import stacks

T = TypeVar("T")

_GUARD = Path(__file__).with_name("guard.py")


def wait_until(look: Callable[[], T | None], what: str) -> T:
    """What `look` returns once that is true; functions start slowly on a busy machine."""
    return stacks.wait_until(look, what, seconds=150.0)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens at now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A process and all that it starts."""

    def __init__(
        self, command: Sequence[str], *, environment: Mapping[str, str], folder: Path, name: str
    ) -> None:
        """Start it.

        Args:
            command: what to run.
            environment: all of it: nothing of ours is passed on but what finds programs.
            folder: where it runs, writes `<name>.log` and temporary files.
            name: of the log.
        """
        self.name = name
        self.log = folder / f"{name}.log"
        temporary = folder / f"{name}.tmp"
        temporary.mkdir(parents=True)
        kept = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(_GUARD), *command],
                cwd=folder,
                env={**kept, "TMPDIR": str(temporary), **environment},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def check(self) -> None:
        """Fail with its log if it has ended."""
        code = self._process.poll()
        assert code is None, f"{self.name} ended with {code}:\n{self.tail()}"

    def tail(self, characters: int = 6000) -> str:
        return self.log.read_text(errors="replace")[-characters:]

    def end(self) -> None:
        """Leave nothing behind; all of it is thrown away."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
