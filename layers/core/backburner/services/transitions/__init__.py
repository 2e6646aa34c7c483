"""Every change of state, as the writes of one transaction with the conditions that guard it.

Nothing here reads or writes: a service loads values, asks for the writes, and commits them. If a
condition fails someone else was first: the service loads again and decides anew. No key appears
twice in one list, and no list is longer than a transaction may be.
"""

from backburner.services.transitions.batch import (
    NOT_DUE,
    Planned,
    accept,
    accept_claimed,
    begin_finalizing,
    drop_unreleased,
    end,
    ended_as,
    forget,
    pause,
    release,
    released,
    retry,
    start,
    stop,
    terminal_status,
)
from backburner.services.transitions.bundle import JOINING, bundle, join, joined, unbundle
from backburner.services.transitions.delivery import replay
from backburner.services.transitions.merge import together
from backburner.services.transitions.shard import (
    claim,
    drop,
    enqueue,
    finish,
    rehome,
    requeue,
    set_aside,
    wait_again,
    watch,
)

__all__ = [
    "JOINING",
    "NOT_DUE",
    "Planned",
    "accept",
    "accept_claimed",
    "begin_finalizing",
    "bundle",
    "claim",
    "drop",
    "drop_unreleased",
    "end",
    "ended_as",
    "enqueue",
    "finish",
    "forget",
    "join",
    "joined",
    "pause",
    "rehome",
    "release",
    "released",
    "replay",
    "requeue",
    "retry",
    "set_aside",
    "start",
    "stop",
    "terminal_status",
    "together",
    "unbundle",
    "wait_again",
    "watch",
]
