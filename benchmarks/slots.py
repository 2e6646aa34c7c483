"""How much of an account's job slots is idle while work waits: ours, and a poll every 15 minutes.

A simulation in one process: the services themselves, in a world of memory whose clock jumps from
one event to the next. Jobs take what jobs of Bedrock were seen to take (reference page
`bedrock.md` §1.6); events of their ends come two seconds later, and one in twenty is lost.
"""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.stack import Rows

if TYPE_CHECKING:
    from tests.backend import Submission
    from tests.world import World

JOBS, SLOTS, TENANTS = 50, 2, 5
#: Minutes from the submission of a job to its end.
MINUTES = (19, 22, 23, 49, 83, 102, 108, 166, 177, 207, 328)
EVENT_SECONDS, LOST = 2.0, 0.05
REAP_SECONDS, POLL_SECONDS = 60.0, 900.0


@dataclass(slots=True)
class Run:
    """One simulation: jobs that run, and when. The n-th job takes the same time in each."""

    world: "World"
    #: Which events are lost.
    luck: random.Random
    #: End of a job, its number, the job.
    running: list[tuple[float, int, "Submission"]] = field(default_factory=list)
    spans: list[tuple[float, float]] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)

    def dispatch(self) -> None:
        """Let messages be handled; what is submitted by that runs from now on."""
        self.world.pump()
        for number, job in enumerate(self.world.backend.submissions):
            if number not in self.seen:
                self.seen.add(number)
                now = self.world.clock.now()
                ends_at = now + 60.0 * random.Random(number).choice(MINUTES)
                self.spans.append((now, ends_at))
                heapq.heappush(self.running, (ends_at, number, job))

    def end(self, job: "Submission") -> None:
        """Somebody heard of the end of a job, or looked for it."""
        from backburner.services import looks

        self.world.answer(job, told=False)
        looks.ended(self.world.env, "manual", str(job.shard.ref))

    def until(self, at: float) -> None:
        self.world.clock.advance(max(0.0, at - self.world.clock.now()))


def measure() -> Rows:
    """The idle share of both, on the same jobs."""
    ours, poll = (_simulate(play) for play in (_woken, _polled))
    rows: Rows = [
        ("jobs, slots", f"{JOBS}, {SLOTS}"),
        ("a job", f"{min(MINUTES)} to {max(MINUTES)} minutes, as Bedrock's took"),
        ("events that are lost", f"{LOST:.0%}; reap looks every minute"),
    ]
    for name, run in (("woken by events", ours), ("a poll every 15 minutes", poll)):
        rows.append((f"share of the slots that was idle while work waited, {name}", _idle(run)))
        rows.append((f"hours until the last job ended, {name}", f"{_hours(run):.1f}"))
    return rows


def _simulate(play: Callable[[Run], None]) -> Run:
    from backburner.domain.catalog import Jobs  # slow to import, as the next
    from tests.world import a_catalog, a_model, a_world_in_memory

    jobs = Jobs(model_id="a-model", timeout_seconds=7 * 86400.0)
    model = a_model(endpoint="", jobs=jobs, slots=SLOTS)
    with a_world_in_memory(catalog=a_catalog(model)) as world:
        world.backend.has_jobs = True
        for number in range(JOBS):
            world.submit(2, tenant=f"tenant-{number % TENANTS}", window="7d")
        run = Run(world, random.Random(7))
        run.dispatch()
        play(run)
    return run


def _woken(run: Run) -> None:
    """Each end is told, or found by the next look of a minute, and the slot is taken at once."""
    due: list[tuple[float, int, Submission]] = []
    while run.running or due:
        while run.running:
            ends_at, number, job = heapq.heappop(run.running)
            is_lost = run.luck.random() < LOST
            heard_at = (ends_at // REAP_SECONDS + 1) * REAP_SECONDS if is_lost else ends_at
            heapq.heappush(due, (heard_at + EVENT_SECONDS, number, job))
        heard_at, _, job = heapq.heappop(due)
        run.until(heard_at)
        run.end(job)
        run.dispatch()


def _polled(run: Run) -> None:
    """Every 15 minutes, all that has ended is looked for, and free slots are taken."""
    at = run.world.clock.now()
    while run.running:
        at += POLL_SECONDS
        run.until(at)
        while run.running and run.running[0][0] <= at:
            run.end(heapq.heappop(run.running)[2])
        run.dispatch()


def _idle(run: Run) -> str:
    """Between the first submission and the last, all along which work waited."""
    first = min(start for start, _ in run.spans)
    last = max(start for start, _ in run.spans)
    busy = sum(min(end, last) - start for start, end in run.spans)
    return f"{1 - busy / (SLOTS * (last - first)):.2%}"


def _hours(run: Run) -> float:
    return (max(end for _, end in run.spans) - min(start for start, _ in run.spans)) / 3600
