"""Every port call of a pause, a resume and a retry is a point to die at, as of a whole run."""

import logging
from functools import partial

import pytest

from backburner.domain.batch import BatchStatus
from backburner.domain.errors import Conflict
from backburner.services import pausing
from tests import oracle
from tests.backend import Reply, Submission, by_name
from tests.engine.test_crash_points import CENSUS_LIMITS, Run, all_wrong, some_of
from tests.tap import Crash, Hook, PortError, fault_at
from tests.world import a_world_in_memory

LINES = 7
#: One request fails until it is retried.
REPLY = by_name({"acme-3": 400})


class Controlled(Run):
    """A client who pauses, resumes and retries, and asks again until it is answered."""

    def play(self) -> None:
        batch = self._insist(lambda: self.world.submit(LINES, window="1h"))
        self._pump()
        self._insist(lambda: pausing.pause(self.world.env, "acme", batch.id))
        self._run()
        self.world.advance(60)
        self._insist(lambda: pausing.resume(self.world.env, "acme", batch.id))
        self._until_quiet()
        again = self._insist(lambda: self.world.retry(batch))
        assert self._insist(lambda: self.world.retry(batch)).id == again.id
        self._until_quiet()

    def _reply(self, attempt: Submission) -> Reply | None:
        batches = {one.id: one for one in self.world.all_batches()}
        return REPLY if batches[attempt.shard.batch_id].retry_of is None else None


def census() -> list[str]:
    """All port calls of the run without a fault."""
    with a_world_in_memory(limits=CENSUS_LIMITS) as world, world.tap.hooked(None):
        Controlled(world).play()
        oracle.check_end(world)
        return list(world.tap.calls)


CALLS = census()


@pytest.fixture(autouse=True)
def _unlogged():
    """What fails on purpose fills the log, and costs more than the rest."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


def judge(hook: Hook) -> None:
    """The run with this fault ends as well as the one without."""
    with a_world_in_memory(limits=CENSUS_LIMITS) as world:
        with world.tap.hooked(hook):
            Controlled(world).play()
        oracle.check_end(world, tidy=False)
        first, *others = [one for one in world.all_batches() if one.total == LINES]
        retries = [one for one in world.all_batches() if one.retry_of is not None]
        # A client that died without an answer submits anew; what it retries is one batch, once.
        assert {one.status for one in (first, *others, *retries)} == {BatchStatus.COMPLETED}
        assert [(one.total, one.completed) for one in retries] == [(1, 1)]


def test_the_census_reaches_every_kind_of_call():
    print(f"{len(CALLS)} port calls")
    kinds = {"store", "blobs", "queue", "backend", "events"}
    assert {name.partition(".")[0] for name in CALLS} >= kinds
    assert CALLS.count("store.transact") > 20


@pytest.mark.parametrize("kind", [Crash, PortError, Conflict])
def test_a_fault_at_any_call_of_a_pause_or_retry_loses_nothing_and_doubles_nothing(kind):
    acts = {
        f"{kind.__name__} {when} {number} {name}": partial(judge, fault_at(number, when, kind))
        for number, name in enumerate(CALLS)
        for when in ("before", "after")
        if kind is not Conflict or name == "store.transact"
    }
    assert all_wrong(some_of(acts, every=3)) == []
