"""One SQLite file, written by one thread in groups: one group, one commit, one fsync."""

import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from backburner_local.adapters.units import Dirty, FutureUnit, Joint, JointUnit, PostedUnit, Unit

T = TypeVar("T")

#: Most units of work of one group.
MAX_GROUP = 512
#: Seconds that another process may hold the file's write lock.
LOCK_TIMEOUT_SECONDS = 30.0
#: Pages of the write-ahead log after which a commit moves them to the file: 32 MiB.
CHECKPOINT_PAGES = 8192


class Database:
    """A SQLite file in WAL mode; any thread may read and write.

    One thread writes. It takes all units of work that wait, runs them one after the other in one
    transaction, so that each sees what those before it did, and commits once. Joint ones that wait
    at the same time are done together, after the others. A unit that raises
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
        self._units: SimpleQueue[Unit | None] = SimpleQueue()
        #: That had work in the transaction that goes on; the writer's.
        self._joints: set[Joint] = set()
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
        unit = FutureUnit(work)
        self._put(unit)
        return unit.future

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Hand work to the writer and wait until it is committed."""
        if threading.current_thread() is self._thread:
            raise RuntimeError("Work of the writer can't wait for the writer.")
        unit = Unit(work)
        self._put(unit)
        written: T = unit.outcome()
        return written

    def write_jointly(self, joint: Joint, work: Any) -> None:
        """Hand over work that is done together with others of its kind; wait for the commit.

        Args:
            joint: does all works of the kind.
            work: what it is given for this one.
        """
        unit = JointUnit(joint, work)
        self._put(unit)
        unit.outcome()

    def post(self, work: Callable[[sqlite3.Connection], object]) -> None:
        """Hand over work that nobody waits for; that it could not be written is only logged."""
        self._put(PostedUnit(work))

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

    def _put(self, unit: Unit) -> None:
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

    def _write_group(self, group: list[Unit]) -> None:
        """Write the group, and whatever joins it before it is done, in one transaction."""
        try:
            try:
                self._transact(group, Unit.run)
            except Dirty:
                self._writer.execute("ROLLBACK")
                self._tell_joints(is_committed=False)
                self._transact(group, Unit.run_apart)
        except BaseException as exc:  # noqa: BLE001 - the writer goes on, the callers are told
            with suppress(sqlite3.Error):  # SQLite may have rolled back already
                self._writer.execute("ROLLBACK")
            self._tell_joints(is_committed=False)
            for unit in group:
                unit.end(exc)
        else:
            self._tell_joints(is_committed=True)
            for unit in group:
                unit.end()

    def _transact(self, group: list[Unit], run: Callable[[Unit, sqlite3.Connection], None]) -> None:
        """Run the group's units, and those that come meanwhile; then commit."""
        self._writer.execute("BEGIN IMMEDIATE")
        units = [*group, *self._waiting(MAX_GROUP - len(group))]
        group += units[len(group) :]
        while units:
            self._run(units, run)
            units = self._waiting(MAX_GROUP - len(group))
            group += units
        for joint in self._joints:
            joint.commits()
        self._writer.execute("COMMIT")

    def _tell_joints(self, *, is_committed: bool) -> None:
        for joint in self._joints:
            joint.ended(is_committed=is_committed)
        self._joints.clear()

    def _run(self, units: Sequence[Unit], run: Callable[[Unit, sqlite3.Connection], None]) -> None:
        """Run units that wait at the same time: joint ones last, each kind in one go."""
        kinds: dict[Joint, list[JointUnit]] = {}
        for unit in units:
            if isinstance(unit, JointUnit):
                kinds.setdefault(unit.joint, []).append(unit)
            else:
                run(unit, self._writer)
        for joint, alike in kinds.items():
            self._joints.add(joint)
            errors = joint(self._writer, [unit.work for unit in alike])
            for unit, error in zip(alike, errors, strict=True):
                unit.error = error

    def _waiting(self, limit: int) -> list[Unit]:
        """Take what waits now."""
        taken: list[Unit] = []
        while len(taken) < limit:
            try:
                unit = self._units.get_nowait()
            except Empty:
                break
            if unit is None:
                self._units.put(None)  # nothing comes after it; _write must see it too
                break
            if unit.begin():
                taken.append(unit)
        return taken
