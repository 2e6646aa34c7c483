"""Every path of a dropped file, until it is a batch or rejected."""

from dataclasses import replace

import pytest
from botocore.exceptions import ClientError

from tests.aws.scenarios import LIMITS, SMALL, scenario
from tests.aws.world import AwsWorld, requests
from tests.backend import by_name


@scenario()
def a_dropped_file_becomes_a_batch_once(world: AwsWorld) -> None:
    key = world.drop("good.jsonl", requests(3))
    world.notify_upload(key)
    world.notify_upload(key)
    world.run(reply=by_name({"line-2": 400}))
    assert world.objects("results/") == ["results/good.errors.jsonl", "results/good.jsonl"]
    world.notify_upload("drop/gone.jsonl")
    world.notify_upload(world.drop("notes.txt", b"x"))
    assert len(world.objects("files/")) == 3


@scenario()
def a_dropped_file_is_told_of_twice_at_once(world: AwsWorld) -> None:
    key = world.drop("good.jsonl", requests(3))
    world.recorder.meanwhile("dynamodb", "TransactWriteItems", lambda: world.notify_upload(key))
    world.notify_upload(key)
    assert len(world.objects("files/")) == 1


@scenario()
def a_dropped_file_is_gone_or_replaced_while_it_is_taken(world: AwsWorld) -> None:
    key = world.drop("gone.jsonl", requests(3))
    world.recorder.meanwhile("s3", "CopyObject", lambda: world.delete_object(key))
    world.notify_upload(key)
    key = world.drop("replaced.jsonl", requests(3))
    world.recorder.meanwhile(
        "dynamodb", "GetItem", lambda: world.drop("replaced.jsonl", requests(4))
    )
    world.recorder.meanwhile(
        "s3", "HeadObject", lambda: world.drop("replaced.jsonl", requests(5)), after=2
    )
    world.notify_upload(key)
    assert not world.objects("files/")


@scenario(limits=replace(LIMITS, file_bytes=1000), sizes=SMALL)
def a_dropped_file_is_too_large(world: AwsWorld) -> None:
    key = world.drop("large.jsonl", requests(20))
    world.recorder.refuse("s3", "UploadPartCopy", after=1)
    with pytest.raises(ClientError, match="AccessDenied"):  # S3 tells again
        world.notify_upload(key)
    world.notify_upload(key)
    assert world.objects("rejected/") == [
        "rejected/large.jsonl",
        "rejected/large.jsonl.error.json",
    ]


@scenario(sizes=SMALL)
def a_large_dropped_file_is_copied_by_parts(world: AwsWorld) -> None:
    key = world.drop("large.jsonl", requests(20))
    world.recorder.refuse("s3", "UploadPartCopy", after=1)
    with pytest.raises(ClientError, match="AccessDenied"):  # S3 tells again
        world.notify_upload(key)
    assert not world.objects("files/")
    world.notify_upload(key)
    world.run()
    assert world.objects("results/") == ["results/large.jsonl"]


@scenario(sizes=SMALL)
def a_dropped_file_is_bad(world: AwsWorld) -> None:
    world.notify_upload(world.drop("bad.jsonl", [b"no json", *requests(10)]))
    world.recorder.refuse("s3", "UploadPartCopy", after=1)
    world.pump("plan", strict=False)
    (name,) = world.objects("rejected/")
    assert name == "rejected/bad.jsonl.error.json"
    world.clock.advance(LIMITS.work_seconds)
    world.reap()
    world.pump()
    assert len(world.objects("rejected/")) == 2
    world.notify_upload(world.drop("worse.jsonl", b"no json\n"))
    world.recorder.meanwhile(
        "s3", "HeadObject", lambda: world.delete_object("drop/worse.jsonl"), after=1
    )
    world.pump()
