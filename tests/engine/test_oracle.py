"""The oracle sees every kind of broken promise: each is planted once in a world that was right."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from msgspec import structs

from backburner.domain.batch import Batch
from backburner.ports import Delete, Put, Update
from backburner.services import batches, files, records, webhooks
from tests import oracle
from tests.backend import by_name
from tests.world import MemoryWorld, Told, World, a_world_in_memory, chat

SPOILED = b"this is no JSON"


def a_day(world: World) -> dict[str, Batch]:
    """Work of all kinds, ended: files, a single request, a rejection, skipped lines, a drop."""
    types = ["batch.completed", "response.completed"]
    hook = {"name": "hook", "url": "https://hooks.example.com", "event_types": types}
    webhooks.create(world.untapped, "acme", hook)
    kinds = {
        "file": world.submit(4, metadata={"notify_email": "ada@example.com"}),
        "single": world.respond("single"),
        "rejected": world.submit([chat("good"), SPOILED]),
        "skipping": world.submit([chat("kept"), SPOILED], on_invalid="skip", tenant="zeta"),
    }
    world.notify_upload(world.drop("dropped.jsonl", [chat("dropped")]))
    world.settle(by_name({"acme-2": 400}))
    kinds["dropped"] = next(one for one in world.all_batches() if one.dropped_key)
    return {name: world.batch(batch) for name, batch in kinds.items()}


#: The only delivery of its kind.
WEBHOOK = "webhook/we_00000000000000000001"


def repost(world: MemoryWorld, *, tenant: str = "acme", signature: str | None = None) -> None:
    """All that webhooks were told, as told to another's, or signed by someone else."""
    for number, one in enumerate(world.receiver.posted):
        body = one.body.replace(b'"tenant":"acme"', f'"tenant":"{tenant}"'.encode())
        signed = signature or one.headers["webhook-signature"]
        headers = {**one.headers, "webhook-signature": signed}
        world.receiver.posted[number] = replace(one, body=body, headers=headers)


def change(world: World, batch: Batch, **changes: object) -> None:
    """Behind the back of everyone: the witness does not see it."""
    key = records.batch_key(batch.tenant, batch.id)
    world.store.store.transact(Update(key, set=changes))


def rewrite(world: World, file_id: str | None, how: Callable[[list[bytes]], list[bytes]]) -> None:
    """Change the lines of a file that the batch of tenant acme wrote."""
    key = files.blob_key("acme", file_id or "")
    world.blobs.put(key, b"".join(how(world.blobs.get(key).splitlines(keepends=True))))


def tell(world: World, batch: Batch, **changes: object) -> None:
    told = next(one for one in world.told if one.event["data"]["id"] == batch.id)
    world.told.append(Told({**told.event, **changes}, told.attributes))


def pay_again(world: World, day: dict[str, Batch]) -> None:
    attempt = world.backend.submissions[0]
    again = structs.replace(attempt.shard, id=f"{attempt.shard.id}-1", attempt=2)
    lines = "".join(json.dumps(one) + "\n" for one in attempt.requests)
    world.backend.submit(again, world.env.catalog.models["mistral"], lines.encode())


def forge(world: World, day: dict[str, Batch]) -> None:
    """Another tenant's batch ran under this tenant's name."""
    attempt = world.backend.submissions[0]
    forged = structs.replace(attempt.shard, tenant="zeta")
    world.backend.submissions.append(replace(attempt, shard=forged))


def own_as(world: World, tenant: str, batch: Batch) -> None:
    (item,) = world.store.get(records.batch_key(batch.tenant, batch.id))
    world.store.store.transact(Put(records.batch_key(tenant, batch.id), item or {}))


def share_file(world: World, batch: Batch) -> None:
    file_id = batch.output_file_id or ""
    (item,) = world.store.get(records.file_key(batch.tenant, file_id))
    world.store.store.transact(Put(records.file_key("zeta", file_id), item or {}))


def add_to_pool(world: World, **counts: int) -> None:
    world.store.transact(Update(records.pool_key("manual:mistral"), add=counts))


def delete_item(world: World, batch: Batch) -> None:
    world.store.transact(Delete(records.batch_key(batch.tenant, batch.id)))


def drop_twice(world: World, day: dict[str, Batch]) -> None:
    (item,) = world.store.get(records.batch_key("dropper", day["dropped"].id))
    again = {**(item or {}), "id": "batch_again"}
    world.store.transact(Put(records.batch_key("dropper", "batch_again"), again))


def findings(world: World, batch: Batch, found: list[dict[str, object]]) -> None:
    world.blobs.put(batches.errors_key(batch), json.dumps(found).encode())


Plant = Callable[[MemoryWorld, dict[str, Batch]], object]

