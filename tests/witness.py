"""A store that watches what is done to batches and shards, and a database that costs nothing."""

import sqlite3
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from backburner.domain.batch import TERMINAL, BatchStatus
from backburner.ports import Check, Item, Key, Store, Write
from backburner.services import records
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
        def done(connection: sqlite3.Connection) -> Exception | None:
            (error,) = joint(connection, [work])
            joint.commits()
            return error

        with self._lock:
            try:
                error = self.write(done)
            except BaseException:
                joint.ended(is_committed=False)
                raise
            joint.ended(is_committed=True)
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
#: What may become of a shard, and how far its attempt may be from the one before: the least and
#: the greatest step. One that came back late may be counted when its shard is done.
_STEPS = {
    ("waiting", "in_flight"): (1, 1),
    ("waiting", "waiting"): (0, 0),
    ("waiting", "paused"): (0, 0),
    ("waiting", "done"): (0, 99),
    ("waiting", "dropped"): (0, 0),
    ("paused", "waiting"): (0, 0),
    ("paused", "done"): (0, 99),
    ("paused", "dropped"): (0, 0),
    ("in_flight", "in_flight"): (0, 0),
    ("in_flight", "waiting"): (-1, 0),
    ("in_flight", "done"): (0, 99),
    ("in_flight", "dropped"): (0, 0),
}


class WitnessStore:
    """A store that watches every change of a batch or a shard, and notes those that are wrong."""

    def __init__(self, store: Store, *, is_alone: bool) -> None:
        self.store = store
        self.violations: list[str] = []
        #: Transactions that were made.
        self.writes = 0
        #: Whether nobody writes between its looks before and after.
        self._is_alone = is_alone

    def get(self, *keys: Key) -> list[Item | None]:
        return self.store.get(*keys)

    def query(self, partition: str, **options: Any) -> list[Item]:
        return self.store.query(partition, **options)

    def transact(self, *writes: Write) -> None:
        watched = [write.key for write in writes if self._is_alone and _is_watched(write)]
        before = self.get(*watched)
        may_run = [self._runs(key) for key in watched]
        self.store.transact(*writes)
        self.writes += 1
        for key, old, new, runs in zip(watched, before, self.get(*watched), may_run, strict=True):
            if old is not None and not _is_legal(key, old, new):
                self.violations.append(f"{key}: {old} -> {new}")
            if old is not None and _is_claim(old, new) and not runs:
                self.violations.append(f"{key} was claimed, and its batch does not run")

    def _runs(self, key: Key) -> bool:
        """Whether shards of the batch may be claimed, if the key is of one."""
        if not key.sort.startswith("shard/"):
            return False
        (batch,) = self.get(records.batch_key(*key.partition.split("/")))
        return (
            batch is not None
            and batch["status"] == BatchStatus.IN_PROGRESS
            and not batch.get("stopping")
            and not batch["paused"]
        )


def _is_watched(write: Write) -> bool:
    return not isinstance(write, Check) and (
        write.key.partition.endswith(("/batches", "/responses", "/requests"))
        or write.key.sort.startswith("shard/")
    )


def _is_legal(key: Key, old: Item, new: Item | None) -> bool:
    if new is None:  # its client wanted it to be forgotten, which stops what runs
        return old["status"] in {*TERMINAL, "cancelling", "done", "dropped"}
    if key.sort.startswith("shard/"):
        return new == old or _is_step(old, new)
    if old["status"] in TERMINAL:
        return _lasting(new) == _lasting(old)
    return new["status"] in _NEXT[BatchStatus(old["status"])]


def _is_claim(old: Item, new: Item | None) -> bool:
    is_way = old.get("status") == "waiting" and (new or {}).get("status") == "in_flight"
    return bool(is_way)


def _is_step(old: Item, new: Item) -> bool:
    least, most = _STEPS.get((old["status"], new["status"]), (1, 0))
    return bool(least <= new["attempt"] - old["attempt"] <= most)


def _lasting(batch: Item) -> dict[str, Any]:
    """What must stay as it is once a batch has ended: all but who retries it."""
    return {n: value for n, value in batch.items() if n not in ("retries", "retried_by")}
