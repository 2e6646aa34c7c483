"""DynamoDB: contention, lost answers, pages, and requests; what only this adapter has to get right.

Moto plays the table. It has no concurrent transactions, no throttles and no lost answers, and
ignores the tokens of transactions: there its answers are replaced.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import EndpointConnectionError
from moto.core.botocore_stubber import MockRawResponse
from moto.core.models import botocore_stubber

from backburner.adapters.dynamodb import DynamoStore
from backburner.domain.errors import Busy, Conflict
from backburner.ports import Absent, Below, Check, Delete, Index, Is, Key, Missing, Put, Update
from tests.contract.on_dynamodb import TABLE, moto_dynamodb

POOL, SHARD = Key("pools", "p"), Key("acme/batch", "shard/1")


class World:
    """A store over moto's table, with what it asked for and how long it paused."""

    def __init__(self, client: Any, clients: Any) -> None:
        self.client, self.clients = client, clients
        self.pauses: list[float] = []
        #: Operations and parameters of all requests since the last look.
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.store = DynamoStore(clients, TABLE, sleep=self.pauses.append)

    def names(self) -> list[str]:
        names = [name for name, _ in self.asked]
        self.asked.clear()
        return names

    def record(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        self.asked.append((model.name, params))

    def raw(self, key: Key) -> dict[str, Any]:
        """The item as it is in the table."""
        where = {"partition": {"S": key.partition}, "sort": {"S": key.sort}}
        item: dict[str, Any] = self.client.get_item(TableName=TABLE, Key=where)["Item"]
        self.asked.pop()
        return item

    @contextmanager
    def hooked(self, event: str, handler: Callable[..., Any]) -> Iterator[None]:
        self.client.meta.events.register_first(event, handler)
        try:
            yield
        finally:
            self.client.meta.events.unregister(event, handler)

    @contextmanager
    def answering(self, operation: str, *answers: Any) -> Iterator[None]:
        """The first answers are these; afterwards, it is moto that answers."""
        left = list(answers)

        def answer(**_: Any) -> Any:
            return left.pop(0) if left else None

        with self.hooked(f"before-call.dynamodb.{operation}", answer):
            yield
        assert not left

    @contextmanager
    def losing_an_answer(self, operation: str) -> Iterator[None]:
        """The first request is done, but what comes back says: try again."""
        lost: list[Any] = []

        def lose(event_name: str, request: Any, **_: Any) -> Any:
            if lost:
                return None
            lost.append(botocore_stubber(event_name, request))
            return AWSResponse(request.url, 500, HTTPHeaders(), MockRawResponse(b"{}"))

        with self.hooked(f"before-send.dynamodb.{operation}", lose):
            yield
        assert lost


@pytest.fixture
def world():
    with moto_dynamodb() as clients:
        world = World(clients.dynamodb, clients)
        with world.hooked("before-parameter-build.dynamodb", world.record):
            yield world


def refusal(code: str, *reasons: str, status: int = 400) -> Any:
    """What botocore has parsed of an error."""
    parsed: dict[str, Any] = {
        "Error": {"Code": code, "Message": "no"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    if reasons:
        parsed["CancellationReasons"] = [{"Code": reason} for reason in reasons]
    return AWSResponse("", status, HTTPHeaders(), MockRawResponse(b"")), parsed


# ---------------------------------------------------------------- contention


def test_contention_is_no_conflict(world):
    """Two transactions at one item at once; moto has no two at once."""
    contended = refusal("TransactionConflictException")
    with world.answering("UpdateItem", contended, contended):
        world.store.transact(Update(POOL, add={"in_flight": 1}))
    assert len(world.pauses) == 2
    cancelled = refusal("TransactionCanceledException", "None", "TransactionConflict")
    with world.answering("TransactWriteItems", cancelled, cancelled):
        world.store.transact(Put(SHARD, {}), Update(POOL, add={"in_flight": 1}))
    assert len(world.pauses) == 4
    assert world.store.get(POOL, SHARD) == [{"in_flight": 2}, {}]


def test_a_transaction_that_is_tried_again_is_the_same_to_dynamodb(world):
    """By its token, for 10 minutes; moto does not look at it."""
    busy = refusal("TransactionInProgressException")
    with world.answering("TransactWriteItems", busy):
        world.store.transact(Put(SHARD, {}), Put(POOL, {}))
    world.store.transact(Put(SHARD, {}), Put(POOL, {}))
    tokens = [parameters["ClientRequestToken"] for _, parameters in world.asked]
    assert tokens[0] == tokens[1] != tokens[2]


def test_a_condition_that_fails_beside_contention_is_a_conflict(world):
    cancelled = refusal(
        "TransactionCanceledException", "TransactionConflict", "ConditionalCheckFailed"
    )
    with (
        world.answering("TransactWriteItems", cancelled),
        pytest.raises(Conflict, match=r"Absent.*shard/1"),
    ):
        world.store.transact(Put(POOL, {}), Put(SHARD, {}, (Absent(),)))
    assert not world.pauses


@pytest.mark.parametrize(
    "throttled",
    [
        refusal("ProvisionedThroughputExceededException"),
        refusal("ThrottlingException"),
        refusal("RequestLimitExceeded"),
        refusal("TransactionCanceledException", "ThrottlingError", "None"),
    ],
)
def test_patience_with_throttles_ends_after_ten_seconds(world, throttled):
    calls: dict[str, Callable[[], Any]] = {
        "TransactWriteItems": lambda: world.store.transact(Put(POOL, {}), Put(SHARD, {})),
        "Query": lambda: world.store.query("p"),
    }
    for operation, call in calls.items():
        world.pauses.clear()
        with (
            world.hooked(f"before-call.dynamodb.{operation}", lambda **_: throttled),
            pytest.raises(Busy),
        ):
            call()
        assert 10 <= sum(world.pauses) <= 11
        assert all(0 <= pause <= 1 for pause in world.pauses)
        assert world.pauses[0] <= 0.05
        assert len(set(world.pauses)) == len(world.pauses) > 10  # at random


def test_what_botocore_waits_by_itself_is_part_of_the_patience(world):
    """It tries a throttled call four times, seconds apart, before it says so."""
    passed = iter(range(0, 100, 6))
    store = DynamoStore(world.clients, TABLE, sleep=world.pauses.append, now=lambda: next(passed))
    throttled = refusal("ThrottlingException")
    with world.hooked("before-call.dynamodb.Query", lambda **_: throttled), pytest.raises(Busy):
        store.query("p")
    assert len(world.pauses) == 1


def test_no_answer_and_a_broken_database_are_busy(world):
    def unreachable(**_: Any) -> None:
        raise EndpointConnectionError(endpoint_url="https://dynamodb")

    write = Update(POOL, add={"in_flight": 1})
    with world.hooked("before-call.dynamodb.UpdateItem", unreachable), pytest.raises(Busy):
        world.store.transact(write)
    broken = refusal("InternalServerError", status=500)
    with world.answering("UpdateItem", broken), pytest.raises(Busy):
        world.store.transact(write)


# ---------------------------------------------------------------- lost answers


def test_a_write_alone_whose_answer_was_lost_counts_once(world):
    with world.losing_an_answer("PutItem"):
        world.store.transact(Put(SHARD, {"status": "waiting"}, (Absent(),)))
    with world.losing_an_answer("UpdateItem"):
        world.store.transact(Update(SHARD, set={"status": "done"}, when=(Is("status", "waiting"),)))
    with world.losing_an_answer("UpdateItem"):
        world.store.transact(Update(POOL, add={"in_flight": 1}, when=(Below("in_flight", 9),)))
    with world.losing_an_answer("UpdateItem"):
        world.store.transact(Update(POOL, add={"in_flight": 1}))
    assert world.store.get(SHARD, POOL) == [{"status": "done"}, {"in_flight": 2}]


def test_what_another_wrote_is_a_conflict_even_if_it_is_the_same(world):
    put = Put(SHARD, {"status": "waiting"}, (Absent(),))
    world.store.transact(put)
    with pytest.raises(Conflict):
        world.store.transact(put)


# ---------------------------------------------------------------- requests


def test_one_write_is_no_transaction_unless_a_repeat_could_not_be_told(world):
    for write, operation in [
        (Put(POOL, {}), "PutItem"),
        (Put(SHARD, {}, (Absent(),)), "PutItem"),
        (Update(POOL, set={"n": 1}, when=(Missing("n"),)), "UpdateItem"),
        (Check(POOL, (Is("n", 1),)), "TransactWriteItems"),
        (Delete(POOL, (Is("n", 1),)), "TransactWriteItems"),
        (Delete(SHARD), "DeleteItem"),
    ]:
        world.store.transact(write)
        assert world.names() == [operation]
    world.store.transact(Check(POOL, ()))
    assert world.names() == []


def test_only_a_write_that_may_not_be_repeated_is_signed(world):
    world.store.transact(Put(POOL, {"n": 1}))
    assert "~" not in world.raw(POOL)
    world.store.transact(Update(POOL, set={"n": 1}))
    assert "~" not in world.raw(POOL)
    world.store.transact(Update(POOL, add={"n": 1}))
    first = world.raw(POOL)["~"]
    world.store.transact(Update(POOL, set={"n": 1}, when=(Is("n", 2),)))
    assert world.raw(POOL)["~"] != first
    assert world.store.get(POOL) == [{"n": 1}]


def test_an_update_that_only_removes_sets_something(world):
    """Otherwise DynamoDB would make no item where there is none; moto would."""
    world.store.transact(Update(POOL, set={"failure": None}))
    assert world.store.get(POOL) == [{}]
    assert world.asked[0][1]["UpdateExpression"].startswith("SET ")


def test_tables_are_read_consistently_and_indexes_are_not(world):
    world.store.get(POOL)
    world.store.get(POOL, SHARD)
    world.store.query("p")
    world.store.query("p", index=Index.DUE)
    (_, get), (_, batch), (_, table), (_, index) = world.asked
    assert get["ConsistentRead"]
    assert batch["RequestItems"][TABLE]["ConsistentRead"]
    assert table["ConsistentRead"]
    assert "ConsistentRead" not in index
    assert world.names() == ["GetItem", "BatchGetItem", "Query", "Query"]


def test_a_query_with_two_bounds_is_one_request(world):
    world.store.transact(*[Put(Key("p", f"a{n}"), {"n": n}) for n in range(10)])
    world.names()
    found = world.store.query("p", prefix="a", after="a2", up_to="a8", limit=3)
    assert [item["n"] for item in found] == [3, 4, 5]
    assert world.names() == ["Query"]


def test_a_number_is_one_in_the_table(world):
    world.store.transact(Put(POOL, {"whole": 1.0, "half": 0.5, "n": 1}))
    assert world.raw(POOL) == {
        "partition": {"S": "pools"},
        "sort": {"S": "p"},
        "whole": {"N": "1"},
        "~whole": {"BOOL": True},
        "half": {"N": "0.5"},
        "n": {"N": "1"},
    }


def test_sums_of_floats_never_need_more_digits_than_a_number_has(world):
    world.store.transact(Update(POOL, set={"seconds": 123456789.5}))
    world.store.transact(Update(POOL, add={"seconds": 1.2345678901234567e-29}))
    world.store.transact(Update(POOL, add={"seconds": 0.1 + 0.2}))
    assert world.raw(POOL)["seconds"] == {"N": "123456789.8"}


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 1e300, -1e126, 1e-131, 10**38])
def test_numbers_that_dynamodb_has_not_are_refused(world, number):
    with pytest.raises(ValueError, match=r"stored|numbers"):
        world.store.transact(Put(POOL, {"n": number}))
    assert world.names() == []


@pytest.mark.parametrize("name", ["~", "~n", "partition", "sort"])
def test_names_of_the_stores_own_attributes_are_refused(world, name):
    for write in (
        Put(POOL, {name: 1}),
        Update(POOL, set={name: 1}),
        Update(POOL, add={name: 1}),
    ):
        with pytest.raises(ValueError, match="name"):
            world.store.transact(write)
    assert world.names() == []


# ---------------------------------------------------------------- pages


def test_more_than_one_answer_may_hold_is_read_all_the_same(world):
    """An answer to a query has at most 1 MB."""
    for n in range(8):
        world.store.transact(Put(Key("p", f"{n}"), {"n": n, "body": b"x" * 300_000}))
    world.names()
    assert [item["n"] for item in world.store.query("p")] == list(range(8))
    assert len(world.names()) > 2
    assert [item["n"] for item in world.store.query("p", limit=5, newest_first=True)] == [
        7,
        6,
        5,
        4,
        3,
    ]


def test_more_keys_than_one_request_takes_are_read_in_their_order(world):
    keys = [Key("p", f"{n}") for n in range(105)]
    for start in (0, 100):
        world.store.transact(*[Put(key, {"n": key.sort}) for key in keys[start : start + 100]])
    world.names()
    found = world.store.get(*keys[::-1], keys[3])
    assert [item["n"] for item in found if item] == [*(f"{n}" for n in range(104, -1, -1)), "3"]
    assert world.names() == ["BatchGetItem"] * 2


def test_keys_that_were_not_looked_at_are_asked_for_again(world):
    world.store.transact(Put(POOL, {"n": 1}), Put(SHARD, {"n": 2}))
    missed = {
        TABLE: {
            "Keys": [{"partition": {"S": SHARD.partition}, "sort": {"S": SHARD.sort}}],
            "ConsistentRead": True,
        }
    }
    found = {TABLE: [world.raw(POOL)]}
    partly = (
        AWSResponse("", 200, HTTPHeaders(), MockRawResponse(b"")),
        {"Responses": found, "UnprocessedKeys": missed},
    )
    with world.answering("BatchGetItem", partly):
        assert world.store.get(SHARD, POOL) == [{"n": 2}, {"n": 1}]
    assert len(world.pauses) == 1
    assert world.asked[-1][1]["RequestItems"] == missed
