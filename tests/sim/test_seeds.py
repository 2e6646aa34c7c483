"""Simulations by seed: whatever happens in whatever order, all ten guarantees hold in the end."""

import logging
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest

from tests.effort import tried
from tests.sim import player, strands
from tests.sim.__main__ import main, why
from tests.sim.planted import PLANTED
from tests.sim.player import Player, run
from tests.sim.shrink import shrink
from tests.sim.stage import Report
from tests.sim.steps import ACTS, Fault, Kind, Step, draw
from tests.sim.strands import Strand
from tests.tap import Crash
from tests.world import a_world_in_memory

#: Seeds of each test; they never overlap.
SEEDS, LONG_SEEDS = 30, 250


@pytest.fixture(autouse=True)
def _unlogged():
    """What fails on purpose fills the log, and costs more than the rest."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("part", range(4))
def test_whatever_happens_the_guarantees_hold(part, tally):
    number = tried(SEEDS, long=LONG_SEEDS)
    total = Report()
    for seed in range(part * LONG_SEEDS, part * LONG_SEEDS + number):
        try:
            total.add(run(draw(seed)))
        except BaseException as error:
            error.add_note(f"seed {seed}; replay and shrink it: python -m tests.sim {seed}")
            raise
    print(f"{number} seeds: {total}")
    tally("seeds", number)
    tally("simulated hours of the seeds", total.seconds / 3600)
    tally("port calls of the seeds", total.port_calls)
    tally("faults of the seeds", total.faults.total())
    assert total.batches.total() > number
    assert len(total.faults.keys() & set(Kind)) >= 4
    assert all(
        total.kinds[kind] for kind in ("file", "messages", "removed", "raw", "jobs", "bundles")
    )


def seeds() -> Iterator[int]:
    """The seeds of `make test`."""
    for part in range(4):
        yield from range(part * LONG_SEEDS, part * LONG_SEEDS + SEEDS)


@pytest.mark.long
@pytest.mark.parametrize("planted", PLANTED)
def test_a_store_that_forgets_a_condition_is_seen_by_these_seeds(planted, capsys):
    seed = next(seed for seed in seeds() if why(draw(seed), planted=planted))
    assert main([str(seed), "--planted", planted]) == 1
    said = capsys.readouterr().out
    assert "But: " in said
    assert f"again: python -m tests.sim {seed} --verbose --planted {planted!r}" in said


def test_every_act_is_played_and_finds_its_method():
    drawn = {step.act for seed in range(40) for step in draw(seed)}
    assert drawn == set(ACTS)
    assert all(hasattr(Player, act) for act in ACTS)


def test_strands_go_on_in_turn_and_one_that_dies_leaves_the_others_alone():
    with a_world_in_memory() as world:
        said: list[str] = []

        def ask(name: str) -> None:
            for _ in range(8):
                world.env.store.query(name)
                said.append(name)

        all_three = [Strand(partial(ask, "a")), Strand(partial(ask, "b"), dies_at=3)]
        all_three.append(Strand(partial(ask, "c")))
        errors = strands.run(all_three, world.tap, random.Random(1))
    assert [type(error) for error in errors] == [Crash]
    assert Counter(said) == {"a": 8, "b": 3, "c": 8}
    assert said != sorted(said)


def test_a_seed_is_the_same_every_time():
    reports, said = [], []
    for _ in range(2):
        lines: list[str] = []
        reports.append(run(draw(7), say=lines.append))
        said.append(lines)
    assert reports[0] == reports[1]
    assert said[0] == said[1]
    assert draw(7) != draw(8)


def test_a_failing_seed_shrinks_to_the_steps_that_matter(monkeypatch):
    steps = [Step("submit", 2), Step("work", 1), Step("minute", 1), Step("fail", 1), *draw(3)]
    steps.append(Step("seconds", 1, Fault(Kind.CRASH, 0, 1, "before")))

    class Wrong(Player):
        def fail(self, dice):
            if self.world.outstanding:
                self.world.backend.violations.append("planted")

    monkeypatch.setattr(player, "Player", Wrong)
    assert why(steps) == "BrokenError {6}"
    fewer = shrink(steps, why)
    assert {step.act for step in fewer} & {"fail", "together"}
    assert len(fewer) <= 5
    assert why(fewer) == "BrokenError {6}"
    assert all(step.fault is None for step in fewer)
    assert why([replace(step, act="seconds") for step in fewer]) is None


@pytest.mark.parametrize("planted", ["claim: a slot of the tenant", "finish: status and attempt"])
def test_scenes_of_rivals_shrink_too(planted):
    steps = [Step(act, number) for number in range(248, 260) for act in ("submit", "overtaken")]
    fails = partial(why, planted=planted)
    fewer = shrink(steps, fails)
    assert len(fewer) <= 4
    assert fails(fewer) == fails(steps)
    assert why(fewer) is None
