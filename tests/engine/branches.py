"""All runs of a scenario that a number of faults can lead to, each judged once.

From each moment between two steps a run goes on in as many ways as there are points in the next
step to die or fail at. Runs that come to the same moment with as many faults before them are one
run from there on, and are played once. So the second fault comes at a call that the run with the
first really makes.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from backburner.ports import Limits
from tests.engine.moments import Moment, digest, go_back, moment
from tests.engine.runs import CENSUS_LIMITS, FAULTS, Run
from tests.tap import Crash, Hook, PortError
from tests.world import World, a_world_in_memory

#: Acts before which the queues are empty.
RESTS = ("work", "rest")


@dataclass(frozen=True, slots=True)
class Fault:
    """One call that fails: before it took effect, or after."""

    number: int
    when: str
    name: str
    kind: type[BaseException]

    def __str__(self) -> str:
        return f"{self.kind.__name__} {self.when} {self.number} {self.name}"


def points(calls: Sequence[str], start: int = 0) -> Iterator[Fault]:
    """Each call from that number on, and each way in which it can fail once."""
    for number in range(start, len(calls)):
        name = calls[number]
        for when in ("before", "after"):
            for kind in FAULTS if name == "store.transact" else (Crash, PortError):
                yield Fault(number, when, name, kind)


def raising(*faults: Fault) -> Hook:
    by_call = {(fault.number, fault.when): fault.kind for fault in faults}

    def hook(number: int, when: str, name: str) -> None:
        if (number, when) in by_call:
            raise by_call[number, when](name)  # what is noted of it says not which call it was

    return hook


class Branches:
    """All runs from where a run stands with a number of faults."""

    def __init__(self, run: Run, *, faults: int) -> None:
        self._run = run
        #: By faults that are yet to come and moment: how many runs go on from there.
        self._known: dict[tuple[int, bytes], int] = {}
        #: The faults that led to where the run is.
        self._path: list[str] = []
        #: Moments at which runs have ended.
        self.ends: set[bytes] = set()
        #: What went wrong, and by which faults.
        self.wrong: list[str] = []
        self.runs = self._go_on(faults)

    def __str__(self) -> str:
        return (
            f"{self.runs:,} runs, of which those are one that come to the same moment: "
            f"{len(self._known):,} moments, {len(self.ends):,} ends"
        )

    def _go_on(self, faults: int) -> int:
        """Judge all runs with so many more faults; returns how many."""
        if not faults and not self._reaches_a_rest():
            return 1
        here = moment(self._run)
        name = digest(here)
        if (faults, name) not in self._known:
            self._known[faults, name] = (
                self._step(here, [], faults) if self._run.acts else self._end(name, faults)
            )
        return self._known[faults, name]

    def _reaches_a_rest(self) -> bool:
        """Without faults to come, it is enough to look now and then whether the moment is known."""
        acts = self._run.acts
        try:
            with self._run.world.tap.hooked(None):
                while acts and acts[-1][0] not in RESTS:
                    self._run.step()
        except Exception as error:  # noqa: BLE001 - all are tried
            self._complain(error)
            return False
        return True

    def _end(self, name: bytes, faults: int) -> int:
        if faults:
            return 0  # there are no more calls to fail at
        self.ends.add(name)
        try:
            self._run.judge()
        except Exception as error:  # noqa: BLE001 - all are tried
            self._complain(error)
        return 1

    def _step(self, here: Moment, now: list[Fault], later: int) -> int:
        """Take one step from here, with these faults in it, and go on."""
        if now:
            go_back(self._run, here)
        act = self._run.acts[-1][0]
        try:
            with self._run.world.tap.hooked(raising(*now)):
                self._run.step()
                calls = self._run.world.tap.calls
        except Exception as error:  # noqa: BLE001 - all are tried
            self._complain(error)
            return 1
        runs = self._go_on(later)
        if later:
            for fault in points(calls, now[-1].number + 1 if now else 0):
                self._path.append(f"{act}: {fault}")
                runs += self._step(here, [*now, fault], later - 1)
                self._path.pop()
        return runs

    def _complain(self, error: Exception) -> None:
        self.wrong.append(f"{' and '.join(self._path)}: {error!r:.300}")


def branches_of(
    make: Callable[[World], Run], *, faults: int, limits: Limits = CENSUS_LIMITS, **options: Any
) -> Branches:
    """All runs from their beginning."""
    with a_world_in_memory(limits=limits, **options) as world:
        return Branches(make(world), faults=faults)
