"""`backburner watch`: a live table in a terminal, lines elsewhere."""

import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from fcntl import ioctl
from itertools import islice
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from backburner_local import cli, watching
from backburner_local.client import ApiError, Unreachable
from backburner_local.watching import View
from tests.local.stacks import PATIENCE_SECONDS

NOW = 1_750_000_100.0
MODEL: dict[str, Any] = {
    "id": "sagemaker_async:mistral-tiny",
    "model": "mistral-tiny",
    "instances": 1,
    "max_instances": 2,
    "waiting_requests": 1568,
    "shards_in_flight": 3,
    "slots": 8,
}


def a_batch(name: str = "batch_01m815paspan3y83x9r6", **changes: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "id": name,
        "status": "in_progress",
        "created_at": NOW - 100,
        "request_counts": {"completed": 1015, "failed": 1, "total": 1500},
        "x_progress": {"lines_per_s": 12.34, "eta": "2025-06-15T15:10:20Z"},
    }
    return settings | changes


def shown(*batches: Any, width: int = 110, height: int = 30, **changes: Any) -> list[str]:
    """The lines of a table."""
    settings: dict[str, Any] = {"models": [MODEL], "batches": list(batches)}
    console = Console(width=width, height=height, force_terminal=False, color_system=None)
    with console.capture() as captured:
        console.print(View(url="http://here", at=NOW, **settings | changes))
    return captured.get().splitlines()


class TestTable:
    def test_it_has_what_one_wants_to_know(self):
        text = "\n".join(shown(a_batch()))
        for word in ("mistral-tiny", "1 of 2", "1,568", "3 of 8", "batch_01m815paspan3y83x9r6"):
            assert word in text
        for word in ("in_progress", "1,016/1,500", "12.3/s", "2 min left"):
            assert word in text

    @pytest.mark.parametrize("width", [200, 110, 99, 80, 79, 60, 52, 51, 44])
    def test_no_line_is_wider_than_the_terminal_and_none_is_cut(self, width):
        found = shown(a_batch(), a_batch(status="completed", completed_at=NOW), width=width)
        assert all(len(line) <= width for line in found)
        assert "…" not in "".join(found).replace("…3y83x9r6", "")
        assert len(found) == 8, "each batch has one line"

    @pytest.mark.parametrize("height", [8, 12, 20])
    def test_it_is_no_higher_than_the_terminal(self, height):
        batches = [a_batch(f"batch_{number:020d}") for number in range(40)]
        found = shown(*batches, height=height)
        rows = sum(line.lstrip().startswith("batch_") for line in found)
        assert len(found) <= height
        assert found[-1].strip() == f"… and {40 - rows} more"

    def test_a_paused_batch_is_shown_so(self):
        assert "paused" in "\n".join(shown(a_batch(x_paused=True)))

    def test_nothing_is_shown_as_nothing(self):
        assert shown()[-1].strip() == "No batches yet."

    def test_instances_that_nobody_knows_and_jobs_that_bring_their_own(self):
        unknown = MODEL | {"instances": None}
        jobs = MODEL | {"instances": None, "max_instances": None}
        text = "\n".join(shown(models=[unknown, jobs]))
        assert "? of 2" in text
        assert "jobs" in text

    def test_that_nobody_answers_is_told_beside_what_was_there(self):
        found = shown(a_batch(), problem="No answer; trying again.")
        assert "No answer; trying again." in found[0]
        assert "1,016/1,500" in "\n".join(found)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"x_progress": {"eta": None}}, "for 1 min"),
        ({"status": "validating", "x_progress": None}, "for 1 min"),
        ({"status": "completed", "completed_at": NOW - 60}, "took 40 s"),
        ({"created_at": "2025-06-15T13:08:20.000000Z", "x_progress": None}, "for 2 h 0 min"),
    ],
)
def test_how_long_it_takes_is_told_as_far_as_it_is_known(changes, told):
    assert told in "\n".join(shown(a_batch(**changes)))


