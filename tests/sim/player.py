"""Plays the steps of a simulation on a world in memory, then heals everything and judges."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

from backburner.domain.batch import BatchKind
from backburner.domain.errors import (
    BackburnerError,
    BackendError,
    BackendRefused,
    BackendThrottled,
    Busy,
    Conflict,
    StateConflict,
)
from backburner.domain.webhook import EVENT_TYPES
from backburner.ports import Environment, HookAnswer, QueueName
from backburner.services import batches, dispatch, files, pausing, webhooks
from backburner_local.adapters.queue import Message
from tests import oracle
from tests.backend import REPLIES, Reply, Submission, by_name, succeed
from tests.memory import Posted
from tests.sim import strands
from tests.sim.lag import LaggingStore
from tests.sim.steps import MEANWHILE, RAISED, SIDE_BY_SIDE, Fault, Kind, Step
from tests.sim.strands import Strand
from tests.tap import Crash, Hook, PortError
from tests.world import (
    LIMITS,
    Line,
    MemoryWorld,
    a_catalog,
    a_model,
    a_world_in_memory,
    chat,
    jsonl,
)

LAG_SECONDS = 1.0
SIM_LIMITS = replace(
    LIMITS,
    canary_lines=2,
    canary_from_lines=7,
    inline_bytes=700,
    tenant_share=0.5,
    request_ttl_seconds=60,
    lease_margin_seconds=30.0,
    wake_cooldown_seconds=60.0,
    output_expires_seconds=0.0,
    index_lag_seconds=LAG_SECONDS,
)
TENANTS = ("acme", "zeta", "omega")
#: What webhooks are told.
HEARD = [*EVENT_TYPES]
#: What a fault may let out of a handler.
_FAULTS = (Crash, PortError, Busy, Conflict, ExceptionGroup)
#: Faults that a batch must bear without being late.
_BORNE = 3
_HEALED_MINUTES = 240
#: How many of those that go on side by side die in the midst of it.
_DEATHS = 0.1


@dataclass
class Report:
    """What was simulated."""

    steps: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    batches: Counter[str] = field(default_factory=Counter)
    port_calls: int = 0
    seconds: float = 0.0

    def add(self, other: "Report") -> None:
        self.steps += other.steps
        self.faults += other.faults
        self.batches += other.batches
        self.port_calls += other.port_calls
        self.seconds += other.seconds

    def __str__(self) -> str:
        def listed(counts: Counter[str]) -> str:
            return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))

        return (
            f"{self.steps.total()} steps, {self.port_calls} port calls, "
            f"{self.seconds / 86400:.1f} simulated days\n"
            f"  steps: {listed(self.steps)}\n"
            f"  {self.faults.total()} faults: {listed(self.faults)}\n"
            f"  {self.batches.total()} batches: {listed(self.batches)}"
        )


class Player:
    """A world, and what may happen in it; every act takes its chances from its own dice."""

    def __init__(self, world: MemoryWorld) -> None:
        self.world = world
        self.report = Report()
        self.calm_since = 0.0
        self._named = 0
        self._handled: list[tuple[QueueName, Message]] = []
        #: The attempt that ended last.
        self._last: Submission | None = None
        self._is_faulty = False
        self._prompt = world.untapped
        world.receiver.answer = self._answer
        for tenant in TENANTS[:2]:
            hook = {"name": "n", "url": f"https://{tenant}.example.com", "event_types": HEARD}
            webhooks.create(world.untapped, tenant, hook)
        self._pools = [model.pool for model in world.untapped.catalog.models.values()]

    def _answer(self, _: Posted) -> HookAnswer:
        """Every fourth try fails."""
        return HookAnswer(status=200 if len(self.world.receiver.posted) % 4 else 503)

    def play(self, step: Step) -> None:
        """One step, with its fault; the oracle looks after it."""
        act: Callable[[random.Random], None] = getattr(self, step.act)
        self.report.steps[step.act] += 1
        dice = random.Random(step.seed)
        if step.fault is None:
            act(dice)
        else:
            self._is_faulty = True
            with self.world.tap.hooked(self._breaking(step.fault)):
                with suppress(*_FAULTS):
                    act(dice)
                self.report.port_calls += len(self.world.tap.calls)
            self._is_faulty = False
        oracle.check_step(self.world)

    def heal(self) -> None:
        """Nothing fails any more, and time passes until nothing is left to do."""
        self.world.set_env(self._prompt)
        self.world.backend.errors.clear()
        self.world.backend.instance_count = 1
        for batch in self.world.all_batches():
            if batch.paused and batch.expires_at > self.world.clock.now() + _HEALED_MINUTES * 30:
                pausing.resume(self.world.env, batch.tenant, batch.id)
        self.world.settle(minutes=_HEALED_MINUTES)
        oracle.check_end(self.world, tidy=False, calm_since=self.calm_since)

    def _breaking(self, fault: Fault) -> Hook:
        failed = 0

        def hook(number: int, when: str, name: str) -> None:
            nonlocal failed
            is_it = fault.kind is not Kind.CONFLICT or name == "store.transact"
            if is_it and number >= fault.number and when == fault.when and failed < fault.times:
                failed += 1
                self._count(fault.kind)
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

    def _count(self, fault: str) -> None:
        self.report.faults[fault] += 1

    # ------------------------------------------------------------ clients

    def submit(self, dice: random.Random) -> None:
        tenant = dice.choice(TENANTS)
        self.world.submit(
            self._lines(dice, dice.randint(1, 14)),
            tenant=tenant,
            window=dice.choice(("15m", "15m", "1h")),
            on_invalid=dice.choice(("fail", "skip")),
            priority=dice.randint(0, 9),
            max_tokens=dice.choice((None, None, None, 10, 40)),
            metadata={"notify_email": f"{tenant}@example.com"} if dice.random() < 0.5 else {},
        )

    def respond(self, dice: random.Random) -> None:
        window = dice.choice(("15m", "1h"))
        model = dice.choice(("mistral", "ministral"))
        self.world.respond(self._name(), tenant=dice.choice(TENANTS), model=model, window=window)

    def drop(self, dice: random.Random) -> None:
        key = self.world.drop(f"{self._name()}.jsonl", jsonl(self._lines(dice, dice.randint(0, 6))))
        times = dice.choice((1, 1, 2, 0))
        self._told(times)
        for _ in range(times):
            self.world.notify_upload(key)

    def cancel(self, dice: random.Random) -> None:
        if everything := self.world.all_batches():
            running = [batch for batch in everything if not batch.is_terminal]
            batch = dice.choice(running or everything)
            batches.cancel(self.world.env, batch.tenant, batch.id, kind=batch.kind)

    def pause(self, dice: random.Random) -> None:
        self._control(dice, pausing.pause)

    def resume(self, dice: random.Random) -> None:
        self._control(dice, pausing.resume)

    def _control(self, dice: random.Random, act: Callable[[Environment, str, str], object]) -> None:
        """What a client does to a batch, mostly one that runs."""
        files_only = [one for one in self.world.all_batches() if one.kind is BatchKind.FILE]
        running = [one for one in files_only if not one.is_terminal]
        if files_only:
            batch = dice.choice(running or files_only)
            with suppress(StateConflict):
                act(self.world.env, batch.tenant, batch.id)

    def retry(self, dice: random.Random) -> None:
        everything = [one for one in self.world.all_batches() if one.kind is BatchKind.FILE]
        ended = [one for one in everything if one.is_terminal and one.failed]
        if everything:
            with suppress(StateConflict):
                self.world.retry(dice.choice(ended or everything))

    def delete_an_input(self, dice: random.Random) -> None:
        if known := sorted(self.world.uploaded):
            with suppress(BackburnerError):
                files.delete(self.world.env, *dice.choice(known))

    def _lines(self, dice: random.Random, count: int) -> list[Line]:
        models = ("mistral", "mistral", "mistral", "ministral")
        lines: list[Line] = [chat(self._name(), model=dice.choice(models)) for _ in range(count)]
        if dice.random() < 0.2:
            self._count("bad line")
            lines.insert(dice.randint(0, count), dice.choice((b"no JSON", b'{"half":', b"[]")))
        return lines

    def _name(self) -> str:
        self._named += 1
        return f"r{self._named}"

    # ------------------------------------------------------------ machinery

    def work(self, dice: random.Random) -> None:
        """The functions get their messages, until none is left."""
        while received := self.world.receive():
            for name, message in received:
                self._handle(name, message)

    def work_on_one(self, dice: random.Random) -> None:
        """One message is handed over, perhaps twice: the others are late."""
        for name, message in self.world.receive(dice.choice(tuple(QueueName))):
            times = dice.choice((1, 1, 2))
            self._told(times)
            for _ in range(times):
                self._handle(name, message)

    def hand_over_again(self, dice: random.Random) -> None:
        """A message that was done with long ago, or is being handled just now."""
        if self._handled:
            self._count("late duplicate")
            name, message = dice.choice((self._handled[-1], dice.choice(self._handled)))
            self.world.handle(name, message, strict=not self._is_faulty)

    def _handle(self, name: QueueName, message: Message) -> None:
        self._handled.append((name, message))
        self.world.handle(name, message, strict=not self._is_faulty)

    def ask_for_anything(self, dice: random.Random) -> None:
        """A message of any batch comes, whether it is time for it or not."""
        if everything := self.world.all_batches():
            self._count("message out of order")
            batch = dice.choice(everything)
            queue = dice.choice((QueueName.PLAN, QueueName.FINALIZE, QueueName.FINALIZE))
            self.world.queue.send(queue, {"tenant": batch.tenant, "batch_id": batch.id})

    def dispatch(self, dice: random.Random) -> None:
        dispatch.dispatch(self.world.env, dice.choice(self._pools))

    def together(self, dice: random.Random) -> None:
        """Some act side by side: at each port call of one, another may go on."""
        some = dice.choice(SIDE_BY_SIDE)
        names = dice.choices(some, k=dice.choice((2, 2, 3, 4)))
        self._side_by_side(dice, [partial(getattr(self, name), _other(dice)) for name in names])

    def too_late(self, dice: random.Random) -> None:
        """An attempt's lease ends, and its word comes while its shard is started again."""
        if attempt := self._attempt(dice):
            self._count("late word")
            self.world.advance(self.world.env.limits.lease_seconds)
            self.world.reap()
            self.calm_since = self.world.clock.now()
            pool = attempt.shard.pool
            acts: list[Callable[[], object]] = [partial(self._end, attempt, _other(dice))]
            acts += [partial(dispatch.dispatch, self.world.env, pool)] * dice.choice((1, 1, 2))
            self._side_by_side(dice, acts)

    def last_slot(self, dice: random.Random) -> None:
        """A slot becomes free, and who waits for it meets who comes just now."""
        if attempt := self._attempt(dice):
            self._count("rush for a slot")
            pool, model = attempt.shard.pool, attempt.shard.model
            self.world.answer(attempt)
            acts: list[Callable[[], object]] = []
            for tenant in dice.sample(TENANTS, dice.choice((1, 2))):
                acts.append(partial(dispatch.dispatch, self.world.env, pool))
                respond = partial(self.world.respond, tenant=tenant, model=model, window="1h")
                acts.append(partial(respond, self._name()))
            self._side_by_side(dice, acts)

    def _side_by_side(self, dice: random.Random, acts: Sequence[Callable[[], object]]) -> None:
        """Some of them may die in the midst of it."""
        self._count("side by side")
        chances = [(dice.random() < _DEATHS, int(dice.expovariate(1 / 12))) for _ in acts]
        self._is_faulty = True
        errors = strands.run(
            [
                Strand(act, dies_at=number if dies else None)
                for act, (dies, number) in zip(acts, chances, strict=True)
            ],
            self.world.tap,
            dice,
        )
        self._is_faulty = False
        for error in errors:
            if not isinstance(error, _FAULTS):
                raise error

    def minute(self, dice: random.Random) -> None:
        """A minute passes, as the schedules see it."""
        self.world.advance(60)
        self.world.report_backlog()
        self.world.reap()
        self.work(dice)

    def seconds(self, dice: random.Random) -> None:
        self.world.advance(dice.uniform(0, 10))

    def reap_twice(self, dice: random.Random) -> None:
        self.world.reap()
        self.world.reap()

    def redrive(self, dice: random.Random) -> None:
        for queue in QueueName:
            self.world.queue.redrive(queue)

    def jump(self, dice: random.Random) -> None:
        """The clock jumps, or nothing ran for so long: leases end, batches expire."""
        self._count("clock jump")
        self.world.advance(dice.choice((150, 600, 1200, 4000)))
        self.calm_since = self.world.clock.now()

    def lag(self, dice: random.Random) -> None:
        """From now on, the store's indexes show what is new only after a while; or do again."""
        self._count("index that lags")
        lagging = LaggingStore(self.world.store, self.world.clock, lag_seconds=LAG_SECONDS)
        is_late = self.world.untapped is self._prompt
        self.world.set_env(replace(self._prompt, store=lagging) if is_late else self._prompt)

    # ------------------------------------------------------------ the model

    def finish(self, dice: random.Random) -> None:
        """An attempt ends; its lines mostly well."""
        if attempt := self._attempt(dice):
            self._end(attempt, dice)

    def _end(self, attempt: Submission, dice: random.Random) -> None:
        name = dice.choice((*["all succeed"] * 8, *sorted(REPLIES)))
        if name != "all succeed":
            self._count(f"model: {name}")
        self.world.answer(attempt, REPLIES[name], told=False)
        self._tell(dice, attempt)

    def finish_badly(self, dice: random.Random) -> None:
        """An attempt ends with a result that no model should write."""
        if attempt := self._attempt(dice):
            name = dice.choice(sorted(MANGLED))
            self._count(f"model: {name}")
            lines = jsonl([one for one in map(_reply(dice), attempt.requests) if one is not None])
            self.world.answer(attempt, data=MANGLED[name](lines), told=False)
            self._tell(dice, attempt)

    def fail(self, dice: random.Random) -> None:
        if attempt := self._attempt(dice):
            self._count("attempt failed")
            self.world.fail(attempt, told=False)
            times = dice.choice((1, 1, 2, 0))
            self._told(times)
            for _ in range(times):
                self.world.notify_error(attempt)

    def lose(self, dice: random.Random) -> None:
        if attempt := self._attempt(dice):
            self._count("attempt lost")
            self.world.lose(attempt)

    def tell_of_any(self, dice: random.Random) -> None:
        """A notification of any attempt: again, of the other kind, or before there is a result."""
        if attempts := self.world.backend.submissions:
            self._count("notification out of order")
            tell = dice.choice((self.world.notify_success, self.world.notify_error))
            tell(dice.choice((self._last or attempts[-1], dice.choice(attempts))))

    def refuse_next(self, dice: random.Random) -> None:
        kind = dice.choice((BackendThrottled, BackendThrottled, BackendRefused, BackendError))
        is_taken = kind is not BackendRefused and dice.random() < 0.3
        self._count(f"backend: {kind.__name__}" + (", taken all the same" if is_taken else ""))
        errors = [kind("not now") for _ in range(dice.choice((1, 1, 4)))]
        self.world.backend.fail_next(*errors, is_taken=is_taken)

    def scale(self, dice: random.Random) -> None:
        self.world.backend.instance_count = dice.randint(0, 2)
        self.world.report_backlog()

    def _attempt(self, dice: random.Random) -> Submission | None:
        if outstanding := self.world.outstanding:
            self._last = dice.choice(outstanding)
            return self._last
        return None

    def _tell(self, dice: random.Random, attempt: Submission) -> None:
        times = dice.choice((1, 1, 1, 2, 0))
        self._told(times)
        for _ in range(times):
            self.world.notify_success(attempt)

    def _told(self, times: int) -> None:
        if times != 1:
            self._count("told twice" if times else "notification lost")


