"""Slots: permission to have one more shard in flight at a backend."""

import msgspec

from backburner.domain.request import Instant


class Pool(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The slots of one (backend, model), with what waits for them and what holds them.

    A Struct, as it is read with each request: that takes a tenth of a dataclass's time.
    """

    id: str
    #: Slots taken; never above the catalog's capacity.
    in_flight: int = 0
    #: Requests in waiting shards.
    waiting_lines: int = 0
    #: Requests in shards that hold a slot.
    running_lines: int = 0
    #: Requests that ended, and seconds that their attempts took; gives the measured rate.
    ended_lines: int = 0
    busy_seconds: float = 0.0
    #: Jobs that ended, and seconds that they took together; gives the time that one takes.
    ended_jobs: int = 0
    job_seconds: float = 0.0
    #: Of a pool of jobs: how many the account allows at once, how many of others it runs, and when
    #: that was asked; None: nobody could say.
    limit: int | None = None
    others: int = 0
    asked_at: Instant = 0.0
    #: Slots that the backend was found to have by refusing one more, and until when that counts.
    learnt: int | None = None
    learnt_until: Instant = 0.0
    #: When capacity was last asked for.
    woken_at: Instant = 0.0
    #: Until when the backend, which throttled, is asked for nothing.
    throttled_until: Instant = 0.0
    #: When a request last succeeded.
    succeeded_at: Instant = 0.0
    #: Shards that were halved since then, to find out whether anything still succeeds.
    probes: int = 0

    #: Instances at the last report; None: never known, or jobs bring their own.
    instances: int | None = None
    #: Since when work has waited without any instance; None: one is there, or nothing waits.
    cold_since: Instant | None = None
    #: How long it took the last time until one was there, to the minute; None: never measured.
    cold_start_seconds: float | None = None

    @property
    def is_barred(self) -> bool:
        """Whether the account may have no job of the model, when that was asked last."""
        return self.limit == 0

    @property
    def backlog(self) -> int:
        """Requests waiting plus in flight."""
        return self.waiting_lines + self.running_lines


def pool_id(backend: str, model: str) -> str:
    return f"{backend}:{model}"


def backend_of(pool: str) -> str:
    """Backend that the pool's slots are of, whatever the catalog says by now."""
    return pool.partition(":")[0]


def tenant_cap(*, capacity: int, share: float) -> int:
    """Slots that one tenant may hold, so that it can't keep the others out; at least one."""
    return max(1, int(capacity * share))
