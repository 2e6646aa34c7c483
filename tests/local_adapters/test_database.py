"""One writer, groups that share a commit, and what failures may not do."""

import asyncio
import resource
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from backburner.domain.errors import Conflict
from backburner.ports import (
    Absent,
    Below,
    Delete,
    Index,
    Is,
    Item,
    Key,
    Missing,
    Put,
    Update,
    Write,
)
from backburner_local.adapters.recent import Recent
from backburner_local.adapters.sqlite import Database
from backburner_local.adapters.store import SqliteStore
from backburner_local.adapters.transactions import Transactions, prepare
from backburner_local.adapters.units import JointUnit, NotWritten


@pytest.fixture
def database(tmp_path):
    database = Database(tmp_path / "some/folder/test.db", durable=False)
    database.run("CREATE TABLE t (n INTEGER PRIMARY KEY, text TEXT)")
    yield database
    database.close()


def insert(n: int, text: str = "") -> Callable[[sqlite3.Connection], int | None]:
    values = (n, text)
    return lambda connection: connection.execute("INSERT INTO t VALUES (?, ?)", values).lastrowid


def rows(database: Database) -> list[int]:
    return database.read(lambda c: [n for (n,) in c.execute("SELECT n FROM t ORDER BY n")])


def until(holds: Callable[[], bool]) -> None:
    ends_at = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < ends_at
        time.sleep(0.001)


@contextmanager
def held(database):
    """Keep the writer busy, so that what is handed to it in the block makes one group."""
    is_busy, go_on = threading.Event(), threading.Event()

    def hold(connection):
        is_busy.set()
        assert go_on.wait(10)

    future = database.submit(hold)
    assert is_busy.wait(10)
    try:
        yield future
    finally:
        go_on.set()


# ---------------------------------------------------------------- groups


def test_work_that_waits_shares_one_commit(database):
    statements: list[str] = []
    database.write(lambda connection: connection.set_trace_callback(statements.append))
    with held(database):
        futures = [database.submit(insert(n)) for n in range(50)]
    assert [future.result(10) for future in futures] == list(range(50))
    assert statements.count("COMMIT") == 2  # the group's, and that of the unit that set the trace
    assert rows(database) == list(range(50))


def test_work_sees_what_was_done_before_it_in_its_group(database):
    with held(database):
        first = database.submit(insert(1))
        count = database.submit(lambda c: c.execute("SELECT count(*) FROM t").fetchone()[0])
    first.result(10)
    assert count.result(10) == 1


def test_readers_see_nothing_of_a_group_before_its_commit(database):
    with held(database) as holding:
        inserted = database.submit(insert(1))
        assert rows(database) == []
        assert not inserted.done()
        assert not holding.done()
    inserted.result(10)
    assert rows(database) == [1]


def test_failing_work_is_undone_alone(database):
    def fail_after_writing(connection):
        insert(2)(connection)
        raise Conflict("too late")

    with held(database):
        futures = [
            database.submit(work)
            for work in (insert(1), fail_after_writing, insert(1), insert(3), exit)
        ]
    errors = [future.exception(10) for future in futures]
    assert [type(error) for error in errors] == [
        type(None),
        Conflict,
        sqlite3.IntegrityError,
        type(None),
        SystemExit,
    ]
    assert rows(database) == [1, 3]


def test_transactions_that_wait_take_few_statements(database):
    """After each statement the interpreter is handed to whoever waits for it, and back."""
    store = SqliteStore(database)
    statements: list[str] = []
    database.write(lambda connection: connection.set_trace_callback(statements.append))
    with ThreadPoolExecutor(40) as threads:
        with held(database):
            waiting = [threads.submit(store.transact, *accept(n)) for n in range(40)]
            until(lambda: database._units.qsize() == 40)
        for one in waiting:
            one.result(10)
    assert store.get(Key("pools", "all"), Key("p", "39")) == [{"waiting": 40}, {"n": 39}]
    written = [one.split()[0] for one in statements]
    assert written == [
        "COMMIT",
        "BEGIN",
        "PRAGMA",
        "SELECT",
        "REPLACE",
        "REPLACE",
        "REPLACE",
        "COMMIT",
    ]


def accept(n: int) -> list[Write]:
    return [
        Put(Key("p", str(n)), {"n": n}, (Absent(),)),
        Update(Key("pools", "all"), add={"waiting": 1}, when=(Below("waiting", 100),)),
    ]


