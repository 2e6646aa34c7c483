"""The store in DynamoDB: one table, with a sparse global index for each Index.

Facts are the developer guide's ("Limits", "Transactions", "Error handling") and the API
reference's. An item has 400 KB at most, so big things live in objects: what services put inline
is bounded by `Limits.inline_bytes`, and whatever is longer is an object that the item names.

**A write whose answer was lost is sent again**, by botocore or from here, and must count once:

- A transaction has a token: DynamoDB answers a repeat of one that it committed in the last 10
  minutes with success, and changes nothing.
- A write alone costs half the write units of a transaction, but has no token of its own. One that
  has conditions or adds is signed: it leaves its token in the item (17 bytes), and insists that it
  is not there yet. If that fails on an item with its own token, it was written before: a success
  and no Conflict.
- A Put, Update or Delete without conditions that adds nothing may simply be done again.
- A Delete with conditions leaves nothing to sign, and a Check writes nothing: both go as
  transactions.
"""

import logging
import random
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

from botocore.exceptions import ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as ConnectingError

from backburner.adapters.clients import Clients
from backburner.adapters.dynamodb_expressions import TOKEN, Expressions, key_of, request
from backburner.adapters.dynamodb_values import PARTITION, SORT, decode_item, encode
from backburner.adapters.sort_keys import Span, check_entry, check_key, is_key
from backburner.domain.errors import Busy, Conflict
from backburner.ports import (
    MAX_WRITES,
    Check,
    Delete,
    Index,
    Item,
    Key,
    Put,
    Update,
    Write,
)

T = TypeVar("T")

#: Most keys of one BatchGetItem (API reference).
_MAX_GETS = 100

#: Time after which a call is given up, botocore's own tries and pauses included; the longest pause
#: grows from the first to the last of these.
_PATIENCE_SECONDS, _FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 10.0, 0.05, 1.0

#: Answers that say: nothing was done, and the same request may do better in a moment. A conflict
#: of transactions is none of conditions: two were at one item at the same instant.
_FLEETING = frozenset(
    {
        "TransactionConflictException",
        "TransactionInProgressException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ThrottlingException",
    }
)
#: The same as reasons why a transaction was cancelled.
_FLEETING_REASONS = frozenset(
    {"TransactionConflict", "ProvisionedThroughputExceeded", "ThrottlingError"}
)

#: No connection, or none that lasted until the answer.
_UNANSWERED = (ConnectingError, HTTPClientError)

_logger = logging.getLogger(__name__)


