"""Every port call of batches that run as jobs is a point to die at, as of a whole run."""

import logging
from dataclasses import replace
from functools import partial

import pytest

from backburner.domain.batch import BatchStatus
from backburner.domain.catalog import Jobs, Preference
from backburner.domain.errors import Conflict
from backburner.domain.shard import Cut
from backburner.services import looks
from tests import oracle
from tests.backend import Reply, Submission, by_name
from tests.engine.test_crash_points import CENSUS_LIMITS, Run, all_wrong, some_of
from tests.tap import Crash, Hook, PortError, fault_at
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

    def play(self) -> None:
        self.world.backend.has_jobs = True
        self._insist(lambda: self.world.submit(LINES, window="3h"))
        self._until_quiet()

    def _run(self) -> None:
        self._pump()
        while self.world.outstanding:
            attempt = self.world.outstanding[0]
            self.world.answer(attempt, self._reply(attempt), told=False)
            job = str(attempt.shard.ref)
            self._comes(partial(looks.ended, self.world.env, "manual", job))
            self._pump()

    def _reply(self, attempt: Submission) -> Reply | None:
        return REPLY if attempt.shard.attempt == 1 else None


def play(hook: Hook | None) -> tuple[World, list[str]]:
    """The run with a fault ends as well as the one without; returns its port calls."""
    with a_world_in_memory(limits=CENSUS_LIMITS, catalog=a_catalog(MODEL)) as world:
        with world.tap.hooked(hook):
            Jobbed(world).play()
            calls = list(world.tap.calls)
        oracle.check_end(world, tidy=False)
        accepted = [one for one in world.all_batches() if (one.tenant, one.id) in world.accepted]
        assert [(one.status, one.completed) for one in accepted] == [(BatchStatus.COMPLETED, LINES)]
    return world, calls


WORLD, CALLS = play(None)


def judge(hook: Hook) -> None:
    play(hook)


@pytest.fixture(autouse=True)
def _unlogged():
    """What fails on purpose fills the log, and costs more than the rest."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


def test_the_census_runs_jobs_and_what_is_left_of_them_behind_the_endpoint():
    print(f"{len(CALLS)} port calls")
    pools = {one.shard.pool for one in WORLD.backend.submissions}
    assert pools == {place.pool for place in MODEL.places}
    assert CALLS.count("backend.attempt_of") == CALLS.count("backend.look") >= 3


@pytest.mark.parametrize("kind", [Crash, PortError, Conflict])
def test_a_fault_at_any_call_of_a_job_loses_nothing_and_doubles_nothing(kind):
    acts = {
        f"{kind.__name__} {when} {number} {name}": partial(judge, fault_at(number, when, kind))
        for number, name in enumerate(CALLS)
        for when in ("before", "after")
        if kind is not Conflict or name == "store.transact"
    }
    assert all_wrong(some_of(acts, every=3)) == []
