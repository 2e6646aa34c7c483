"""The watcher of the drop folder: it tells of each file once, when it is whole."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import watchfiles

from backburner.wire.notifications import uploaded_keys
from backburner_local import drop_folder
from backburner_local.adapters.clock import FixedClock
from backburner_local.adapters.files import DirectoryBlobs
from backburner_local.drop_folder import DropTrigger
from tests.local.stacks import wait_until

SETTLE = 0.1


class Watched:
    """A folder with its watcher, and what that tells of."""

    name = "on_upload"

    def __init__(self, root: Path) -> None:
        blobs = DirectoryBlobs(root, "bucket", FixedClock(), b"key", "", durable=False)
        self.drop = root / "bucket" / "drop"
        self.drop.mkdir()
        #: Keys of each event.
        self.told: list[list[str]] = []
        #: Of the next calls, so many fail.
        self.failing = 0
        self._trigger = DropTrigger(root / "bucket", "drop/", blobs, settle_seconds=SETTLE)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def __call__(self, event: dict[str, Any]) -> None:
        if self.failing:
            self.failing -= 1
            raise OSError("the disk is full")
        self.told.append([key.removeprefix("drop/") for key in uploaded_keys(event)])

    @property
    def keys(self) -> list[str]:
        """All that was told of, each as often as it was."""
        return sorted(key for some in self.told for key in some)

    def start(self) -> None:
        function: Any = self
        self._stopping.clear()
        self._thread = threading.Thread(target=self._trigger.run, args=(function, self._stopping))
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def wait_for(self, *keys: str) -> None:
        wait_until(lambda: self.keys == sorted(keys), f"{keys}, after {self.keys}")

    def fence(self) -> None:
        """Wait until all was seen that came before."""
        (self.drop / "fence.jsonl").write_text(str(time.monotonic_ns()))
        before = self.keys.count("fence.jsonl")
        wait_until(lambda: self.keys.count("fence.jsonl") > before, "the fence")


@pytest.fixture
def watched(tmp_path) -> Iterator[Watched]:
    found = Watched(tmp_path)
    yield found
    found.stop()


def test_what_was_there_before_and_what_comes_is_told_of_once(watched):
    (watched.drop / "early.jsonl").write_text("x")
    watched.start()
    watched.wait_for("early.jsonl")
    (watched.drop / "deep" / "er").mkdir(parents=True)
    (watched.drop / "deep" / "er" / "late.csv").write_text("x")
    watched.wait_for("early.jsonl", "deep/er/late.csv")
    watched.fence()
    assert watched.keys == ["deep/er/late.csv", "early.jsonl", "fence.jsonl"]


def test_a_folder_may_be_moved_in(watched, tmp_path):
    watched.start()
    watched.fence()
    packed = tmp_path / "packed"
    packed.mkdir()
    for number in range(3):
        (packed / f"{number}.jsonl").write_text("x")
    packed.rename(watched.drop / "packed")
    watched.wait_for("fence.jsonl", *[f"packed/{number}.jsonl" for number in range(3)])


def test_files_that_are_coming_hidden_or_templates_are_left_alone(watched):
    watched.start()
    for name in (".hidden", "a.jsonl.part", "a.jsonl.tmp", "a.jsonl~", "_template.toml"):
        (watched.drop / name).write_text("x")
    watched.fence()
    assert watched.keys == ["fence.jsonl"]
    (watched.drop / "a.jsonl.part").rename(watched.drop / "a.jsonl")
    watched.wait_for("a.jsonl", "fence.jsonl")


def test_links_that_lead_out_of_the_folder_are_left_alone(watched, tmp_path):
    outside = tmp_path / "secret.jsonl"
    outside.write_text("x")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "b.jsonl").write_text("x")
    (watched.drop / "out.jsonl").symlink_to(outside)
    (watched.drop / "folder").symlink_to(tmp_path / "secrets")
    (watched.drop / "dangling.jsonl").symlink_to(tmp_path / "nothing")
    (watched.drop / "a.jsonl").write_text("x")
    (watched.drop / "in.jsonl").symlink_to(watched.drop / "a.jsonl")
    watched.start()
    watched.fence()
    assert watched.keys == ["a.jsonl", "fence.jsonl", "in.jsonl"]


def test_a_file_that_grows_or_is_held_open_is_not_told_of(watched):
    watched.start()
    with (watched.drop / "held.jsonl").open("w") as held:
        held.write("x")
        held.flush()
        for _ in range(5):
            with (watched.drop / "growing.jsonl").open("a") as growing:
                growing.write("x")
            time.sleep(SETTLE / 2)
        time.sleep(SETTLE * 3)
        assert "held.jsonl" not in watched.keys
    watched.wait_for("growing.jsonl", "held.jsonl")


def test_a_file_that_is_removed_before_it_is_whole_is_nothing(watched):
    watched.start()
    watched.fence()
    (watched.drop / "gone.jsonl").write_text("x")
    (watched.drop / "gone.jsonl").unlink()
    watched.fence()
    assert "gone.jsonl" not in watched.keys


def test_another_content_is_told_of_again(watched):
    watched.start()
    for content in ("one", "two"):
        (watched.drop / "a.jsonl").write_text(content)
        watched.fence()
    assert watched.keys.count("a.jsonl") == 2


def test_texts_that_come_together_are_told_of_together(watched):
    watched.start()
    watched.fence()
    for number in range(60):
        (watched.drop / f"{number}.txt").write_text("x")
    (watched.drop / "a.jsonl").write_text("x")
    wait_until(lambda: len(watched.keys) == 62, "all files")
    sizes = sorted(len(some) for some in watched.told)
    assert sum(sizes) == 62
    assert sizes[-1] > 10
    assert max(sizes) <= drop_folder._TEXTS


def test_a_text_does_not_wait_for_ever_for_others(watched):
    watched.start()
    with (watched.drop / "held.txt").open("w") as held:
        held.write("x")
        (watched.drop / "a.txt").write_text("x")
        watched.wait_for("a.txt")
    watched.wait_for("a.txt", "held.txt")


def test_what_the_function_failed_on_is_told_of_again(watched):
    watched.failing = 2
    for name in ("a.jsonl", "a.txt"):
        (watched.drop / name).write_text("x")
    watched.start()
    watched.wait_for("a.jsonl", "a.txt")


@pytest.mark.parametrize("lost", [True, False])
def test_what_the_system_did_not_tell_of_is_found_by_looking(watched, monkeypatch, lost):
    monkeypatch.setattr(drop_folder, "_SCAN_SECONDS", 0.2)
    monkeypatch.setattr(drop_folder, "watch", _deaf if lost else watchfiles.watch)
    watched.start()
    (watched.drop / "a.jsonl").write_text("one")
    watched.wait_for("a.jsonl")
    (watched.drop / "a.jsonl").write_text("two!")
    watched.wait_for("a.jsonl", "a.jsonl")
    time.sleep(0.5)
    assert watched.keys == ["a.jsonl"] * 2


def _deaf(*_: Any, stop_event: threading.Event, **__: Any) -> Iterator[set[Any]]:
    """A system that tells of nothing."""
    while not stop_event.wait(0.02):
        yield set()


def test_a_name_that_is_no_text_is_left_alone(watched, caplog):
    path = bytes(watched.drop) + b"/\xff.jsonl"
    with open(path, "w") as file:  # noqa: PTH123 - a Path can't be of bytes
        file.write("x")
    watched.start()
    watched.fence()
    assert watched.keys == ["fence.jsonl"]
