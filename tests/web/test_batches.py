"""Batches over HTTP."""

import json
from dataclasses import replace
from typing import Any

import pytest

from backburner import bootstrap
from backburner.ports import Limits
from tests.memory import MemoryBlobs
from tests.web.conftest import Client, WebWorld, requests
from tests.world import CHAT


def test_a_batch_goes_from_upload_to_results(world, acme):
    batch = acme.batch(requests(5), metadata={"who": "me"})
    assert batch["status"] == "validating"
    world.pump()
    assert acme.get(f"/v1/batches/{batch['id']}").json["status"] == "in_progress"
    world.finish()
    done = acme.get(f"/v1/batches/{batch['id']}").json
    assert done["status"] == "completed"
    assert done["metadata"] == {"who": "me"}
    assert done["request_counts"] == {"total": 5, "completed": 5, "failed": 0}
    assert done["usage"]["total_tokens"] == 25
    assert done["error_file_id"] is None
    content = acme.get(f"/v1/files/{done['output_file_id']}/content")
    assert [line["custom_id"] for line in content.lines] == [f"r-{n}" for n in range(1, 6)]
    assert content.headers["x-incomplete"] == "false"
    assert content.headers["x-last-line"] == "5"


def test_a_bad_file_fails_with_all_of_its_errors(world, acme):
    lines = requests(1) + b"oops\n" + requests(1)
    batch = acme.batch(lines)
    world.pump()
    failed = acme.get(f"/v1/batches/{batch['id']}").json
    assert failed["status"] == "failed"
    codes = [(one["line"], one["code"]) for one in failed["errors"]["data"]]
    assert codes == [(2, "invalid_json_line"), (3, "duplicate_custom_id")]
    listed = acme.get("/v1/batches").json["data"][0]
    assert listed["errors"] == failed["errors"]


def test_the_errors_of_a_batch_outlive_their_file(world, acme):
    batch = acme.batch(b"oops\n")
    world.pump()
    world.env.blobs.delete(*world.keys("errors/"))
    failed = acme.get(f"/v1/batches/{batch['id']}").json
    assert failed["errors"]["data"][0]["message"].startswith("This line is not parseable")


@pytest.mark.parametrize("way", [{"x_on_invalid": "skip"}, {"metadata": {"x_on_invalid": "skip"}}])
def test_bad_lines_are_skipped_on_demand(world, acme, way):
    batch = acme.batch(b"oops\n" + requests(1), **way)
    world.finish()
    done = acme.get(f"/v1/batches/{batch['id']}").json
    assert done["request_counts"] == {"total": 2, "completed": 1, "failed": 1}
    assert (done["x_on_invalid"], done["x_skipped"]) == ("skip", 1)
    (error,) = acme.get(f"/v1/files/{done['error_file_id']}/content").lines
    assert error["error"]["code"] == "invalid_json_line"


@pytest.mark.parametrize(
    "way", [{"priority": 7}, {"x_priority": 7}, {"metadata": {"x_priority": "7"}}]
)
def test_the_priority_comes_either_way(acme, way):
    assert acme.batch(requests(1), **way)["x_priority"] == 7


BAD = {
    "no file": ({"input_file_id": ...}, "input_file_id"),
    "file a number": ({"input_file_id": 1}, "input_file_id"),
    "no endpoint": ({"endpoint": ...}, "endpoint"),
    "endpoint a list": ({"endpoint": []}, "endpoint"),
    "a strange endpoint": ({"endpoint": "/v1/rerank"}, "endpoint"),
    "a budget of nothing": ({"x_max_cost_usd": 0}, "x_max_cost_usd"),
    "a budget of words": ({"x_max_tokens": "many"}, "x_max_tokens"),
    "a short window": ({"completion_window": "1m"}, "completion_window"),
    "a long window": ({"completion_window": "8d"}, "completion_window"),
    "a window a number": ({"completion_window": 24}, "completion_window"),
    "metadata a list": ({"metadata": []}, "metadata"),
    "metadata too much": ({"metadata": {str(n): "" for n in range(17)}}, "metadata"),
    "a metadata value a number": ({"metadata": {"a": 1}}, "metadata.a"),
    "a strange way with errors": ({"x_on_invalid": "ignore"}, "x_on_invalid"),
    "priority 10": ({"priority": 10}, "priority"),
    "priority true": ({"priority": True}, "priority"),
    "priority a float": ({"priority": 1.0}, "priority"),
    "priority a list": ({"priority": []}, "priority"),
    "priority a word": ({"metadata": {"x_priority": "high"}}, "priority"),
    "expiry a number": ({"output_expires_after": 3600}, "output_expires_after"),
    "expiry without anchor": ({"output_expires_after": {"seconds": 3600}}, "output_expires_after"),
    "expiry too soon": (
        {"output_expires_after": {"anchor": "created_at", "seconds": 3599}},
        "output_expires_after",
    ),
    "expiry too late": (
        {"output_expires_after": {"anchor": "created_at", "seconds": 2592001}},
        "output_expires_after",
    ),
    "a mail address that is none": ({"metadata": {"notify_email": "me"}}, "metadata.notify_email"),
}


