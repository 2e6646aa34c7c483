"""Batches whose requests stand in the call, and results request by request."""

from typing import Any

import pytest

from backburner.domain.errors import Busy
from backburner.ports import Limits
from tests.backend import by_name
from tests.tap import Hook
from tests.web.conftest import Answer, Client, WebWorld, completion, requests
from tests.world import CHAT

MESSAGES = [{"role": "user", "content": "hello"}]


def one(name: str, **changes: Any) -> dict[str, Any]:
    return {"custom_id": name, "body": {"model": "tiny", "messages": MESSAGES}} | changes


def create(client: Client, given: Any, **options: Any) -> Answer:
    return client.post("/v1/batches", {"endpoint": CHAT, "requests": given, **options})


def test_requests_in_the_call_are_run_and_their_results_stand_in_the_batch(world, acme):
    made = create(acme, [one("a"), one("b", body={"messages": MESSAGES})], model="tiny").json
    assert made["status"] == "validating"
    path = f"/v1/batches/{made['id']}"
    assert acme.get(path).json["results"] is None
    world.finish()
    ended = acme.get(path).json
    assert (ended["status"], ended["request_counts"]["completed"]) == ("completed", 2)
    assert [result["custom_id"] for result in ended["results"]] == ["a", "b"]
    output = acme.get(f"/v1/files/{ended['output_file_id']}/content")
    assert output.lines == ended["results"]
    written = acme.get(f"/v1/files/{ended['input_file_id']}/content").lines
    assert [(line["method"], line["url"]) for line in written] == [("POST", CHAT)] * 2
    assert "results" not in acme.get(f"/v1/batches/{acme.batch(requests(1))['id']}").json


def test_results_of_both_files_are_in_the_order_of_the_requests(world, acme):
    made = create(acme, [one(name) for name in "abcdef"]).json
    world.pump()
    while world.outstanding:
        world.answer(reply=by_name({"b": 400, "e": 400}))
        world.pump()
    results = acme.get(f"/v1/batches/{made['id']}").json["results"]
    assert [result["custom_id"] for result in results] == list("abcdef")
    failed = [r["custom_id"] for r in results if r["response"]["status_code"] == 400]
    assert failed == ["b", "e"]


def test_a_retry_shows_its_results_as_well(world, acme):
    made = create(acme, [one("a"), one("b")]).json
    world.pump()
    world.answer(reply=by_name({"b": 400}))
    world.pump()
    again = acme.post(f"/v1/batches/{made['id']}/retry").json
    world.finish()
    (result,) = acme.get(f"/v1/batches/{again['id']}").json["results"]
    assert (result["custom_id"], result["response"]["status_code"]) == ("b", 200)


def test_a_batch_keeps_its_requests_though_the_database_gave_no_answer(world, acme):
    """The client asks again, and is told of a batch that must be able to run."""
    acme.headers = {"idempotency-key": "mine"}
    with world.tap.hooked(_unanswered(world, 2)):
        assert create(acme, [one("a")]).status == 503
    again = create(acme, [one("a")])
    assert again.status == 200
    world.settle()
    (result,) = acme.get(f"/v1/batches/{again.json['id']}").json["results"]
    assert (result["custom_id"], result["response"]["status_code"]) == ("a", 200)


def _unanswered(world: WebWorld, number: int) -> Hook:
    """The transaction of this number is done, but nobody hears of it."""

    def hook(_: int, when: str, name: str) -> None:
        is_it = world.tap.calls.count("store.transact") == number
        if (when, name) == ("after", "store.transact") and is_it:
            raise Busy("The database did not answer.")

    return hook


def test_large_results_are_read_by_their_files(world, acme):
    made = create(acme, [one("a")]).json
    world.finish(body=completion("x" * 1_100_000))
    shown = acme.get(f"/v1/batches/{made['id']}").json
    assert shown["results"] is None
    assert shown["output_file_id"] is not None


BAD: dict[str, tuple[Any, str]] = {
    "none": ([], "requests"),
    "no list": ({"a": 1}, "requests"),
    "no object": (["a"], "requests.0"),
    "no name": ([one("a"), {"body": one("a")["body"]}], "requests.1.custom_id"),
    "a name twice": ([one("a"), one("b"), one("a")], "requests.2.custom_id"),
    "no body": ([one("a", body=None)], "requests.0.body"),
    "no messages": ([one("a"), one("b", body={"model": "tiny"})], "requests.1.body.messages"),
    "an unknown model": (
        [one("a", body={"model": "no", "messages": MESSAGES})],
        "requests.0.body.model",
    ),
    "another route": ([one("a", url="/v1/embeddings")], "requests.0.url"),
}


@pytest.mark.parametrize(("given", "param"), BAD.values(), ids=BAD)
def test_a_bad_request_is_refused_by_number_and_leaves_nothing(world, acme, given, param):
    answer = create(acme, given)
    assert (answer.status, answer.error["param"]) == (400, param)
    assert world.keys("files/") == []
    assert acme.get("/v1/batches").json["data"] == []


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"completion_window": "1y"}, "completion_window"),
        ({"endpoint": "/v1/no"}, "endpoint"),
        ({"input_file_id": "file_x"}, "requests"),
        ({"model": 1}, "model"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"x_max_cost_usd": 1}, "requests.0.body.model"),  # which has no price
    ],
)
def test_a_bad_option_is_refused_by_name_and_leaves_nothing(world, acme, options, param):
    answer = create(acme, [one("a")], **options)
    assert (answer.status, answer.error["param"]) == (400, param)
    assert world.keys("files/") == []


