"""Writes and their conditions in DynamoDB's expressions.

Names and values are always placeholders: so many names are reserved words, and nothing that a
client gave gets into an expression. Comparisons are by type and value: a text is never equal to a
number, and true is none.
"""

from collections.abc import Iterable
from typing import Any

from backburner.adapters.dynamodb_values import (
    MARK,
    PARTITION,
    RESERVED,
    SORT,
    check_name,
    encode,
    encode_item,
    is_whole,
    mark_of,
)
from backburner.adapters.sort_keys import Span, beyond
from backburner.ports import (
    Absent,
    Below,
    Condition,
    Index,
    Is,
    IsIn,
    Key,
    Missing,
    Put,
    Update,
    Write,
)

#: Attribute that names the request which last wrote the item alone.
TOKEN = RESERVED

#: Decimals that a step of a float is rounded to. Sums of longer ones could need more than the 38
#: digits of a number, and would be refused for ever.
_STEP_DECIMALS = 12

#: Most bytes of a bound of sort keys that is sent. Keys have 1,024 at most.
_BOUND_BYTES = 1020


class Expressions:
    """Expressions of one request, with the placeholders that they share."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._values: dict[str, dict[str, Any]] = {}

    def name(self, attribute: str) -> str:
        return self._names.setdefault(attribute, f"#{len(self._names)}")

    def value(self, value: object) -> str:
        return self._encoded(encode(value))

    def _encoded(self, value: dict[str, Any]) -> str:
        placeholder = f":{len(self._values)}"
        self._values[placeholder] = value
        return placeholder

    @property
    def parameters(self) -> dict[str, Any]:
        """Parameters of the request that say what the placeholders stand for."""
        parameters: dict[str, Any] = {}
        if self._names:
            parameters["ExpressionAttributeNames"] = {p: name for name, p in self._names.items()}
        if self._values:
            parameters["ExpressionAttributeValues"] = self._values
        return parameters

    def all_of(self, conditions: Iterable[Condition]) -> list[str]:
        return [self._condition(condition) for condition in conditions]

    def _condition(self, condition: Condition) -> str:
        match condition:
            case Absent():
                # Every item has its key: none has it where there is no item.
                return f"attribute_not_exists({self.name(PARTITION)})"
            case Missing(name):
                # True of no item as well.
                return f"attribute_not_exists({self.name(name)})"
            case Is(name, value):
                # False where the attribute is missing: a comparison with nothing never holds.
                return f"{self.name(name)} = {self.value(value)}"
            case IsIn(name, values):
                return f"{self.name(name)} IN ({', '.join(map(self.value, values))})"
            case Below(name, limit):
                # False for anything but a number. A missing attribute counts as 0, and whether
                # that is below the limit is known here.
                below = f"{self.name(name)} < {self.value(limit)}"
                if limit > 0:
                    return f"(attribute_not_exists({self.name(name)}) OR {below})"
                return below

    def not_written_by(self, token: bytes) -> str:
        """Holds unless this very request was here before."""
        name = self.name(TOKEN)
        return f"(attribute_not_exists({name}) OR {name} <> {self.value(token)})"

    def update(self, update: Update, token: bytes, *, is_signed: bool) -> str:
        """The update's expression.

        Args:
            update: what changes.
            token: of the request.
            is_signed: whether the item must show who wrote it. One that nothing else would be
                set in shows it anyway: an update that only removes makes no item.
        """
        sets: list[str] = []
        adds: list[str] = []
        removes: list[str] = []
        for name, value in update.set.items():
            check_name(name)
            if value is None:
                removes.append(self.name(name))
            else:
                sets.append(f"{self.name(name)} = {self.value(value)}")
            if is_whole(value):
                sets.append(self._mark(name))
            elif value is None or type(value) is int:
                removes.append(self.name(mark_of(name)))
        for name, step in update.add.items():
            check_name(name)
            rounded = round(step, _STEP_DECIMALS)
            adds.append(f"{self.name(name)} {self.value(rounded)}")
            if isinstance(step, float):  # the sum is one from now on
                sets.append(self._mark(name))
        if is_signed or not (sets or adds):
            sets.append(f"{self.name(TOKEN)} = {self.value(token)}")
        clauses = (("SET", sets), ("ADD", adds), ("REMOVE", removes))
        return " ".join(f"{word} {', '.join(parts)}" for word, parts in clauses if parts)

    def _mark(self, name: str) -> str:
        return f"{self.name(mark_of(name))} = {self._encoded(MARK)}"

    def run(self, index: Index | None, partition: str, span: Span) -> str:
        """A key condition that holds for all of the span, and for little else.

        A query takes one condition on the sort key: two bounds are BETWEEN, which has both ends.
        The reader drops what is too much: an end that the span does not have, or what lies
        between a bound and the longest that a key may be.
        """
        key, sort = (f"{index}_key", f"{index}_sort") if index else (PARTITION, SORT)
        condition = f"{self.name(key)} = {self.value(partition)}"
        low, high = _cut(span.low), _cut_up(span.high)
        if low and high is not None:
            between = f"{self.value(low)} AND {self.value(high)}"
            return f"{condition} AND {self.name(sort)} BETWEEN {between}"
        if low:
            above = ">=" if span.has_low or low != span.low else ">"
            return f"{condition} AND {self.name(sort)} {above} {self.value(low)}"
        if high is not None:
            below = "<=" if span.has_high or high != span.high else "<"
            return f"{condition} AND {self.name(sort)} {below} {self.value(high)}"
        return condition


def _cut(text: str) -> str:
    """The text, or as much of its beginning as a key can have."""
    return text.encode()[:_BOUND_BYTES].decode(errors="ignore")


def _cut_up(text: str | None) -> str | None:
    """The text, or if it is too long for a key, a short one that is not less."""
    if text is None or len(text.encode()) <= _BOUND_BYTES:
        return text
    return beyond(_cut(text))


def key_of(key: Key) -> dict[str, Any]:
    return {PARTITION: encode(key.partition), SORT: encode(key.sort)}


def request(
    write: Write, table_name: str, token: bytes, *, is_signed: bool = False
) -> dict[str, Any]:
    """Parameters of the write, alone or as a part of a transaction.

    Args:
        write: what is written.
        table_name: where.
        token: names this request among all.
        is_signed: whether a repeat of it must be told from the first: the token stays in the item.
    """
    expressions = Expressions()
    parameters: dict[str, Any] = {"TableName": table_name}
    conditions = expressions.all_of(write.when)
    if isinstance(write, Put):
        parameters["Item"] = key_of(write.key) | encode_item(write.item)
        if is_signed:
            parameters["Item"][TOKEN] = encode(token)
    else:
        parameters["Key"] = key_of(write.key)
    if isinstance(write, Update):
        parameters["UpdateExpression"] = expressions.update(write, token, is_signed=is_signed)
    if is_signed:
        conditions.append(expressions.not_written_by(token))
    if conditions:
        parameters["ConditionExpression"] = " AND ".join(conditions)
    return parameters | expressions.parameters