@pytest.mark.parametrize(("changes", "param"), BAD.values(), ids=BAD)
def test_a_bad_field_is_named(acme, changes, param):
    file_id = acme.upload(requests(1)).json["id"]
    given = {"input_file_id": file_id, "endpoint": CHAT, "completion_window": "24h", **changes}
    answer = acme.post("/v1/batches", {k: v for k, v in given.items() if v is not ...})
    assert (answer.status, answer.error["param"]) == (400, param)
    assert answer.error["type"] == "invalid_request_error"
    assert acme.get("/v1/batches").json["data"] == []


def test_the_files_of_a_batch_go_when_its_client_asked_for_it(world, acme):
    asked = {"anchor": "created_at", "seconds": 3600}
    made = acme.batch(requests(1), output_expires_after=asked)
    world.finish()
    file_id = acme.get(f"/v1/batches/{made['id']}").json["output_file_id"]
    file = acme.get(f"/v1/files/{file_id}").json
    assert file["expires_at"] - file["created_at"] == 3600


def test_a_file_that_does_not_exist_is_not_found(acme):
    answer = acme.post("/v1/batches", {"input_file_id": "file-x", "endpoint": CHAT})
    assert (answer.status, answer.error["param"]) == (404, "input_file_id")


def test_batches_are_listed_newest_first_page_by_page(acme):
    made = [acme.batch(requests(1))["id"] for _ in range(5)]
    first = acme.get("/v1/batches", limit=3).json
    assert ([one["id"] for one in first["data"]], first["has_more"]) == (made[:1:-1], True)
    rest = acme.get("/v1/batches", limit=3, after=first["last_id"]).json
    assert ([one["id"] for one in rest["data"]], rest["has_more"]) == (made[1::-1], False)
    after_all = acme.get("/v1/batches", after=rest["last_id"]).json
    assert (after_all["data"], after_all["has_more"]) == ([], False)


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 101}, {"limit": "x"}, {"after": "a/b"}])
def test_a_bad_page_is_refused(acme, query):
    answer = acme.get("/v1/batches", **query)
    assert (answer.status, answer.error["param"]) == (400, next(iter(query)))


# ---------------------------------------------------------------- cancelling


def test_a_cancelled_batch_keeps_what_has_finished(world, acme):
    batch = acme.batch(requests(6))
    world.pump()
    world.reply(count=1)
    cancelled = acme.post(f"/v1/batches/{batch['id']}/cancel")
    assert (cancelled.status, cancelled.json["status"]) == (200, "cancelling")
    assert cancelled.json["cancelling_at"] is not None
    again = acme.post(f"/v1/batches/{batch['id']}/cancel")
    assert (again.status, again.json["status"]) == (200, "cancelling")
    world.finish()
    ended = acme.get(f"/v1/batches/{batch['id']}").json
    assert ended["status"] == "cancelled"
    assert sum(ended["request_counts"][name] for name in ("completed", "failed")) == 6
    assert acme.get(f"/v1/files/{ended['output_file_id']}/content").lines


def test_a_batch_that_has_ended_can_not_be_cancelled(world, acme):
    batch = acme.batch(requests(1))
    world.finish()
    answer = acme.post(f"/v1/batches/{batch['id']}/cancel")
    assert (answer.status, answer.error["type"]) == (400, "invalid_request_error")
    assert "completed" in answer.error["message"]


# ---------------------------------------------------------------- results while it runs


@pytest.fixture
def running(world, acme):
    """A batch of six whose first four requests are done."""
    batch = acme.batch(requests(6))
    world.pump()
    world.reply(count=2)
    return acme.get(f"/v1/batches/{batch['id']}").json


def test_the_finished_part_of_a_running_batch_can_be_read(world, acme, running):
    content = acme.get(f"/v1/files/{running['output_file_id']}/content")
    assert [line["custom_id"] for line in content.lines] == ["r-1", "r-2", "r-3", "r-4"]
    assert (content.headers["x-incomplete"], content.headers["x-last-line"]) == ("true", "4")


