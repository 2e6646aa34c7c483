"""What a crash left between the store and the endpoint is put right at the next start."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from backburner.domain.batch import BatchKind
from backburner.domain.bundle import is_bundle
from backburner.domain.catalog import Catalog, Model
from backburner.domain.file import FilePurpose
from backburner.domain.request import Request
from backburner.domain.shard import AttemptRef, Shard, ShardStatus
from backburner.ports import AttemptState, Environment, Index, Look, Room, Submitted
from backburner.services import batches, collect, dispatch, files, plan, records, singles, submit
from backburner_local import recovery
from backburner_local.client import Client
from backburner_local.options import Options
from backburner_local.stack import Stack, stored
from tests.local.stacks import CHAT, lines, names, request, requests, wait_until


class PowerCut(BaseException):
    """The process is gone: nothing after this runs."""


class CutOff:
    """A backend whose caller dies before it is asked anything."""

    def submit(self, shard: Shard, model: Model, payload: bytes | str) -> Submitted:
        raise PowerCut

    def look(self, shard: Shard) -> Look:
        return Look(state=AttemptState.UNKNOWN)

    def stop(self, shard: Shard) -> None:
        raise PowerCut

    def attempt_of(self, job: str) -> AttemptRef | None:
        raise PowerCut

    def instances(self, model: Model) -> int | None:
        return 0

    def room(self, model: Model) -> Room | None:
        return None

    def wake(self, model: Model, wanted: int) -> None:
        raise PowerCut


class Awake(CutOff):
    """Whoever dies before it takes anything finds it running."""

    def instances(self, model: Model) -> int | None:
        return 9


@contextmanager
def world(data_dir: Path) -> Iterator[Environment]:
    """The store of a data folder, from where no endpoint is reached."""
    with stored(data_dir) as env:
        yield replace(env, backends={"sagemaker_async": CutOff()})


def claim_and_die(env: Environment, count: int) -> str:
    """Have a batch whose first shard is claimed, and sent nowhere."""
    file_id = env.ids.new("file")
    key = files.blob_key("default", file_id)
    env.blobs.put(key, requests(count))
    purpose = FilePurpose.BATCH
    files.add(env, "default", file_id=file_id, filename="in.jsonl", purpose=purpose, size=1)
    new = submit.NewBatch(input_file_id=file_id, route=CHAT)
    batch = submit.submit_batch(env, "default", new)
    plan.plan(env, "default", batch.id)
    (model,) = env.catalog.models.values()
    with pytest.raises(PowerCut):
        dispatch.dispatch(env, model.pool)
    return batch.id


@pytest.mark.slow
def test_a_shard_that_was_claimed_and_not_sent_does_not_wait_for_its_lease(tmp_path):
    options = Options(
        data_dir=tmp_path / "data", port=0, engine="null", minute_seconds=1.0, durable=False
    )
    Stack(options).start().stop()
    with world(options.data_dir) as env:
        batch_id = claim_and_die(env, 80)

    with Stack(options) as stack:
        key = (options.data_dir / "dev.key").read_text().strip()
        with Client.connect(stack.url, key) as client:
            wait_until(lambda: client.batch(batch_id)["status"] == "completed", "the end")
            output = lines(client.content(client.batch(batch_id)["output_file_id"]))

    assert [line["custom_id"] for line in output] == names(80)


def test_what_the_endpoint_has_accepted_stays_in_flight(tmp_path):
    with world(tmp_path) as env:
        batch_id = claim_and_die(env, 3)

        assert recovery.take_back(env, {f"default/{batch_id}/00001/1"}) == 0
        assert recovery.take_back(env, {"someone-elses"}) == 1
        assert recovery.take_back(env, set()) == 0


def bundle_and_die(env: Environment, count: int) -> list[Shard]:
    """Have single requests claimed as a bundle that is sent nowhere; returns their shards."""
    (model,) = env.catalog.models.values()
    env = replace(env, backends={"sagemaker_async": Awake()})
    full = replace(env, catalog=Catalog({model.name: replace(model, slots=0)}))
    for number in range(count):
        body = json.loads(request(number))["body"]
        given = json.dumps(body).encode()
        one = Request(line=1, custom_id=f"r{number}", model=model.name, route=CHAT, body=given)
        new = singles.NewSingle(kind=BatchKind.RESPONSE, request=one, original=given)
        singles.submit_single(full, "default", new)
    free = replace(env, catalog=Catalog({model.name: replace(model, slots=1)}))
    with pytest.raises(PowerCut):
        dispatch.dispatch(free, model.pool)
    return in_flight(env)


def in_flight(env: Environment) -> list[Shard]:
    due = env.store.query(records.DUE_SHARD, index=Index.DUE)
    return [records.to_shard(item) for item in due]


def test_a_bundle_that_the_endpoint_has_accepted_stays_in_flight_with_all_its_members(tmp_path):
    with world(tmp_path) as env:
        shards = bundle_and_die(env, 3)
        (bundle,) = [one for one in shards if is_bundle(one.batch_id)]
        assert {one.bundle for one in shards if one is not bundle} == {bundle.batch_id}

        assert recovery.take_back(env, {str(bundle.ref)}) == 0
        assert in_flight(env) == shards
        assert recovery.take_back(env, set()) == 1
        assert in_flight(env) == []
        assert len(env.store.query(bundle.pool, index=Index.QUEUE)) == 3


def test_a_result_that_is_there_is_not_thrown_away(tmp_path):
    class Done(CutOff):
        def look(self, shard: Shard) -> Look:
            return Look(state=AttemptState.SUCCEEDED, result_key="result")

    with world(tmp_path) as env:
        claim_and_die(env, 3)
        assert recovery.take_back(replace(env, backends={"sagemaker_async": Done()}), set()) == 0


def test_after_a_power_cut_no_result_of_the_endpoint_is_believed(tmp_path):
    with world(tmp_path) as env:
        batch_id = claim_and_die(env, 3)
        key = f"{collect.OUTPUT_PREFIX}default/{batch_id}/00001-a1.out"
        env.blobs.put(key, b"half an ans")

        class Done(CutOff):
            def look(self, shard: Shard) -> Look:
                return Look(state=AttemptState.SUCCEEDED, result_key=key)

        after = replace(env, backends={"sagemaker_async": Done()})
        assert recovery.take_back(after, set(), believes_results=False) == 1
        assert env.blobs.stat(key) is None
        (shard,) = batches.shards(env, batches.find(env, "default", batch_id))
        assert (shard.status, shard.attempt) == (ShardStatus.WAITING, 0)


def test_a_start_of_the_machine_is_known_until_the_stack_has_noted_it(tmp_path, monkeypatch):
    for boot in ("first", "second"):
        monkeypatch.setattr(recovery, "boot_id", lambda boot=boot: boot)
        assert recovery.is_other_boot(tmp_path)
        assert recovery.is_other_boot(tmp_path)  # whoever died before noting it
        recovery.note_boot(tmp_path)
        assert not recovery.is_other_boot(tmp_path)


def test_where_the_system_tells_no_boots_all_starts_are_of_one(tmp_path, monkeypatch):
    monkeypatch.setattr(recovery, "_BOOT_ID", tmp_path / "none")
    assert not recovery.is_other_boot(tmp_path)
