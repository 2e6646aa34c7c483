"""The drop folder: a file put there is taken once, and its results come back beside it."""

import json
from dataclasses import replace
from typing import Any

import pytest

from backburner.domain.batch import BatchStatus
from backburner.ports import QueueName
from backburner.services import files, mirror
from tests import oracle
from tests.backend import by_name
from tests.tap import crash_after, meanwhile, meanwhile_at
from tests.world import LIMITS, World, a_world_in_memory, chat, jsonl


def take(world: World, name: Any, lines: Any, times: Any = 1) -> Any:
    key = world.drop(name, lines)
    for _ in range(times):
        world.notify_upload(key)
    return key


def objects(world: World, prefix: Any) -> Any:
    return [stat.key for stat in world.blobs.list(prefix)]


def test_results_and_errors_come_back_beside_each_other(world):
    take(world, "team a/jobs 1.jsonl", [chat("a"), chat("b"), chat("c")])
    world.settle(by_name({"b": 400}))
    assert objects(world, "results/") == [
        "results/team a/jobs 1.errors.jsonl",
        "results/team a/jobs 1.jsonl",
    ]
    lines = world.blobs.get("results/team a/jobs 1.jsonl").split(b"\n")[:-1]
    assert [json.loads(line)["custom_id"] for line in lines] == ["a", "c"]
    (batch,) = world.all_batches()
    assert (batch.tenant, batch.metadata) == ("dropper", {"dropped": "jobs 1.jsonl"})
    oracle.check_end(world)


def test_a_file_that_is_told_of_twice_is_taken_once(world):
    key = take(world, "a.jsonl", [chat("a")], times=3)
    world.settle()
    world.advance(86400)
    world.notify_upload(key)
    assert len(world.all_batches()) == 1
    oracle.check_end(world)


def test_two_tellings_at_once_take_it_once(world):
    key = world.drop("a.jsonl", [chat("a")])
    for number in range(8):
        world.drop("a.jsonl", [chat(f"a{number}")])
        with world.tap.hooked(meanwhile(number, world.tap, lambda: world.notify_upload(key))):
            world.notify_upload(key)
        assert len(world.all_batches()) == number + 1
    world.settle()
    assert len(objects(world, "files/dropper/")) == 16  # no copy is left over
    oracle.check_end(world)


def test_another_content_under_the_same_name_is_another_batch(world):
    take(world, "a.jsonl", [chat("a")])
    take(world, "a.jsonl", [chat("b")])
    assert len(world.all_batches()) == 2
    world.settle()
    oracle.check_end(world)


def test_a_file_that_is_replaced_while_it_is_taken_is_taken_as_the_new_one_once(world):
    key = world.drop("a.jsonl", [chat("old")])
    with world.tap.hooked(
        meanwhile_at(
            "blobs.copy",
            world.tap,
            lambda: world.drop("a.jsonl", [chat("new"), chat("newer")]),
        )
    ):
        world.notify_upload(key)
    assert objects(world, "files/") == []
    world.notify_upload(key)  # of the new content
    world.settle()
    asked = [name for attempt in world.backend.submissions for name in attempt.custom_ids]
    assert sorted(asked) == ["new", "newer"]
    oracle.check_end(world)


def test_a_file_that_can_not_run_is_put_aside_with_the_reasons(world):
    take(world, "sub/bad.jsonl", jsonl([chat("a")]) + b"no json\n")
    world.settle()
    assert objects(world, "rejected/") == [
        "rejected/sub/bad.jsonl",
        "rejected/sub/bad.jsonl.error.json",
    ]
    reasons = json.loads(world.blobs.get("rejected/sub/bad.jsonl.error.json"))
    assert reasons["file"] == "drop/sub/bad.jsonl"
    (error,) = reasons["errors"]
    assert (error["line"], error["code"]) == (2, "invalid_json_line")
    assert objects(world, "results/") == []
    oracle.check_end(world)


def test_a_file_whose_copy_is_deleted_before_it_is_a_batch_is_put_aside(world):
    key = world.drop("work.jsonl", [chat("a")])

    def delete(call: int, at: str, name: str) -> None:
        if (at, name) == ("after", "store.transact"):
            world.tap.hook = None
            (item,) = world.store.query("dropper/files")
            files.delete(world.untapped, "dropper", item["id"])

    with world.tap.hooked(delete):
        world.notify_upload(key)
    world.settle()
    reasons = json.loads(world.blobs.get("rejected/work.jsonl.error.json"))
    assert [error["message"] for error in reasons["errors"]] == ["The input file was deleted."]


