"""Accepted work survives a kill of the emulator, and its instances do not."""

import json
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from backburner_local.emulators.objects import DirectoryObjects
from tests.emulators.conftest import client, endpoint, wait_until

SCRIPT = str(Path(__file__).with_name("emulator_process.py"))


class Victim:
    """An emulator process over one directory; started as often as one likes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.process: subprocess.Popen[bytes] | None = None
        self.runtime: Any = None

    def start(self) -> "Victim":
        (self.root / "url").unlink(missing_ok=True)
        self.process = subprocess.Popen([sys.executable, SCRIPT, str(self.root)])
        url, _ = wait_until(lambda: (self.root / "url").exists() and self.url()).split()
        self.runtime = client("sagemaker-runtime", url)
        return self

    def url(self) -> str:
        return (self.root / "url").read_text()

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.runtime.close()
            self.process = None

    def invoke(self, number: int, behaviour: str) -> Any:
        return self.runtime.invoke_endpoint_async(
            EndpointName="my-ep",
            Body=b"x" * 1000,
            InferenceId=f"id-{number}",
            Filename=f"{number}.out",
            CustomAttributes=behaviour,
        )

    def told(self) -> Counter[str]:
        path = self.root / "told"
        lines = path.read_text().splitlines() if path.exists() else []
        return Counter(json.loads(line)["inferenceId"] for line in lines)

    def outputs(self) -> dict[str, bytes]:
        objects = DirectoryObjects(self.root / "objects")
        folder = self.root / "objects/bucket/out"
        return {path.name: objects.get("bucket", f"out/{path.name}") for path in folder.iterdir()}


@pytest.fixture
def victim(tmp_path):
    victim = Victim(tmp_path)
    yield victim
    victim.kill()


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_everything_accepted_before_a_kill_is_told_after_it(victim):
    victim.start()
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: victim.invoke(number, "sleep=0.1"), range(40)))
    wait_until(lambda: len(victim.told()) >= 8)
    victim.kill()
    before = victim.told()
    assert len(before) < 40
    victim.start()
    wait_until(lambda: len(victim.told()) == 40, what="all 40 told")
    assert len(victim.outputs()) == 40
    again = {one: count for one, count in victim.told().items() if count > 1}
    assert len(again) <= 8  # only what was being told, or not yet forgotten, at the kill


def test_what_is_finished_but_not_told_is_told_without_running_again(victim):
    (victim.root / "deaf").touch()
    victim.start()
    for number in range(6):
        victim.invoke(number, "peak=0")
    folder = victim.root / "objects/bucket/out"
    wait_until(lambda: folder.exists() and len(list(folder.iterdir())) == 6)
    wait_until(lambda: _finished(victim.root) == 6)
    before = victim.outputs()
    victim.kill()
    (victim.root / "deaf").unlink()
    victim.start()
    wait_until(lambda: len(victim.told()) == 6)
    assert victim.outputs() == before  # the outputs name the process that made them


def test_no_instance_outlives_a_killed_emulator(victim):
    victim.start()
    victim.invoke(1, "peak=0")
    wait_until(victim.told)
    (output,) = victim.outputs().values()
    instance = int(output.split()[1])
    assert not is_gone(instance)
    victim.kill()
    wait_until(lambda: is_gone(instance))


def test_two_emulators_do_not_share_a_data_directory(stage):
    stage.start(endpoint(initial_instance_count=0))
    first = stage.emulator
    second = type(first)(
        objects=stage.objects, publish=stage.listener.publish, data_dir=stage.root / "data"
    )
    with pytest.raises(RuntimeError, match="another emulator works in"):
        second.start()
    second.stop()


def test_a_stopped_emulator_goes_on_where_it_stopped(stage):
    stage.start(endpoint(initial_instance_count=0))
    for number in range(5):
        stage.invoke(InferenceId=f"id-{number}")
    stage.stop()
    assert stage.listener.results() == []
    stage.start(endpoint())
    stage.listener.wait(5)
    stage.stop()
    stage.start(endpoint())
    stage.result(InferenceId="last")
    assert len(stage.listener.results()) == 6


def _finished(root: Path) -> Any:
    with sqlite3.connect(f"file:{root}/data/queue.sqlite?mode=ro", uri=True) as connection:
        query = "SELECT count(*) FROM notifications"
        count = connection.execute(query).fetchone()[0]
    connection.close()
    return count
