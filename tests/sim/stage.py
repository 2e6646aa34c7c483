"""What all acts of a simulation share: the world, and what is counted of what happens in it."""

import random
from collections import Counter
from dataclasses import dataclass, field, replace

from backburner.domain.batch import RAW_ROUTE, Batch
from backburner.domain.bundle import is_bundle
from backburner.domain.catalog import Catalog, Fewer, Jobs, Preference, When
from backburner.domain.errors import Busy, Conflict
from backburner.domain.shard import Cut
from backburner.ports import QueueName
from backburner_local.adapters.messages import Message
from tests.backend import Submission
from tests.tap import Crash, PortError
from tests.world import LIMITS, MemoryWorld, a_catalog, a_model, a_raw_model

LAG_SECONDS = 1.0
SIM_LIMITS = replace(
    LIMITS,
    canary_lines=2,
    canary_from_lines=7,
    inline_bytes=700,
    tenant_share=0.5,
    request_ttl_seconds=60,
    lease_margin_seconds=30.0,
    wake_cooldown_seconds=60.0,
    output_expires_seconds=0.0,
    index_lag_seconds=LAG_SECONDS,
)
TENANTS = ("acme", "zeta", "omega")
#: What a fault may let out of a handler.
FAULTS = (Crash, PortError, Busy, Conflict, ExceptionGroup)

JOBS = Jobs(model_id="vendor.model-v1:0", least_lines=2, usual_slots=2, timeout_seconds=600.0)
#: Small batches wait for others, if their windows are long enough.
COMBINED = Jobs(
    model_id="vendor.other-v1:0",
    least_lines=8,
    usual_slots=1,
    timeout_seconds=600.0,
    expected_seconds=60.0,
    fewer=Fewer.COMBINE,
    combine_seconds=300.0,
)
CUT = Cut(lines=5, bytes=100_000, tokens=10**9)


def sim_catalog() -> Catalog:
    """Models behind endpoints; one that runs more than a few requests as jobs; one of raw ones."""
    jobs = a_model("magistral", endpoint="", jobs=JOBS, slots=99, cut=CUT)
    both = a_model(
        "magistral",
        endpoint="backburner-magistral",
        slots=1,
        when=When(to_lines=3),
        prefer=Preference.FIRST,
        others=(jobs,),
    )
    combined = a_model("codestral", endpoint="", jobs=COMBINED, slots=99, cut=CUT)
    small = a_model("ministral", endpoint="backburner-ministral", slots=1)
    return a_catalog(a_model(), small, both, combined, a_raw_model())


@dataclass
class Report:
    """What was simulated."""

    steps: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    batches: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    port_calls: int = 0
    seconds: float = 0.0

    def add(self, other: "Report") -> None:
        self.steps += other.steps
        self.faults += other.faults
        self.batches += other.batches
        self.kinds += other.kinds
        self.port_calls += other.port_calls
        self.seconds += other.seconds

    def __str__(self) -> str:
        def listed(counts: Counter[str]) -> str:
            return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))

        return (
            f"{self.steps.total()} steps, {self.port_calls} port calls, "
            f"{self.seconds / 86400:.1f} simulated days\n"
            f"  steps: {listed(self.steps)}\n"
            f"  {self.faults.total()} faults: {listed(self.faults)}\n"
            f"  {self.batches.total()} batches: {listed(self.batches)}\n"
            f"  of these: {listed(self.kinds)}"
        )

    def see(self, world: MemoryWorld) -> None:
        """Count what came of it in the end."""
        job_pools = {place.pool for place in world.env.catalog.each() if place.has_jobs}
        jobs = [one for one in world.backend.submissions if one.shard.pool in job_pools]
        raw = [one for one in world.all_batches() if one.route == RAW_ROUTE]
        self.batches = Counter(str(batch.status) for batch in world.all_batches())
        self.kinds = Counter(str(batch.kind) for batch in world.all_batches())
        bundles = [one for one in world.backend.submissions if is_bundle(one.shard.batch_id)]
        self.kinds += Counter({"raw": len(raw), "jobs": len(jobs), "removed": len(world.removed)})
        self.kinds += Counter(bundles=len(bundles))


class Stage:
    """Where acts take place; each takes its chances from dice of its own."""

    def __init__(self, world: MemoryWorld) -> None:
        self.world = world
        self.report = Report()
        self.calm_since = 0.0
        self.is_faulty = False
        self.handled: list[tuple[QueueName, Message]] = []
        #: The attempt that ended last.
        self.last: Submission | None = None
        self.prompt = world.untapped
        self._named = 0

    def count(self, fault: str) -> None:
        self.report.faults[fault] += 1

    def name(self) -> str:
        self._named += 1
        return f"r{self._named}"

    def told(self, times: int) -> None:
        if times != 1:
            self.count("told twice" if times else "notification lost")

    def attempt(self, dice: random.Random) -> Submission | None:
        """One that nobody told the end of."""
        if outstanding := self.world.outstanding:
            self.last = dice.choice(outstanding)
            return self.last
        return None

    def some_batch(self, dice: random.Random, *kinds: str) -> Batch | None:
        """Mostly one that runs."""
        everything = [one for one in self.world.all_batches() if not kinds or one.kind in kinds]
        running = [one for one in everything if not one.is_terminal]
        return dice.choice(running or everything) if everything else None
