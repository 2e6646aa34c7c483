"""Several changes of state as one transaction: what is counted in one item is added up."""

import pytest

from backburner.ports import Absent, Below, Check, Condition, Is, Key, Put, Update
from backburner.services.transitions import together

ONE, OTHER = Key("pools", "p"), Key("pools", "q")
RUNS = (Is("status", "in_progress"),)


def takes_slot(*conditions: Condition) -> Update:
    return Update(ONE, add={"in_flight": 1}, when=(*conditions, Below("in_flight", 2)))


def test_changes_of_several_items_stand_beside_each_other():
    first, second = Update(ONE, add={"in_flight": 1}), Put(OTHER, {"id": "q"}, when=(Absent(),))
    assert together([first], [], [second]) == [first, second]
    assert together() == []


def test_what_is_counted_and_set_in_one_item_is_so_by_one_write():
    first = Update(ONE, set={"a": 1}, add={"lines": 2, "ended": 1}, when=RUNS)
    second = Update(ONE, set={"b": 2}, add={"lines": 3, "seconds": 0.5}, when=RUNS)
    both = {"lines": 5, "ended": 1, "seconds": 0.5}
    assert together([first], [second]) == [Update(ONE, set={"a": 1, "b": 2}, add=both, when=RUNS)]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Put(ONE, {"id": "p"}), Update(ONE, add={"lines": 1})),
        (Update(ONE, add={"lines": 1}), Put(ONE, {"id": "p"})),
        (Check(ONE, when=RUNS), Update(ONE, add={"lines": 1}, when=RUNS)),
        (Update(ONE, add={"lines": 1}, when=RUNS), Update(ONE, add={"lines": 1})),
        # Each alone would find a slot free.
        (takes_slot(), takes_slot()),
        (takes_slot(*RUNS), takes_slot(*RUNS)),
    ],
)
def test_what_may_not_be_one_write_needs_a_transaction_each(first, second):
    assert together([first], [second]) is None