def test_only_what_changed_makes_a_line():
    told: dict[str, str] = {}
    first = View(url="u", at=NOW, models=[MODEL], batches=[a_batch()])
    counts = {"completed": 1020, "failed": 1, "total": 1500}
    then = View(url="u", at=NOW, models=[MODEL], batches=[a_batch(request_counts=counts)])
    assert len(list(watching.changed_lines(first, told))) == 2
    assert list(watching.changed_lines(first, told)) == []
    (line,) = watching.changed_lines(then, told)
    assert line.endswith("batch_01m815paspan3y83x9r6  in_progress  1021/1500  1 failed")


class _Answers:
    """A client whose gateway answers each look so."""

    def __init__(self, *answers: Exception | list[Any]) -> None:
        self._answers = iter(answers)
        self.http = self
        self.base_url = "http://here"

    def batches(self, limit: int) -> list[Any]:
        answer = next(self._answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def message_batches(self, limit: int) -> list[Any]:
        return []

    def backlog(self) -> list[Any]:
        return []


def look_on(*answers: Exception | list[Any]) -> Iterator[View]:
    client: Any = _Answers(*answers)
    return watching.views(client, every_seconds=0.0, limit=20)


def test_a_gateway_that_is_away_for_a_while_is_waited_for():
    views = look_on([a_batch()], Unreachable("gone"), ApiError(503, "Too much."), [])
    problems = [(one.problem, len(one.batches)) for one in islice(views, 4)]
    assert problems == [(None, 1), ("No answer; trying again.", 1), ("Too much.", 1), (None, 0)]


@pytest.mark.parametrize(
    ("answers", "error"),
    [([Unreachable("gone")], Unreachable), ([[], ApiError(401, "No key.")], ApiError)],
)
def test_one_that_never_answered_or_knows_no_such_key_is_not(answers, error):
    with pytest.raises(error):
        list(look_on(*answers))


# ---------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def variables(stack) -> dict[str, str]:
    return {"BACKBURNER_URL": stack.url, "BACKBURNER_DATA_DIR": str(stack.options.data_dir)}


def test_once_it_prints_what_there_is_and_leaves(variables):
    result = CliRunner().invoke(cli.main, ["watch", "--once"], env=variables)
    assert result.exit_code == 0, result.output
    assert "of 2 instances" in result.stdout


def test_programs_read_json(variables):
    result = CliRunner().invoke(cli.main, ["watch", "--once", "--json"], env=variables)
    found = json.loads(result.stdout)
    assert [model["model"] for model in found["models"]] == ["mistral-tiny"]
    assert found["batches"] == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_terminal_is_left_as_it_was(variables, how):
    written, code = in_a_terminal(variables, how)
    shows, goes = written.index(b"\x1b[?1049h"), written.index(b"\x1b[?1049l")
    assert code == 0
    assert shows < written.index(b"mistral-tiny") < goes
    assert b"mistral-tiny" in written[goes:], "the last table stays"
    assert written.rindex(b"\x1b[?25h") > written.rindex(b"\x1b[?25l"), "the cursor is there again"


#: Who starts tests in the background has SIGINT ignored, and so have all children.
_WATCH = """
import signal
from backburner_local.cli import main

signal.signal(signal.SIGINT, signal.default_int_handler)
main()
"""


def in_a_terminal(variables: dict[str, str], how: signal.Signals) -> tuple[bytes, int]:
    """What the command writes into a terminal until it was shown and stopped, and its exit code."""
    terminal, inside = pty.openpty()
    ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-c", _WATCH, "watch", "--every", "0.2"],
        env={**os.environ, **variables, "TERM": "xterm"},
        stdin=inside,
        stdout=inside,
        start_new_session=True,
    )
    os.close(inside)
    written, is_stopped = b"", False
    until = time.monotonic() + PATIENCE_SECONDS
    try:
        while time.monotonic() < until and select.select([terminal], [], [], PATIENCE_SECONDS)[0]:
            try:
                written += os.read(terminal, 1 << 16)
            except OSError:  # it has ended
                break
            if not is_stopped and b"mistral-tiny" in written:
                process.send_signal(how)
                is_stopped = True
    finally:
        if not is_stopped or time.monotonic() >= until:
            process.kill()
        os.close(terminal)
    return written, process.wait(PATIENCE_SECONDS)
