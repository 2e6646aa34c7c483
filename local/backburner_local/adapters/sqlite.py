"""One SQLite file, written by one thread in groups: one group, one commit, one fsync."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from backburner.domain.errors import Busy

T = TypeVar("T")

#: Most units of work that join a group before it starts, and again while it is at work.
MAX_GROUP = 256
#: Seconds that another process may hold the file's write lock.
LOCK_TIMEOUT_SECONDS = 30.0
#: Pages of the write-ahead log after which a commit moves them to the file: 32 MiB.
CHECKPOINT_PAGES = 8192


class NotWritten(Busy):
    """The database could not be written; nothing of the transaction was applied."""


class _Unit:
    """Work that waits for its group's commit."""

    __slots__ = ("error", "future", "result", "work")

    def __init__(self, work: Callable[[sqlite3.Connection], Any]) -> None:
        self.work = work
        self.future: Future[Any] = Future()
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self, connection: sqlite3.Connection) -> None:
        """Do the work and keep what came of it; a unit that raises leaves nothing behind."""
        connection.execute("SAVEPOINT unit")
        try:
            self.result = self.work(connection)
        except BaseException as exc:
            if not connection.in_transaction:  # SQLite gave up the whole group, as on a full disk
                raise
            connection.execute("ROLLBACK TO unit")
            self.error = exc
        connection.execute("RELEASE unit")

    def end(self) -> None:
        """Tell the caller."""
        if self.error is None:
            self.future.set_result(self.result)
        elif isinstance(self.error, sqlite3.OperationalError):
            self.fail(self.error)
        else:
            self.future.set_exception(self.error)

    def fail(self, cause: BaseException) -> None:
        """Tell the caller that the database is why."""
        error = NotWritten(f"The database could not be written: {cause}.")
        error.__cause__ = cause
        self.future.set_exception(error)


class Database:
    """A SQLite file in WAL mode; any thread may read and write.

    One thread writes. It takes all units of work that wait, runs them one after the other in one
    transaction, so that each sees what those before it did, and commits once. A unit that raises
    is undone alone. If the commit fails, all of its group failed with NotWritten, and the next
    group is tried afresh.

    Other processes may open the same file: conditions are read under the write lock.
    """

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        """Open the file, or make it.

        Args:
            path: of the file; its folder is made if need be.
            durable: whether a commit waits for the disk. Without it a crash of the process loses
                nothing, but a power cut may lose commits or the file; tests need no more.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._writer = self._connect("rwc")
        self._writer.execute(f"PRAGMA synchronous = {'FULL' if durable else 'OFF'}")
        self._writer.execute("PRAGMA journal_mode = WAL")
        self._writer.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        self._writer.execute("PRAGMA temp_store = MEMORY")
        #: Connections for reading that no thread uses now; taking and giving back are atomic.
        self._idle: list[sqlite3.Connection] = []
        self._units: SimpleQueue[_Unit | None] = SimpleQueue()
        self._open_lock = threading.Lock()
        self._is_open = True
        self._thread = threading.Thread(target=self._write, name="database-writer", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[sqlite3.Connection], T]) -> "Future[T]":
        """Hand work to the writer.

        Args:
            work: called on the writer's thread, in a transaction that it must not end. It may be
                undone together with its group, so it changes nothing but the database.

        Returns:
            A future that ends once the work is committed, or with the exception that the work
            raised, or with NotWritten.
        """
        unit = _Unit(work)
        with self._open_lock:
            if not self._is_open:
                raise RuntimeError("The database is closed.")
            self._units.put(unit)
        return unit.future

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Hand work to the writer and wait until it is committed."""
        if threading.current_thread() is self._thread:
            raise RuntimeError("Work of the writer can't wait for the writer.")
        return self.submit(work).result()

    def run(self, *statements: str) -> None:
        """Run statements that need no values, all of them or none; they make tables."""

        def work(connection: sqlite3.Connection) -> None:
            for statement in statements:
                connection.execute(statement)

        self.write(work)

    def read(self, look: Callable[[sqlite3.Connection], T]) -> T:
        """Read what is committed, without waiting for the writer."""
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._connect("ro")
        try:
            if not self._is_open:
                raise RuntimeError("The database is closed.")
            found = look(connection)
        except BaseException:
            connection.close()  # it may still read, and so see the past for ever
            raise
        self._idle.append(connection)
        if not self._is_open:
            self._close_idle()
        return found

    def close(self) -> None:
        """Commit what was handed over, then close the file; again is no error."""
        with self._open_lock:
            if self._is_open:
                self._is_open = False
                self._units.put(None)
        self._thread.join()
        self._close_idle()
        self._writer.close()

    def _connect(self, mode: str) -> sqlite3.Connection:
        return sqlite3.connect(
            f"{self._path.resolve().as_uri()}?mode={mode}",
            uri=True,
            timeout=LOCK_TIMEOUT_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )

    def _close_idle(self) -> None:
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:
                return
            connection.close()

    def _write(self) -> None:
        """Write groups until told to stop."""
        while (unit := self._units.get()) is not None:
            if unit.future.set_running_or_notify_cancel():
                self._write_group(unit)

    def _write_group(self, first: _Unit) -> None:
        group = [first, *self._waiting()]
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            for unit in group:
                unit.run(self._writer)
            for unit in self._waiting():
                group.append(unit)
                unit.run(self._writer)
            self._writer.execute("COMMIT")
        except BaseException as exc:  # noqa: BLE001 - the writer goes on, the callers are told
            with suppress(sqlite3.Error):  # SQLite may have rolled back already
                self._writer.execute("ROLLBACK")
            for unit in group:
                unit.fail(exc)
        else:
            for unit in group:
                unit.end()

    def _waiting(self) -> Iterator[_Unit]:
        """Take what waits, and what comes while it is being worked on."""
        for _ in range(MAX_GROUP):
            try:
                unit = self._units.get_nowait()
            except Empty:
                return
            if unit is None:
                self._units.put(None)  # nothing comes after it; _write must see it too
                return
            if unit.future.set_running_or_notify_cancel():
                yield unit
