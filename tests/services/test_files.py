"""What is known of a file, whoever wrote it."""

from dataclasses import replace
from typing import Any

import pytest

from backburner.domain.errors import NotFound
from backburner.domain.file import FilePurpose, StoredFile
from backburner.services import files
from tests.world import LIMITS, a_world_in_memory, chat


@pytest.fixture
def world():
    with a_world_in_memory(limits=replace(LIMITS, output_expires_seconds=600.0)) as world:
        yield world


def test_a_file_is_known_by_all_that_was_said_of_it(world):
    now = world.clock.now()
    said: dict[str, Any] = {
        "filename": "in.jsonl",
        "purpose": FilePurpose.BATCH,
        "size": 9,
        "line_count": 2,
    }
    said |= {"sha256": "ab", "expires_at": now + 60}
    files.add(world.env, "acme", file_id="file-x", **said)
    assert files.find(world.env, "acme", "file-x") == StoredFile(
        tenant="acme", id="file-x", created_at=now, key="files/acme/file-x", **said
    )


def test_a_file_that_has_expired_is_gone_at_that_instant(world):
    until = world.clock.now() + 60
    about: dict[str, Any] = {"filename": "in.jsonl", "purpose": FilePurpose.BATCH, "size": 9}
    files.add(world.env, "acme", file_id="file-x", expires_at=until, **about)
    world.advance(59)
    assert files.find(world.env, "acme", "file-x").expires_at == until
    world.advance(1)
    with pytest.raises(NotFound, match="file-x") as caught:
        files.find(world.env, "acme", "file-x", param="input_file_id")
    assert caught.value.param == "input_file_id"
    with pytest.raises(NotFound) as caught:
        files.find(world.env, "acme", "file-x")
    assert caught.value.param == "file_id"
    assert files.page(world.env, "acme", after=None, limit=9) == ([], False)


@pytest.mark.parametrize(
    ("file_id", "batch"),
    [
        ("file-7-output", ("batch_7", "output")),
        ("file-7-errors", ("batch_7", "errors")),
        ("file-a-b-output", ("batch_a-b", "output")),
        ("file-7-merged", None),
        ("file-7", None),
        ("batch-7-output", None),
        ("output", None),
    ],
)
def test_the_id_of_a_result_file_names_its_batch(file_id, batch):
    assert files.batch_id_of(file_id) == batch


@pytest.mark.parametrize(("own", "seconds"), [(None, 600), (90.0, 90)])
def test_the_files_of_a_batch_say_whose_they_are(world, own, seconds):
    batch = world.submit(
        [chat("a"), chat("b"), b"bad"], on_invalid="skip", output_expires_seconds=own
    )
    world.settle()
    after = world.batch(batch)
    for file_id, name, lines in (
        (after.output_file_id, "output", 2),
        (after.error_file_id, "errors", 1),
    ):
        file = files.find(world.env, "acme", file_id or "")
        assert (file.filename, file.purpose) == (f"{batch.id}_{name}.jsonl", "batch_output")
        assert (file.line_count, file.batch_id) == (lines, batch.id)
        assert file.size == len(world.blobs.get(f"files/acme/{file_id}"))
        assert file.created_at == after.completed_at
        assert file.expires_at == file.created_at + seconds
