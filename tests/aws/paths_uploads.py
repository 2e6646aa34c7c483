"""Every path of an upload in parts."""

from dataclasses import replace

from backburner.adapters.s3.writing import Sizes
from tests.aws.scenarios import LIMITS, scenario
from tests.aws.world import AwsWorld
from tests.web.conftest import Answer, form

#: The parts are joined by groups of this size, which S3 can copy; the parts it can't.
GROUPED = replace(LIMITS, joined_bytes=700)
SIZES = Sizes(least=400, sent=400, copied=10_000)
PIECE = b"x" * 299 + b"\n"


def begin(world: AwsWorld, *pieces: bytes) -> tuple[str, list[str]]:
    """An upload with its parts: its path, and their ids."""
    asked = {
        "bytes": sum(map(len, pieces)),
        "filename": "big.jsonl",
        "mime_type": "application/jsonl",
        "purpose": "batch",
    }
    path = f"/v1/uploads/{world.post('/v1/uploads', asked).json['id']}"
    return path, [add(world, path, piece).json["id"] for piece in pieces]


def add(world: AwsWorld, path: str, data: bytes) -> Answer:
    body, kind = form([("data", ("upload", data))])
    return world.ask("POST", f"{path}/parts", body, content_type=kind)


@scenario(limits=GROUPED, sizes=SIZES)
def parts_become_a_file(world: AwsWorld) -> None:
    path, parts = begin(world, *[PIECE] * 5)
    end = {"part_ids": parts, "md5": "0" * 32}
    assert world.post(f"{path}/complete", end).status == 400
    file = world.post(f"{path}/complete", end | {"md5": None}).json["file"]
    assert world.get(f"/v1/files/{file['id']}/content").body == PIECE * 5
    assert world.objects("uploads/") == []


@scenario(limits=GROUPED, sizes=SIZES)
def an_upload_is_cancelled_while_it_is_joined(world: AwsWorld) -> None:
    path, parts = begin(world, *[PIECE] * 5)
    world.recorder.meanwhile("s3", "GetObject", lambda: world.post(f"{path}/cancel"), after=2)
    assert world.post(f"{path}/complete", {"part_ids": parts}).status == 400
    assert world.objects("uploads/") == []
    assert add(world, path, b"x").status == 400


@scenario(limits=GROUPED, sizes=SIZES)
def an_upload_is_cancelled_when_its_file_is_almost_there(world: AwsWorld) -> None:
    path, parts = begin(world, *[PIECE] * 5)
    world.recorder.refuse("s3", "UploadPartCopy", after=1)
    assert world.post(f"{path}/complete", {"part_ids": parts}).status == 500
    world.recorder.meanwhile("dynamodb", "TransactWriteItems", lambda: world.post(f"{path}/cancel"))
    assert world.post(f"{path}/complete", {"part_ids": parts}).status == 400
    assert world.objects("files/") == []


@scenario()
def a_part_comes_when_the_upload_is_cancelled(world: AwsWorld) -> None:
    path, _ = begin(world, PIECE)
    world.recorder.meanwhile("s3", "PutObject", lambda: world.post(f"{path}/cancel"))
    assert add(world, path, b"x").status == 400
    assert world.objects("uploads/") == []


@scenario()
def what_is_left_of_an_upload_is_removed_after_an_hour(world: AwsWorld) -> None:
    path, parts = begin(world, PIECE, PIECE[1:])
    world.recorder.refuse("dynamodb", "TransactWriteItems")
    assert world.post(f"{path}/complete", {"part_ids": parts}).status == 500
    assert len(world.objects("files/")) == 1
    world.clock.advance(3600)
    world.reap()
    assert world.objects("files/") + world.objects("uploads/") == []
