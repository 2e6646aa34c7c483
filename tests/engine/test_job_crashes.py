"""Every port call of batches that run as jobs is a point to die at, as of a whole run."""

import logging
from dataclasses import replace
from typing import ClassVar

import pytest

from backburner.domain.batch import BatchStatus
from backburner.domain.catalog import Jobs, Preference
from backburner.domain.shard import Cut
from backburner.services import looks
from tests import oracle
from tests.backend import Reply, Submission, by_name
from tests.engine.branches import branches_of
from tests.engine.runs import CENSUS_LIMITS, Act, Run, played
from tests.world import World, a_catalog, a_model, a_world_in_memory

LINES = 12
#: Two requests of the first job fail, and are too few for another.
REPLY = by_name({"acme-2": 500, "acme-3": None})
JOBS = Jobs(model_id="vendor.model-v1:0", least_lines=3, usual_slots=2)
ENDPOINT = a_model()
MODEL = a_model(
    when=replace(ENDPOINT.when, from_lines=1000),
    prefer=Preference.FIRST,
    others=(a_model(endpoint="", jobs=JOBS, cut=Cut(lines=5, bytes=10**6, tokens=10**9)),),
)


class Jobbed(Run):
    """A batch that runs as jobs, but for what is left of the first; events tell of their ends."""

    script: ClassVar[tuple[Act, ...]] = (("insist", "submit"), ("until_quiet",))

    def __init__(self, world: World) -> None:
        super().__init__(world)
        world.backend.has_jobs = True

    def submit(self) -> None:
        self.world.submit(LINES, window="3h")

    def notify(self, number: int) -> None:
        job = str(self.world.backend.submissions[number].shard.ref)
        looks.ended(self.world.env, "manual", job)

    def _reply(self, attempt: Submission) -> Reply | None:
        return REPLY if attempt.shard.attempt == 1 else None

    def judge(self) -> None:
        world = self.world
        oracle.check_end(world, tidy=False)
        accepted = [one for one in world.all_batches() if (one.tenant, one.id) in world.accepted]
        assert [(one.status, one.completed) for one in accepted] == [(BatchStatus.COMPLETED, LINES)]


@pytest.fixture(autouse=True, scope="module")
def _unlogged():
    """What fails on purpose fills the log, and costs more than the rest."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


def test_the_census_runs_jobs_and_what_is_left_of_them_behind_the_endpoint():
    with a_world_in_memory(limits=CENSUS_LIMITS, catalog=a_catalog(MODEL)) as world:
        calls = played(Jobbed(world))
    print(f"{len(calls)} port calls")
    pools = {one.shard.pool for one in world.backend.submissions}
    assert pools == {place.pool for place in MODEL.places}
    assert calls.count("backend.attempt_of") == calls.count("backend.look") >= 3


def test_a_fault_at_any_call_of_a_job_loses_nothing_and_doubles_nothing(tally):
    branches = branches_of(Jobbed, faults=1, catalog=a_catalog(MODEL))
    print(branches)
    assert branches.wrong == []
    assert branches.runs > 500
    tally("crash points of jobs", branches.runs)