PLANTED: dict[str, tuple[int, Plant]] = {
    "an accepted batch is gone": (1, lambda world, day: delete_item(world, day["file"])),
    "an accepted single request is gone": (1, lambda world, day: delete_item(world, day["single"])),
    "a line is missing": (
        2,
        lambda world, day: rewrite(world, day["file"].output_file_id, lambda lines: lines[1:]),
    ),
    "a line comes out twice": (
        2,
        lambda world, day: rewrite(
            world, day["file"].output_file_id, lambda lines: [lines[0], *lines]
        ),
    ),
    "a line comes out in both files": (
        2,
        lambda world, day: rewrite(
            world,
            day["file"].error_file_id,
            lambda lines: [lines[0].replace(b"-2", b"-1"), *lines],
        ),
    ),
    "lines are out of order": (
        2,
        lambda world, day: rewrite(world, day["file"].output_file_id, lambda lines: lines[::-1]),
    ),
    "a line has the answer of another": (
        2,
        lambda world, day: rewrite(
            world,
            day["file"].output_file_id,
            lambda lines: [
                line.replace(b"prompt of acme-1", b"prompt of acme-3") for line in lines
            ],
        ),
    ),
    "a line has the name of another": (
        2,
        lambda world, day: rewrite(
            world,
            day["file"].output_file_id,
            lambda lines: [line.replace(b'"acme-1"', b'"acme-9"') for line in lines],
        ),
    ),
    "a file is not there": (
        2,
        lambda world, day: world.blobs.delete(
            files.blob_key("acme", day["file"].output_file_id or "")
        ),
    ),
    "a single request has no outcome": (
        2,
        lambda world, day: world.store.store.transact(
            Delete(records.shard_key("acme", day["single"].id, "00001"))
        ),
    ),
    "a batch never ends": (3, lambda world, day: world.submit(1)),
    "a batch ends too late": (
        3,
        lambda world, day: change(
            world, day["file"], completed_at=day["file"].expires_at + oracle.GRACE_SECONDS + 1
        ),
    ),
    "a message is left": (3, lambda world, day: world.queue.send("plan", {})),
    "a delivery stays due": (
        3,
        lambda world, day: world.store.transact(
            Update(
                records.key_of(world.deliveries(day["file"])[0]),
                set={"due_key": records.DUE_DELIVERY, "due_sort": "1"},
            )
        ),
    ),
    "a slot leaks": (4, lambda world, day: add_to_pool(world, in_flight=1)),
    "a slot is given back twice": (4, lambda world, day: add_to_pool(world, in_flight=-1)),
    "a pool counts lines that do not wait": (
        4,
        lambda world, day: add_to_pool(world, waiting_lines=3),
    ),
    "a tenant's share leaks": (
        4,
        lambda world, day: world.store.transact(
            Update(records.share_key("acme", "manual:mistral"), add={"in_flight": 1})
        ),
    ),
    "a batch counts too many": (5, lambda world, day: change(world, day["file"], completed=4)),
    "a batch counts too few": (5, lambda world, day: change(world, day["file"], failed=0)),
    "a batch counts open shards": (5, lambda world, day: change(world, day["file"], open_shards=1)),
    "a single request counts nothing": (
        5,
        lambda world, day: change(world, day["single"], completed=0),
    ),
    "a finished line runs again": (6, pay_again),
    "nobody is told": (7, lambda world, day: world.told.clear()),
    "an end is told under two ids": (
        7,
        lambda world, day: tell(world, day["file"], id="evt_another"),
    ),
    "another end is told": (7, lambda world, day: tell(world, day["file"], type="batch.failed")),
    "no mail comes": (7, lambda world, day: world.mailer.sent.clear()),
    "a webhook is not told": (7, lambda world, day: world.receiver.posted.clear()),
    "nothing is known of telling a webhook": (
        7,
        lambda world, day: world.store.store.transact(
            Delete(records.delivery_key("acme", day["file"].id, WEBHOOK))
        ),
    ),
    "a webhook is told by a stranger": (7, lambda world, day: repost(world, signature="v1,AAAA")),
    "a webhook is told of another's": (8, lambda world, day: repost(world, tenant="zeta")),
    "another tenant can read the batch": (
        8,
        lambda world, day: own_as(world, "stranger", day["file"]),
    ),
    "another tenant can read the file": (8, lambda world, day: share_file(world, day["file"])),
    "a request ran for another tenant": (8, forge),
    "a rejection has no reasons": (9, lambda world, day: findings(world, day["rejected"], [])),
    "a rejection does not name the line": (
        9,
        lambda world, day: findings(
            world, day["rejected"], [{"line": 1, "code": "bad", "message": "This is bad."}]
        ),
    ),
    "a rejection has no words": (
        9,
        lambda world, day: findings(
            world, day["rejected"], [{"line": 2, "code": "bad", "message": ""}]
        ),
    ),
    "what has ended changes": (
        10,
        lambda world, day: world.store.transact(
            Update(records.batch_key("acme", day["file"].id), set={"status": "failed"})
        ),
    ),
    "a shard that is done runs again": (
        10,
        lambda world, day: world.store.transact(
            Update(records.shard_key("acme", day["file"].id, "00001"), set={"status": "waiting"})
        ),
    ),
    "a dropped object runs twice": (10, drop_twice),
}


@pytest.mark.parametrize(("number", "plant"), PLANTED.values(), ids=PLANTED)
def test_a_planted_violation_is_seen(number, plant):
    with a_world_in_memory() as world:
        day = a_day(world)
        oracle.check_end(world)
        plant(world, day)
        with pytest.raises(oracle.BrokenError) as seen:
            oracle.check_end(world)
        assert number in seen.value.numbers, seen.value


def test_every_guarantee_has_a_planted_violation():
    assert {number for number, _ in PLANTED.values()} == set(oracle.GUARANTEES) == set(range(1, 11))


def test_an_object_that_nobody_needs_is_seen():
    with a_world_in_memory() as world:
        day = a_day(world)
        world.blobs.put(f"{day['file'].blob_prefix}left.jsonl", b"")
        with pytest.raises(AssertionError, match="left"):
            oracle.check_end(world)
        oracle.check_end(world, tidy=False)