def test_of_transactions_that_wait_each_sees_those_before_and_fails_alone(database):
    store = SqliteStore(database)
    key = Key("p", "s")
    works = [
        (Put(key, {"n": 1, "none": None}, (Absent(),)),),
        (Put(key, {"n": 2}, (Absent(),)),),
        (Update(key, set={"kind": "text"}, when=(Missing("none"),)), Put(Key("p", "t"), {})),
        (Update(key, add={"kind": 1}), Put(Key("p", "u"), {})),
        (Update(key, set={"big": "x" * 500_000}),),
        (Delete(Key("p", "t"), when=(Absent(),)),),
        (Delete(key, when=(Is("kind", "text"),)), Delete(Key("p", "t"))),
        (Update(key, add={"n": 7}),),
    ]
    with held(database):
        joint = Transactions(Recent())
        units = [JointUnit(joint, prepare(writes)) for writes in works]
        for unit in units:
            database._put(unit)
    kinds: list[type[Exception] | None] = []
    for unit in units:
        try:
            unit.outcome()
        except (Conflict, ValueError) as error:
            kinds.append(type(error))
        else:
            kinds.append(None)
    assert kinds == [None, Conflict, None, ValueError, ValueError, Conflict, None, None]
    assert store.query("p") == [{"n": 7}]


@pytest.mark.parametrize(
    "item", [{"ttl": 1 << 63}, {"text": "\ud800"}, {"queue_key": "\ud800", "queue_sort": "1"}]
)
def test_what_the_file_can_t_hold_is_refused_before_anyone_is_bothered(database, item):
    store = SqliteStore(database)
    with pytest.raises(ValueError):  # noqa: PT011 - each has words of its own
        store.transact(Put(Key("p", "s"), item))


def test_posted_work_is_done_in_its_turn_and_its_failure_is_logged(database, caplog):
    with held(database):
        for work in (insert(1), insert(1), insert(2)):
            database.post(work)
        last = database.submit(insert(3))
    last.result(10)
    assert rows(database) == [1, 2, 3]
    assert "database.not_written" in caplog.text


def test_work_that_was_cancelled_in_time_is_not_done(database):
    with held(database):
        first, second = database.submit(insert(1)), database.submit(insert(2))
        assert first.cancel()
    second.result(10)
    assert rows(database) == [2]


def test_a_coroutine_can_wait_for_a_commit(database):
    async def submit() -> int | None:
        return await asyncio.wrap_future(database.submit(insert(7)))

    assert asyncio.run(submit()) == 7


def test_work_cannot_wait_for_other_work(database):
    with pytest.raises(RuntimeError, match="wait"):
        database.write(lambda connection: database.write(insert(1)))


# ---------------------------------------------------------------- failures


def test_a_commit_that_fails_is_told_to_all_of_its_group_and_leaves_nothing(database):
    database.run(
        "CREATE TABLE child (parent INTEGER REFERENCES t (n) DEFERRABLE INITIALLY DEFERRED)"
    )
    database._writer.execute("PRAGMA foreign_keys = ON")
    with held(database) as holding:
        futures = [
            holding,
            database.submit(insert(1)),
            database.submit(insert(1)),
            database.submit(lambda c: c.execute("INSERT INTO child VALUES (99)")),
            database.submit(insert(2)),
        ]
    for future in futures:
        error = future.exception(10)
        assert isinstance(error, NotWritten)
        assert "FOREIGN KEY" in error.message
        assert error.retry_after_seconds > 0
    assert len({id(future.exception()) for future in futures}) == len(futures)
    assert rows(database) == []
    database.write(insert(3))
    assert rows(database) == [3]


def test_a_full_disk_is_told_clearly_and_writing_goes_on_once_there_is_room(tmp_path):
    database = Database(tmp_path / "full.db")
    database.run("CREATE TABLE t (n INTEGER PRIMARY KEY, text TEXT)")
    database.write(insert(1))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = (tmp_path / "full.db-wal").stat().st_size
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20_000, hard))
        with held(database):
            futures = [database.submit(insert(n, "x" * 5000)) for n in range(2, 12)]
        errors = [future.exception(10) for future in futures]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {type(error) for error in errors} == {NotWritten}
    assert rows(database) == [1]
    database.write(insert(20, "x" * 5000))
    assert rows(database) == [1, 20]
    database.close()


def test_a_file_that_may_not_be_written_is_told_clearly(database):
    database.write(insert(1))
    database._writer.execute("PRAGMA query_only = ON")
    with pytest.raises(NotWritten, match="readonly"):
        database.write(insert(2))
    database._writer.execute("PRAGMA query_only = OFF")
    database.write(insert(3))
    assert rows(database) == [1, 3]


def test_readers_cannot_write(database):
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        database.read(insert(1))


# ---------------------------------------------------------------- the end


def test_closing_commits_what_was_handed_over(tmp_path):
    database = Database(tmp_path / "test.db", durable=False)
    database.run("CREATE TABLE t (n INTEGER PRIMARY KEY, text TEXT)")
    with held(database):
        futures = [database.submit(insert(n)) for n in range(1000)]  # more than a group
        closing_thread = threading.Thread(target=database.close)
        closing_thread.start()
    closing_thread.join(10)
    assert all(future.done() for future in futures)
    assert not (tmp_path / "test.db-wal").exists()
    again = Database(tmp_path / "test.db", durable=False)
    assert rows(again) == list(range(1000))
    again.close()