def test_reading_goes_on_after_the_last_line(world, acme, running):
    path = f"/v1/files/{running['output_file_id']}/content"
    rest = acme.get(path, offset=3)
    assert [line["custom_id"] for line in rest.lines] == ["r-4"]
    nothing_new = acme.get(path, offset=4)
    assert (nothing_new.body, nothing_new.headers["x-last-line"]) == (b"", "4")
    world.finish()
    end = acme.get(path, offset=4)
    assert [line["custom_id"] for line in end.lines] == ["r-5", "r-6"]
    assert (end.headers["x-incomplete"], end.headers["x-last-line"]) == ("false", "6")


def test_what_is_read_early_is_what_the_file_will_hold(world, acme, running):
    path = f"/v1/files/{running['output_file_id']}/content"
    early = acme.get(path).body
    world.finish()
    assert acme.get(path).body.startswith(early)


class TestWithResultsInObjects:
    @pytest.fixture
    def limits(self):
        return Limits(canary_lines=2, inline_bytes=10)

    def test_a_batch_may_end_while_it_is_read(self, world, acme, running):
        class EndingBlobs(MemoryBlobs):
            """Blobs of a batch that ends as soon as someone reads what it is made of."""

            def __init__(self) -> None:
                self.__dict__ |= vars(world.blobs)

            def read(self, key: str, *, start: int = 0) -> Any:
                if key.startswith("batches/") and world.outstanding:
                    world.finish()
                return super().read(key, start=start)

        env = replace(world.env, blobs=EndingBlobs())
        bootstrap.install(env)
        content = acme.get(f"/v1/files/{running['output_file_id']}/content")
        assert len(content.lines) == 6
        assert content.headers["x-incomplete"] == "false"


def test_the_files_of_a_running_batch_are_there(acme, running):
    for name in ("output_file_id", "error_file_id"):
        shown = acme.get(f"/v1/files/{running[name]}").json
        assert (shown["status"], shown["purpose"]) == ("processed", "batch_output")
        assert (shown["bytes"], shown["x_incomplete"]) == (0, True)
    assert acme.get(f"/v1/files/{running['error_file_id']}/content").body == b""


def test_the_files_of_a_running_batch_can_not_be_deleted(acme, running):
    answer = acme.delete(f"/v1/files/{running['output_file_id']}")
    assert (answer.status, answer.error["type"]) == (400, "invalid_request_error")


def test_a_batch_without_successes_has_no_output_file(world, acme):
    batch = acme.batch(requests(2))
    world.pump()
    world.reply(status=400, body={"error": {"message": "no"}})
    world.pump()
    done = acme.get(f"/v1/batches/{batch['id']}").json
    assert (done["status"], done["output_file_id"]) == ("completed", None)
    assert len(acme.get(f"/v1/files/{done['error_file_id']}/content").lines) == 2
    gone = done["error_file_id"].replace("-errors", "-output")
    assert acme.get(f"/v1/files/{gone}").status == 404


def test_a_large_answer_ends_with_a_whole_line(world, acme):
    batch = acme.batch(requests(6, content="x"))
    world.finish(body={"choices": [{"message": {"content": "y" * 1_500_000}}]})
    done = acme.get(f"/v1/batches/{batch['id']}").json
    path = f"/v1/files/{done['output_file_id']}/content"
    whole = acme.get(path)
    assert whole.status == 302
    assert whole.headers["location"].startswith("http://here/blobs/files/acme/")
    read, offset = [], 0
    for _ in range(10):
        part = acme.get(path, offset=offset)
        assert part.status == 200
        assert len(part.body) <= 4 * 1024 * 1024
        read += [json.loads(line)["custom_id"] for line in part.body.splitlines()]
        offset = int(part.headers["x-last-line"])
        if part.headers["x-incomplete"] == "false":
            break
    assert read == [f"r-{n}" for n in range(1, 7)]


# ---------------------------------------------------------------- pausing


def test_a_paused_batch_says_so_and_goes_on_when_it_is_resumed(world, acme):
    batch = acme.batch(requests(20))
    world.pump()
    path = f"/v1/batches/{batch['id']}"
    for _ in range(2):
        paused = acme.post(f"{path}/pause")
        assert (paused.status, paused.json["status"]) == (200, "in_progress")
        assert (paused.json["x_state"], paused.json["x_paused"]) == ("paused", True)
    world.finish()
    assert acme.get(path).json["request_counts"]["completed"] == 8  # four slots
    for _ in range(2):
        resumed = acme.post(f"{path}/resume")
        assert (resumed.status, resumed.json["x_state"]) == (200, "in_progress")
    world.finish()
    done = acme.get(path).json
    assert (done["status"], done["x_state"]) == ("completed", "completed")
    assert done["request_counts"]["completed"] == 20


