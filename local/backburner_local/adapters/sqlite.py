"""One SQLite file, written by one thread in groups: one group, one commit, one fsync."""

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from backburner.domain.errors import Conflict, StorageFull, StorageUnavailable

T = TypeVar("T")

_logger = logging.getLogger(__name__)

#: Most units of work of one group.
MAX_GROUP = 512
#: Seconds that another process may hold the file's write lock.
LOCK_TIMEOUT_SECONDS = 30.0
#: Pages of the write-ahead log after which a commit moves them to the file: 32 MiB.
CHECKPOINT_PAGES = 8192


class NotWritten(StorageUnavailable):
    """The database could not be written; nothing of the transaction was applied."""


class DiskFull(NotWritten, StorageFull):
    """The database could not be written: the disk is full."""


class _Dirty(Exception):  # noqa: N818 - never leaves this module
    """A unit raised after it had changed something: its group begins anew, with savepoints."""


class _Unit:
    """Work that waits for its group's commit, and whose caller waits for it."""

    __slots__ = ("_ended", "error", "result", "work")

    def __init__(self, work: Callable[[sqlite3.Connection], Any]) -> None:
        self.work = work
        self.result: Any = None
        self.error: BaseException | None = None
        # A lock is the cheapest thing that one thread can wait for and another one end.
        self._ended = threading.Lock()
        self._ended.acquire()

    def begin(self) -> bool:
        """Whether the work is still wanted."""
        return True

    def run(self, connection: sqlite3.Connection) -> None:
        """Do the work and keep what came of it.

        Raises:
            _Dirty: the work raised, and there may be something to undo.
        """
        before = connection.total_changes
        self.error = None
        try:
            self.result = self.work(connection)
        except Conflict as exc:  # found before anything is written, as a rule
            if connection.total_changes != before:
                raise _Dirty from exc
            self.error = exc
        except BaseException as exc:
            if not connection.in_transaction:  # SQLite gave up the whole group, as on a full disk
                raise
            raise _Dirty from exc

    def run_apart(self, connection: sqlite3.Connection) -> None:
        """Do the work within a savepoint; a unit that raises leaves nothing behind."""
        connection.execute("SAVEPOINT unit")
        self.error = None
        try:
            self.result = self.work(connection)
        except BaseException as exc:
            if not connection.in_transaction:
                raise
            connection.execute("ROLLBACK TO unit")
            self.error = exc
        connection.execute("RELEASE unit")

    def end(self, cause: BaseException | None = None) -> None:
        """Tell the caller.

        Args:
            cause: why nothing of the group was written, if so.
        """
        if cause is None and isinstance(self.error, sqlite3.OperationalError):
            cause = self.error
        if cause is not None:
            is_full = getattr(cause, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
            kind = DiskFull if is_full else NotWritten
            self.error = kind(f"The database could not be written: {cause}.")
            self.error.__cause__ = cause
        self._tell()

    def outcome(self) -> Any:
        """Wait for the end; returns or raises what came of the work."""
        self._ended.acquire()
        if self.error is not None:
            raise self.error
        return self.result

    def _tell(self) -> None:
        self._ended.release()


class _FutureUnit(_Unit):
    """Work whose caller has a future of it."""

    __slots__ = ("future",)

    def __init__(self, work: Callable[[sqlite3.Connection], Any]) -> None:
        super().__init__(work)
        self.future: Future[Any] = Future()

    def begin(self) -> bool:
        return self.future.set_running_or_notify_cancel()

    def _tell(self) -> None:
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)


class _PostedUnit(_Unit):
    """Work that nobody waits for."""

    __slots__ = ()

    def _tell(self) -> None:
        if self.error is not None:
            _logger.error("database.not_written", exc_info=self.error)


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
        unit = _FutureUnit(work)
        self._put(unit)
        return unit.future

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Hand work to the writer and wait until it is committed."""
        if threading.current_thread() is self._thread:
            raise RuntimeError("Work of the writer can't wait for the writer.")
        unit = _Unit(work)
        self._put(unit)
        written: T = unit.outcome()
        return written

    def post(self, work: Callable[[sqlite3.Connection], object]) -> None:
        """Hand over work that nobody waits for; that it could not be written is only logged."""
        self._put(_PostedUnit(work))

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

    def _put(self, unit: _Unit) -> None:
        with self._open_lock:
            if not self._is_open:
                raise RuntimeError("The database is closed.")
            self._units.put(unit)

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
            if unit.begin():
                self._write_group([unit])

    def _write_group(self, group: list[_Unit]) -> None:
        """Write the group, and whatever joins it before it is done, in one transaction."""
        try:
            try:
                self._transact(group, _Unit.run)
            except _Dirty:
                self._writer.execute("ROLLBACK")
                self._transact(group, _Unit.run_apart)
        except BaseException as exc:  # noqa: BLE001 - the writer goes on, the callers are told
            with suppress(sqlite3.Error):  # SQLite may have rolled back already
                self._writer.execute("ROLLBACK")
            for unit in group:
                unit.end(exc)
        else:
            for unit in group:
                unit.end()

    def _transact(
        self, group: list[_Unit], run: Callable[[_Unit, sqlite3.Connection], None]
    ) -> None:
        """Run the group's units, and those that come meanwhile; then commit."""
        self._writer.execute("BEGIN IMMEDIATE")
        for unit in group:
            run(unit, self._writer)
        for unit in self._waiting(MAX_GROUP - len(group)):
            group.append(unit)
            run(unit, self._writer)
        self._writer.execute("COMMIT")

    def _waiting(self, limit: int) -> Iterator[_Unit]:
        """Take what waits, and what comes while it is being worked on."""
        for _ in range(limit):
            try:
                unit = self._units.get_nowait()
            except Empty:
                return
            if unit is None:
                self._units.put(None)  # nothing comes after it; _write must see it too
                return
            if unit.begin():
                yield unit
