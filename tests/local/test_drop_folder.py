"""The drop folder: a file that is put there is run, once, and what became of it is beside it."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backburner_local.client import Client
from backburner_local.options import Options
from backburner_local.stack import Stack
from tests.local.stacks import lines, names, request, requests, wait_until

pytestmark = pytest.mark.slow


class Desk:
    """A stack that is started anew now and then, and the folders that its user sees."""

    def __init__(self, data_dir: Path) -> None:
        self._options = Options(
            data_dir=data_dir, port=0, engine="null", minute_seconds=1.0, durable=False
        )
        self.drop, self.results, self.rejected = (
            data_dir / name for name in ("drop", "results", "rejected")
        )
        self._stack: Stack | None = None

    @property
    def bucket(self) -> Path:
        return self.drop.resolve().parent

    def start(self) -> None:
        self._stack = Stack(self._options).start()

    def stop(self) -> None:
        if self._stack is not None:
            self._stack.stop()
            self._stack = None

    def batches(self, name: str | None = None) -> list[dict[str, Any]]:
        """Batches made of dropped files, those of one name or all."""
        assert self._stack is not None
        key = (self._options.data_dir / "dev.key").read_text().strip()
        with Client.connect(self._stack.url, key) as client:
            found = client.batches(limit=100)
        return [one for one in found if name in (None, one["metadata"]["dropped"])]

    def fence(self) -> None:
        """Wait until all is seen that was dropped before: files are taken in their order."""
        path = self.drop / f"fence-{time.monotonic_ns()}.jsonl"
        path.write_bytes(request(1))
        wait_until((self.results / path.name).exists, "the results of the fence")


@pytest.fixture(scope="module")
def desk(tmp_path_factory) -> Iterator[Desk]:
    folders = Desk(tmp_path_factory.mktemp("desk") / "data")
    folders.start()
    yield folders
    folders.stop()


def ids(path: Path) -> list[str]:
    return [line["custom_id"] for line in lines(path.read_bytes())]


BAD = request(1) + b"{oops\n" + request(1)
ANY_NAMES = [
    "with spaces.jsonl",
    "a+b=c&d.jsonl",
    "100%25.jsonl",
    "naïve 名前 \U0001f600.jsonl",
    "two.dots.jsonl",
    "folder/of folders/deep.jsonl",
]


@pytest.fixture(scope="module")
def dropped(desk):
    """The desk, with several files dropped at once: each must lie still for a moment."""
    contents = {
        "work.jsonl": requests(80),
        "mixed.jsonl": request(1) + request(2, "null:status=400") + request(3),
        "bad.jsonl": BAD,
        "empty.jsonl": b"",
        **dict.fromkeys(ANY_NAMES, request(1)),
    }
    for name, content in contents.items():
        path = desk.drop / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return desk


def test_a_dropped_file_is_run_and_its_results_have_its_name(dropped):
    wait_until((dropped.results / "work.jsonl").exists, "the results")

    assert ids(dropped.results / "work.jsonl") == names(80)
    assert (dropped.drop / "work.jsonl").read_bytes() == requests(80)
    (batch,) = dropped.batches("work.jsonl")
    assert batch["endpoint"] == "/v1/chat/completions"
    assert not (dropped.results / "work.errors.jsonl").exists()


def test_requests_that_failed_are_beside_the_results(dropped):
    wait_until((dropped.results / "mixed.errors.jsonl").exists, "the errors")

    assert ids(dropped.results / "mixed.jsonl") == ["r1", "r3"]
    assert ids(dropped.results / "mixed.errors.jsonl") == ["r2"]


def test_a_bad_file_is_rejected_with_line_and_reason(dropped):
    wait_until((dropped.rejected / "bad.jsonl").exists, "the rejected file")

    assert (dropped.rejected / "bad.jsonl").read_bytes() == BAD
    told = json.loads((dropped.rejected / "bad.jsonl.error.json").read_text())
    assert told["file"] == "drop/bad.jsonl"
    assert [(error["line"], error["code"]) for error in told["errors"]] == [
        (2, "invalid_json_line"),
        (3, "duplicate_custom_id"),
    ]
    assert all(error["message"] for error in told["errors"])
    assert not (dropped.results / "bad.jsonl").exists()


def test_an_empty_file_is_rejected(dropped):
    wait_until((dropped.rejected / "empty.jsonl.error.json").exists, "the reason")
    told = json.loads((dropped.rejected / "empty.jsonl.error.json").read_text())
    assert [error["code"] for error in told["errors"]] == ["empty_batch"]


@pytest.mark.parametrize("name", ANY_NAMES)
def test_a_file_may_have_any_name(dropped, name):
    wait_until((dropped.results / name).exists, "the results")
    assert ids(dropped.results / name) == ["r1"]
    assert len(dropped.batches(Path(name).name)) == 1


def test_only_whole_files_of_requests_are_taken(desk):
    half = desk.drop / "half.jsonl.part"
    half.write_bytes(requests(2)[:-5])
    (desk.drop / ".hidden.jsonl").write_bytes(requests(1))
    (desk.drop / "notes.txt").write_text("not a file of requests")
    desk.fence()
    assert desk.batches("half.jsonl.part") == []
    assert desk.batches(".hidden.jsonl") == []
    assert desk.batches("notes.txt") == []

    half.write_bytes(requests(2))
    half.rename(desk.drop / "half.jsonl")

    wait_until((desk.results / "half.jsonl").exists, "the results")
    assert ids(desk.results / "half.jsonl") == names(2)
    assert list(desk.rejected.glob("half*")) == []


def test_a_file_that_someone_still_writes_is_not_taken(desk):
    """Such as that of a program whose output goes there and which thinks now and then."""
    with (desk.drop / "slow.jsonl").open("wb") as file:
        for number in (1, 2):
            file.write(request(number))
            file.flush()
            time.sleep(1.8)  # longer than a file must stay as it is
        assert desk.batches("slow.jsonl") == []

    wait_until((desk.results / "slow.jsonl").exists, "the results")

    assert ids(desk.results / "slow.jsonl") == names(2)
    assert len(desk.batches("slow.jsonl")) == 1


def test_a_file_that_grows_is_not_taken(desk):
    for number in range(1, 7):
        with (desk.drop / "growing.jsonl").open("ab") as file:
            file.write(request(number))
        time.sleep(0.3)

    wait_until((desk.results / "growing.jsonl").exists, "the results")

    assert ids(desk.results / "growing.jsonl") == names(6)
    assert len(desk.batches("growing.jsonl")) == 1


def test_a_whole_folder_may_be_moved_in(desk, tmp_path):
    folder = desk.bucket.parent / "packed"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.jsonl").write_bytes(request(number))

    folder.rename(desk.drop / "packed")

    for number in range(3):
        path = desk.results / "packed" / f"{number}.jsonl"
        wait_until(path.exists, f"the results of {path.name}")


def test_a_file_of_the_same_name_with_other_content_is_new_work(desk):
    path = desk.drop / "again.jsonl"
    path.write_bytes(request(1))
    wait_until((desk.results / "again.jsonl").exists, "the results")

    path.write_bytes(requests(2))

    wait_until(lambda: ids(desk.results / "again.jsonl") == names(2), "the new results")
    assert len(desk.batches("again.jsonl")) == 2


def test_what_is_written_or_put_elsewhere_is_no_upload(desk):
    (desk.results / "mine.jsonl").write_bytes(requests(1))
    (desk.rejected / "mine.jsonl").write_bytes(requests(1))
    desk.fence()

    assert desk.batches("mine.jsonl") == []
    taken = [batch["metadata"]["dropped"] for batch in desk.batches()]
    assert not [name for name in taken if name.endswith((".errors.jsonl", ".error.json"))]


def test_a_file_that_was_there_before_the_start_is_taken_and_only_once(desk):
    desk.stop()
    (desk.drop / "early.jsonl").write_bytes(requests(3))
    (desk.bucket / "spool").mkdir(exist_ok=True)
    (desk.bucket / "spool" / "1").write_bytes(b"of an upload that a crash cut off")

    desk.start()
    wait_until((desk.results / "early.jsonl").exists, "the results")
    before = sorted(batch["id"] for batch in desk.batches())
    for _ in range(2):
        desk.stop()
        desk.start()
    desk.fence()

    assert ids(desk.results / "early.jsonl") == names(3)
    assert len(desk.batches("early.jsonl")) == 1
    assert len(desk.batches()) == len(before) + 1  # the fence's
    assert not (desk.bucket / "spool" / "1").exists()
