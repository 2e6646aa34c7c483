"""Waiting for messages, and what the local event source sees beside them."""

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
from backburner_local.adapters.store import SqliteStore


class Watched(Database):
    """A database that counts how often it is read."""

    reads = 0

    def read(self, look: Callable[[sqlite3.Connection], Any]) -> Any:
        self.reads += 1
        return super().read(look)


@pytest.fixture
def database(tmp_path):
    database = Watched(tmp_path / "test.db", durable=False)
    yield database
    database.close()


@pytest.fixture
def queue(database):
    return SqliteQueue(database, SystemClock())


def wait_in_thread(
    queue: SqliteQueue, timeout_seconds: float = 10.0
) -> Callable[[], tuple[bool, float]]:
    """Start to wait; returns how to join, which gives the answer and the seconds it took."""
    answers = []

    def wait():
        began = time.monotonic()
        answers.append((queue.wait("plan", timeout_seconds), time.monotonic() - began))

    thread = threading.Thread(target=wait)
    thread.start()

    def join():
        thread.join(20)
        return answers[0]

    return join


def test_waiting_ends_when_a_message_is_sent(queue):
    join = wait_in_thread(queue)
    time.sleep(0.05)
    queue.send("dispatch", {})
    queue.send("plan", {})
    was_seen, seconds = join()
    assert was_seen
    assert seconds < 5


def test_waiting_ends_at_once_if_there_is_a_message(queue):
    queue.send("plan", {})
    assert queue.wait("plan", 0)
    assert queue.wait("plan", 10)


def test_waiting_ends_when_a_delay_is_over(queue):
    queue.send("plan", {}, delay_seconds=0.2)
    assert not queue.wait("plan", 0)
    was_seen, seconds = wait_in_thread(queue)()
    assert was_seen
    assert 0.1 < seconds < 5
    assert len(queue.receive("plan", 10, 30)) == 1


def test_messages_that_are_forgotten_are_gone_unless_they_were_received_again(queue):
    for number in range(3):
        queue.send("plan", {"n": number})
    first, second, third = queue.receive("plan", 10, 600)
    queue.release(third)
    (again,) = queue.receive("plan", 10, 600)
    queue.forget([first, second, third])
    queue.release(again)
    assert [message.id for message in queue.receive("plan", 10, 600)] == [third.id]


def test_waiting_ends_when_a_visibility_timeout_is_over(queue):
    queue.send("plan", {})
    queue.receive("plan", 10, 0.2)
    assert queue.wait("plan", 10)
    assert queue.receive("plan", 10, 30)[0].receives == 2


def test_waiting_ends_when_a_message_is_released_or_redriven(database):
    queue = SqliteQueue(database, SystemClock(), max_receives={"plan": 1})
    queue.send("plan", {})
    (message,) = queue.receive("plan", 10, 600)
    join = wait_in_thread(queue)
    queue.release(message)
    assert join()[0]
    assert queue.receive("plan", 10, 600) == []
    assert len(queue.dead_letters("plan")) == 1
    join = wait_in_thread(queue)
    assert queue.redrive("plan") == 1
    assert join()[0]


def test_waiting_ends_at_the_timeout(queue):
    began = time.monotonic()
    assert not queue.wait("plan", 0.1)
    assert 0.05 < time.monotonic() - began < 5


def test_waiting_ends_when_the_queue_is_closed(queue):
    join = wait_in_thread(queue)
    time.sleep(0.05)
    queue.close()
    was_seen, seconds = join()
    assert not was_seen
    assert seconds < 5
    assert not queue.wait("plan", 10)


def test_waiting_does_not_look_again_and_again(database, queue):
    queue.send("plan", {}, delay_seconds=0.3)
    before = database.reads
    assert queue.wait("plan", 10)
    assert 1 <= database.reads - before <= 5


def test_the_oldest_messages_are_received_first_and_no_more_than_asked(queue):
    for n in range(5):
        queue.send("plan", {"n": n})
    received = queue.receive("plan", 3, 30)
    assert [message.body for message in received] == ['{"n":0}', '{"n":1}', '{"n":2}']
    assert len(queue.receive("plan", 3, 30)) == 2


def test_messages_are_counted_by_where_they_stand(database):
    clock = FixedClock()
    queue = SqliteQueue(database, clock, max_receives={"plan": 1})
    assert queue.counts("plan") == Counts(waiting=0, in_flight=0, dead=0)
    queue.send("plan", {"n": 1})
    queue.send("plan", {"n": 2}, delay_seconds=60)
    assert queue.counts("plan") == Counts(waiting=2, in_flight=0, dead=0)
    queue.receive("plan", 10, 30)
    assert queue.counts("plan") == Counts(waiting=1, in_flight=1, dead=0)
    clock.advance(31)
    assert queue.counts("plan") == Counts(waiting=2, in_flight=0, dead=0)
    assert queue.receive("plan", 10, 30) == []
    assert queue.counts("plan") == Counts(waiting=1, in_flight=0, dead=1)
    assert queue.counts("dispatch") == Counts(waiting=0, in_flight=0, dead=0)


def test_a_late_handler_does_not_take_the_message_from_the_next(database):
    clock = FixedClock()
    queue = SqliteQueue(database, clock)
    queue.send("plan", {})
    (late,) = queue.receive("plan", 10, 30)
    clock.advance(31)
    (current,) = queue.receive("plan", 10, 30)
    queue.delete([late])
    queue.release(late, 0)
    assert queue.counts("plan").in_flight == 1
    queue.delete([current])
    queue.send("plan", {})
    assert queue.receive("plan", 10, 30)[0].id != current.id


def test_messages_survive_reopening(tmp_path):
    clock = FixedClock()
    database = Database(tmp_path / "again.db", durable=False)
    queue = SqliteQueue(database, clock)
    queue.send("plan", {"n": 1})
    queue.send("plan", {"n": 2})
    queue.receive("plan", 1, 30)
    database.close()
    database = Database(tmp_path / "again.db", durable=False)
    queue = SqliteQueue(database, clock)
    assert [message.body for message in queue.receive("plan", 10, 30)] == ['{"n":2}']
    clock.advance(31)
    assert [message.receives for message in queue.receive("plan", 10, 30)] == [2, 2]
    database.close()


def test_a_queue_and_a_store_share_a_file(database, queue):
    SqliteStore(database)
    queue.send("plan", {})
    assert len(queue.receive("plan", 10, 30)) == 1
