"""Readers that look all the time while others submit and cancel never see a promise broken."""

import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from backburner_local.client import ENDED, ApiError, Client, Unreachable
from tests.local.stacks import CHAT, Up, lines, request, wait_until
from tests.readers import History, Look, complaints

WRITERS, READERS = 2, 3
LINES = 120


class Crowd:
    """Writers and readers of one stack, which may be killed and come back under another address."""

    def __init__(self, up: Up, folder: Path, batches: int) -> None:
        self.up = up
        self.folder = folder
        self.history = History()
        self.errors: list[BaseException] = []
        self.over = threading.Event()
        self.clients: list[Client] = []
        self._own = threading.local()
        self._batches = batches
        self.writers = self._threads(WRITERS, self._write)
        self.readers = self._threads(READERS, self._read)

    def _threads(self, count: int, act: Callable[[int], None]) -> list[threading.Thread]:
        def run(number: int) -> None:
            try:
                act(number)
            except BaseException as error:  # noqa: BLE001 - told by the test
                self.errors.append(error)
                self.over.set()

        return [threading.Thread(target=run, args=(number,)) for number in range(count)]

    def _ask(self, what: Callable[[Client], Any]) -> Any:
        """Ask until the stack is there to answer."""
        while True:
            with suppress(Unreachable, httpx.TransportError):
                return what(self._client())
            time.sleep(0.05)

    def _client(self) -> Client:
        """Each thread's own; another one after each start of the stack."""
        mine: Client | None = getattr(self._own, "client", None)
        if mine is None or str(mine.http.base_url).rstrip("/") != self.up.url:
            mine = self._own.client = Client.connect(self.up.url, self.up.key)
            with self.history.lock:
                self.clients.append(mine)
        return mine

    # ------------------------------------------------------------ writers

    def _write(self, number: int) -> None:
        dice = random.Random(number)
        path = self.folder / f"{number}.jsonl"
        path.write_bytes(b"".join(map(request, range(1, LINES))) + b"no JSON\n")
        for turn in range(self._batches):
            batch_id = self._ask(partial(_submit, path))
            with self.history.lock:
                self.history.accepted[batch_id] = time.monotonic()
            if turn % 2:
                time.sleep(dice.uniform(0.0, 2.0))
                with suppress(ApiError):  # it may have ended
                    self._ask(partial(Client.cancel, batch_id=batch_id))

    # ------------------------------------------------------------ readers

    def _read(self, number: int) -> None:
        dice = random.Random(number)
        while not self.over.is_set():
            known = list(self.history.accepted)
            if known:
                batch_id = dice.choice(known)
                batch = self._look(batch_id)
                if batch is not None and batch["output_file_id"]:
                    self._page(f"reader {number}", batch)
            self._list()
            time.sleep(0.01)  # others want the processor too

    def _look(self, batch_id: str) -> dict[str, Any] | None:
        began = time.monotonic()
        look = Look(began, began, self._ask(lambda client: _found(client, batch_id)))
        look = replace(look, ended=time.monotonic())
        with self.history.lock:
            self.history.looks[batch_id].append(look)
        return look.batch

    def _list(self) -> None:
        began = time.monotonic()
        listed = self._ask(lambda client: {one["id"] for one in client.batches(limit=100)})
        with self.history.lock:
            self.history.lists.append((began, listed))

    def _page(self, reader: str, batch: dict[str, Any]) -> None:
        """The next lines of the output, from where this reader stands."""
        key = (reader, batch["id"])
        if key in self.history.whole:
            return
        offset = sum(page.count(b"\n") for page in self.history.pages[key])
        route = f"/v1/files/{batch['output_file_id']}/content?offset={offset}"
        answer = self._ask(lambda client: client.http.get(route, follow_redirects=True))
        assert answer.status_code == 200, answer.text
        with self.history.lock:
            self.history.pages[key].append(answer.content)
            if answer.headers.get("x-incomplete") != "true":
                self.history.whole.add(key)

    def all_ended(self) -> bool:
        self.assert_no_errors()
        is_written = not any(writer.is_alive() for writer in self.writers)
        return is_written and all(
            (self._look(one) or {})["status"] in ENDED for one in self.history.accepted
        )

    def assert_no_errors(self) -> None:
        for error in self.errors:
            raise error


def _submit(path: Path, client: Client) -> str:
    batch = client.create_batch(
        input_file_id=client.upload(path)["id"],
        endpoint=CHAT,
        completion_window="24h",
        x_on_invalid="skip",
    )
    return str(batch["id"])


