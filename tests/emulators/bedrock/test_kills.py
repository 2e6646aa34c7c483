"""An emulator that is killed goes on with its jobs, and asks the model for no record twice."""

import os
import signal
import subprocess
import sys

from backburner_local.emulators.bedrock.lines import open_lines, read_lines
from tests.emulators.bedrock.stage import Stage, records
from tests.emulators.conftest import wait_until

RUN = """
import sys, time
from pathlib import Path
from tests.emulators.bedrock.stage import Stage, records
stage = Stage(Path(sys.argv[1])).start(seconds_per_record=0.02, concurrency=2)
request = stage.request(records(60))
told = stage.emulator.call("bedrock", "CreateModelInvocationJob", request)
print(told["jobArn"], flush=True)
time.sleep(60)
"""


def test_a_killed_emulator_takes_its_jobs_up_again(stage: Stage):
    with subprocess.Popen(
        [sys.executable, "-c", RUN, str(stage.root)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        arn = process.stdout.readline().strip()
        spool = stage.root / "data" / "jobs" / f"{arn[-12:]}.spool"
        wait_until(lambda: spool.exists() and spool.read_bytes().count(b"\n") > 5)
        os.kill(process.pid, signal.SIGKILL)
    before = spool.read_bytes().count(b"\n")
    assert before < 60
    stage.start()
    job = stage.until(arn)
    assert (job["status"], job["successRecordCount"]) == ("Completed", 60)
    assert {line["recordId"] for line in stage.output(arn)} == {
        one["recordId"] for one in records(60)
    }
    totals = stage.emulator.totals()
    assert set(totals.by_record_id.values()) == set(totals.by_content.values()) == {1}
    assert not spool.exists()


def test_a_line_that_was_torn_is_cut_off(tmp_path):
    path = tmp_path / "lines"
    path.write_bytes(b"one\ntwo\nthr")
    with open_lines(path) as file:
        file.write(b"four\n")
    assert read_lines(path) == [b"one", b"two", b"four"]
    assert read_lines(tmp_path / "nothing") == []
