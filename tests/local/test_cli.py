"""The `backburner` command: what it prints, its exit codes, and how a stack starts and ends."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from backburner_local import cli
from tests.local.stacks import Up, lines, names, request, requests, text_of, wait_until

pytestmark = pytest.mark.slow

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def backburner(stack) -> Run:
    """The command, told where the stack of this module is."""
    environment = {
        "BACKBURNER_URL": stack.url,
        "BACKBURNER_DATA_DIR": str(stack.options.data_dir),
        "BACKBURNER_API_KEY": None,
    }

    def run(*arguments: object, **variables: str) -> Result:
        result = CliRunner().invoke(
            cli.main, [str(one) for one in arguments], env={**environment, **variables}
        )
        assert result.exception is None or isinstance(result.exception, SystemExit), result.output
        return result

    return run


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "work.jsonl"
    path.write_bytes(requests(40))
    return path


class TestSubmit:
    def test_a_watched_batch_that_completes_exits_with_0(self, backburner, file):
        result = backburner("submit", file, "--watch")

        assert result.exit_code == 0, result.stderr
        assert "completed  40 completed, 0 failed, 40 in all" in result.stdout
        assert "40/40" in result.stderr

    def test_json_is_the_whole_of_standard_output(self, backburner, file):
        result = backburner("submit", file, "--watch", "--json", "--notify", "me@example.com")

        batch = json.loads(result.stdout)
        assert batch["status"] == "completed"
        assert batch["metadata"] == {"filename": "work.jsonl", "notify_email": "me@example.com"}

    def test_without_watching_it_returns_at_once(self, backburner, file):
        result = backburner("submit", file, "--json")

        assert result.exit_code == 0
        assert json.loads(result.stdout)["status"] in ("validating", "in_progress")

    def test_a_file_with_bad_lines_exits_with_1_and_names_them(self, backburner, tmp_path):
        path = tmp_path / "bad.jsonl"
        path.write_bytes(request(1) + b"{oops\n" + request(3, model="gpt-4o"))

        result = backburner("submit", path, "--watch")

        assert result.exit_code == 1
        assert "failed" in result.stdout
        assert "line 2: " in result.stderr
        assert "invalid_json_line" in result.stderr
        assert "line 3: The model 'gpt-4o' does not exist. (model_not_found)" in result.stderr

    def test_a_batch_with_some_failed_lines_exits_with_3(self, backburner, tmp_path):
        path = tmp_path / "some.jsonl"
        path.write_bytes(request(1) + b"{oops\n" + request(3))

        result = backburner("submit", path, "--watch", "--skip-invalid")

        assert result.exit_code == 3
        assert "completed  2 completed, 1 failed, 3 in all" in result.stdout

    def test_the_name_of_the_file_may_be_any(self, backburner, tmp_path):
        path = tmp_path / 'naïve "名前" + 1.jsonl'
        path.write_bytes(request(1))

        result = backburner("submit", path, "--watch", "--json")

        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["metadata"]["filename"] == path.name


@pytest.fixture(scope="module")
def batch_id(backburner, tmp_path_factory) -> str:
    """A batch of three lines, of which the second failed."""
    path = tmp_path_factory.mktemp("batch") / "three.jsonl"
    path.write_bytes(request(1) + b"{oops\n" + request(3))
    result = backburner("submit", path, "--watch", "--json", "--skip-invalid")
    return str(json.loads(result.stdout)["id"])


class TestOneBatch:
    def test_its_status_tells_by_its_exit_code_how_it_ended(self, backburner, batch_id):
        result = backburner("status", batch_id)
        assert result.exit_code == 3
        assert result.stdout == f"{batch_id}  completed  2 completed, 1 failed, 3 in all\n"
        assert json.loads(backburner("status", batch_id, "--json").stdout)["id"] == batch_id

    def test_it_is_among_the_latest(self, backburner, batch_id):
        table = backburner("status")
        assert table.exit_code == 0
        assert batch_id in table.stdout
        assert batch_id in [one["id"] for one in json.loads(backburner("status", "--json").stdout)]

    def test_its_results_are_written_out(self, backburner, batch_id):
        result = backburner("results", batch_id)
        assert result.exit_code == 0
        assert [line["custom_id"] for line in lines(result.stdout_bytes)] == ["r1", "r3"]

    def test_its_errors_are_written_out(self, backburner, batch_id):
        (error,) = lines(backburner("results", batch_id, "--errors").stdout_bytes)
        assert error["error"]["code"] == "invalid_json_line"

    def test_its_results_are_written_to_a_file(self, backburner, batch_id, tmp_path):
        path = tmp_path / "out.jsonl"
        result = backburner("results", batch_id, "-o", path)
        assert result.exit_code == 0
        assert result.stdout == ""
        assert [line["custom_id"] for line in lines(path.read_bytes())] == ["r1", "r3"]
        assert list(tmp_path.iterdir()) == [path]

    def test_a_file_that_can_not_be_written_is_told_of(self, backburner, batch_id, tmp_path):
        path = tmp_path / "no-folder" / "out.jsonl"
        result = backburner("results", batch_id, "-o", path)
        assert result.exit_code == 1
        assert result.stderr.startswith("The results can't be written: No such file")

    def test_cancelling_what_has_ended_is_refused(self, backburner, batch_id):
        result = backburner("cancel", batch_id)
        assert result.exit_code == 5
        assert "completed" in result.stderr


def test_results_that_do_not_exist_are_told_of(backburner, file):
    batch = json.loads(backburner("submit", file, "--watch", "--json").stdout)
    result = backburner("results", batch["id"], "--errors")
    assert result.exit_code == 1
    assert result.stderr == f"{batch['id']} is completed and has no such results.\n"


def test_a_batch_is_paused_and_resumed(backburner, tmp_path):
    path = tmp_path / "long.jsonl"
    path.write_bytes(b"".join(request(n, "null:delay=1") for n in range(1, 200)))
    batch_id = json.loads(backburner("submit", path, "--json").stdout)["id"]

    assert f"{batch_id}  paused" in backburner("pause", batch_id).stdout
    shown = backburner("status", batch_id).stdout
    assert f"{batch_id}  paused" in shown
    assert " %, " in shown
    assert "paused" not in backburner("resume", batch_id).stdout
    assert backburner("cancel", batch_id).exit_code == 0


def test_what_failed_is_retried_and_read_as_one(backburner, tmp_path):
    path = tmp_path / "two.jsonl"
    path.write_bytes(request(1) + request(2, "null:status=400"))
    batch_id = json.loads(backburner("submit", path, "--watch", "--json").stdout)["id"]

    again = json.loads(backburner("retry", batch_id, "r2", "--watch", "--json").stdout)
    merged = backburner("results", again["id"], "--merged")

    assert (again["x_retry_of"], again["request_counts"]["total"]) == (batch_id, 1)
    assert [line["custom_id"] for line in lines(merged.stdout_bytes)] == ["r1"]
    assert backburner("retry", batch_id, "r1", "--watch").exit_code == 1


def test_a_running_batch_shows_what_is_in_and_is_cancelled(backburner, tmp_path):
    path = tmp_path / "slow.jsonl"
    first = requests(16)  # the canary
    path.write_bytes(first + b"".join(request(n, "null:delay=1") for n in range(17, 600)))
    batch_id = json.loads(backburner("submit", path, "--json").stdout)["id"]

    def finished() -> list[str]:
        result = backburner("results", batch_id)
        return [line["custom_id"] for line in lines(result.stdout_bytes)]

    seen = wait_until(finished, "partial results")
    cancelled = backburner("cancel", batch_id)
    ended = backburner("status", batch_id, "--watch")

    assert seen[:16] == names(16)
    assert cancelled.exit_code == 0
    assert "cancelling" in cancelled.stdout
    assert ended.exit_code == 1
    assert "cancelled" in ended.stdout


class TestWhatGoesWrong:
    def test_a_file_that_does_not_exist_exits_with_2(self, backburner, tmp_path):
        result = backburner("submit", tmp_path / "no.jsonl")
        assert result.exit_code == 2
        assert "does not exist" in result.stderr

    def test_no_key_exits_with_2_and_tells_where_it_would_be(self, backburner, file, tmp_path):
        result = backburner("submit", file, BACKBURNER_DATA_DIR=str(tmp_path))
        assert result.exit_code == 2
        assert str(tmp_path / "dev.key") in result.stderr

    def test_no_gateway_exits_with_4_and_tells_how_to_start_one(self, backburner, file):
        result = backburner("submit", file, BACKBURNER_URL=f"http://127.0.0.1:{free_port()}")
        assert result.exit_code == 4
        assert "backburner up" in result.stderr

    @pytest.mark.parametrize("url", ["localhost", "http://", "ftp://127.0.0.1:1/", "http://[::1"])
    def test_a_url_that_is_none_is_told_of(self, backburner, file, url):
        result = backburner("status", BACKBURNER_URL=url)
        assert result.exit_code in (2, 4)
        assert result.stderr

    @pytest.mark.parametrize("command", [["status"], ["submit"]])
    def test_a_wrong_key_exits_with_5(self, backburner, file, command):
        arguments = [*command, file] if command == ["submit"] else command
        result = backburner(*arguments, BACKBURNER_API_KEY="bb-wrong")
        assert result.exit_code == 5
        assert "The API key is not valid." in result.stderr

    @pytest.mark.parametrize("command", ["status", "results", "cancel", "retry", "pause", "resume"])
    def test_an_unknown_batch_exits_with_5(self, backburner, command):
        result = backburner(command, "batch_unknown")
        assert result.exit_code == 5
        assert result.stderr == "No such Batch object: batch_unknown\n"

    def test_a_window_that_is_none_exits_with_5(self, backburner, file):
        result = backburner("submit", file, "--window", "soon")
        assert result.exit_code == 5
        assert "completion_window" in result.stderr


@pytest.fixture(scope="module")
def up(tmp_path_factory) -> Iterator[Up]:
    with Up(tmp_path_factory.mktemp("up") / "data") as running:
        yield running


class TestUp:
    def test_only_its_owner_may_read_the_secrets(self, up):
        for name in ("dev.key", "sign.key"):
            assert stat.S_IMODE((up.data_dir / name).stat().st_mode) == 0o600

    def test_a_second_stack_on_the_same_data_is_refused(self, up):
        second = run_up("--data-dir", up.data_dir)
        assert second.returncode == 1
        assert second.stderr == (f"The stack can't start: Another stack works on {up.data_dir}.\n")
        assert up.client.batches() == []

    def test_a_port_that_is_taken_is_named(self, up, tmp_path):
        port = up.url.rpartition(":")[2]
        second = run_up("--data-dir", tmp_path / "data", "--port", port)
        assert second.returncode == 1
        assert second.stderr == (
            f"The stack can't start: can't listen at 127.0.0.1:{port}: Address already in use\n"
        )

    def test_a_folder_that_can_not_be_made_is_named(self, tmp_path):
        (tmp_path / "file").write_text("in the way")
        folder = tmp_path / "file" / "data"
        result = CliRunner().invoke(cli.main, ["up", "--data-dir", str(folder)])
        assert result.exit_code == 1
        assert result.stderr == f"The data folder can't be written: Not a directory: {folder}\n"

    def test_the_other_servers_engine_needs_to_know_where_it_is(self, tmp_path):
        arguments = ["up", "--data-dir", str(tmp_path / "data"), "--engine", "openai"]
        result = CliRunner().invoke(cli.main, arguments)
        assert result.exit_code == 2
        assert "--base-url" in result.stderr

    def test_told_to_stop_it_finishes_what_runs_and_leaves_nothing_behind(self, tmp_path):
        path = tmp_path / "in.jsonl"
        path.write_bytes(requests(40))  # one shard
        with Up(tmp_path / "data", delay_seconds=1.0) as up:
            batch = submit(up, path)
            wait_until(lambda: up.servers() and up.pool().running_lines, "work in flight")
            time.sleep(0.3)

            assert up.stop(signal.SIGTERM) == 0

            assert up.processes() == []
            (tmp_path / "data").rename(tmp_path / "moved")
            up.data_dir = tmp_path / "moved"
            up.start()
            ended = wait_until(lambda: completed(up, batch["id"]), "the end of the batch")
            output = lines(up.client.content(ended["output_file_id"]))
            assert [text_of(line) for line in output] == [f"say {n}" for n in range(1, 41)]
            assert (up.data_dir / "drop").is_dir()

    def test_a_second_ctrl_c_ends_it_at_once(self, tmp_path):
        path = tmp_path / "in.jsonl"
        path.write_bytes(requests(64) + request(65, "null:delay=20"))
        with Up(tmp_path / "data") as up:
            submit(up, path)
            # Only the shard of the slow line is left.
            wait_until(lambda: up.pool().ended_lines and up.pool().running_lines == 49, "the shard")
            process = up.process
            assert process is not None
            process.send_signal(signal.SIGINT)
            with pytest.raises(subprocess.TimeoutExpired):  # it drains
                process.wait(timeout=1.0)
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=10) == 1
            wait_until(lambda: not up.processes(), "the end of the instances", 10)

    def test_it_needs_no_option_and_is_stopped_by_ctrl_c(self, tmp_path):
        """What the README tells: `backburner up` here, `backburner submit` beside it."""
        (tmp_path / "in.jsonl").write_bytes(requests(3))
        up = Up(tmp_path / ".backburner", directory=tmp_path)
        try:
            process = up.launch(as_json=False)
            assert process.stdout is not None
            ready = process.stdout.readline()
            assert ready.startswith("Backburner is ready at http://127.0.0.1:")
            assert "(key in .backburner/dev.key, drop folder .backburner/drop)" in ready
            result = subprocess.run(
                [*COMMAND, "submit", "in.jsonl", "--watch", "--url", ready.split()[4]],
                cwd=tmp_path,
                capture_output=True,
                text=True,
            )
            assert result.returncode == 0, result.stderr
            assert up.stop(signal.SIGINT) == 0
            assert up.processes() == []
        finally:
            up.end()


COMMAND = [sys.executable, "-m", "backburner_local.cli"]


def run_up(*options: object) -> "subprocess.CompletedProcess[str]":
    """A stack that is expected not to start."""
    command = [*COMMAND, "up", "--port", "0", "--engine", "null", *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ})


def submit(up: Up, path: Path) -> dict[str, str]:
    return up.client.create_batch(
        input_file_id=up.client.upload(path)["id"],
        endpoint="/v1/chat/completions",
        completion_window="24h",
    )


def completed(up: Up, batch_id: str) -> dict[str, str] | None:
    batch = up.client.batch(batch_id)
    return batch if batch["status"] == "completed" else None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class TestWebhooks:
    def test_an_endpoint_is_made_listed_changed_and_deleted(self, backburner):
        made = json.loads(backburner("webhooks", "create", HOOK, "--json").stdout)
        assert made["signing_secret"].startswith("whsec_")
        assert made["event_types"][0] == "batch.completed"
        rotated = backburner("webhooks", "rotate", made["id"], "--keep-old")
        assert rotated.stdout.startswith("whsec_")
        assert made["signing_secret"] not in rotated.stdout
        assert backburner("webhooks", "enable", made["id"]).exit_code == 0
        assert made["id"] in backburner("webhooks", "list").stdout
        assert backburner("webhooks", "delete", made["id"]).exit_code == 0
        assert json.loads(backburner("webhooks", "list", "--json").stdout) == []

    def test_a_url_that_no_webhook_may_go_to_is_refused(self, backburner):
        result = backburner("webhooks", "create", "https://169.254.169.254/")
        assert result.exit_code == 5
        assert "public" in result.stderr

    def test_a_batch_may_name_a_url_of_its_own(self, backburner, file):
        secret = backburner("webhooks", "callback-secret")
        assert secret.stdout.startswith("whsec_")
        batch = json.loads(backburner("submit", file, "--callback", HOOK, "--json").stdout)
        assert batch["x_callback_url"] == HOOK

    def test_deliveries_are_listed_and_told_again(self, backburner, file):
        batch = json.loads(backburner("submit", file, "--watch", "--json").stdout)
        (told,) = json.loads(
            backburner("deliveries", "list", "--batch", batch["id"], "--json").stdout
        )
        assert told["event_type"] == "batch.completed"
        assert told["id"] in backburner("deliveries", "replay", told["id"]).stdout
        for since in ("2h", "2026-11-22T09:30", "2026-11-22T09:30+01:00"):
            assert "told again" in backburner("deliveries", "replay", "--since", since).stdout
        assert backburner("deliveries", "list").exit_code == 0

    @pytest.mark.parametrize("wrong", [(), ("--since", "soon"), ("one", "--since", "2h")])
    def test_what_to_tell_again_is_one_or_all_since_a_time(self, backburner, wrong):
        assert backburner("deliveries", "replay", *wrong).exit_code == 2


HOOK = "https://hooks.example.com/batches"