def _other(dice: random.Random) -> random.Random:
    """Dice of its own for one of several."""
    return random.Random(dice.random())


def _reply(dice: random.Random) -> Reply:
    return dice.choice((succeed, succeed, by_name({}, REPLIES["every third is missing"])))


#: What may become of a result's bytes.
MANGLED: dict[str, Callable[[bytes], bytes]] = {
    "cut off": lambda data: data[: len(data) * 2 // 3],
    "without the last newline": lambda data: data[:-1],
    "out of order": lambda data: b"".join(reversed(data.splitlines(keepends=True))),
    "each line twice": lambda data: data + data,
    "too many lines": lambda data: data + b'{"line":9999,"status_code":200,"body":{}}\n',
    "nothing": lambda data: b"",
    "no text": lambda data: bytes(range(256)) + b"\n" + data,
    "lines of nothing": lambda data: b"null\n[]\n1\n\n" + data,
}


def run(steps: Sequence[Step], say: Callable[[str], object] | None = None) -> Report:
    """Play the steps; raises whatever a step or the oracle has to say against it."""
    catalog = a_catalog(a_model(), a_model("ministral", endpoint="backburner-ministral", slots=1))
    with a_world_in_memory(limits=SIM_LIMITS, catalog=catalog) as world:
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
        report.batches = Counter(str(batch.status) for batch in world.all_batches())
        return report