def test_bad_requests_may_be_skipped(world, acme):
    made = create(acme, [one("a"), one("b", body={}), one("c")], x_on_invalid="skip").json
    world.finish()
    results = acme.get(f"/v1/batches/{made['id']}").json["results"]
    assert [result["custom_id"] for result in results] == ["a", "b", "c"]
    assert results[1]["error"]["code"] == "invalid_request"


def test_a_call_has_a_few_megabytes_of_requests_at_most(acme):
    body = {"model": "tiny", "messages": [{"role": "user", "content": "x" * 500_000}]}
    answer = create(acme, [one(f"{n}", body=body) for n in range(9)])
    assert (answer.status, "4194304 bytes" in answer.error["message"]) == (413, True)


# ---------------------------------------------------------------- request by request


@pytest.fixture
def running(world, acme):
    """A batch of 12 requests, of which the first six have ended; two of these failed."""
    batch = acme.batch(requests(12))
    world.pump()
    for _ in range(3):
        world.answer(reply=by_name({"r-4": 400, "r-5": 400}))
        world.pump()
    return batch


def read(client: Client, batch: dict[str, Any], **query: Any) -> tuple[list[Any], str, str]:
    answer = client.get(f"/v1/batches/{batch['id']}/results", **query)
    assert answer.status == 200, answer.body
    headers = answer.headers
    return answer.lines, headers["x-incomplete"], headers["x-last-line"]


def names(lines: list[Any]) -> list[str]:
    return [line["custom_id"] for line in lines]


def numbered(*numbers: int) -> list[str]:
    return [f"r-{number}" for number in numbers]


PAGES: list[tuple[dict[str, Any], list[str], str, str]] = [
    ({}, numbered(1, 2, 3, 4, 5, 6), "true", "6"),
    ({"skip": 4}, numbered(5, 6), "true", "6"),
    ({"skip": 1, "limit": 2}, numbered(2, 3), "true", "3"),
    ({"status": "failed"}, numbered(4, 5), "true", "2"),
    ({"status": "completed", "skip": 2}, numbered(3, 6), "true", "4"),
    ({"search": "R-3"}, numbered(3), "true", "1"),
    ({"search": "r-", "limit": 2}, numbered(1, 2), "true", "2"),
]


@pytest.mark.parametrize(("query", "expected", "incomplete", "last"), PAGES)
def test_results_are_read_while_the_batch_runs_and_the_same_afterwards(
    world, acme, running, query, expected, incomplete, last
):
    lines, *headers = read(acme, running, **query)
    assert (names(lines), headers) == (expected, [incomplete, last])
    world.finish()
    after, *_ = read(acme, running, **query)
    assert after[: len(lines)] == lines


def test_a_result_says_what_went_in_and_what_came_out(world, acme, running):
    lines, *_ = read(acme, running, skip=2, limit=2)
    good, bad = lines
    assert (good["status"], good["status_code"], good["model"]) == ("completed", 200, "tiny")
    assert good["input_body"]["messages"] == MESSAGES
    assert good["response_body"] is not None
    assert good["error"] is None
    assert (bad["status"], bad["status_code"]) == ("failed", 400)
    world.finish()
    whole, incomplete, last = read(acme, running)
    assert (names(whole), incomplete, last) == (numbered(*range(1, 13)), "false", "12")
    acme.delete(f"/v1/files/{running['input_file_id']}")
    (left,), *_ = read(acme, running, limit=1)
    assert (left["input_body"], left["status"]) == (None, "completed")


def test_results_of_a_batch_that_was_not_accepted_are_none(world, acme):
    batch = acme.batch(b"no json\n")
    assert read(acme, batch) == ([], "true", "0")
    world.pump()
    assert read(acme, batch) == ([], "false", "0")


def test_results_ask_for_what_there_is(acme, other, running):
    path = f"/v1/batches/{running['id']}/results"
    assert acme.get(path, status="pending").error["param"] == "status"
    assert acme.get(path, skip="x").error["param"] == "skip"
    assert other.get(path).status == 404


class TestWithFewLines:
    @pytest.fixture
    def limits(self):
        return Limits(file_lines=2)

    def test_there_are_no_more_requests_than_lines_of_a_file(self, world, acme):
        assert create(acme, [one(name) for name in "ab"]).status == 200
        refused = create(acme, [one(name) for name in "cde"])
        assert (refused.status, refused.error["param"]) == (400, "requests")
        assert "has 3 requests; the limit is 2" in refused.error["message"]
        world.finish()


class TestWithResultsInObjects:
    @pytest.fixture
    def limits(self):
        return Limits(canary_lines=2, inline_bytes=10)

    def test_a_batch_may_end_while_it_is_read(self, world, acme, running):
        whole, *_ = read(acme, running)
        count = 0

        def end(call: int, at: str, name: str) -> None:
            nonlocal count
            if name == "blobs.read" and at == "before" and world.outstanding:
                count += 1
                with world.tap.hooked(None):
                    world.finish()

        with world.tap.hooked(end):
            lines, incomplete, last = read(acme, running)
        assert (count, len(lines), incomplete, last) == (1, 12, "false", "12")
        assert lines[: len(whole)] == whole
