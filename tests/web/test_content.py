"""What is in a file: whole, a range of it, some of its lines; and while it is written."""

import json
import threading
import time
from typing import Any

import pytest

from backburner.ports import Limits
from tests.backend import by_name
from tests.web.conftest import Answer, Client, WebWorld, requests
from tests.world import chat, jsonl

LINES = [b'{"custom_id":"Line-%d"}\n' % number for number in range(10)]
CONTENT = b"".join(LINES)


@pytest.fixture
def path(acme):
    return f"/v1/files/{acme.upload(CONTENT).json['id']}/content"


def ranged(client: Client, path: str, span: str, **headers: str) -> Answer:
    return client.ask("GET", path, headers={"range": span, **headers})


RANGES = {
    "bytes=0-0": (0, 1),
    "bytes=3-9": (3, 10),
    "bytes=200-": (200, len(CONTENT)),
    "bytes=-7": (len(CONTENT) - 7, len(CONTENT)),
    "bytes=-9999": (0, len(CONTENT)),
    "bytes=5-99999": (5, len(CONTENT)),
}


@pytest.mark.parametrize(("asked", "span"), RANGES.items(), ids=RANGES)
def test_a_range_is_answered_with_its_bytes(acme, path, asked, span):
    answer = ranged(acme, path, asked)
    start, end = span
    assert (answer.status, answer.body) == (206, CONTENT[start:end])
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(CONTENT)}"


@pytest.mark.parametrize("asked", ["bytes=9999-", "bytes=9-3", "bytes=-0"])
def test_a_range_without_bytes_can_not_be_answered(acme, path, asked):
    answer = ranged(acme, path, asked)
    assert (answer.status, answer.error["param"]) == (416, "Range")
    assert answer.headers["content-range"] == f"bytes */{len(CONTENT)}"


@pytest.mark.parametrize("asked", ["bytes=-", "bytes=0-1,4-5", "lines=1-2", "bytes=x-y"])
def test_what_is_no_single_range_is_answered_with_the_whole(acme, path, asked):
    answer = ranged(acme, path, asked)
    assert (answer.status, answer.body) == (200, CONTENT)
    assert answer.headers["accept-ranges"] == "bytes"
    assert ranged(acme, path, "bytes=0-1", **{"if-range": '"etag"'}).status == 200


def test_a_large_range_is_read_by_the_link(acme):
    size = 4 * 1024 * 1024 + 1
    file_id = acme.upload(b"x" * size, spool="tmp/body").json["id"]
    path = f"/v1/files/{file_id}/content"
    assert ranged(acme, path, "bytes=0-").status == 302
    assert ranged(acme, path, "bytes=1-").status == 206
    answer = acme.get(path, offset=0)
    assert (answer.status, answer.error["param"]) == (413, "offset")


LINES_ASKED: list[tuple[dict[str, Any], list[int], bool]] = [
    ({"offset": 0}, list(range(10)), False),
    ({"offset": 7}, [7, 8, 9], False),
    ({"offset": 10}, [], False),
    ({"limit": 3}, [0, 1, 2], True),
    ({"offset": 4, "limit": 2}, [4, 5], True),
    ({"offset": 8, "limit": 2}, [8, 9], False),
    ({"search": "line-1"}, [1], False),
    ({"search": "LINE", "offset": 8}, [8, 9], False),
    ({"search": "line", "limit": 2}, [0, 1], True),
    ({"search": "none"}, [], False),
]


@pytest.mark.parametrize(("asked", "numbers", "has_more"), LINES_ASKED)
def test_lines_are_read_by_number_and_name(acme, path, asked, numbers, has_more):
    answer = acme.get(path, **asked)
    assert (answer.status, answer.body) == (200, b"".join(LINES[n] for n in numbers))
    assert answer.headers["x-incomplete"] == str(has_more).lower()
    assert answer.headers["x-last-line"] == str(asked.get("offset", 0) + len(numbers))


@pytest.mark.parametrize("asked", [{"limit": 0}, {"offset": -1}, {"limit": "all"}])
def test_a_bad_page_is_refused_by_name(acme, path, asked):
    answer = acme.get(path, **asked)
    assert (answer.status, answer.error["param"]) == (400, next(iter(asked)))


