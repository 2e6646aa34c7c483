"""Who acts at one time in a simulation: side by side, or one within another."""

import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

from backburner.domain.bundle import is_bundle
from backburner.domain.errors import NotFound, StateConflict
from backburner.domain.shard import Shard, ShardStatus
from backburner.services import batches, dispatch, looks, pausing, records
from tests.backend import Submission
from tests.sim import strands
from tests.sim.clients import Clients
from tests.sim.machinery import Machinery
from tests.sim.scenes import SCENES, OvertakenStore
from tests.sim.server import Server
from tests.sim.stage import FAULTS, LAG_SECONDS, TENANTS
from tests.sim.steps import SIDE_BY_SIDE
from tests.sim.strands import Strand
from tests.tap import Crash

#: How many of those that go on side by side die in the midst of it.
_DEATHS = 0.1

_STEERED: dict[str, Callable[..., object]] = {
    "pause": pausing.pause,
    "resume": pausing.resume,
    "cancel": batches.cancel,
}
#: Acts that are left half done, and the state that no shard is moved to then.
_HALF_DONE = (
    ("pausing", "pause", ShardStatus.PAUSED),
    ("cancelling", "cancel", ShardStatus.DROPPED),
    ("expiring", "reap", ShardStatus.DROPPED),
)

Act = Callable[[], object]


class Rivals(Clients, Machinery, Server):
    """They want the same at the same time."""

    def together(self, dice: random.Random) -> None:
        """Some act side by side: at each port call of one, another may go on."""
        some = dice.choice(SIDE_BY_SIDE)
        names = dice.choices(some, k=dice.choice((2, 2, 3, 4)))
        self._side_by_side(dice, [partial(getattr(self, name), _other(dice)) for name in names])

    def too_late(self, dice: random.Random) -> None:
        """An attempt's lease ends, and its word comes while its shard is started again."""
        if attempt := self.attempt(dice):
            self._let_leases_end(attempt)
            self.world.reap()
            acts: list[Act] = [partial(self.end, attempt, _other(dice))]
            acts += [partial(self._dispatch, attempt.shard.pool)] * dice.choice((1, 1, 2))
            self._side_by_side(dice, acts)

    def last_slot(self, dice: random.Random) -> None:
        """A slot becomes free, and who waits for it meets who comes just now."""
        if attempt := self.attempt(dice):
            self.count("rush for a slot")
            self.world.answer(attempt)
            acts: list[Act] = []
            for tenant in dice.sample(TENANTS, dice.choice((1, 2))):
                acts.append(partial(self._dispatch, attempt.shard.pool))
                acts.append(partial(self._ask_for_one, attempt, tenant))
            self._side_by_side(dice, acts)

    def overtaken(self, dice: random.Random) -> None:
        """Before one changes a shard, others do the same or the contrary, from start to end."""
        if not self._outstanding_of_files():
            self.work(dice)
            self.world.advance(LAG_SECONDS)  # what is new is dispatched only then
            self.work(dice)
        if not self.world.outstanding:
            return
        attempt = self.last = dice.choice(self._outstanding_of_files() or self.world.outstanding)
        acts, scene = self._acts_about(attempt, dice), dice.choice(SCENES)
        for name in scene.first:
            acts[name]()

        def overtake() -> None:
            self.count("overtaken")
            for name in scene.others:
                acts[name]()

        usual = self.world.untapped
        store = OvertakenStore(usual.store, scene.into, overtake)
        self.world.set_env(replace(usual, store=store))
        acts[scene.begun]()
        self.world.set_env(usual)

    def _acts_about(self, attempt: Submission, dice: random.Random) -> dict[str, Act]:
        shard = attempt.shard
        tenants = [one for one in TENANTS if one != shard.tenant]
        acts: dict[str, Act] = {
            "ask": lambda: self._ask_for_one(attempt, dice.choice(tenants)),
            "own": partial(self._ask_for_one, attempt, shard.tenant),
            "dispatch": partial(self._dispatch, shard.pool),
            "tell": partial(self.world.answer, attempt),
            "fail": partial(self.tell_failure, attempt),
            "late": partial(self._let_leases_end, attempt),
            "expire": partial(self._pass, 3600.0),
            "reap": self.world.reap,
            "look": lambda: looks.look(self.world.env, shard.ref),
        }
        for name, act in _STEERED.items():
            acts[name] = partial(self._steer, act, shard.tenant, self._batch_of(shard))
        for name, begun, into in _HALF_DONE:
            acts[name] = partial(self._die_before, into, acts[begun])
        return acts

    def _batch_of(self, shard: Shard) -> str:
        """Of a bundle, that of its first member."""
        if not is_bundle(shard.batch_id):
            return shard.batch_id
        (item,) = self.world.store.get(records.bundle_key(shard.tenant, shard.batch_id))
        return records.to_bundle(item).members[0].batch_id if item else shard.batch_id

    def _outstanding_of_files(self) -> list[Submission]:
        """Attempts of shards that are not all of their batch."""
        return [
            one
            for one in self.world.outstanding
            if not records.kind_of(self._batch_of(one.shard)).is_single
        ]

    def _steer(self, act: Callable[..., object], tenant: str, batch_id: str) -> None:
        kind = records.kind_of(batch_id)
        options = {"kind": kind} if act is batches.cancel else {}
        with suppress(StateConflict, NotFound):  # it has ended, or can't be paused
            act(self.world.env, tenant, batch_id, **options)

    def _die_before(self, into: ShardStatus, act: Act) -> None:
        """Who acts dies before the first shard is moved so far."""
        usual = self.world.untapped
        self.world.set_env(replace(usual, store=OvertakenStore(usual.store, into, _die)))
        with suppress(Crash):
            act()
        self.world.set_env(usual)

    def _dispatch(self, pool: str) -> None:
        dispatch.dispatch(self.world.env, pool)

    def _ask_for_one(self, attempt: Submission, tenant: str) -> None:
        if attempt.shard.is_raw:
            self.world.ask_raw(tenant=tenant, completion_window="1h")
            return
        model = self.prompt.catalog.models[attempt.shard.model]
        if model.direct is not None:
            self.world.respond(self.name(), tenant=tenant, model=model.name, window="1h")

    def _let_leases_end(self, attempt: Submission) -> None:
        """Time passes until nothing that runs where the attempt does can be running any more."""
        model = self.world.env.catalog.of_pool(attempt.shard.pool)
        jobs = model.jobs if model is not None else None
        limits = self.world.env.limits
        self._pass(limits.lease_seconds if jobs is None else jobs.lease_seconds)

    def _pass(self, seconds: float) -> None:
        self.count("time in between")
        self.world.advance(seconds)
        self.calm_since = self.world.clock.now()

    def _side_by_side(self, dice: random.Random, acts: Sequence[Act]) -> None:
        """Some of them may die in the midst of it."""
        self.count("side by side")
        chances = [(dice.random() < _DEATHS, int(dice.expovariate(1 / 12))) for _ in acts]
        self.is_faulty = True
        errors = strands.run(
            [
                Strand(act, dies_at=number if dies else None)
                for act, (dies, number) in zip(acts, chances, strict=True)
            ],
            self.world.tap,
            dice,
        )
        self.is_faulty = False
        for error in errors:
            if not isinstance(error, FAULTS):
                raise error


def _die() -> None:
    raise Crash("in the midst of it")


def _other(dice: random.Random) -> random.Random:
    """Dice of its own for one of several."""
    return random.Random(dice.random())
