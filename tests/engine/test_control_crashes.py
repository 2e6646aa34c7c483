"""Every port call of a pause, a resume and a retry is a point to die at, as of a whole run."""

import logging
from typing import ClassVar

import pytest

from backburner.domain.batch import Batch, BatchStatus
from backburner.services import pausing
from tests import oracle
from tests.backend import Reply, Submission, by_name
from tests.engine.branches import branches_of
from tests.engine.runs import CENSUS_LIMITS, Act, Run, played
from tests.world import a_world_in_memory

LINES = 7
#: One request fails until it is retried.
REPLY = by_name({"acme-3": 400})


class Controlled(Run):
    """A client who pauses, resumes and retries, and asks again until it is answered."""

    script: ClassVar[tuple[Act, ...]] = (
        ("insist", "submit"),
        ("pump",),
        ("insist", "pause"),
        ("pump",),
        ("work",),
        ("insist", "resume"),
        ("until_quiet",),
        ("insist", "retry"),
        ("insist", "retry"),
        ("until_quiet",),
    )

    def submit(self) -> None:
        self.world.submit(LINES, window="1h")

    def pause(self) -> None:
        pausing.pause(self.world.env, "acme", self._batch().id)

    def resume(self) -> None:
        self.world.advance(60)
        pausing.resume(self.world.env, "acme", self._batch().id)

    def retry(self) -> None:
        self.world.retry(self._batch())

    def _batch(self) -> Batch:
        """The one whose submission was answered."""
        ((_, batch_id),) = (one for one in self.world.accepted if one not in self._retries())
        return next(one for one in self.world.all_batches() if one.id == batch_id)

    def _retries(self) -> set[tuple[str, str]]:
        return {(one.tenant, one.id) for one in self.world.all_batches() if one.retry_of}

    def _reply(self, attempt: Submission) -> Reply | None:
        batches = {one.id: one for one in self.world.all_batches()}
        return REPLY if batches[attempt.shard.batch_id].retry_of is None else None

    def judge(self) -> None:
        oracle.check_end(self.world, tidy=False)
        first, *others = [one for one in self.world.all_batches() if one.total == LINES]
        retries = [one for one in self.world.all_batches() if one.retry_of is not None]
        # A client that died without an answer submits anew; what it retries is one batch, once.
        assert {one.status for one in (first, *others, *retries)} == {BatchStatus.COMPLETED}
        assert [(one.total, one.completed) for one in retries] == [(1, 1)]


@pytest.fixture(autouse=True, scope="module")
def _unlogged():
    """What fails on purpose fills the log, and costs more than the rest."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


def test_the_census_reaches_every_kind_of_call():
    with a_world_in_memory(limits=CENSUS_LIMITS) as world:
        calls = played(Controlled(world))
    print(f"{len(calls)} port calls")
    kinds = {"store", "blobs", "queue", "backend", "events"}
    assert {name.partition(".")[0] for name in calls} >= kinds
    assert calls.count("store.transact") > 20


def test_a_fault_at_any_call_of_a_pause_or_retry_loses_nothing_and_doubles_nothing(tally):
    branches = branches_of(Controlled, faults=1)
    print(branches)
    assert branches.wrong == []
    assert branches.runs > 500
    tally("crash points of pauses and retries", branches.runs)
