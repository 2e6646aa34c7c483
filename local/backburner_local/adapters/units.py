"""Units of work of a database: what waits for its group's commit, and who waits for it."""

import logging
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Protocol

from backburner.domain.errors import Conflict, StorageFull, StorageUnavailable

_logger = logging.getLogger(__name__)


class Joint(Protocol):
    """Does several works of one kind in one go, with fewer statements than one after the other.

    Only the writer calls it.
    """

    def __call__(
        self, connection: sqlite3.Connection, works: Sequence[Any], /
    ) -> list[Exception | None]:
        """Do the works; each sees what those before it did.

        May be called more than once within a transaction. It raises only where nothing can be
        written.

        Returns:
            For each work, why it changed nothing; None: it was done.
        """

    def commits(self) -> None:
        """The transaction is about to be committed; nobody sees anything of it yet."""

    def ended(self, *, is_committed: bool) -> None:
        """It was committed, or undone."""


class NotWritten(StorageUnavailable):
    """The database could not be written; nothing of the transaction was applied."""


class DiskFull(NotWritten, StorageFull):
    """The database could not be written: the disk is full."""


class Dirty(Exception):  # noqa: N818 - never leaves the writer
    """A unit raised after it had changed something: its group begins anew, with savepoints."""


class Unit:
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
            Dirty: the work raised, and there may be something to undo.
        """
        before = connection.total_changes
        self.error = None
        try:
            self.result = self.work(connection)
        except Conflict as exc:  # found before anything is written, as a rule
            if connection.total_changes != before:
                raise Dirty from exc
            self.error = exc
        except BaseException as exc:
            if not connection.in_transaction:  # SQLite gave up the whole group, as on a full disk
                raise
            raise Dirty from exc

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


class FutureUnit(Unit):
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


class PostedUnit(Unit):
    """Work that nobody waits for."""

    __slots__ = ()

    def _tell(self) -> None:
        if self.error is not None:
            _logger.error("database.not_written", exc_info=self.error)


class JointUnit(Unit):
    """Work that is done together with what else there is of its kind."""

    __slots__ = ("joint",)

    def __init__(self, joint: Joint, work: Any) -> None:
        super().__init__(work)
        self.joint = joint