def test_only_content_can_be_ranged_and_head_is_no_method(acme, path):
    assert acme.ask("HEAD", path).status == 405


def test_a_running_batch_is_read_by_number_and_name(world, acme):
    running = acme.batch(requests(12))
    world.pump()
    world.reply(count=3)
    world.pump()
    path = f"/v1/files/{acme.get('/v1/batches/' + running['id']).json['output_file_id']}/content"
    whole = [line["custom_id"] for line in acme.get(path).lines]
    assert len(whole) > 1
    page = acme.get(path, offset=1, limit=1)
    assert [line["custom_id"] for line in page.lines] == whole[1:2]
    assert (page.headers["x-incomplete"], page.headers["x-last-line"]) == ("true", "2")
    named = acme.get(path, search=whole[-1])
    assert [line["custom_id"] for line in named.lines] == whole[-1:]


def test_who_read_on_gets_to_the_end_of_a_file_that_got_no_line(world, acme):
    batch_id = acme.batch(requests(3))["id"]
    world.pump()
    shown = acme.get(f"/v1/batches/{batch_id}").json
    world.finish()
    path = f"/v1/files/{shown['error_file_id']}/content"
    assert acme.get(f"/v1/batches/{batch_id}").json["error_file_id"] is None
    for offset in (0, 2):
        page = acme.get(path, offset=offset)
        assert (page.status, page.body) == (200, b"")
        assert (page.headers["x-incomplete"], page.headers["x-last-line"]) == ("false", str(offset))
    assert acme.get(path).body == b""
    assert acme.delete(f"/v1/files/{shown['output_file_id']}").status == 200
    assert acme.get(f"/v1/files/{shown['output_file_id']}/content").status == 404


def test_the_files_of_a_batch_that_never_ran_are_not_found(world, acme, other):
    batch_id = acme.batch(b"no json")["id"]
    world.finish()
    for client in (acme, other):
        path = f"/v1/files/file-{batch_id.removeprefix('batch_')}-errors/content"
        assert client.get(path, offset=0).status == 404


# ---------------------------------------------------------------- many readers


class Reader(threading.Thread):
    """Polls a file of a running batch until it is complete, from where it stands."""

    def __init__(self, client: Client, path: str, limit: int) -> None:
        super().__init__()
        self._client, self._path, self._limit = client, path, limit
        self.read = b""
        self.pages = 0
        self.wrong: list[Answer] = []

    def run(self) -> None:
        offset = 0
        while True:
            answer = self._client.get(self._path, offset=offset, limit=self._limit)
            if answer.status != 200:
                self.wrong.append(answer)
                return
            self.read += answer.body
            self.pages += 1
            offset = int(answer.headers["x-last-line"])
            if answer.headers["x-incomplete"] == "false":
                return
            time.sleep(0 if answer.body else 0.02)


@pytest.fixture
def threaded(tmp_path):
    world = WebWorld(tmp_path, limits=Limits(canary_lines=2, inline_bytes=500), has_threads=True)
    yield world
    world.close()


def test_five_who_read_while_it_runs_see_each_line_once_and_in_order(threaded):
    world = threaded
    acme = world.client("acme")
    bad = {f"r-{number}": 400 for number in range(30, 120, 50)}
    batch = acme.batch(jsonl(chat(f"r-{number}") for number in range(1, 121)))
    world.pump()
    while not (shown := acme.get(f"/v1/batches/{batch['id']}").json)["output_file_id"]:
        world.pump()
    path = f"/v1/files/{shown['output_file_id']}/content"
    readers = [Reader(acme, path, limit) for limit in (3, 7, 20, 50, 999)]
    for reader in readers:
        reader.start()
    while not all(reader.pages for reader in readers):
        time.sleep(0.01)
    while world.outstanding:
        world.answer(reply=by_name(bad))
        world.pump()
    for reader in readers:
        reader.join(timeout=60)
    assert [reader.wrong for reader in readers] == [[]] * 5
    final = acme.get(path).body
    assert [reader.read == final for reader in readers] == [True] * 5
    names = [json.loads(line)["custom_id"] for line in final.splitlines()]
    assert names == [f"r-{n}" for n in range(1, 121) if f"r-{n}" not in bad]
