"""Real instances that die of a request, or answer badly: only that request fails."""

from typing import Any

import pytest

from tests.local.hostile import hostile_server
from tests.local.stacks import Up, lines, request, text_of, wait_until

DIES = "null:exit"


@pytest.mark.long
@pytest.mark.parametrize(("count", "bad"), [(3, {3}), (100, {1, 30, 77})])
def test_a_request_that_kills_every_instance_it_meets_fails_alone(tmp_path, count, bad):
    data = b"".join(request(n, DIES if n in bad else None) for n in range(1, count + 1))
    with Up(tmp_path / "data", "--max-instances", "1") as up:
        batch = _run(up, tmp_path, data, seconds=60 if count < 10 else 600)
        assert batch["request_counts"] == {
            "total": count,
            "completed": count - len(bad),
            "failed": len(bad),
        }
        errors = lines(up.client.content(batch["error_file_id"]))
        assert [line["custom_id"] for line in errors] == [f"r{n}" for n in sorted(bad)]
        assert {line["error"]["code"] for line in errors} == {"backend_failed"}
        output = lines(up.client.content(batch["output_file_id"]))
        good = [n for n in range(1, count + 1) if n not in bad]
        assert [text_of(line) for line in output] == [f"say {n}" for n in good]
        pool = up.pool()
        assert (pool.in_flight, pool.waiting_lines, pool.running_lines) == (0, 0, 0)


@pytest.mark.long
def test_a_model_that_answers_some_requests_badly_costs_only_those(tmp_path, monkeypatch):
    monkeypatch.setenv("BACKBURNER_REQUEST_TIMEOUT_SECONDS", "0.8")
    expected = {
        "answer with a page": "bad_gateway",
        "answer with nothing": "bad_gateway",
        "answer with a list": "bad_gateway",
        "answer with half": "bad_gateway",
        "answer with an error": "invalid_result",
        "hang up": "unreachable",
        "hang up in the middle": "unreachable",
        "be slow": "timeout",
    }
    prompts = ["fine", *expected, "fine too"]
    data = b"".join(request(number, prompt) for number, prompt in enumerate(prompts, start=1))
    with hostile_server() as url:
        options = ("--engine", "openai", "--base-url", url, "--model", "mistral-tiny")
        with Up(tmp_path / "data", *options) as up:
            batch = _run(up, tmp_path, data)
            output = lines(up.client.content(batch["output_file_id"]))
            assert [text_of(line) for line in output] == ["fine", "fine too"]
            errors = lines(up.client.content(batch["error_file_id"]))
    assert {prompts[int(line["custom_id"][1:]) - 1]: _code(line) for line in errors} == expected


def _code(line: dict[str, Any]) -> str:
    error = line["error"] or line["response"]["body"]["error"]
    code: str = error["code"]
    return code.removeprefix("upstream_")  # it or the container times out first


def _run(up: Up, folder: Any, data: bytes, seconds: float = 60.0) -> dict[str, Any]:
    """The batch of these lines, when it has ended."""
    path = folder / "in.jsonl"
    path.write_bytes(data)
    batch = up.client.create_batch(
        input_file_id=up.client.upload(path)["id"],
        endpoint="/v1/chat/completions",
        completion_window="24h",
    )

    def ended() -> dict[str, Any] | None:
        now = up.client.batch(batch["id"])
        return now if now["status"] == "completed" else None

    return wait_until(ended, "the end of the batch", seconds)