class DynamoStore:
    """Items in one table of DynamoDB."""

    def __init__(
        self,
        clients: Clients,
        table_name: str,
        *,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Use a table that is there.

        Args:
            clients: of the table's account and Region.
            table_name: its keys and indexes are those of template.yaml.
            sleep: how pauses between tries are made.
            now: seconds since any instant; tells how long a call takes.
        """
        self._clients = clients
        self._table_name = table_name
        self._sleep = sleep
        self._now = now

    def get(self, *keys: Key) -> list[Item | None]:
        # What can't be a key names no item; DynamoDB would refuse to look.
        wanted = list(dict.fromkeys(key for key in keys if is_key(key.partition, key.sort)))
        found: dict[Key, dict[str, Any]] = {}
        for start in range(0, len(wanted), _MAX_GETS):
            for stored in self._load(wanted[start : start + _MAX_GETS]):
                found[Key(stored[PARTITION]["S"], stored[SORT]["S"])] = stored
        return [decode_item(found[key]) if key in found else None for key in keys]

    def query(
        self,
        partition: str,
        *,
        index: Index | None = None,
        prefix: str = "",
        after: str | None = None,
        up_to: str | None = None,
        limit: int = 100,
        newest_first: bool = False,
    ) -> list[Item]:
        span = Span.of(prefix, after, up_to, newest_first=newest_first)
        if span.is_empty or limit <= 0 or not is_key(partition, "-"):
            return []
        expressions = Expressions()
        parameters: dict[str, Any] = {
            "TableName": self._table_name,
            "KeyConditionExpression": expressions.run(index, partition, span),
            "ScanIndexForward": not newest_first,
            **expressions.parameters,
        }
        if index is None:
            parameters["ConsistentRead"] = True
        else:
            parameters["IndexName"] = index.value
        sort = f"{index}_sort" if index else SORT
        found: list[Item] = []
        for stored in self._pages(parameters, limit, ends=2 - span.has_low - span.has_high):
            if stored[sort]["S"] in span:
                found.append(decode_item(stored))
            if len(found) == limit:
                break
        return found

    def transact(self, *writes: Write) -> None:
        if len(writes) > MAX_WRITES:
            raise ValueError(f"{len(writes)} writes in one transaction; at most {MAX_WRITES}.")
        if len({write.key for write in writes}) < len(writes):
            raise ValueError("A transaction may write each key only once.")
        for write in writes:
            _check(write)
        # A check of nothing holds, and DynamoDB has no words for it.
        asked = [write for write in writes if write.when or not isinstance(write, Check)]
        if len(asked) == 1 and _may_go_alone(asked[0]):
            self._write(asked[0])
        elif asked:
            self._write_all(asked)

    # ------------------------------------------------------------ reading

    def _load(self, keys: Sequence[Key]) -> Iterator[dict[str, Any]]:
        client, name = self._clients.dynamodb, self._table_name
        if len(keys) == 1:
            key = key_of(keys[0])
            answer = self._patiently(
                lambda: client.get_item(TableName=name, Key=key, ConsistentRead=True)
            )
            if "Item" in answer:
                yield answer["Item"]
            return
        pauses = self._pauses()
        left: Any = {name: {"Keys": [key_of(key) for key in keys], "ConsistentRead": True}}
        while left:
            found = self._patiently(partial(client.batch_get_item, RequestItems=left))
            yield from found["Responses"].get(name, ())
            left = found.get("UnprocessedKeys")
            if left:  # over 16 MB, or throttled in part
                self._pause(pauses, "UnprocessedKeys")

    def _pages(
        self, parameters: dict[str, Any], limit: int, *, ends: int
    ) -> Iterator[dict[str, Any]]:
        """Stored items of a query: page after page, each of 1 MB at most.

        The first asks for as many more as it has `ends` that the reader may drop.
        """
        client = self._clients.dynamodb
        parameters["Limit"] = limit + ends
        while True:
            answer = self._patiently(lambda: client.query(**parameters))
            yield from answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return
            parameters["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    # ------------------------------------------------------------ writing

    def _write(self, write: Write) -> None:
        """One write without the price of a transaction."""
        client, token = self._clients.dynamodb, uuid.uuid4().bytes
        adds = isinstance(write, Update) and bool(write.add)
        is_signed = bool(write.when) or adds
        parameters = request(write, self._table_name, token, is_signed=is_signed)
        if is_signed:
            parameters["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"  # costs no read units
        calls: dict[type[Write], Callable[..., Any]] = {
            Put: client.put_item,
            Update: client.update_item,
            Delete: client.delete_item,
        }
        try:
            self._patiently(partial(calls[type(write)], **parameters))
        except ClientError as error:
            if _code(error) == "ConditionalCheckFailedException":
                there: Any = error.response.get("Item", {})
                if there.get(TOKEN) == encode(token):
                    return  # a try whose answer was lost had written it
                raise Conflict(f"{write.when} do not hold for {write.key}.") from error
            raise _turned(error, [write]) from error

    def _write_all(self, writes: Sequence[Write]) -> None:
        token = uuid.uuid4()
        kinds = {Put: "Put", Update: "Update", Delete: "Delete", Check: "ConditionCheck"}
        items: Any = [
            {kinds[type(write)]: request(write, self._table_name, token.bytes)} for write in writes
        ]
        client = self._clients.dynamodb
        try:
            self._patiently(
                lambda: client.transact_write_items(
                    TransactItems=items, ClientRequestToken=str(token)
                )
            )
        except ClientError as error:
            for write, reason in zip(writes, _reasons(error), strict=False):
                if reason == "ConditionalCheckFailed":
                    raise Conflict(f"{write.when} do not hold for {write.key}.") from error
            raise _turned(error, writes) from error

    # ------------------------------------------------------------ trying again

    def _patiently(self, call: Callable[[], T]) -> T:
        """Call until DynamoDB has done it, or has refused it for good.

        Raises:
            Busy: it asked for too much patience, broke, or did not answer. Whether a write was
                done is then unknown, as after a crash.
        """
        pauses = self._pauses()
        while True:
            try:
                return call()
            except ClientError as error:
                if _status(error) >= 500:
                    raise Busy("The database failed.") from error
                if not _is_fleeting(error):
                    raise
                self._pause(pauses, _code(error))
            except _UNANSWERED as error:
                raise Busy("The database did not answer.") from error

    def _pause(self, pauses: Iterator[float], why: str) -> None:
        pause = next(pauses, None)
        if pause is None:
            _logger.warning("store.busy table=%s why=%s", self._table_name, why)
            raise Busy("The database is too busy.")
        self._sleep(pause)

    def _pauses(self) -> Iterator[float]:
        """Seconds between tries of a call: at random, up to a bound that doubles."""
        begun, bound, waited = self._now(), _FIRST_PAUSE_SECONDS, 0.0
        while max(waited, self._now() - begun) < _PATIENCE_SECONDS:
            pause = random.uniform(0.0, bound)  # noqa: S311 - spreads callers, no secret
            yield pause
            waited += pause
            bound = min(_LONGEST_PAUSE_SECONDS, bound * 2)


def _may_go_alone(write: Write) -> bool:
    return isinstance(write, Put | Update) or (isinstance(write, Delete) and not write.when)


def _check(write: Write) -> None:
    """Raise ValueError for what DynamoDB would refuse in words of its own."""
    check_key(write.key.partition, write.key.sort)
    changes = write.item if isinstance(write, Put) else {}
    if isinstance(write, Update):
        changes = write.set
        for name in write.set.keys() & write.add.keys():
            raise ValueError(f"'{name}' is both set and added to.")
    for index in Index:
        check_entry(changes.get(f"{index}_key"), changes.get(f"{index}_sort"))


def _status(error: ClientError) -> int:
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)


def _code(error: ClientError) -> str:
    return error.response.get("Error", {}).get("Code", "")


def _reasons(error: ClientError) -> list[str]:
    """Why a transaction was cancelled, in the order of its writes; `None` for those that could."""
    reasons: Any = error.response.get("CancellationReasons", ())
    return [reason.get("Code", "None") for reason in reasons]


def _is_fleeting(error: ClientError) -> bool:
    """Whether there is only contention, or a throttle, in the way."""
    if _code(error) in _FLEETING:
        return True
    reasons = {reason for reason in _reasons(error) if reason != "None"}
    return bool(reasons) and reasons <= _FLEETING_REASONS


def _turned(error: ClientError, writes: Sequence[Write]) -> Exception:
    """DynamoDB's refusal of writes as an error of the port, where it has one."""
    if _code(error) != "ValidationException" and "ValidationError" not in _reasons(error):
        return error
    reasons: Any = error.response.get("CancellationReasons", ())
    said = " ".join([str(error), *(str(reason.get("Message", "")) for reason in reasons)])
    if "size" in said:
        return ValueError(f"An item of over 400 KB, which it may have at most: {said}")
    added = sorted({name for w in writes if isinstance(w, Update) for name in w.add})
    return ValueError(f"Refused: {said} Numbers were added to {added}.")
