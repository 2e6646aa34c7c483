"""A `backburner up` in a process of its own, and what tests of a whole stack ask of one."""

import json
import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from backburner.domain.slots import Pool, pool_id
from backburner.services import records
from backburner_local.adapters.sqlite import Database
from backburner_local.adapters.store import SqliteStore
from backburner_local.client import Client
from tests.waiting import looks

T = TypeVar("T")

CHAT: Final = "/v1/chat/completions"
MODEL = "mistral-tiny"

#: Longest that anything may take before a test gives up; slow machines are busy, not broken.
PATIENCE_SECONDS = 60.0

_MARK = "BACKBURNER_TEST_MARK"
_INSTANCES = re.compile(r"^backburner_instances\{.*\} (\d+)", re.MULTILINE)


def wait_until(
    look: Callable[[], T | None], what: str = "the condition", seconds: float = PATIENCE_SECONDS
) -> T:
    """What `look` returns once that is true; fails if it stays false for too long."""
    for _ in looks(seconds):
        if found := look():
            return found
    raise AssertionError(f"{what} did not come true in {seconds:.0f} s")


def request(number: int, text: str | None = None, **body: Any) -> bytes:
    """Line of a batch file whose custom_id is `r<number>`."""
    content = f"say {number}" if text is None else text
    asked = {"model": MODEL, "messages": [{"role": "user", "content": content}], **body}
    line = {"custom_id": f"r{number}", "method": "POST", "url": CHAT, "body": asked}
    return json.dumps(line, ensure_ascii=False).encode() + b"\n"


def requests(count: int, text: str | None = None) -> bytes:
    return b"".join(request(number, text) for number in range(1, count + 1))


def names(count: int) -> list[str]:
    return [f"r{number}" for number in range(1, count + 1)]


def lines(data: bytes | Iterable[bytes]) -> list[dict[str, Any]]:
    """A file of results, line by line."""
    whole = data if isinstance(data, bytes) else b"".join(data)
    return [json.loads(line) for line in whole.split(b"\n")[:-1]]


def text_of(line: dict[str, Any]) -> str:
    """What the model answered in a line of the output file."""
    content: str = line["response"]["body"]["choices"][0]["message"]["content"]
    return content


def instances(client: Client) -> int:
    """Instances as the last report of the backlog tells."""
    return sum(int(count) for count in _INSTANCES.findall(client.http.get("/metrics").text))


class Up:
    """A stack in a process group of its own; started as often as one likes on the same data."""

    def __init__(
        self,
        data_dir: Path,
        *options: str,
        delay_seconds: float = 0.0,
        directory: Path | None = None,
    ) -> None:
        """Prepare; nothing runs before `start`.

        Args:
            data_dir: of the stack.
            options: further ones of `backburner up`.
            delay_seconds: what the null engine waits before it answers.
            directory: where it is started, without being told where its data is.
        """
        self.data_dir = data_dir
        self.url = ""
        self.process: subprocess.Popen[str] | None = None
        self._module = "backburner_local.cli"
        self._options = options
        self._directory = directory
        #: In the environment of the stack and of all that it starts.
        self._mark = uuid.uuid4().hex
        self._environment = {
            **os.environ,
            _MARK: self._mark,
            "BACKBURNER_NULL_DELAY_SECONDS": str(delay_seconds),
        }
        self._client: Client | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.end()

    def start(self) -> Self:
        """Return when it says that it is ready."""
        stdout = self.launch().stdout
        assert stdout is not None
        line = stdout.readline()
        assert line, f"no stack: {self._log()}"
        self.url = json.loads(line)["url"]
        return self

    def launch(self, *, as_json: bool = True) -> "subprocess.Popen[str]":
        """Start the process, and don't wait."""
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", self._module, "up",
                "--port", "0", "--engine", "null", "--minute-seconds", "1",
                *(["--json"] if as_json else []),
                *(["--data-dir", str(self.data_dir)] if self._directory is None else []),
                *self._options,
            ],
            cwd=self._directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=self._environment,
            start_new_session=True,
        )  # fmt: skip
        return self.process

    @property
    def client(self) -> Client:
        """A client with the development key; another one after each start."""
        if self._client is None or str(self._client.http.base_url).rstrip("/") != self.url:
            self._disconnect()
            self._client = Client.connect(self.url, self.key)
        return self._client

    @property
    def key(self) -> str:
        return (self.data_dir / "dev.key").read_text().strip()

    def kill(self) -> None:
        """`kill -9`: nothing gets a chance to clean up."""
        self._end(signal.SIGKILL)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to stop; its exit code."""
        code = self._end(how)
        assert code is not None
        return code

    def end(self) -> None:
        """Leave nothing behind, whatever the test did."""
        self._end(signal.SIGKILL)
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)

    def processes(self) -> list[int]:
        """Everything that runs and was started by this stack, whoever its parent is now."""
        return [pid for pid in _all_processes() if self._is_ours(pid)]

    def servers(self) -> list[int]:
        """Processes of the model's server."""
        return [pid for pid in self.processes() if b"backburner_model.server" in _command(pid)]

    def pool(self) -> Pool:
        """The slots' counters, read from the store."""
        name = pool_id("sagemaker_async", MODEL)
        database = Database(self.data_dir / "backburner.sqlite", durable=False)
        try:
            (item,) = SqliteStore(database).get(records.pool_key(name))
            return records.to_pool(item, name)
        finally:
            database.close()

    def _end(self, how: signal.Signals) -> int | None:
        process, self.process = self.process, None
        if process is None:
            return None
        assert process.stdout is not None
        self._disconnect()
        process.send_signal(how)
        try:
            return process.wait(timeout=PATIENCE_SECONDS)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()

    def _disconnect(self) -> None:
        if self._client is not None:
            self._client.http.close()
            self._client = None

    def _is_ours(self, pid: int) -> bool:
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            return False
        return self._mark.encode() in environment

    def _log(self) -> str:
        log = self.data_dir / "backburner.log"
        return log.read_text()[-2000:] if log.exists() else "nothing was logged"


def _all_processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
