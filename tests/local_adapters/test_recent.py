"""What the store remembers of its own commits: never another state than the file's."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from backburner.domain.errors import Conflict
from backburner.ports import Absent, Below, Delete, Is, Key, Put, Update
from backburner_local.adapters.recent import MOST_BYTES, SECONDS, Recent
from backburner_local.adapters.sqlite import Database
from backburner_local.adapters.store import SqliteStore
from backburner_local.adapters.units import NotWritten

KEY, OTHER = Key("p", "1"), Key("p", "2")


class Watched(Database):
    """A database that counts how often its file is read."""

    reads = 0

    def read(self, look: Callable[..., Any]) -> Any:
        self.reads += 1
        return super().read(look)


class Here:
    """A store, and another one on the same file, as another process has it."""

    def __init__(self, folder: Path) -> None:
        self.now = 0.0
        self.database = Watched(folder / "test.db", durable=False)
        self.store = SqliteStore(self.database, clock=lambda: self.now)
        self.elsewhere = Database(folder / "test.db", durable=False)
        self.other = SqliteStore(self.elsewhere)

    def reads(self, *keys: Key) -> tuple[list[Any], int]:
        """The items, and how often the file was read for them."""
        before = self.database.reads
        return self.store.get(*keys), self.database.reads - before


@pytest.fixture
def here(tmp_path):
    here = Here(tmp_path)
    yield here
    here.database.close()
    here.elsewhere.close()


def test_what_was_just_committed_is_not_read_from_the_file(here):
    here.store.transact(Put(KEY, {"n": 1}), Put(OTHER, {"n": 5, "gone": None}))
    here.store.transact(Update(KEY, add={"n": 1}))
    assert here.reads(KEY, OTHER, KEY) == ([{"n": 2}, {"n": 5}, {"n": 2}], 0)
    assert here.reads(KEY, Key("p", "unknown")) == ([{"n": 2}, None], 1)


def test_what_was_removed_is_not_remembered(here):
    here.store.transact(Put(KEY, {"n": 1}), Put(OTHER, {"n": 1, "ttl": 10}))
    here.store.transact(Delete(KEY))
    assert here.store.get(KEY) == [None]
    assert here.store.sweep(11) == 1
    assert here.store.get(OTHER) == [None]


def test_what_is_swept_in_the_transaction_that_wrote_it_is_not_remembered(here):
    going_on, started = threading.Event(), threading.Event()

    def hold(_: Any) -> None:
        started.set()
        assert going_on.wait(10)

    with ThreadPoolExecutor(2) as threads:
        held = here.database.submit(hold)
        assert started.wait(10)
        writing = threads.submit(here.store.transact, Put(KEY, {"ttl": 10}))
        while here.database._units.qsize() < 1:
            pass
        # Joint work is done last of what waits: this comes while the group goes on.
        sweeping = threads.submit(here.store.sweep, 11)
        going_on.set()
        held.result(10)
        writing.result(10)
        sweeping.result(10)
    here.store.sweep(11)
    assert here.store.get(KEY) == [None]


def test_what_could_not_be_committed_is_not_remembered(here):
    here.store.transact(Put(KEY, {"n": 1}))
    here.database.run(
        "CREATE TABLE parents (n INTEGER PRIMARY KEY)",
        "CREATE TABLE children (n INTEGER REFERENCES parents DEFERRABLE INITIALLY DEFERRED)",
    )
    here.database._writer.execute("PRAGMA foreign_keys = ON")
    held, started = threading.Event(), threading.Event()

    def hold(connection: Any) -> None:
        started.set()
        assert held.wait(10)
        connection.execute("INSERT INTO children VALUES (1)")

    with ThreadPoolExecutor(1) as threads:
        spoiling = here.database.submit(hold)
        assert started.wait(10)
        writing = threads.submit(here.store.transact, Update(KEY, add={"n": 1}))
        while here.database._units.qsize() < 1:
            pass
        held.set()
        for one in (spoiling, writing):
            with pytest.raises(NotWritten):
                one.result(10)
    assert here.store.get(KEY) == [{"n": 1}]
    here.store.transact(Update(KEY, add={"n": 1}, when=(Is("n", 1),)))
    assert here.reads(KEY) == ([{"n": 2}], 0)


def test_what_another_process_wrote_is_seen_by_the_next_transaction_and_after_it(here):
    here.store.transact(Put(KEY, {"n": 1}), Put(OTHER, {"n": 1}))
    here.other.transact(Update(KEY, set={"n": 7}), Delete(OTHER))
    here.store.transact(Update(KEY, add={"n": 1}, when=(Is("n", 7),)), Put(OTHER, {}, (Absent(),)))
    assert here.store.get(KEY, OTHER) == [{"n": 8}, {}]


def test_a_condition_that_another_process_made_false_does_not_hold(here):
    here.store.transact(Put(KEY, {"n": 1}))
    here.other.transact(Update(KEY, add={"n": 1}))
    with pytest.raises(Conflict):
        here.store.transact(Update(KEY, set={"n": 5}, when=(Is("n", 1),)))
    assert here.store.get(KEY) == [{"n": 2}]


def test_what_another_process_wrote_is_read_a_moment_later(here):
    here.store.transact(Put(KEY, {"n": 1}))
    here.other.transact(Update(KEY, set={"n": 7}))
    here.now += 1.1 * SECONDS
    assert here.reads(KEY) == ([{"n": 7}], 1)


def test_so_much_is_remembered_and_the_oldest_is_forgotten():
    recent = Recent(clock=lambda: 0.0)
    recent.begin(1)
    keys = [Key("p", str(number)) for number in range(9)]
    for key in keys:
        recent.committed({key: b"x" * (MOST_BYTES // 8)})
    assert list(recent.find(keys)) == keys[1:]
    recent.committed({keys[1]: b"x"})
    recent.committed({keys[0]: b"x" * (MOST_BYTES // 8)})
    assert list(recent.find(keys)) == [keys[0], keys[1], *keys[3:]]


def test_no_reader_ever_sees_a_state_that_has_passed(here):
    """Of a counter, and of an item beside an index that shows it."""
    here.store.transact(Put(KEY, {"n": 0, "queue_key": "q", "queue_sort": "0"}))
    wrong: list[str] = []
    is_over = threading.Event()

    def read() -> None:
        last = 0
        while not is_over.is_set():
            (shown,) = here.store.query("p", limit=1)
            (item,) = here.store.get(KEY)
            assert item is not None
            if item["n"] < max(last, shown["n"]):
                wrong.append(f"{item['n']} after {last} and {shown['n']}")
            last = item["n"]

    with ThreadPoolExecutor(4) as threads:
        readers = [threads.submit(read) for _ in range(3)]
        for number in range(300):
            here.store.transact(Update(KEY, add={"n": 1}, when=(Below("n", number + 1),)))
        is_over.set()
        for reader in readers:
            reader.result(10)
    assert wrong == []
    assert here.store.get(KEY)[0]["n"] == 300
