"""Limits of tenants: what is refused, what the client is told, and that nothing leaks."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backburner.domain.errors import RateLimited
from backburner.domain.quota import Quota
from backburner.ports import Limits
from backburner.services import batches, files, keys, quotas, records
from tests import oracle
from tests.backend import by_name
from tests.effort import tried
from tests.web.conftest import Client, WebWorld, requests
from tests.world import CHAT, LIMITS, World, a_world_in_memory


def with_quota(world: WebWorld, tenant: str = "acme", **limits: int) -> Client:
    """A client whose key has limits of its own."""
    secret, _ = keys.create(world.env, tenant, quota=Quota(**limits))
    return Client(secret, world)


# ---------------------------------------------------------------- requests a minute


def test_a_minute_has_as_many_requests_as_the_key_may_make(world):
    acme = with_quota(world, requests_per_minute=3)
    answers = [acme.get("/v1/models") for _ in range(3)]
    assert [one.headers["x-ratelimit-remaining-requests"] for one in answers] == ["2", "1", "0"]
    assert {one.headers["x-ratelimit-limit-requests"] for one in answers} == {"3"}
    refused = acme.get("/v1/models")
    assert (refused.status, refused.error["type"]) == (429, "rate_limit_error")
    assert refused.error["code"] == "rate_limit_exceeded"
    assert refused.error["message"].startswith("Rate limit of 3 requests a minute.")
    wait = int(refused.headers["retry-after"])
    assert 1 <= wait <= 60
    assert refused.headers["x-ratelimit-reset-requests"] == f"{wait}s"
    world.advance(wait)
    assert acme.get("/v1/models").status == 200


def test_without_a_limit_nothing_is_counted(world, acme):
    with world.tap.hooked(None):
        answer = acme.get("/v1/models")
        assert world.tap.calls == ["store.get"]  # the key
    assert not [name for name in answer.headers if name.startswith("x-ratelimit")]


def test_a_minute_is_the_tenants_whatever_its_key_and_whoever_counts(world):
    """Other functions lease from the same minute: together they never pass the limit."""
    quota = Quota(requests_per_minute=100)
    here, there = (replace(world.env, leases=type(world.env.leases)()) for _ in range(2))
    taken = 0
    for number in range(300):
        try:
            quotas.take_request((here, there)[number % 2], "acme", quota)
            taken += 1
        except RateLimited:
            pass
    assert taken == 100


def test_another_tenants_requests_are_not_counted(world):
    for tenant in ("acme", "zeta"):
        for _ in range(3):
            quotas.take_request(world.env, tenant, Quota(requests_per_minute=3))
        with pytest.raises(RateLimited):
            quotas.take_request(world.env, tenant, Quota(requests_per_minute=3))


def test_counting_costs_two_calls_for_a_fiftieth_of_the_limit(world):
    quota = Quota(requests_per_minute=500)
    with world.tap.hooked(None):
        for _ in range(500):
            quotas.take_request(world.env, "acme", quota)
        assert len(world.tap.calls) == 100
        for _ in range(100):
            with pytest.raises(RateLimited):
                quotas.take_request(world.env, "acme", quota)
        assert len(world.tap.calls) == 102  # and that all was gone


# ---------------------------------------------------------------- stored bytes


def test_files_have_no_more_bytes_than_the_tenant_may_have(world):
    acme = with_quota(world, stored_bytes=10)
    first = acme.upload(b"x" * 6).json["id"]
    refused = acme.upload(b"x" * 5)
    assert (refused.status, refused.error["type"]) == (429, "insufficient_quota")
    assert "10 bytes" in refused.error["message"]
    assert refused.headers["retry-after"] == "60"
    assert world.keys("files/acme/") == [f"files/acme/{first}"]
    assert acme.upload(b"x" * 4).status == 200
    assert acme.delete(f"/v1/files/{first}").status == 200
    assert acme.upload(b"x" * 6).status == 200
    assert world.client("other").upload(b"x" * 60).status == 200


class TestWithAnOperatorsLimit:
    @pytest.fixture
    def limits(self):
        return Limits(quota=Quota(stored_bytes=10))

    def test_a_key_without_limits_has_the_operators(self, acme):
        assert acme.upload(b"x" * 11).status == 429

    def test_a_key_with_limits_has_its_own(self, world):
        assert with_quota(world, "zeta", stored_bytes=0).upload(b"x" * 11).status == 200


# ---------------------------------------------------------------- waiting lines


def test_no_batch_is_taken_while_too_many_requests_wait(world):
    acme = with_quota(world, waiting_lines=20)
    first = acme.batch(requests(40))
    world.pump()
    file_id = acme.upload(requests(1)).json["id"]
    body = {"input_file_id": file_id, "endpoint": CHAT}
    refused = acme.post("/v1/batches", body)
    assert (refused.status, refused.error["code"]) == (429, "insufficient_quota")
    assert "limit is 20" in refused.error["message"]
    world.finish()
    assert acme.get(f"/v1/batches/{first['id']}").json["status"] == "completed"
    assert acme.post("/v1/batches", body).status == 200


def test_a_retry_waits_like_a_batch_and_one_that_runs_is_no_new_work(world):
    acme = with_quota(world, waiting_lines=20)
    failed = acme.batch(requests(2))["id"]
    world.pump()
    while world.outstanding:
        world.answer(reply=by_name({"r-1": 400}))
        world.pump()
    path = f"/v1/batches/{failed}/retry"
    in_the_way = acme.batch(requests(40))["id"]
    world.pump()
    before = world.keys("batches/")
    for refused in (acme.post(path, {}), acme.post(f"{path}-requests", {"request_ids": ["r-1"]})):
        assert (refused.status, refused.error["code"]) == (429, "insufficient_quota")
        assert refused.headers["retry-after"] == "60"
    assert world.keys("batches/") == before
    acme.post(f"/v1/batches/{in_the_way}/cancel", {})
    retried = acme.post(path, {})
    assert retried.status == 200
    acme.batch(requests(40))
    world.pump()
    assert acme.post(path, {}).json["id"] == retried.json["id"]


def a_message_batch(count: int) -> dict[str, Any]:
    params = {"model": "tiny", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    return {"requests": [{"custom_id": f"c{n}", "params": params} for n in range(count)]}


def test_no_message_batch_is_taken_either_while_too_many_requests_wait(world):
    acme = with_quota(world, waiting_lines=20)
    assert acme.post("/v1/messages/batches", a_message_batch(40)).status == 200
    world.pump()
    before = world.keys("batches/")
    refused = acme.post("/v1/messages/batches", a_message_batch(1))
    assert (refused.status, refused.error["type"]) == (429, "rate_limit_error")
    assert world.keys("batches/") == before
    world.finish()
    assert acme.post("/v1/messages/batches", a_message_batch(1)).status == 200


def test_results_of_a_deleted_message_batch_are_not_counted_any_more(world, acme):
    made = acme.post("/v1/messages/batches", a_message_batch(3)).json["id"]
    world.finish()
    (usage,) = world.store.get(records.usage_key("acme"))
    assert usage["stored_bytes"] > 0
    assert acme.delete(f"/v1/messages/batches/{made}").status == 200
    (usage,) = world.store.get(records.usage_key("acme"))
    assert usage["stored_bytes"] == 0


def test_a_single_request_waits_only_where_there_is_room(world):
    acme = with_quota(world, waiting_lines=2)
    body = {"model": "tiny", "input": "hi", "background": True}
    statuses = [acme.post("/v1/responses", body).status for _ in range(4 + 2 + 2)]
    assert statuses == [200] * 6 + [429] * 2  # 4 have slots, 2 wait
    assert acme.post("/v1/responses", body | {"model": "mistral-tiny"}).status == 200
    world.reply()
    world.pump()
    assert acme.post("/v1/responses", body).status == 200


@pytest.mark.parametrize("path", ["/v1/responses", CHAT])
def test_a_request_that_may_not_wait_leaves_nothing(world, path):
    acme = with_quota(world, waiting_lines=1)
    text = "x" * 2 * LIMITS.inline_bytes
    asked: dict[str, Any] = {"input": text, "background": True}
    if path == CHAT:
        asked = {"messages": [{"role": "user", "content": text}]}
    acme.headers = {"prefer": "respond-async"}
    answers = [acme.post(path, {"model": "tiny", **asked}) for _ in range(6)]
    assert [one.status for one in answers[-2:]] == [answers[0].status, 429]
    kept = {key.split("/")[2] for key in world.keys("batches/")}
    assert kept == {one.json["id"] for one in answers[:-1]}


# ---------------------------------------------------------------- never negative, never leaking


def counted(world: World) -> list[float]:
    """All that is counted of tenants and pools now."""
    items = [
        item
        for tenant in sorted(world.tenants)
        for item in (
            *world.store.query(f"{tenant}/pools"),
            *filter(None, world.store.get(records.usage_key(tenant))),
        )
    ]
    names = ("stored_bytes", "waiting_lines", "in_flight")
    return [item.get(name, 0) for item in items for name in names]


def submit(world: World, tenant: str, chosen: int) -> None:
    world.submit(3 * chosen + 1, tenant=tenant, window="1h")


def respond(world: World, tenant: str, chosen: int) -> None:
    world.respond("single", tenant=tenant, window="1h")


def cancel(world: World, tenant: str, chosen: int) -> None:
    for batch in world.all_batches()[chosen : chosen + 1]:
        if not batch.is_terminal:
            batches.cancel(world.env, batch.tenant, batch.id, kind=batch.kind)


def delete_a_file(world: World, tenant: str, chosen: int) -> None:
    """Only what was written: the oracle reads what was submitted."""
    found = [records.to_file(item) for item in world.store.query(f"{tenant}/files")]
    for file in [one for one in found if one.batch_id][:1]:
        files.forget(world.env, file)
        files.forget(world.env, file)  # reap, at the same time


def answer(world: World, tenant: str, chosen: int) -> None:
    if world.outstanding:
        world.answer(reply=by_name({f"{tenant}-{chosen}": 500}))


def fail(world: World, tenant: str, chosen: int) -> None:
    if world.outstanding:
        world.fail()


def wait(world: World, tenant: str, chosen: int) -> None:
    world.tick(chosen * chosen)


ACTS = (submit, respond, cancel, delete_a_file, answer, fail, wait)


@settings(max_examples=tried(30, long=400), deadline=None)
@given(
    acts=st.lists(
        st.tuples(st.sampled_from(ACTS), st.sampled_from(["acme", "zeta"]), st.integers(0, 5)),
        max_size=25,
    )
)
def test_whatever_happens_the_counts_are_those_of_what_there_is(acts):
    with a_world_in_memory(limits=LIMITS) as world:
        for act, tenant, chosen in acts:
            act(world, tenant, chosen)
            world.pump()
            assert min(counted(world), default=0) >= 0
            oracle.check_step(world)
        world.settle()
        oracle.check_step(world)
        for tenant in world.tenants:
            for item in world.store.query(f"{tenant}/files"):
                files.forget(world.env, records.to_file(item))
        assert set(counted(world)) <= {0}
