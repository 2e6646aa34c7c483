"""Every port call of requests that travel in bundles is a point to die at, as of a whole run."""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

import pytest

from backburner.domain.batch import BatchStatus
from backburner.domain.bundle import is_bundle
from backburner.domain.catalog import Catalog, Fewer, Jobs
from backburner.domain.shard import Cut
from backburner.services import looks
from tests import oracle
from tests.backend import Reply, Submission, by_name
from tests.engine.branches import branches_of
from tests.engine.runs import CENSUS_LIMITS, Act, Run, played
from tests.world import World, a_catalog, a_model, a_world_in_memory

#: One request of a bundle fails, and is tried again by itself.
REPLY = by_name({"r1": 500, "acme-2": 500})
WIDE = Cut(lines=50, bytes=10**5, tokens=10**9)
JOBS = Jobs(
    model_id="vendor.model-v1:0",
    least_lines=5,
    usual_slots=2,
    fewer=Fewer.COMBINE,
    combine_seconds=240.0,
)


def first_reply(world: World, attempt: Submission) -> Reply | None:
    """A request fails in the first bundle only."""
    bundles = [one for one in world.backend.submissions if is_bundle(one.shard.batch_id)]
    return REPLY if attempt in bundles[:1] else None


class Bundled(Run):
    """What is waiting travels together."""

    def _reply(self, attempt: Submission) -> Reply | None:
        return first_reply(self.world, attempt)

    def judge(self) -> None:
        oracle.check_end(self.world, tidy=False)
        everything = self.world.all_batches()
        accepted = [one for one in everything if (one.tenant, one.id) in self.world.accepted]
        assert {one.status for one in accepted} == {BatchStatus.COMPLETED}
        assert all(one.completed == one.total for one in accepted)


class Single(Bundled):
    """Single requests that wait for the only slot."""

    script: ClassVar[tuple[Act, ...]] = (
        *(("insist", "respond", name) for name in ("r0", "r1", "r2", "r3")),
        ("until_quiet",),
    )

    def respond(self, name: str = "") -> None:
        self.world.respond(name, window="1h")


class Combined(Bundled):
    """Batches too small for a job, and events that tell of the ends of jobs."""

    script: ClassVar[tuple[Act, ...]] = (
        ("insist", "submit"),
        ("insist", "submit"),
        ("until_quiet",),
    )

    def __init__(self, world: World) -> None:
        super().__init__(world)
        world.backend.has_jobs = True

    def submit(self) -> None:
        self.world.submit(3, window="10h")

    def notify(self, number: int) -> None:
        job = str(self.world.backend.submissions[number].shard.ref)
        looks.ended(self.world.env, "manual", job)


SCENARIOS: dict[str, tuple[Catalog, Callable[[World], Run]]] = {
    "single requests": (a_catalog(a_model(slots=1, cut=WIDE)), Single),
    "small batches": (a_catalog(a_model(endpoint="", jobs=JOBS, cut=WIDE)), Combined),
}
BUNDLE_LIMITS = replace(CENSUS_LIMITS, inline_bytes=8192)


@pytest.fixture(autouse=True, scope="module")
def _unlogged():
    """What fails on purpose fills the log, and costs more than the rest."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_census_runs_a_bundle_and_what_failed_in_it_alone(scenario):
    catalog, run = SCENARIOS[scenario]
    with a_world_in_memory(limits=BUNDLE_LIMITS, catalog=catalog) as world:
        calls = played(run(world))
    print(f"{len(calls)} port calls")
    bundled = [is_bundle(one.shard.batch_id) for one in world.backend.submissions]
    assert any(bundled)
    assert len(bundled) == {"single requests": 3, "small batches": 2}[scenario]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_fault_at_any_call_for_a_bundle_loses_nothing_and_doubles_nothing(scenario, tally):
    catalog, run = SCENARIOS[scenario]
    branches = branches_of(run, faults=1, limits=BUNDLE_LIMITS, catalog=catalog)
    print(branches)
    assert branches.wrong == []
    assert branches.runs > 200
    tally("crash points of bundles", branches.runs)
