"""What may happen in a simulation: steps drawn from a seed, each of which can be left out."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from backburner.domain.errors import Busy, Conflict
from tests.tap import Crash, PortError


class Kind(StrEnum):
    """How a port fails, or who comes in between."""

    CRASH = "crash"
    ERROR = "port error"
    THROTTLE = "throttled port"
    CONFLICT = "conflict"
    #: Nothing fails, but another one acts from start to end between two calls.
    MEANWHILE = "meanwhile"


#: What each raises, by the call's name.
RAISED: dict[Kind, Callable[[str], BaseException]] = {
    Kind.CRASH: Crash,
    Kind.ERROR: PortError,
    Kind.THROTTLE: Busy,
    Kind.CONFLICT: Conflict,
}


@dataclass(frozen=True, slots=True)
class Fault:
    """So many port calls of a step fail, from that number on; or one is kept waiting there."""

    kind: Kind
    number: int
    times: int
    #: `before` the call took effect, or `after`: then only its answer is lost.
    when: str

    def __str__(self) -> str:
        times = f" {self.times} times" if self.times > 1 else ""
        return f"{self.kind} {self.when} call {self.number}{times}"


@dataclass(frozen=True, slots=True)
class Step:
    """One act, and all the chance that it needs: what other steps do does not change it."""

    act: str
    seed: int
    fault: Fault | None = None

    def __str__(self) -> str:
        return f"{self.act} ({self.seed})" + (f" with {self.fault}" if self.fault else "")


#: How often each act comes, before a seed makes some of them rare or common.
ACTS = {
    # clients
    "submit": 5,
    "ask_messages": 4,
    "respond": 4,
    "burst": 3,
    "ask_raw": 3,
    "drop": 2,
    "cancel": 2,
    "pause": 2,
    "resume": 2,
    "retry": 3,
    "remove": 3,
    "delete_an_input": 1,
    # machinery
    "work": 10,
    "work_on_one": 10,
    "hand_over_again": 3,
    "minute": 6,
    "seconds": 3,
    "reap_twice": 2,
    "redrive": 1,
    "ask_for_anything": 2,
    "together": 7,
    "last_slot": 4,
    "too_late": 3,
    "overtaken": 30,
    # the model and its server
    "finish": 12,
    "finish_badly": 4,
    "fail": 2,
    "lose": 2,
    "tell_of_any": 3,
    "refuse_next": 3,
    "scale": 2,
    # time
    "jump": 1,
    "lag": 1,
}
#: What others may do meanwhile.
MEANWHILE = (
    "work",
    "work_on_one",
    "hand_over_again",
    "hand_over_again",
    "finish",
    "tell_of_any",
    "tell_of_any",
    "fail",
    "cancel",
    "pause",
    "resume",
    "retry",
    "remove",
    "minute",
    "jump",
)
#: What may go on side by side, port call by port call; some are drawn of one of these.
SIDE_BY_SIDE = (
    ("dispatch", "dispatch", "respond", "finish"),
    ("tell_of_any", "tell_of_any", "finish", "fail", "dispatch", "hand_over_again"),
    (
        *["work_on_one"] * 4,
        *["hand_over_again"] * 2,
        *["finish"] * 3,
        *["tell_of_any"] * 2,
        *["respond"] * 2,
        "ask_raw",
        "remove",
        "finish_badly",
        "dispatch",
        "fail",
        "cancel",
        "minute",
        "jump",
    ),
)
#: Acts that call ports, so that one can fail.
_FALLIBLE = (
    "submit",
    "ask_messages",
    "respond",
    "burst",
    "ask_raw",
    "drop",
    "cancel",
    "pause",
    "resume",
    "retry",
    "remove",
    "work",
    "work_on_one",
    "hand_over_again",
    "minute",
    "finish",
    "fail",
    "tell_of_any",
)
MOST_STEPS = 48


def draw(seed: int) -> list[Step]:
    """The steps of a seed; each seed has its own habits, so that rare things meet often in some."""
    dice = random.Random(seed)
    habits = [weight * dice.choice((0, 0.3, 1, 1, 3)) for weight in ACTS.values()]
    habits[list(ACTS).index("submit")] += 2
    rates = [dice.choice((0.0, 0.1, 0.2, 0.4)), dice.choice((0.0, 0.1, 0.3, 0.6))]
    acts = dice.choices(list(ACTS), habits, k=dice.randint(8, MOST_STEPS))
    return [_step(dice, act, *rates) for act in ["submit", *acts]]


def _step(dice: random.Random, act: str, faulty: float, crowded: float) -> Step:
    fault = None
    is_faulty, is_crowded = dice.random() < faulty, dice.random() < crowded
    if act in _FALLIBLE and (is_faulty or is_crowded):
        kind = dice.choice(tuple(RAISED)) if is_faulty else Kind.MEANWHILE
        fault = Fault(
            kind=kind,
            number=int(dice.expovariate(1 / 12)),
            times=dice.choice((1, 1, 1, 3, 1000)) if is_faulty else 1,
            # Where there is a conflict, nothing was written.
            when="before" if kind is Kind.CONFLICT else dice.choice(("before", "after")),
        )
    return Step(act, dice.randrange(1_000_000), fault)
