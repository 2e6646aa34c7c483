"""After a power cut only what was written through to the disk is there: nothing accepted is lost.

No test can cut the power. These keep a second copy of the data folder that has only what was
synced, as the adapters asked for it: an object once its file and its folder were, and the database
up to the commits that have returned, with or without half of what came after. A file system that
lies about fsync, or that loses files nobody wrote, is not in them.
"""

import os
import random
import shutil
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from backburner.domain.errors import NotFound
from backburner.ports import Key, Put
from backburner_local.adapters.clock import FixedClock
from backburner_local.adapters.files import DirectoryBlobs
from backburner_local.adapters.queue import SqliteQueue
from backburner_local.adapters.sqlite import Database
from backburner_local.adapters.store import SqliteStore

T = TypeVar("T")


class Disk:
    """What of a folder would survive, by the calls of `os.fsync` on its files and folders."""

    def __init__(self, folder: Path, kept: Path, fsync: Callable[[int], None]) -> None:
        self.folder = folder
        self.kept = kept
        self._fsync = fsync
        #: Contents that are on the disk, by the number of the file.
        self._contents: dict[int, bytes] = {}
        self._lock = threading.Lock()

    def fsync(self, descriptor: int) -> None:
        self._fsync(descriptor)
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if not path.is_relative_to(self.folder):
            return
        with self._lock:
            if path.is_dir():
                self._keep_names(path)
            else:
                self._contents[path.stat().st_ino] = path.read_bytes()

    def _keep_names(self, folder: Path) -> None:
        """The folder's names are on the disk now; of contents, those that were synced."""
        kept = self.kept / folder.relative_to(self.folder)
        if not kept.is_dir():
            return  # nobody would find it
        now = {entry.name: entry for entry in folder.iterdir()}
        for entry in kept.iterdir():
            if entry.name not in now and entry.is_file():
                entry.unlink()
        for name, entry in now.items():
            if entry.is_dir():
                (kept / name).mkdir(exist_ok=True)
            elif entry.is_file():
                (kept / name).write_bytes(self._contents.get(entry.stat().st_ino, b""))


@pytest.fixture
def disk(tmp_path, monkeypatch):
    folder, kept = tmp_path / "data", tmp_path / "kept"
    folder.mkdir()
    kept.mkdir()
    disk = Disk(folder, kept, os.fsync)
    monkeypatch.setattr(os, "fsync", disk.fsync)
    return disk


def blobs(root: Path) -> DirectoryBlobs:
    return DirectoryBlobs(root, "bucket", FixedClock(), b"key", "http://here")


def test_an_object_that_was_written_is_there_whole_after_a_power_cut(disk):
    here = blobs(disk.folder)
    for number in range(20):
        here.put(f"a/{number % 3}/object-{number}", b"x" * number * 1000)
        there = blobs(disk.kept)
        for before in range(number + 1):
            key = f"a/{before % 3}/object-{before}"
            assert there.get(key) == b"x" * before * 1000


def test_an_object_that_is_being_written_is_there_whole_or_not_at_all(disk):
    here = blobs(disk.folder)
    here.put("a/object", b"old")
    with here.write("a/object") as out:
        out.write(b"new, but not " * 1000)
        out.flush()
        assert blobs(disk.kept).get("a/object") == b"old"
    assert blobs(disk.kept).get("a/object") == b"new, but not " * 1000
    with pytest.raises(NotFound):
        blobs(disk.kept).get("a/other")


# ---------------------------------------------------------------- the database


class Power:
    """A database whose every commit notes how far its log reached when it had returned."""

    def __init__(self, path: Path, cuts: Path) -> None:
        self.path = path
        self.database = Database(path)
        self.store = SqliteStore(self.database)
        self.queue = SqliteQueue(self.database, FixedClock())
        self._cuts = cuts
        self._count = 0

    @property
    def log(self) -> Path:
        return self.path.with_name(f"{self.path.name}-wal")

    def cut(self, acknowledged: int, spoil: Callable[[bytes], bytes]) -> sqlite3.Connection:
        """The database as it is after a power cut.

        Args:
            acknowledged: bytes of the log that commits had returned for.
            spoil: what becomes of those behind them.
        """
        self._count += 1
        copy = self._cuts / f"{self._count}.sqlite"
        log = self.log.read_bytes()
        shutil.copyfile(self.path, copy)
        Path(f"{copy}-wal").write_bytes(log[:acknowledged] + spoil(log[acknowledged:]))
        return sqlite3.connect(copy)


SPOILED: dict[str, Callable[[bytes], bytes]] = {
    "gone": lambda tail: b"",
    "half there": lambda tail: tail[: len(tail) // 2],
    "zeros": lambda tail: bytes(len(tail)),
    "out of order": lambda tail: bytes(len(tail) // 2) + tail[len(tail) // 2 :],
    "garbage": lambda tail: random.Random(1).randbytes(len(tail)),
    "all there": lambda tail: tail,
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
def test_what_was_committed_is_there_after_a_power_cut_and_nothing_by_half(tmp_path, spoil):
    power = Power(tmp_path / "here.sqlite", tmp_path)
    dice = random.Random(2)
    for number in range(12):
        two = [Key("p", f"{number}-{half}") for half in (1, 2)]
        power.store.transact(*(Put(key, {"body": "x" * dice.randrange(6000)}) for key in two))
        power.queue.send("plan", {"number": number})
        acknowledged = power.log.stat().st_size
        # Under way when the power went: this had not returned to anybody.
        power.store.transact(*(Put(Key("p", f"late-{n}"), {"body": "x" * 6000}) for n in (1, 2)))
        after = power.cut(acknowledged, spoil)
        names = [name for (name,) in after.execute("SELECT sort FROM items WHERE partition = 'p'")]
        sent = [body for (body,) in after.execute("SELECT body FROM messages ORDER BY id")]
        assert after.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        after.close()
        mine = {f"{n}-{half}" for n in range(number + 1) for half in (1, 2)}
        assert mine <= set(names)
        assert sent == [f'{{"number":{n}}}' for n in range(number + 1)]
        assert sum(name.startswith("late-") for name in names) in (0, 2)
    power.database.close()


def test_each_commit_waits_for_the_disk(tmp_path):
    """What the cuts above take for granted: SQLite syncs the log before a commit returns."""
    database = Database(tmp_path / "here.sqlite")
    settings: list[Any] = database.write(
        lambda connection: [
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("synchronous", "journal_mode")
        ]
    )
    database.close()
    assert settings == [2, "wal"]
