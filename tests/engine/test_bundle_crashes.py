"""Every port call of requests that travel in bundles is a point to die at, as of a whole run."""

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest

from backburner.domain.batch import BatchStatus
from backburner.domain.bundle import is_bundle
from backburner.domain.catalog import Catalog, Fewer, Jobs
from backburner.domain.errors import Conflict
from backburner.domain.shard import Cut
from backburner.services import looks
from tests import oracle
from tests.backend import Reply, Submission, by_name
from tests.engine.test_crash_points import CENSUS_LIMITS, Run, all_wrong, some_of
from tests.tap import Crash, Hook, PortError, fault_at
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


class Single(Run):
    """Single requests that wait for the only slot."""

    def play(self) -> None:
        for name in ("r0", "r1", "r2", "r3"):
            self._insist(partial(self.world.respond, name, window="1h"))
        self._until_quiet()

    def _reply(self, attempt: Submission) -> Reply | None:
        return first_reply(self.world, attempt)


class Combined(Run):
    """Batches too small for a job, and events that tell of the ends of jobs."""

    def play(self) -> None:
        self.world.backend.has_jobs = True
        for _ in range(2):
            self._insist(partial(self.world.submit, 3, window="10h"))
        self._until_quiet()

    def _run(self) -> None:
        self._pump()
        while self.world.outstanding:
            attempt = self.world.outstanding[0]
            self.world.answer(attempt, first_reply(self.world, attempt), told=False)
            job = str(attempt.shard.ref)
            self._comes(partial(looks.ended, self.world.env, "manual", job))
            self._pump()


SCENARIOS: dict[str, tuple[Catalog, Callable[[World], Run]]] = {
    "single requests": (a_catalog(a_model(slots=1, cut=WIDE)), Single),
    "small batches": (a_catalog(a_model(endpoint="", jobs=JOBS, cut=WIDE)), Combined),
}


def play(scenario: str, hook: Hook | None) -> tuple[World, list[str]]:
    """The run with a fault ends as well as the one without; returns its port calls."""
    catalog, run = SCENARIOS[scenario]
    limits = replace(CENSUS_LIMITS, inline_bytes=8192)
    with a_world_in_memory(limits=limits, catalog=catalog) as world:
        with world.tap.hooked(hook):
            run(world).play()
            calls = list(world.tap.calls)
        oracle.check_end(world, tidy=False)
        accepted = [one for one in world.all_batches() if (one.tenant, one.id) in world.accepted]
        assert {one.status for one in accepted} == {BatchStatus.COMPLETED}
        assert all(one.completed == one.total for one in accepted)
    return world, calls


def judge(scenario: str, hook: Hook) -> None:
    play(scenario, hook)


PLAYED = {scenario: play(scenario, None) for scenario in SCENARIOS}


@pytest.fixture(autouse=True)
def _unlogged():
    """What fails on purpose fills the log, and costs more than the rest."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_census_runs_a_bundle_and_what_failed_in_it_alone(scenario):
    world, calls = PLAYED[scenario]
    print(f"{len(calls)} port calls")
    bundled = [is_bundle(one.shard.batch_id) for one in world.backend.submissions]
    assert any(bundled)
    assert len(bundled) == 3 if scenario == "single requests" else 2


@pytest.mark.parametrize("kind", [Crash, PortError, Conflict])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_fault_at_any_call_for_a_bundle_loses_nothing_and_doubles_nothing(scenario, kind):
    _, calls = PLAYED[scenario]
    acts: dict[str, Callable[[], None]] = {
        f"{kind.__name__} {when} {number} {name}": partial(
            judge, scenario, fault_at(number, when, kind)
        )
        for number, name in enumerate(calls)
        for when in ("before", "after")
        if kind is not Conflict or name == "store.transact"
    }
    assert all_wrong(some_of(acts, every=3)) == []
