"""Two calls at once about one upload, of which the slower finds it changed."""

import hashlib
import math
from dataclasses import replace
from typing import Any

import pytest

from backburner.domain.errors import StateConflict
from backburner.domain.file import FilePurpose, StoredFile
from backburner.domain.upload import Upload, UploadStatus
from backburner.services import uploads
from tests.tap import meanwhile_at
from tests.world import LIMITS, a_world_in_memory


@pytest.fixture
def world():
    with a_world_in_memory() as world:
        yield world


@pytest.fixture
def upload(world):
    """An upload of one part that has come."""
    new = uploads.NewUpload(
        size=4, filename="in.jsonl", purpose=FilePurpose.BATCH, mimetype="text/x-jsonl"
    )
    made = uploads.create(world.env, "acme", new)
    world.blobs.put(uploads.part_key(made, PART), b"part")
    uploads.receive(world.env, made, PART, 4)
    return made


PART = uploads.part_id(hashlib.sha256(b"part").hexdigest())


def test_a_file_of_parts_is_what_was_announced(world, upload):
    after, file = uploads.complete(world.env, "acme", upload.id, [PART])
    assert after.status is UploadStatus.COMPLETED
    assert file is not None
    now = world.clock.now()
    assert file == StoredFile(
        tenant="acme",
        id=upload.file_id,
        filename="in.jsonl",
        purpose=FilePurpose.BATCH,
        size=4,
        mimetype="text/x-jsonl",
        created_at=now,
        expires_at=now + LIMITS.output_expires_seconds,
        key=file.key,
    )
    assert world.blobs.get(file.key) == b"part"


def test_an_upload_is_known_by_all_that_was_said_of_it(world):
    said: dict[str, Any] = {
        "size": 4,
        "filename": "a.jsonl",
        "purpose": FilePurpose.BATCH,
        "mimetype": "text/x",
    }
    said["file_expires_seconds"] = 90.0
    upload = uploads.create(world.env, "acme", uploads.NewUpload(**said))
    until = world.clock.now() + LIMITS.upload_seconds
    assert uploads.find(world.env, "acme", upload.id) == Upload(
        tenant="acme",
        id=upload.id,
        created_at=world.clock.now(),
        expires_at=until,
        file_id=upload.file_id,
        ttl=math.ceil(until + LIMITS.record_seconds),
        **said,
    )
    world.blobs.put(uploads.part_key(upload, PART), b"part")
    uploads.receive(world.env, upload, PART, 4)
    _, file = uploads.complete(world.env, "acme", upload.id, [PART])
    assert file is not None
    assert file.expires_at == file.created_at + 90
    later = replace(world.env, limits=replace(LIMITS, record_seconds=0))
    assert uploads.create(later, "acme", uploads.NewUpload(**said)).ttl is None


def test_who_completes_second_gets_the_same_file(world, upload):
    def first() -> None:
        uploads.complete(world.env, "acme", upload.id, [PART])

    with world.tap.hooked(meanwhile_at("store.transact", world.tap, first)):
        _, file = uploads.complete(world.env, "acme", upload.id, [PART])
    assert file is not None
    assert world.blobs.get(file.key) == b"part"


def test_who_completes_what_was_just_cancelled_is_told_so(world, upload):
    def cancel() -> None:
        uploads.cancel(world.env, "acme", upload.id)

    with (
        world.tap.hooked(meanwhile_at("store.transact", world.tap, cancel)),
        pytest.raises(StateConflict, match="cancelled") as caught,
    ):
        uploads.complete(world.env, "acme", upload.id, [PART])
    assert caught.value.param == "id"
    assert list(world.blobs.list("")) == []


def test_who_cancels_second_finds_it_cancelled(world, upload):
    def first() -> None:
        uploads.cancel(world.env, "acme", upload.id)

    with world.tap.hooked(meanwhile_at("store.transact", world.tap, first)):
        after = uploads.cancel(world.env, "acme", upload.id)
    assert after.status is UploadStatus.CANCELLED


def test_an_upload_takes_no_more_than_each_part_three_times(world, upload):
    world.blobs.put(uploads.part_key(upload, PART), b"part")
    uploads.receive(world.env, upload, PART, 4)
    assert uploads.find_open(world.env, "acme", upload.id)
    uploads.receive(world.env, upload, PART, 4)
    with pytest.raises(StateConflict, match="created for 4 bytes, and has got 12") as caught:
        uploads.find_open(world.env, "acme", upload.id)
    assert caught.value.param == "id"
