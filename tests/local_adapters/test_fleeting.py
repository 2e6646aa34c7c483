"""Messages of a queue that is kept in memory: one does for all that say the same."""

import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from backburner.adapters.system import SystemClock
from backburner_local.adapters.clock import FixedClock
from backburner_local.adapters.messages import Counts
from backburner_local.adapters.queue import SqliteQueue
from backburner_local.adapters.sqlite import Database
from backburner_local.adapters.units import DiskFull

_ALL = "SELECT id FROM messages"


@pytest.fixture
def database(tmp_path):
    database = Database(tmp_path / "test.db", durable=False)
    yield database
    database.close()


@pytest.fixture
def clock():
    return FixedClock()


@pytest.fixture
def queue(database, clock):
    queue = SqliteQueue(database, clock, max_receives={"dispatch": 2})
    queue.keep_in_memory("dispatch")
    return queue


def bodies(queue: SqliteQueue, limit: int = 10) -> list[str]:
    return [message.body for message in queue.receive("dispatch", limit, 30)]


def rows(database: Database) -> int:
    return database.read(lambda connection: len(connection.execute(_ALL).fetchall()))


def test_they_arrive_oldest_first_and_no_more_than_asked_and_are_never_in_the_table(
    database, queue
):
    for pool in "abc":
        queue.send("dispatch", {"pool": pool})
    assert bodies(queue, 2) == ['{"pool":"a"}', '{"pool":"b"}']
    messages = queue.receive("dispatch", 10, 30)
    assert [(one.body, one.receives) for one in messages] == [('{"pool":"c"}', 1)]
    assert rows(database) == 0
    queue.forget(messages)
    queue.delete(messages)
    assert bodies(queue) == []


def test_those_that_say_the_same_are_one_until_it_is_received(queue):
    for _ in range(3):
        queue.send("dispatch", {"pool": "a"})
    assert bodies(queue) == ['{"pool":"a"}']
    queue.send("dispatch", {"pool": "a"})
    assert bodies(queue) == ['{"pool":"a"}']


def test_each_has_a_name_of_its_own(queue):
    names = set()
    for pool in "aba":
        queue.send("dispatch", {"pool": pool})
        names |= {message.id for message in queue.receive("dispatch", 10, 30)}
    assert len(names) == 3


def test_one_that_is_delayed_is_in_the_table_as_any_other(database, clock, queue):
    queue.send("dispatch", {"pool": "a"}, delay_seconds=60)
    assert rows(database) == 1
    assert bodies(queue) == []
    clock.advance(61)
    assert bodies(queue) == ['{"pool":"a"}']


def test_what_the_table_has_is_received_beside_them(clock, queue):
    queue.send("dispatch", {"pool": "late"}, delay_seconds=60)
    queue.send("dispatch", {"pool": "a"})
    assert bodies(queue) == ['{"pool":"a"}']
    clock.advance(61)
    queue.send("dispatch", {"pool": "a"})
    assert bodies(queue) == ['{"pool":"a"}', '{"pool":"late"}']


def test_one_whose_handler_fails_is_seen_again_and_then_a_dead_letter(database, clock, queue):
    queue.send("dispatch", {"pool": "a"})
    (message,) = queue.receive("dispatch", 10, 30)
    queue.release(message, 5)
    assert rows(database) == 1
    assert bodies(queue) == []
    clock.advance(6)
    (again,) = queue.receive("dispatch", 10, 30)
    assert (again.body, again.receives) == (message.body, 2)
    assert again.sent_at == message.sent_at
    queue.release(again)
    assert bodies(queue) == []
    assert [letter.body for letter in queue.dead_letters("dispatch")] == ['{"pool":"a"}']


def test_a_step_back_of_the_clock_holds_none_up(clock, queue):
    queue.send("dispatch", {"pool": "a"})
    clock.advance(-600)
    assert queue.wait("dispatch", 1)
    assert bodies(queue) == ['{"pool":"a"}']


class Full(Database):
    """A database whose disk can be filled."""

    is_full = False

    def write(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        if self.is_full:
            raise DiskFull("The disk is full.")
        return super().write(work)


@pytest.fixture
def full(tmp_path):
    full = Full(tmp_path / "full.db", durable=False)
    yield full
    full.close()


def test_what_the_table_has_may_not_be_had_and_the_others_are_received(full, clock):
    queue = SqliteQueue(full, clock)
    queue.keep_in_memory("dispatch")
    queue.send("dispatch", {"pool": "late"}, delay_seconds=60)
    clock.advance(61)
    queue.send("dispatch", {"pool": "a"})
    full.is_full = True
    assert bodies(queue) == ['{"pool":"a"}']
    with pytest.raises(DiskFull):
        bodies(queue)
    full.is_full = False
    assert bodies(queue) == ['{"pool":"late"}']


def test_one_whose_handler_fails_while_the_disk_is_full_stays_in_memory_and_comes_again(
    full, clock
):
    queue = SqliteQueue(full, clock)
    queue.keep_in_memory("dispatch")
    queue.send("dispatch", {"pool": "a"})
    (message,) = queue.receive("dispatch", 10, 30)
    full.is_full = True
    queue.release(message, 0.05)
    full.is_full = False
    assert bodies(queue) == []
    assert queue.wait("dispatch", 10)
    assert bodies(queue) == ['{"pool":"a"}']


def test_one_that_comes_again_later_comes_at_once_where_it_is_sent_again(full, clock):
    queue = SqliteQueue(full, clock)
    queue.keep_in_memory("dispatch")
    queue.send("dispatch", {"pool": "a"})
    (message,) = queue.receive("dispatch", 10, 30)
    full.is_full = True
    queue.release(message, 600)
    assert queue.counts("dispatch").waiting == 1
    queue.send("dispatch", {"pool": "a"})
    full.is_full = False
    assert bodies(queue) == ['{"pool":"a"}']


def test_they_are_counted_while_they_wait(queue):
    queue.send("dispatch", {"pool": "a"})
    assert queue.counts("dispatch") == Counts(waiting=1, in_flight=0, dead=0)
    bodies(queue)
    assert queue.counts("dispatch") == Counts(waiting=0, in_flight=0, dead=0)


def test_other_queues_stay_in_the_table(database, queue):
    queue.send("plan", {})
    queue.send("plan", {})
    assert rows(database) == 2


def test_waiting_ends_soon_after_one_is_sent(database):
    queue = SqliteQueue(database, SystemClock())
    queue.keep_in_memory("dispatch")
    seen: list[bool] = []
    thread = threading.Thread(target=lambda: seen.append(queue.wait("dispatch", 10)))
    thread.start()
    time.sleep(0.05)
    began = time.monotonic()
    queue.send("dispatch", {"pool": "a"})
    thread.join(20)
    assert seen == [True]
    assert time.monotonic() - began < 5


def test_what_another_process_sends_is_seen_before_long(database, tmp_path):
    queue = SqliteQueue(database, SystemClock())
    queue.keep_in_memory("dispatch")
    assert not queue.wait("dispatch", 0)
    other = Database(tmp_path / "test.db", durable=False)
    SqliteQueue(other, SystemClock()).send("dispatch", {"pool": "a"})
    other.close()
    began = time.monotonic()
    while not queue.wait("dispatch", 0.1):
        assert time.monotonic() - began < 5
    assert bodies(queue) == ['{"pool":"a"}']
