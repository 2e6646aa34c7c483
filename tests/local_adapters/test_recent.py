"""What the store remembers of its own commits: never another state than the file's."""

import threading
import time
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


def held(database: Database) -> threading.Event:
    """Have the writer wait within its transaction until the event is set."""
    begun, go_on = threading.Event(), threading.Event()

    def hold(_: Any) -> None:
        begun.set()
        assert go_on.wait(10)

    database.submit(hold)
    # One that is held already begins with this one only when it goes on.
    begun.wait(0.05)
    return go_on


def until_waiting(database: Database, count: int) -> None:
    ends_at = time.monotonic() + 10
    while database._units.qsize() < count:
        assert time.monotonic() < ends_at
        time.sleep(0.001)


def test_what_is_swept_in_the_transaction_that_wrote_it_is_not_remembered(here):
    with ThreadPoolExecutor(2) as threads:
        first = held(here.database)
        writing = threads.submit(here.store.transact, Put(KEY, {"ttl": 10}))
        until_waiting(here.database, 1)
        second = held(here.database)  # done before the write, in the same turn
        first.set()
        until_waiting(here.database, 0)
        sweeping = threads.submit(here.store.sweep, 11)
        until_waiting(here.database, 1)
        second.set()
        writing.result(10)
        assert sweeping.result(10) == 1
    assert here.store.get(KEY) == [None]


def test_what_could_not_be_committed_is_not_remembered(here):
    here.store.transact(Put(KEY, {"n": 1}))
    here.database.run(
        "CREATE TABLE parents (n INTEGER PRIMARY KEY)",
        "CREATE TABLE children (n INTEGER REFERENCES parents DEFERRABLE INITIALLY DEFERRED)",
    )
    here.database._writer.execute("PRAGMA foreign_keys = ON")
    with ThreadPoolExecutor(1) as threads:
        go_on = held(here.database)
        spoiling = here.database.submit(lambda c: c.execute("INSERT INTO children VALUES (1)"))
        writing = threads.submit(here.store.transact, Update(KEY, add={"n": 1}))
        until_waiting(here.database, 2)
        go_on.set()
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
    keys = [Key("p", f"{number:02d}") for number in range(17)]
    for key in keys:
        recent.committed({key: b"x" * (MOST_BYTES // 16)})
    assert list(recent.find(keys)) == keys[3:]  # an eighth at once
    recent.committed({keys[3]: b"x"})
    recent.committed(dict.fromkeys(keys[:3], b"x" * (MOST_BYTES // 16)))
    assert list(recent.find(keys)) == [*keys[:4], *keys[7:]]


def test_what_is_being_committed_is_told_as_it_was_until_somebody_may_have_seen_it():
    recent = Recent(clock=lambda: 0.0)
    recent.begin(1)
    recent.committed({KEY: b"old", OTHER: b"other"})
    recent.file_was_read()
    recent.commits({KEY})
    assert recent.find([KEY, OTHER]) == {KEY: b"old", OTHER: b"other"}
    recent.file_was_read()
    assert recent.find([KEY, OTHER]) == {OTHER: b"other"}
    recent.committed({KEY: b"new"})
    assert recent.find([KEY, OTHER]) == {KEY: b"new", OTHER: b"other"}
    recent.commits({KEY})
    assert recent.find([KEY]) == {KEY: b"new"}


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