def test_a_file_over_the_limit_is_put_aside_with_the_limit():
    with a_world_in_memory(limits=replace(LIMITS, file_bytes=100)) as world:
        take(world, "big.jsonl", [chat("a"), chat("b")])
        world.settle()
        reasons = json.loads(world.blobs.get("rejected/big.jsonl.error.json"))
        assert "100 bytes" in reasons["errors"][0]["message"]
        assert world.all_batches() == []
        assert objects(world, "files/") == []


@pytest.mark.parametrize(
    "key",
    [
        "drop/.hidden.jsonl",
        "drop/half.jsonl.part",
        "drop/half.csv.tmp",
        "drop/notes.txt~",
        "drop/_template.toml",
        "drop/team/_template.toml",
        "results/a.jsonl",
        "files/acme/x.jsonl",
        "drop.jsonl",
    ],
)
def test_other_objects_are_left_alone(world, key):
    world.blobs.put(key, jsonl([chat("a")]))
    world.notify_upload(key)
    assert world.all_batches() == []
    assert objects(world, "") == [key]


def test_a_file_that_is_gone_again_is_nothing(world):
    world.notify_upload("drop/gone.jsonl")
    assert world.all_batches() == []


def test_a_file_that_is_removed_while_its_batch_is_rejected_still_has_its_reasons(world):
    key = take(world, "bad.jsonl", b"bad\n")
    world.blobs.delete(key)
    world.settle()
    assert objects(world, "rejected/") == ["rejected/bad.jsonl.error.json"]


@pytest.mark.parametrize("name", ["blobs.copy", "store.transact", "queue.send"])
def test_a_crash_loses_no_upload(world, name):
    key = world.drop("a.jsonl", [chat("a")])
    with crash_after(world.tap, name):
        world.notify_upload(key)
    world.notify_upload(key)  # S3 tells again of what failed
    world.tick(3)
    world.settle()
    (batch,) = world.all_batches()
    assert batch.status is BatchStatus.COMPLETED
    oracle.check_end(world)


def test_a_message_that_was_lost_is_found_by_reap(world):
    take(world, "a.jsonl", [chat("a")])
    world.queue.delete(world.queue.receive(QueueName.PLAN, 1, 1))
    world.settle()
    (batch,) = world.all_batches()
    assert batch.status is BatchStatus.COMPLETED


LONG_NAME = "n" * 249 + ".jsonl"
LONG_KEYS = [
    f"drop/{LONG_NAME}",
    f"drop/{'ü' * 124}.jsonl",
    "drop/" + "/".join(["p" * 200] * 4 + ["e" * 208 + ".jsonl"]),
    "drop/" + "/".join(["p" * 250] * 4 + ["e" * 9 + ".jsonl"]),
]


@pytest.mark.parametrize("key", LONG_KEYS, ids=["name", "unicode", "key", "path"])
@pytest.mark.parametrize("ending", ["", ".errors.jsonl", ".error.json"])
def test_what_becomes_of_an_object_with_a_long_key_has_a_key_that_fits(key, ending):
    assert len(key.encode()) <= 1024
    found = mirror.mirrored(key, "rejected/", ending)
    assert found.startswith("rejected/")
    assert found.endswith(ending)
    assert len(found.encode()) <= 1024
    assert all(len(piece.encode()) <= 255 for piece in found.split("/"))
    assert found != mirror.mirrored(key.replace("e", "f").replace("n", "m"), "rejected/", ending)


@pytest.mark.parametrize("key", LONG_KEYS, ids=["name", "unicode", "key", "path"])
def test_an_object_with_a_long_key_is_taken_once_and_its_results_come_back(world, key):
    name = key.removeprefix("drop/")
    take(world, name, [chat("a"), chat("b")], times=2)
    world.settle(by_name({"b": 400}))
    assert len(objects(world, "results/")) == 2
    take(world, name, [b"{"])
    world.settle()
    assert len(objects(world, "rejected/")) == 2
