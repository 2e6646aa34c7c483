"""How much work there is, and how many instances it is worth."""

import math
from dataclasses import dataclass

from backburner.domain.catalog import Model
from backburner.domain.request import Instant
from backburner.domain.slots import Pool


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """The backlog of one pool at one instant."""

    waiting: int
    in_flight: int
    #: Instances of the model; None where nobody knows.
    instances: int | None
    #: Age of the shard that has waited longest; 0 where none waits.
    oldest_seconds: float
    #: Instances that finish the work by its earliest deadline.
    wanted: int

    @property
    def outstanding(self) -> int:
        return self.waiting + self.in_flight

    @property
    def per_instance(self) -> float:
        """Requests per instance; with no instance, all of them, so that the metric never gaps."""
        return self.outstanding / max(1, self.instances or 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnBacklog:
    """What one tenant may know of one pool: its own part, and what it waits for."""

    model: Model
    #: None where nobody knows, or where jobs bring their own.
    instances: int | None
    #: Requests of the tenant that wait.
    waiting: int
    #: Its shards in flight: the slots that it holds.
    in_flight: int


def wanted_instances(
    *,
    pool: Pool,
    rate: float,
    earliest_deadline: Instant | None,
    now: Instant,
    limit: int,
    instances: int = 0,
) -> int:
    """Instances that do the pool's work by its earliest deadline.

    Never fewer than there are while work is left: stopping one would kill what it runs.

    Args:
        pool: what waits and runs.
        rate: requests a second that one instance was measured to do; 0 where nothing is known.
        earliest_deadline: of the waiting shards; None where none waits.
        now: the instant to plan from.
        limit: most instances there may be.
        instances: that there are.
    """
    if pool.backlog == 0:
        return 0
    if rate <= 0 or earliest_deadline is None:
        return max(1, instances)
    seconds = max(60.0, earliest_deadline - now)
    return max(1, instances, min(limit, math.ceil(pool.backlog / rate / seconds)))


def measured_rate(pool: Pool, *, slots_per_instance: int) -> float:
    """Requests a second of one busy instance, from the attempts that ended; 0 if none did."""
    if pool.busy_seconds <= 0:
        return 0.0
    return pool.ended_lines / pool.busy_seconds * max(1, slots_per_instance)
