"""What is noted of a request that creates something, on every store."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from backburner.domain.errors import Conflict, KeyReused
from backburner.domain.file import FilePurpose, StoredFile
from backburner.services import files, once, records
from tests.world import a_world_in_memory


@pytest.fixture
def env(store):
    with a_world_in_memory() as world:
        yield replace(world.untapped, store=store)


def upload(env: Any, **changes: Any) -> tuple[StoredFile, bool]:
    given = {"payload": "sha256 of it", "name": "order-66", "arrived_at": env.clock.now()}
    asked = once.Asked(tenant="acme", route="POST /v1/files", **given | changes)

    def make(note: once.Note | None) -> StoredFile:
        return files.add(
            env,
            "acme",
            file_id=env.ids.new("file"),
            filename="in.jsonl",
            purpose=FilePurpose.BATCH,
            size=7,
            expires_at=env.clock.now() + 3600.5,
            note=note,
        )

    return once.create(env, asked, make, records.to_file)


def test_what_is_noted_comes_back_as_it_was(env):
    first, is_known = upload(env)
    assert not is_known
    assert upload(env) == (first, True)
    with pytest.raises(KeyReused):
        upload(env, payload="another")


def test_what_is_known_is_not_made_again(env):
    first, _ = upload(env)
    assert upload(replace(env, ids=None)) == (first, True), "no new id was asked for"


def test_a_retry_finds_the_first_request_by_what_it_says(env):
    first, _ = upload(env, name=None)
    second, _ = upload(env, name=None)
    assert upload(env, name=None, is_retry=True) == (second, True)
    assert upload(env, name=None, payload="another", is_retry=True)[1] is False
    assert first.id != second.id


def test_an_old_note_gives_way(env):
    first, _ = upload(env)
    env.clock.advance(once.KEY_SECONDS)
    second, is_known = upload(env)
    assert (is_known, second.id == first.id) == (False, False)
    assert upload(env) == (second, True)


def test_many_at_once_make_one(env):
    def ask(_: int) -> StoredFile | None:
        try:
            return upload(env)[0]
        except Conflict:  # told to come back
            return None

    with ThreadPoolExecutor(8) as pool:
        made = {one.id for one in pool.map(ask, range(16)) if one is not None}
    assert len(made) == 1
    assert [item["id"] for item in env.store.query("acme/files")] == list(made)