def _found(client: Client, batch_id: str) -> dict[str, Any] | None:
    try:
        return client.batch(batch_id)
    except ApiError as error:
        if error.status != 404:
            raise
        return None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("batches", "kills"), [(2, 0), pytest.param(20, 12, marks=pytest.mark.long)]
)
def test_nobody_who_looks_meanwhile_sees_a_promise_broken(tmp_path, tally, batches, kills):
    moments = random.Random(1)
    with Up(tmp_path / "data", "--max-instances", "1", delay_seconds=0.3) as up:
        crowd = Crowd(up, tmp_path, batches)
        for thread in (*crowd.writers, *crowd.readers):
            thread.start()
        try:
            for _ in range(kills):
                time.sleep(moments.uniform(1.0, 4.0))
                crowd.assert_no_errors()
                up.kill()
                up.start()
            wait_until(crowd.all_ended, "the end of all batches", 60 + 20 * batches)
            time.sleep(0.3)  # looks after the end
        finally:
            crowd.over.set()
            for thread in (*crowd.writers, *crowd.readers):
                thread.join()
            for client in crowd.clients:
                client.http.close()
        crowd.assert_no_errors()
        files = {one: _outputs(up.client, one) for one in crowd.history.accepted}
    history = crowd.history
    assert complaints(history, files) == []
    assert len(history.accepted) == WRITERS * batches
    assert history.whole
    looks = sum(map(len, history.looks.values()))
    tally("looks of readers while others wrote", looks + len(history.lists))
    tally("kills while readers looked", kills)


def _outputs(client: Client, batch_id: str) -> bytes:
    """The output at the end; the batch counts what is in its files."""
    batch = client.batch(batch_id)
    output, errors = (
        b"".join(client.content(batch[name])) if batch[name] else b""
        for name in ("output_file_id", "error_file_id")
    )
    counts = batch["request_counts"]
    assert counts["total"] == counts["completed"] + counts["failed"]
    assert counts["total"] == LINES or batch["status"] == "cancelled"
    assert (len(lines(output)), len(lines(errors))) == (counts["completed"], counts["failed"])
    return output


# ---------------------------------------------------------------- the judge itself


def a_look(began: float, status: str, completed: int, *, failed: int = 0, total: int = 3) -> Look:
    counts = {"total": total, "completed": completed, "failed": failed}
    return Look(began, began + 0.5, {"status": status, "request_counts": counts})


FINE = [
    a_look(1, "in_progress", 1),
    a_look(2, "finalizing", 2),
    a_look(3, "completed", 2, failed=1),
]

WRONG = {
    "a count goes back": ([*FINE[:2], a_look(3, "in_progress", 1)], "5."),
    "a status goes back": ([*FINE[:2], a_look(3, "in_progress", 2)], "5."),
    "more are done than there are": ([a_look(1, "in_progress", 3, failed=1)], "5."),
    "an end changes": ([*FINE, a_look(4, "cancelled", 2, failed=1)], "10."),
    "an acknowledged batch is gone": ([*FINE[:1], Look(2, 3, None)], "1."),
}


def judged(looks: list[Look], **seen: Any) -> list[str]:
    history = History(accepted={"b": 0.0}, **seen)
    history.looks["b"] = looks
    return complaints(history, {"b": b"1\n2\n"})


@pytest.mark.parametrize(("looks", "number"), WRONG.values(), ids=WRONG)
def test_the_judge_sees_a_state_that_goes_back(looks, number):
    assert judged(FINE) == []
    assert {complaint.split()[0] for complaint in judged(looks)} == {number}


def test_the_judge_bears_looks_at_the_same_time_that_differ():
    assert judged([Look(1, 9, FINE[2].batch), Look(2, 8, FINE[0].batch)]) == []


@pytest.mark.parametrize("pages", [[b"2\n"], [b"1\n", b"1\n"], [b"2\n", b"1\n"], [b"1\n"]])
def test_the_judge_sees_lines_that_are_missing_doubled_or_out_of_order(pages):
    assert judged([], pages={("r", "b"): [b"1\n", b"2\n"]}, whole={("r", "b")}) == []
    assert judged([], pages={("r", "b"): [b"1\n"]}) == []
    assert [one[:2] for one in judged([], pages={("r", "b"): pages}, whole={("r", "b")})] == ["2."]


def test_the_judge_sees_a_list_without_an_acknowledged_batch():
    assert judged([], lists=[(1.0, {"b"})]) == []
    assert [one[:2] for one in judged([], lists=[(1.0, set())])] == ["1."]
