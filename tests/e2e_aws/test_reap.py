"""What is due is moved on, under the role of the function that does it."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from backburner.domain.file import FilePurpose
from backburner.ports import Index, Update
from backburner.services import files, records
from tests.e2e_aws.conftest import TENANT, World
from tests.e2e_aws.servers import wait_until
from tests.e2e_aws.submitting import finished, read, submit
from tests.local.stacks import names, requests

pytestmark = pytest.mark.e2e_aws


@contextmanager
def no_notifications(world: World) -> Iterator[None]:
    """Nobody is told of results."""
    resources = world.deployment.resources
    with world.aws.client("sns") as sns:
        sns.unsubscribe(SubscriptionArn=resources["OnSuccessFunctionTopic"])
        try:
            yield
        finally:
            sns.subscribe(
                TopicArn=resources["SuccessTopic"],
                Protocol="lambda",
                Endpoint=world.deployment.configuration("OnSuccessFunction")["FunctionArn"],
            )


def make_due(world: World, batch_id: str) -> None:
    """Let the time come to look after the batch's shards."""
    store = world.deployment.environment.store
    for item in store.query(records.DUE_SHARD, index=Index.DUE, limit=100):
        if item["batch_id"] == batch_id:
            key = records.shard_key(TENANT, batch_id, item["id"])
            due = records.due_sort(1.0, TENANT, batch_id, item["id"])
            store.transact(Update(key, set={"look_at": 1.0, "due_sort": due}))


def test_a_result_that_nobody_told_of_is_found(world, ai):
    env = world.deployment.environment
    with no_notifications(world):
        batch_id = submit(ai, requests(2))
        results = f"async/output/{TENANT}/{batch_id}/"
        wait_until(lambda: list(env.blobs.list(results)), "the result")
        make_due(world, batch_id)

        assert world.deployment.invoke("ReapFunction", {}) == (None, None)

        batch = finished(ai, batch_id)
    assert batch.status == "completed"
    assert [line["custom_id"] for line in read(ai, batch.output_file_id)] == names(2)
    assert list(env.blobs.list(results)) == []


def test_a_file_that_expired_is_removed(world):
    env = world.deployment.environment
    file_id = env.ids.new("file")
    key = files.blob_key(TENANT, file_id)
    env.blobs.put(key, requests(1))
    files.add(
        env,
        TENANT,
        file_id=file_id,
        filename="old.jsonl",
        purpose=FilePurpose.BATCH,
        size=1,
        expires_at=1.0,
    )

    assert world.deployment.invoke("ReapFunction", {}) == (None, None)

    assert env.blobs.stat(key) is None
    assert env.store.get(records.file_key(TENANT, file_id)) == [None]
