"""Make moto several times as fast, and change nothing else.

- Whenever it starts, moto prepares answers of all services for the package `requests`, thousands
  of them. Here it prepares those of S3, whose links are opened so; botocore calls it otherwise.

Of DynamoDB:

- Before each write of a transaction moto copies the whole table, to put it back if a condition
  fails. Here only the items that the transaction names are copied; the others can't change.
- Of each attribute's value moto looks for every type that there is under several names. Here it
  looks under the one that values have.
- Of each node of an expression moto finds out again, for each of its processors, whether that is
  one for nodes of this class. Here the answer is kept.
"""

import copy
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import moto.core.models
from moto import backend_index, mock_aws
from moto.core.serialize import ResponseSerializer
from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.models.dynamo_type import DynamoType
from moto.dynamodb.models.table import Table
from moto.dynamodb.parsing import ast_nodes

#: Names of the types of values, which no other answer of our services has for names.
_TYPES = frozenset({"S", "N", "B", "SS", "NS", "BS", "M", "L", "NULL", "BOOL"})

#: moto's own file is not typed.
_nodes: Any = ast_nodes

_transact_write_items = DynamoDBBackend.transact_write_items
_get_value = ResponseSerializer.get_value


@contextmanager
def light_aws(**options: Any) -> Iterator[None]:
    """An empty account until the block ends; the options are those of `mock_aws`."""
    opened = SimpleNamespace(
        backend_url_patterns=[one for one in backend_index.backend_url_patterns if one[0] == "s3"]
    )
    with patch.object(moto.core.models, "backend_index", opened), mock_aws(**options):
        yield


@contextmanager
def light_dynamodb() -> Iterator[None]:
    """Until the block ends."""
    with (
        patch.object(DynamoDBBackend, "transact_write_items", _transact),
        patch.object(ResponseSerializer, "get_value", _value),
        patch.object(_nodes.DepthFirstTraverser, "traverse_node_recursively", _traverse),
    ):
        yield


def _value(self: ResponseSerializer, value: Any, key: str, shape: Any) -> Any:
    if type(value) is dict and len(value) == 1 and key in _TYPES:
        return value.get(key)
    return _get_value(self, value, key, shape)


#: Whether a traverser of the first class has something to do to nodes of the second.
_is_processed: dict[tuple[type, type], bool] = {}


def _traverse(self: Any, node: Any, child_id: int = -1) -> Any:
    kind = type(node)
    if not issubclass(kind, _nodes.Node):
        return node
    parent = node.parent
    for number, child in enumerate(node.children or ()):
        self.pre_processing_of_child(node, number)
        _traverse(self, child, number)
    kinds = (type(self), kind)
    if kinds not in _is_processed:
        _is_processed[kinds] = issubclass(kind, self.nodes_to_be_processed())
    if _is_processed[kinds]:
        node = self.process(node)
        node.parent = parent
        if parent:
            parent.children[child_id] = node
    return node


def _transact(self: DynamoDBBackend, transact_items: list[dict[str, Any]]) -> None:
    touched = {
        _name(self.get_table(given["TableName"]), given.get("Key") or given["Item"])
        for item in transact_items
        for given in item.values()
    }

    def snapshot(table: Table, memo: dict[int, Any]) -> Table:
        kept = copy.copy(table)
        items: dict[Any, Any] = defaultdict(dict)
        for partition, beside in table.items.items():
            items[partition] = {
                sort: copy.deepcopy(item, memo) if (partition, sort) in touched else item
                for sort, item in beside.items()
            }
        kept.items = items  # type: ignore[assignment]
        return kept

    with patch.object(Table, "__deepcopy__", snapshot, create=True):
        _transact_write_items(self, transact_items)


def _name(table: Table, key: dict[str, Any]) -> tuple[DynamoType, DynamoType]:
    return DynamoType(key[table.hash_key_attr]), DynamoType(key[table.range_key_attr or ""])
