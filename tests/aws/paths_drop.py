"""Every path of a dropped file, until it is a batch or rejected."""

import io
import json
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore.exceptions import ClientError

from backburner.domain.errors import Conflict
from tests.aws.scenarios import LIMITS, SMALL, scenario
from tests.aws.world import MODEL, AwsWorld, requests
from tests.backend import by_name

ODD_KEYS = (
    "with spaces + 100% 'odd' \"keys\".jsonl",
    "naïve 名前 \U0001f600.jsonl",
    "x" * (1024 - len("drop/") - len(".jsonl")) + ".jsonl",
)


@scenario()
def a_dropped_file_becomes_a_batch_once(world: AwsWorld) -> None:
    key = world.drop("good.jsonl", requests(3))
    world.notify_upload(key)
    world.notify_upload(key)
    world.run(reply=by_name({"line-2": 400}))
    assert world.objects("results/") == ["results/good.errors.jsonl", "results/good.jsonl"]
    world.notify_upload("drop/gone.jsonl")
    world.notify_upload(world.drop("notes.part", b"x"))
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


@scenario()
def dropped_files_have_odd_keys(world: AwsWorld) -> None:
    for name in ODD_KEYS:
        world.notify_upload(world.drop(name, requests(1)))
    world.run()
    shortened, *plain = sorted(world.objects("results/"), key=len, reverse=True)
    assert sorted(plain) == sorted(f"results/{name}" for name in ODD_KEYS[:2])
    assert len(shortened) <= 1024


@scenario(sizes=SMALL)
def rows_and_items_become_requests(world: AwsWorld) -> None:
    table = io.BytesIO()
    pq.write_table(pa.table({"text": ["one", "two"]}), table)
    world.drop("t/_template.toml", b'prompt = "{text}"\nmax_tokens = 16')
    body = {"max_tokens": 16, "messages": [{"role": "user", "content": "hi"}]}
    contents: dict[str, Any] = {
        "t/a.csv": b"text\none\ntwo\n",
        "t/b.parquet": table.getvalue(),
        "c.json": json.dumps(body).encode(),
        "d.json": json.dumps([body, body]).encode(),
        f"{MODEL}/e.jsonl": [{"recordId": name, "modelInput": body} for name in ("R1", "R2")],
        "f.jsonl": [{"custom_id": "1", "params": body}],
        "g,model=mistral-tiny.jsonl": requests(2),
    }
    for name, content in contents.items():
        world.notify_upload(world.drop(name, content))
    world.run(by_name({"R2": 400}))
    assert world.objects("results/") == [
        "results/c.json",
        "results/d.json.jsonl",
        "results/f.jsonl",
        "results/g,model=mistral-tiny.jsonl",
        f"results/{MODEL}/e.jsonl.out",
        "results/t/a.csv.jsonl",
        "results/t/b.parquet.jsonl",
    ]
    world.notify_upload(world.drop("bad.csv", b"prompt\n1,2\n"))
    assert len(world.objects("rejected/")) == 2


@scenario()
def a_table_is_replaced_while_it_is_read(world: AwsWorld) -> None:
    key = world.drop("t.csv", b"prompt\none\n")
    world.recorder.meanwhile("s3", "PutObject", lambda: world.drop("t.csv", b"prompt\ntwo\n"))
    world.notify_upload(key)
    assert not world.objects("files/")


@scenario()
def dropped_texts_become_one_batch(world: AwsWorld) -> None:
    keys = [world.drop(f"{name}.txt", name.encode()) for name in ("good", "bad")]
    world.notify_upload(*keys)
    world.run(by_name({"bad.txt": 400}))
    assert world.objects("results/") == ["results/good.txt"]
    assert world.objects("rejected/") == ["rejected/bad.txt.error.json"]


@scenario()
def dropped_texts_are_taken_by_two_at_once(world: AwsWorld) -> None:
    keys = [world.drop(f"{name}.txt", name.encode()) for name in "ab"]
    world.recorder.meanwhile(
        "dynamodb", "TransactWriteItems", lambda: world.notify_upload(keys[1]), after=1
    )
    with pytest.raises(Conflict):  # S3 tells again
        world.notify_upload(*keys)
    world.notify_upload(*keys)
    world.run()
    assert world.objects("results/") == ["results/a.txt", "results/b.txt"]


@scenario()
def dropped_bodies_are_sent_as_they_are(world: AwsWorld) -> None:
    """More than there are slots: some start at once, and others wait."""
    names = ["cat.png", "名前.png", *(f"{number}.png" for number in range(8))]
    for name in names:
        key = world.drop(name, name.encode(), ContentType="image/png")
        world.notify_upload(key)
        world.notify_upload(key)
    first, second, *_ = world.outstanding
    world.fail(first, status=400)
    world.answer(second, data=b"odd")
    world.pump()
    while world.outstanding:
        world.answer(data=b"cat")
        world.pump()
    assert len(world.objects("results/")) == len(names) - 1
    assert world.objects("rejected/") == ["rejected/cat.png.error.json"]
    assert len(world.objects("drop/")) == len(names)


@scenario()
def the_answer_to_a_dropped_body_is_found_by_looking(world: AwsWorld) -> None:
    for name in ("found.png", "lost.png"):
        world.notify_upload(world.drop(name, b"x"))
    found, lost = world.outstanding
    world.answer(found, data=b"cat", told=False)
    world.fail(lost, told=False)
    world.tick(30)
    while world.outstanding:
        world.fail(told=False)
        world.tick(10)
    assert world.objects("results/") == ["results/found.png.out"]
    assert world.objects("rejected/") == ["rejected/lost.png.error.json"]


@scenario()
def a_dropped_body_expires(world: AwsWorld) -> None:
    world.recorder.refuse("sagemaker-runtime", "InvokeEndpointAsync", "ThrottlingException")
    world.notify_upload(world.drop("late,window=15m.png", b"x"))
    world.clock.advance(1000)
    world.tick()
    assert world.objects("rejected/") == ["rejected/late,window=15m.png.error.json"]


@scenario(sizes=SMALL)
def a_dropped_body_is_copied_and_taken_by_another(world: AwsWorld) -> None:
    key = world.drop("名前.png", b"x" * 1000)
    world.recorder.meanwhile("dynamodb", "TransactWriteItems", lambda: world.notify_upload(key))
    world.notify_upload(key)
    world.recorder.refuse("s3", "UploadPartCopy", after=1)
    with pytest.raises(ClientError, match="AccessDenied"):
        world.notify_upload(world.drop("名.png", b"x" * 1000))
    world.answer(data=b"cat")
    world.pump()
    assert world.objects("results/") == ["results/名前.png.out"]
