"""`backburner` in a process that notes what it wrote through to the disk (test_power_cuts.py)."""

import fcntl
import os
import sqlite3
import sys
from pathlib import Path
from typing import Any

from backburner_local import cli

FOLDER, KEPT = "BACKBURNER_TEST_FOLDER", "BACKBURNER_TEST_KEPT"
#: Held while something is noted; whoever cuts the power waits for it.
LOCK = "lock"
#: How far the database's log reached when its last commit returned.
COMMITTED = "committed"


class Recorder:
    """Keeps a second copy of a folder that has only what was synced, one change at a time."""

    def __init__(self, folder: Path, kept: Path) -> None:
        self._folder = folder
        self._kept = kept
        self._fsync = os.fsync
        #: Contents that are on the disk, by the number of the file: at first, all that is there.
        self._contents = {
            path.stat().st_ino: path.read_bytes() for path in folder.rglob("*") if path.is_file()
        }
        self._lock = os.open(kept.parent / LOCK, os.O_CREAT | os.O_WRONLY)
        self._committed = os.open(kept.parent / COMMITTED, os.O_CREAT | os.O_WRONLY)

    def fsync(self, descriptor: int) -> None:
        self._fsync(descriptor)
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path.is_relative_to(self._folder):
            with open(self._lock, "w", closefd=False) as held:
                fcntl.flock(held, fcntl.LOCK_EX)
                try:
                    self._note(path)
                finally:
                    fcntl.flock(held, fcntl.LOCK_UN)

    def _note(self, path: Path) -> None:
        if not path.is_dir():
            self._contents[path.stat().st_ino] = path.read_bytes()
            return
        kept = self._kept / path.relative_to(self._folder)
        kept.mkdir(parents=True, exist_ok=True)
        now = {entry.name: entry for entry in path.iterdir() if entry.is_file()}
        for entry in kept.iterdir():
            if entry.name not in now and entry.is_file():
                entry.unlink()
        for name, entry in now.items():
            # A file that was never synced has its name, and nothing in it.
            content = self._contents.get(entry.stat().st_ino, b"")
            (kept / name).write_bytes(content)

    def committed(self, log: Path) -> None:
        os.pwrite(self._committed, f"{log.stat().st_size:16}".encode(), 0)


def record(folder: Path, kept: Path) -> None:
    """Note from now on what is synced below the folder."""
    recorder = Recorder(folder, kept)
    log = folder / "backburner.sqlite-wal"

    class Connection(sqlite3.Connection):
        def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
            cursor = super().execute(sql, *args)
            if sql == "COMMIT" and log.exists():
                recorder.committed(log)
            return cursor

    connect = sqlite3.connect

    def connect_recorded(path: Any, *args: Any, **options: Any) -> sqlite3.Connection:
        if "backburner.sqlite" in str(path):
            options["factory"] = Connection
        connection: sqlite3.Connection = connect(path, *args, **options)
        return connection

    os.fsync = recorder.fsync  # type: ignore[assignment]
    sqlite3.connect = connect_recorded  # type: ignore[assignment]


if __name__ == "__main__":
    record(Path(os.environ[FOLDER]), Path(os.environ[KEPT]))
    sys.argv[0] = "backburner"
    cli.main()
