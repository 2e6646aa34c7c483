"""What DynamoDB charges for a call on demand, by its rules.

Rules: DynamoDB developer guide, "Item sizes and formats", "On-demand capacity mode" and "Amazon
DynamoDB transactions: how it works"; a write to an index is charged by itself ("Using Global
Secondary Indexes", provisioned throughput considerations), and not twice in a transaction.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any

#: An item as the API writes it: name to `{"S": "text"}`.
Image = Mapping[str, Mapping[str, Any]]

_READ_BYTES, _WRITE_BYTES = 4096, 1024


@dataclass(frozen=True, slots=True)
class Index:
    """A global secondary index that projects all attributes."""

    name: str
    keys: tuple[str, ...]

    def entry(self, image: Image | None) -> tuple[object, ...] | None:
        """Where the item stands in the index; None: it is not in it."""
        if image is None or any(key not in image for key in self.keys):
            return None
        return tuple(str(image[key]) for key in self.keys)


@dataclass(frozen=True, slots=True)
class Table:
    """A table and its indexes."""

    name: str
    keys: tuple[str, ...]
    indexes: tuple[Index, ...] = field(default=())

    @classmethod
    def of(cls, name: str, properties: Mapping[str, Any]) -> "Table":
        """The table that the template declares; an index must project all attributes."""
        indexes = properties.get("GlobalSecondaryIndexes", [])
        assert all(index["Projection"] == {"ProjectionType": "ALL"} for index in indexes)
        return cls(
            name,
            _keys(properties),
            tuple(Index(index["IndexName"], _keys(index)) for index in indexes),
        )


def _keys(properties: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(key["AttributeName"] for key in properties["KeySchema"])


def size(image: Image) -> int:
    """Bytes of an item."""
    return sum(len(name.encode()) + _size(value) for name, value in image.items())


def _size(value: Mapping[str, Any]) -> int:
    ((kind, content),) = value.items()
    return _SIZES[kind](content)


def _number_size(text: str) -> int:
    digits = text.lstrip("-").replace(".", "").strip("0")
    return (len(digits) + 1) // 2 + 1 + text.startswith("-")


_SIZES: dict[str, Callable[[Any], int]] = {
    "S": lambda text: len(text.encode()),
    "B": len,
    "N": _number_size,
    "NS": lambda numbers: sum(map(_number_size, numbers)),
    "BOOL": lambda _: 1,
    "NULL": lambda _: 1,
    "L": lambda items: 3 + sum(1 + _size(item) for item in items),
    "M": lambda items: 3 + sum(1 + len(name.encode()) + _size(items[name]) for name in items),
}


def write_units(
    table: Table, before: Image | None, after: Image | None, *, is_transactional: bool
) -> int:
    """Write request units of one item's write, indexes included; the larger image counts."""
    units = _writes(before, after) * (2 if is_transactional else 1)
    for index in table.indexes:
        old, new = index.entry(before), index.entry(after)
        if old is not None and new is not None and old == new:
            units += _writes(before, after) if before != after else 0
        else:
            units += (_writes(before) if old is not None else 0) + (
                _writes(after) if new is not None else 0
            )
    return units


def _writes(*images: Image | None) -> int:
    largest = max((size(image) for image in images if image is not None), default=0)
    return max(1, ceil(largest / _WRITE_BYTES))


def read_units(images: Iterable[Image | None], *, each: float) -> float:
    """Read request units of items that are read one by one; one that is not there costs too.

    Args:
        images: what was read.
        each: 0.5 for an eventually consistent read, 1 for a strong one, 2 in a transaction.
    """
    return sum(_reads(size(image) if image is not None else 0) * each for image in images)


def query_units(images: Sequence[Image], *, is_consistent: bool) -> float:
    """Read request units of a query: all of its items together."""
    return _reads(sum(map(size, images))) * (1.0 if is_consistent else 0.5)


def _reads(total: int) -> int:
    return max(1, ceil(total / _READ_BYTES))
