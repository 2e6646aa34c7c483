"""`backburner` in a process that notes what it wrote through to the disk (test_power_cuts.py)."""

import fcntl
import os
import sqlite3
import sys
import threading
from pathlib import Path
from typing import Any

from backburner_local import cli, recovery

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
        #: Contents that are on the disk: at first, all that is there.
        self._contents = {
            _identity(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()
        }
        #: What the copies of files were made of, and whether it was synced.
        self._noted: dict[Path, tuple[tuple[int, ...], bool]] = {}
        #: Of this process's threads: they share the other lock's descriptor, and so that lock.
        self.noting = threading.Lock()
        self._lock = os.open(kept.parent / LOCK, os.O_CREAT | os.O_WRONLY)
        self._committed = os.open(kept.parent / COMMITTED, os.O_CREAT | os.O_WRONLY)

    def fsync(self, descriptor: int) -> None:
        self._fsync(descriptor)
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path.is_relative_to(self._folder):
            with self.noting:
                fcntl.flock(self._lock, fcntl.LOCK_EX)
                try:
                    self._note(path)
                finally:
                    fcntl.flock(self._lock, fcntl.LOCK_UN)

    def _note(self, path: Path) -> None:
        if not path.is_dir():
            self._contents[_identity(path)] = path.read_bytes()
            return
        kept = self._kept / path.relative_to(self._folder)
        kept.mkdir(parents=True, exist_ok=True)
        found = {entry.name: _identity(entry) for entry in path.iterdir() if entry.is_file()}
        now = {name: identity for name, identity in found.items() if identity}
        for entry in kept.iterdir():
            if entry.name not in now and entry.is_file():
                entry.unlink()
                self._noted.pop(entry, None)
        for name, identity in now.items():
            # A file that was never synced has its name, and nothing in it.
            noted = (identity, identity in self._contents)
            if self._noted.get(kept / name) != noted:
                (kept / name).write_bytes(self._contents.get(identity, b""))
                self._noted[kept / name] = noted

    def committed(self, log: Path) -> None:
        os.pwrite(self._committed, f"{log.stat().st_size:16}".encode(), 0)


def _identity(path: Path) -> tuple[int, ...]:
    """Of a file as it was written; its number alone may have been another's before.

    Empty for one that is gone: others delete what was just found in a folder.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        return ()
    return (found.st_ino, found.st_mtime_ns, found.st_size)


def record(folder: Path, kept: Path) -> None:
    """Note from now on what is synced below the folder, which no former boot has seen."""
    recovery.boot_id = lambda: str(folder)
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
