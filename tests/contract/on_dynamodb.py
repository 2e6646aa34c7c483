"""A store in DynamoDB, which moto plays, over the table that the template declares."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

from moto.dynamodb import comparisons

from backburner.adapters.clients import Clients
from backburner.adapters.dynamodb import DynamoStore
from backburner_local import template
from tests.aws.light_moto import light_aws, light_dynamodb

TABLE = "backburner"

#: What CreateTable takes of a table's properties; the rest is set by other calls.
_CREATED = ("BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes")


class OneAtATime:
    """A client that makes one call at a time.

    A request to DynamoDB is atomic; moto reads and writes items without a lock.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)

        def one(**parameters: Any) -> Any:
            with self._lock:
                return call(**parameters)

        return one if callable(call) else call


class MotoClients(Clients):
    @property
    def dynamodb(self) -> Any:
        return _client()


@cache
def _client() -> OneAtATime:
    """Made once: it only talks to moto while that is there, and each time to a new account."""
    clients = Clients(
        region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
    )
    return OneAtATime(clients.dynamodb)


@cache
def table_properties() -> dict[str, Any]:
    declared = template.load(Path(__file__).parents[2] / "template.yaml")
    return dict(declared.of_type("AWS::DynamoDB::Table")["Table"])


def create_table(client: Any) -> None:
    """Make the template's table, so that neither keys nor indexes can differ."""
    properties = table_properties()
    client.create_table(TableName=TABLE, **{name: properties[name] for name in _CREATED})


def typed(compare: Any) -> Any:
    """A comparison of moto's as DynamoDB makes it: values of two types neither equal nor rank.

    (Developer guide, "Comparison operator and function reference".) To moto, which compares what
    Python holds, true is 1, and a text beside a number is an error.
    """

    def expr(self: Any, item: Any) -> bool:
        same = self.lhs.get_type(item) == self.rhs.get_type(item)
        return same and bool(compare(self, item))

    return expr


def one_of(self: Any, item: Any) -> bool:
    """The same for moto's IN."""
    return any(
        self.attr.get_type(item) == value.get_type(item)
        and self.attr.expr(item) == value.expr(item)
        for value in self.possible_values
    )


@contextmanager
def moto_dynamodb() -> Iterator[MotoClients]:
    """Clients of an account that has the table."""
    with (
        light_aws(),
        light_dynamodb(),
        patch.object(comparisons.OpEqual, "expr", typed(comparisons.OpEqual.expr)),
        patch.object(comparisons.OpLessThan, "expr", typed(comparisons.OpLessThan.expr)),
        patch.object(comparisons.FuncIn, "expr", one_of),
    ):
        clients = MotoClients()
        create_table(clients.dynamodb)
        yield clients


@contextmanager
def dynamo_store(folder: Path) -> Iterator[DynamoStore]:
    with moto_dynamodb() as clients:
        yield DynamoStore(clients, TABLE)
