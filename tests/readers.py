"""What clients saw while others wrote, and what is wrong with it.

In the manner of Jepsen: readers look at a running system as often as they can, each look has a
beginning and an end, and afterwards the history is judged. Of two looks of which one ended before
the other began, the later one must not be of an earlier state; looks at the same time may differ.
"""

import threading
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

_RANK = {"validating": 0, "in_progress": 1, "cancelling": 2, "finalizing": 3}
_ENDED = 4


@dataclass(frozen=True, slots=True)
class Look:
    """One answer, and when it was asked for and had."""

    began: float
    ended: float
    #: A batch as it was read, or None: there was none.
    batch: dict[str, Any] | None


@dataclass
class History:
    """What all clients of a run did and saw."""

    #: When each batch was acknowledged, by its id.
    accepted: dict[str, float] = field(default_factory=dict)
    looks: dict[str, list[Look]] = field(default_factory=lambda: defaultdict(list))
    #: When a list was asked for, and the ids in it.
    lists: list[tuple[float, set[str]]] = field(default_factory=list)
    #: Pages of a file of results by reader and batch, as they came; whether the last was the end.
    pages: dict[tuple[str, str], list[bytes]] = field(default_factory=lambda: defaultdict(list))
    whole: set[tuple[str, str]] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)


def complaints(history: History, files: dict[str, bytes]) -> list[str]:
    """All that is wrong, with the number of the guarantee; `files` are the outputs at the end."""
    found: list[str] = []
    for batch_id, looks in history.looks.items():
        found += _going_back(batch_id, history.accepted[batch_id], looks)
    for began, listed in history.lists:
        missing = {one for one, at in history.accepted.items() if at < began} - listed
        found += [f"1. {one} was acknowledged, and is in no later list" for one in sorted(missing)]
    for (reader, batch_id), pages in history.pages.items():
        read, final = b"".join(pages), files[batch_id]
        if not final.startswith(read):
            found.append(f"2. {reader} read lines of {batch_id} that the file does not begin with")
        elif (reader, batch_id) in history.whole and read != final:
            found.append(f"2. {reader} was told that {batch_id} was all, at {len(read)} bytes")
    return found


def _going_back(batch_id: str, accepted: float, looks: list[Look]) -> Iterator[str]:
    """Each look is held to the latest state that was seen before it was begun."""
    by_end = sorted(looks, key=lambda look: look.ended)
    floor = (0, 0, 0, 0, "")
    number = 0
    for look in sorted(looks, key=lambda look: look.began):
        while number < len(by_end) and by_end[number].ended < look.began:
            floor = _later(floor, _state(by_end[number].batch))
            number += 1
        if look.batch is None:
            if look.began > accepted:
                yield f"1. {batch_id} was acknowledged, and not found"
            continue
        state = _state(look.batch)
        _, total, completed, failed, status = state
        if completed + failed > total:
            yield f"5. {batch_id} counts {completed} + {failed} of {total}"
        if any(now < before for now, before in zip(state[:4], floor[:4], strict=True)):
            yield f"5. {batch_id} was {floor}, and then {state}"
        if floor[0] == _ENDED and (status, completed, failed) != (floor[4], *floor[2:4]):
            yield f"10. {batch_id} had ended as {floor}, and then was {state}"


_State = tuple[int, int, int, int, str]


def _state(batch: dict[str, Any] | None) -> _State:
    if batch is None:
        return (0, 0, 0, 0, "")
    counts, status = batch["request_counts"], batch["status"]
    rank = _RANK.get(status, _ENDED)
    return (rank, counts["total"], counts["completed"], counts["failed"], status)


def _later(one: _State, other: _State) -> _State:
    rank, total, completed, failed = (max(pair) for pair in zip(one[:4], other[:4], strict=True))
    return (rank, total, completed, failed, one[4] if one[0] > other[0] else other[4])
