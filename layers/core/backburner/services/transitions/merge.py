"""Several changes as one transaction."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

from backburner.ports import Below, Key, Update, Write


def together(*changes: Sequence[Write]) -> list[Write] | None:
    """The writes of several changes, in one list; what they count up in one item is added up.

    None: two of them change one item in ways that can't be one: only counts that nothing limits
    can.
    """
    writes: dict[Key, Write] = {}
    for write in chain.from_iterable(changes):
        seen = writes.get(write.key)
        if seen is None:
            writes[write.key] = write
            continue
        if not isinstance(seen, Update) or not isinstance(write, Update):
            return None
        if seen.when != write.when or any(isinstance(one, Below) for one in write.when):
            return None
        counts = {name: seen.add.get(name, 0) + count for name, count in write.add.items()}
        writes[write.key] = replace(seen, set={**seen.set, **write.set}, add={**seen.add, **counts})
    return list(writes.values())
