"""Plays the steps of a simulation on a world in memory, then heals everything and judges."""

import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from backburner.domain.webhook import EVENT_TYPES
from backburner.ports import HookAnswer, Room
from backburner.services import pausing, webhooks
from tests import oracle
from tests.memory import Posted
from tests.sim.planted import PLANTED, ForgetfulStore
from tests.sim.rivals import Rivals
from tests.sim.stage import FAULTS, SIM_LIMITS, TENANTS, Report, sim_catalog
from tests.sim.steps import MEANWHILE, RAISED, Fault, Kind, Step
from tests.tap import Hook
from tests.world import MemoryWorld, a_world_in_memory

#: What webhooks are told.
HEARD = [*EVENT_TYPES]
#: Faults that a batch must bear without being late.
_BORNE = 3
_HEALED_MINUTES = 240


class Player(Rivals):
    """A world, and all that may happen in it."""

    def __init__(self, world: MemoryWorld) -> None:
        super().__init__(world)
        self._judged = (0, 0)
        world.backend.has_jobs = True
        world.receiver.answer = self._answer
        for tenant in TENANTS[:2]:
            hook = {"name": "n", "url": f"https://{tenant}.example.com", "event_types": HEARD}
            webhooks.create(world.untapped, tenant, hook)

    def _answer(self, _: Posted) -> HookAnswer:
        """Every fourth try fails."""
        return HookAnswer(status=200 if len(self.world.receiver.posted) % 4 else 503)

    def play(self, step: Step) -> None:
        """One step, with its fault; the oracle looks after it, if it has changed anything."""
        act: Callable[[random.Random], None] = getattr(self, step.act)
        self.report.steps[step.act] += 1
        dice = random.Random(step.seed)
        if step.fault is None:
            act(dice)
        else:
            self.is_faulty = True
            with self.world.tap.hooked(self._breaking(step.fault)):
                with suppress(*FAULTS):
                    act(dice)
                self.report.port_calls += len(self.world.tap.calls)
            self.is_faulty = False
        now = (self.world.store.writes, len(self.world.backend.submissions))
        if now != self._judged:
            self._judged = now
            oracle.check_step(self.world)

    def heal(self) -> None:
        """Nothing fails any more, and time passes until nothing is left to do."""
        world = self.world
        world.set_env(self.prompt)
        world.backend.errors.clear()
        world.backend.instance_count = 1
        world.backend.room_left = Room(limit=2)
        world.report_backlog()
        for batch in world.all_batches():
            if batch.paused and batch.expires_at > world.clock.now() + _HEALED_MINUTES * 30:
                pausing.resume(world.env, batch.tenant, batch.id)
        world.settle(minutes=_HEALED_MINUTES)
        for batch in world.all_batches():
            if (batch.tenant, batch.id) in world.removed:  # whoever removed it died
                world.remove(batch)
        world.settle()
        oracle.check_end(world, tidy=False, calm_since=self.calm_since)

    def _breaking(self, fault: Fault) -> Hook:
        failed = 0

        def hook(number: int, when: str, name: str) -> None:
            nonlocal failed
            is_it = fault.kind is not Kind.CONFLICT or name == "store.transact"
            if is_it and number >= fault.number and when == fault.when and failed < fault.times:
                failed += 1
                self.count(fault.kind)
                self._break(fault, f"{when} call {number}: {name}")

        return hook

    def _break(self, fault: Fault, what: str) -> None:
        if fault.kind is Kind.MEANWHILE:
            dice = random.Random(what)
            act: Callable[[random.Random], None] = getattr(self, dice.choice(MEANWHILE))
            with self.world.tap.hooked(None):
                act(dice)
            return
        if sum(self.report.faults[kind] for kind in RAISED) > _BORNE:
            self.calm_since = self.world.clock.now()
        raise RAISED[fault.kind](what)


def run(
    steps: Sequence[Step],
    say: Callable[[str], object] | None = None,
    *,
    planted: str | None = None,
) -> Report:
    """Play the steps; raises whatever a step or the oracle has to say against it.

    Args:
        steps: what happens, one after the other.
        say: is told of each.
        planted: fault that the store has, of `PLANTED`.
    """
    with a_world_in_memory(limits=SIM_LIMITS, catalog=sim_catalog()) as world:
        if planted is not None:
            store = ForgetfulStore(world.store, PLANTED[planted])
            world.set_env(replace(world.untapped, store=store))
        player, began = Player(world), world.clock.now()
        for number, step in enumerate(steps):
            if say is not None:
                say(f"{number:3} {world.clock.now() - began:7.0f} s  {step}")
            player.play(step)
        if say is not None:
            say(f"    {world.clock.now() - began:7.0f} s  heal")
        player.heal()
        report = player.report
        report.seconds = world.clock.now() - began
        report.port_calls += len(world.tap.calls)
        report.see(world)
        return report