@pytest.mark.parametrize("act", ["pause", "resume"])
def test_a_batch_that_has_ended_is_neither_paused_nor_resumed(world, acme, act):
    batch = acme.batch(requests(1))
    world.finish()
    answer = acme.post(f"/v1/batches/{batch['id']}/{act}")
    assert (answer.status, answer.error["param"]) == (400, "id")
    assert answer.error["message"] == f"The batch can't be {act}d: it is completed."


# ---------------------------------------------------------------- retrying


def some_failed(world: WebWorld, acme: Client) -> Any:
    """A batch of three whose requests all failed."""
    batch = acme.batch(requests(3))
    world.pump()
    while world.outstanding:
        world.reply(status=400, body={"error": {"message": "no"}})
        world.pump()
    return batch


def test_what_failed_runs_again_as_a_batch_that_is_linked(world, acme):
    batch = some_failed(world, acme)
    path = f"/v1/batches/{batch['id']}"
    named = acme.post(f"{path}/retry-requests", {"request_ids": ["r-2"]})
    assert (named.status, named.json["x_retry_of"]) == (200, batch["id"])
    again = acme.post(f"{path}/retry-requests", {"request_ids": ["r-2"]})
    assert again.json["id"] == named.json["id"]
    assert acme.post(f"{path}/retry").status == 400  # the others wait for its end
    world.finish()
    assert acme.get(path).json["x_retried_by"] == named.json["id"]
    rest = acme.post(f"{path}/retry", {"completion_window": "PT1H"}).json
    assert rest["completion_window"] == "PT1H"
    world.finish()
    done = acme.get(f"/v1/batches/{rest['id']}").json
    assert done["request_counts"] == {"total": 2, "completed": 2, "failed": 0}
    content = acme.get(f"/v1/files/{done['x_merged_file_id']}/content")
    assert [line["custom_id"] for line in content.lines] == ["r-1", "r-2", "r-3"]
    answer = acme.post(f"{path}/retry")
    assert (answer.status, answer.error["param"]) == (400, "id")


@pytest.mark.parametrize(
    ("route", "body", "param"),
    [
        ("retry", {"request_ids": "r-1"}, "request_ids"),
        ("retry", {"completion_window": "1m"}, "completion_window"),
        ("retry-requests", {}, "request_ids"),
        ("retry-requests", {"request_ids": []}, "request_ids"),
    ],
)
def test_a_bad_retry_is_refused_by_name(world, acme, route, body, param):
    batch = some_failed(world, acme)
    answer = acme.post(f"/v1/batches/{batch['id']}/{route}", body)
    assert (answer.status, answer.error["param"]) == (400, param)


# ---------------------------------------------------------------- budgets


@pytest.mark.parametrize("way", [{"x_max_tokens": 5}, {"metadata": {"x_max_tokens": "5"}}])
def test_a_batch_ends_when_its_budget_is_used_up(world, acme, way):
    batch = acme.batch(requests(6), **way)
    assert (batch["x_max_tokens"], batch["x_incomplete_reason"]) == (5, None)
    world.finish()
    done = acme.get(f"/v1/batches/{batch['id']}").json
    assert (done["status"], done["x_incomplete_reason"]) == ("completed", "budget_exceeded")
    assert done["request_counts"] == {"total": 6, "completed": 2, "failed": 4}
    errors = acme.get(f"/v1/files/{done['error_file_id']}/content").lines
    assert {line["error"]["code"] for line in errors} == {"budget_exceeded"}
    again = acme.post(f"/v1/batches/{batch['id']}/retry", {"x_max_tokens": 10**6}).json
    assert again["x_max_tokens"] == 10**6


# ---------------------------------------------------------------- progress


def test_a_batch_shows_how_far_it_is(world, acme):
    batch = acme.batch(requests(20))
    path = f"/v1/batches/{batch['id']}"
    unknown = {"lines_total": None, "lines_per_s": None, "eta": None, "queue_position": None}
    assert batch["x_progress"].items() >= (unknown | {"percent": 0.0, "tokens": 0}).items()
    world.pump()
    assert acme.get(path).json["x_progress"]["queue_position"] == 0
    world.advance(10)
    world.reply(count=2)
    shown = acme.get(path).json["x_progress"]
    assert (shown["percent"], shown["lines_done"], shown["lines_total"]) == (20.0, 4, 20)
    assert (shown["lines_per_s"], shown["tokens"], shown["cost_so_far"]) == (0.4, 20, None)
    assert shown["eta"].endswith("Z")
    (listed,) = acme.get("/v1/batches").json["data"]
    assert listed["x_progress"] == shown | {"queue_position": None}
    world.finish()
    assert acme.get(path).json["x_progress"]["percent"] == 100.0