def test_a_closed_database_takes_nothing_more(tmp_path):
    database = Database(tmp_path / "test.db", durable=False)
    database.close()
    database.close()
    with pytest.raises(RuntimeError, match="closed"):
        database.write(lambda connection: None)
    with pytest.raises(RuntimeError, match="closed"):
        database.read(lambda connection: None)


def test_threads_that_come_and_go_leave_no_connections(database):
    for _ in range(5):
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: rows(database), range(20)))
    assert len(database._idle) <= 4


def test_two_processes_may_share_the_file(tmp_path):
    """Two databases of one file, as two processes have them."""
    one = Database(tmp_path / "test.db", durable=False)
    two = Database(tmp_path / "test.db", durable=False)
    stores = [SqliteStore(one), SqliteStore(two)]
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(
                lambda n: stores[n % 2].transact(Update(Key("p", "s"), add={"n": 1})), range(100)
            )
        )
    for store in stores:  # of which one may not have seen yet that the other was last
        store.transact(Update(Key("p", "s"), add={"n": 1}))
    assert stores[1].get(Key("p", "s")) == [{"n": 102}]
    one.close()
    two.close()


# ---------------------------------------------------------------- durability

WRITER = """
import sys, threading
from pathlib import Path
from backburner.ports import Key, Put, Update
from backburner_local.adapters.sqlite import Database
from backburner_local.adapters.store import SqliteStore

store = SqliteStore(Database(Path(sys.argv[1])))

def write(thread):
    for n in range(10**6):
        store.transact(
            Put(Key("items", f"{thread}#{n}"), {"body": "x" * 500}),
            Update(Key("counts", str(thread)), add={"n": 1}),
        )
        sys.stdout.write(f"{thread} {n}\\n")
        sys.stdout.flush()

for thread in range(8):
    threading.Thread(target=write, args=(thread,)).start()
"""


def test_each_commit_waits_for_the_disk_unless_told_otherwise(tmp_path, database):
    def synchronous(connection: sqlite3.Connection) -> list[tuple[int]]:
        return connection.execute("PRAGMA synchronous").fetchall()

    durable = Database(tmp_path / "durable.db")
    assert synchronous(durable._writer) == [(2,)]  # FULL
    assert synchronous(database._writer) == [(0,)]  # OFF
    durable.close()


def test_what_was_acknowledged_is_there_after_kill_9(tmp_path):
    path = tmp_path / "test.db"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    acknowledged = [writer.stdout.readline() for _ in range(500)]
    writer.kill()
    acknowledged += writer.stdout.readlines()
    writer.stdout.close()
    writer.wait()
    database = Database(path)
    store = SqliteStore(database)
    for line in acknowledged:
        thread, n = line.decode().split()
        assert store.get(Key("items", f"{thread}#{n}"))[0] is not None
    for number in range(8):
        (counts,) = store.get(Key("counts", str(number)))
        written = store.query("items", prefix=f"{number}#", limit=10**6)
        assert len(written) == (counts or {"n": 0})["n"]
    check = database.read(
        lambda connection: connection.execute("PRAGMA integrity_check").fetchone()
    )
    assert check == ("ok",)
    database.close()


def test_a_sweep_removes_items_whose_time_has_passed_and_nothing_else(tmp_path):
    database = Database(tmp_path / "test.db", durable=False)
    store = SqliteStore(database)
    entry = {"due_key": "all", "due_sort": "1"}
    for n in range(600):
        store.transact(Put(Key("old", f"{n:03}"), {"ttl": n, **entry}))
    kept: dict[str, Item] = {
        "now": {"ttl": 1000},
        "later": {"ttl": 10**10},
        "never": {},
        "text": {"ttl": "1"},
    }
    store.transact(*[Put(Key("kept", name), item) for name, item in kept.items()])
    store.transact(Update(Key("old", "000"), set={"ttl": 2000}))
    store.transact(Update(Key("old", "001"), set={"ttl": None}))
    assert store.sweep(1000.5) == 599
    assert store.sweep(1000.5) == 0
    assert store.query("old") == [{"ttl": 2000, **entry}, entry]
    assert len(store.query("all", index=Index.DUE)) == 2
    assert [store.get(Key("kept", name))[0] for name in kept] == [None, *list(kept.values())[1:]]
    database.close()


def test_a_database_of_before_there_was_a_ttl_is_taken_over(tmp_path):
    database = Database(tmp_path / "test.db", durable=False)
    SqliteStore(database).transact(Put(Key("p", "old"), {"n": 1}))
    database.run("DROP INDEX items_ttl", "ALTER TABLE items DROP COLUMN ttl")
    store = SqliteStore(database)
    store.transact(Put(Key("p", "new"), {"ttl": 1}))
    assert store.sweep(2.0) == 1
    assert store.query("p") == [{"n": 1}]
    database.close()


def test_what_was_written_is_there_after_reopening(tmp_path):
    for turn in range(3):
        database = Database(tmp_path / "test.db", durable=False)
        store = SqliteStore(database)
        store.transact(Put(Key("p", str(turn)), {"n": turn}, (Absent(),)))
        assert len(store.query("p")) == turn + 1
        database.close()
