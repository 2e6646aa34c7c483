"""A disk that is full, or may not be written: a clear refusal, nothing lost, and on it goes."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.local.stacks import MODEL, Up, lines, names, requests, wait_until

DISK = "48m"


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of its own; the tests that need one are skipped where none can be mounted."""
    folder.mkdir()
    if _mount("-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)):
        pytest.skip("only root may mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _mount(*arguments: str) -> int:
    try:
        return subprocess.run(["mount", *arguments], capture_output=True).returncode
    except FileNotFoundError:
        return 1


def fill(path: Path) -> None:
    """Write until nothing more goes in."""
    with path.open("wb", buffering=0) as ballast, suppress(OSError):
        for size in (1 << 20, 1 << 12, 1):
            with suppress(OSError):
                while ballast.write(b"x" * size):
                    pass


@pytest.mark.slow
def test_a_stack_whose_disk_is_full_refuses_clearly_and_finishes_once_there_is_room(tmp_path):
    with small_disk(tmp_path / "disk") as disk, Up(disk / "data", delay_seconds=0.3) as up:
        path = tmp_path / "in.jsonl"
        path.write_bytes(requests(300))
        accepted = _submit(up, up.client.upload(path)["id"])
        wait_until(lambda: up.client.batch(accepted)["request_counts"]["completed"], "a result")
        fill(disk / "ballast")

        small, large = _upload(up, requests(500)), _upload(up, b"x" * 3_000_000)
        for refused in (small, large):
            assert refused.status_code == 507
            error = refused.json()["error"]
            assert error["code"] == "insufficient_storage"
            assert "disk is full" in error["message"]
        assert up.client.batch(accepted)["id"] == accepted, "what is there can be read"
        answers = [_respond(up) for _ in range(30)]
        assert {one.status_code for one in answers} <= {200, 507}
        assert answers[-1].status_code == 507, "what needs no file either"

        (disk / "ballast").unlink()
        after = _submit(up, up.client.upload(path)["id"])
        for batch_id in (accepted, after):
            batch = wait_until(lambda one=batch_id: _ended(up, one), "the end of the batch")  # type: ignore[misc]
            assert batch["request_counts"] == {"total": 300, "completed": 300, "failed": 0}
            output = lines(up.client.content(batch["output_file_id"]))
            assert [line["custom_id"] for line in output] == names(300)
        for response in (one.json()["id"] for one in answers if one.status_code == 200):
            wait_until(lambda one=response: _has_response(up, one), "the response")  # type: ignore[misc]
        assert up.stop() == 0


@pytest.mark.slow
def test_a_stack_whose_files_may_not_be_written_says_so_and_goes_on_once_they_may(tmp_path):
    with Up(tmp_path / "data") as up:
        buckets = str(tmp_path / "data" / "buckets")
        if _mount("--bind", buckets, buckets):
            pytest.skip("only root may mount a file system")
        try:
            assert _mount("-o", "remount,bind,ro", buckets) == 0
            refused = _upload(up, requests(3))
        finally:
            subprocess.run(["umount", "-l", buckets], check=True)
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "storage_unavailable"
        assert _upload(up, requests(3)).status_code == 200
        assert up.stop() == 0


def test_a_stack_says_why_it_cannot_start_where_nothing_may_be_written(tmp_path):
    with small_disk(tmp_path / "disk") as disk:
        assert _mount("-o", "remount,ro", str(disk)) == 0
        command = [sys.executable, "-m", "backburner_local.cli", "up", "--port", "0"]
        ended = subprocess.run(
            [*command, "--data-dir", str(disk / "data")], capture_output=True, text=True, timeout=60
        )
        assert ended.returncode != 0
        assert "Read-only file system" in ended.stderr
        assert "Traceback" not in ended.stderr


def _upload(up: Up, data: bytes) -> httpx.Response:
    """Once: the client would ask again."""
    return httpx.post(
        f"{up.url}/v1/files",
        headers={"Authorization": f"Bearer {up.key}"},
        data={"purpose": "batch"},
        files={"file": ("in.jsonl", data)},
        timeout=30,
    )


def _respond(up: Up) -> httpx.Response:
    """A single request, small enough to need no object."""
    return httpx.post(
        f"{up.url}/v1/responses",
        headers={"Authorization": f"Bearer {up.key}"},
        json={"model": MODEL, "input": "say it " * 100, "background": True},
        timeout=30,
    )


def _has_response(up: Up, response_id: str) -> bool:
    answer = up.client.http.get(f"/v1/responses/{response_id}")
    return bool(answer.json()["status"] == "completed")


def _submit(up: Up, file_id: str) -> str:
    batch = up.client.create_batch(
        input_file_id=file_id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    return str(batch["id"])


def _ended(up: Up, batch_id: str) -> dict[str, Any] | None:
    batch = up.client.batch(batch_id)
    return batch if batch["status"] in ("completed", "failed", "expired") else None
