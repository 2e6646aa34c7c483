"""A store that watches what is done to batches and shards, and a database that costs nothing."""

import sqlite3
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from backburner.domain.batch import TERMINAL, BatchStatus
from backburner.ports import Item, Key, Put, Store, Update, Write
from backburner_local.adapters.sqlite import Database
from backburner_local.adapters.units import Joint

T = TypeVar("T")


class MemoryDatabase(Database):
    """The database without its thread and its file: a world costs milliseconds."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(
            ":memory:", isolation_level=None, check_same_thread=False
        )

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._lock:
            self._connection.execute("BEGIN")
            try:
                result = work(self._connection)
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")
            return result

    def write_jointly(self, joint: Joint, work: Any) -> None:
        (error,) = self.write(lambda connection: joint(connection, [work]))
        if error is not None:
            raise error

    def read(self, look: Callable[[sqlite3.Connection], T]) -> T:
        with self._lock:
            return look(self._connection)

    def close(self) -> None:
        self._connection.close()


_NEXT = {
    BatchStatus.VALIDATING: {"validating", "in_progress", "failed", "cancelling"},
    BatchStatus.IN_PROGRESS: {"in_progress", "finalizing", "cancelling", "completed", "failed"},
    BatchStatus.CANCELLING: {"cancelling", "finalizing"},
    BatchStatus.FINALIZING: {"finalizing", "completed", "failed", "expired", "cancelled"},
}
_CLOSED = frozenset({"done", "dropped"})


class WitnessStore:
    """A store that watches every change of a batch or a shard, and notes those that are wrong."""

    def __init__(self, store: Store, *, is_alone: bool) -> None:
        self.store = store
        self.violations: list[str] = []
        #: Whether nobody writes between its looks before and after.
        self._is_alone = is_alone

    def get(self, *keys: Key) -> list[Item | None]:
        return self.store.get(*keys)

    def query(self, partition: str, **options: Any) -> list[Item]:
        return self.store.query(partition, **options)

    def transact(self, *writes: Write) -> None:
        watched = [write.key for write in writes if self._is_alone and _is_watched(write)]
        before = self.get(*watched)
        self.store.transact(*writes)
        for key, old, new in zip(watched, before, self.get(*watched), strict=True):
            if old is not None and not _is_legal(key, old, new):
                self.violations.append(f"{key}: {old} -> {new}")


def _is_watched(write: Write) -> bool:
    return isinstance(write, Put | Update) and (
        write.key.partition.endswith(("/batches", "/responses"))
        or write.key.sort.startswith("shard/")
    )


def _is_legal(key: Key, old: Item, new: Item | None) -> bool:
    if new is None:
        return False
    if key.sort.startswith("shard/"):
        return old["status"] not in _CLOSED or new == old
    if old["status"] in TERMINAL:
        return _lasting(new) == _lasting(old)
    return new["status"] in _NEXT[BatchStatus(old["status"])]


def _lasting(batch: Item) -> dict[str, Any]:
    """What must stay as it is once a batch has ended: all but who retries it."""
    return {n: value for n, value in batch.items() if n not in ("retries", "retried_by")}
