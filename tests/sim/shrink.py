"""Make a failing simulation small: leave out steps, and faults of steps, while it still fails."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from tests.sim.steps import Step

#: Tells how the steps fail, or None: they do not.
Fails = Callable[[Sequence[Step]], str | None]


def shrink(steps: Sequence[Step], fails: Fails) -> list[Step]:
    """The fewest steps found that fail in the same way; needs not be the fewest there are."""
    why = fails(steps)
    assert why is not None, "these steps do not fail"
    kept, before = list(steps), len(steps) + 1
    while len(kept) < before:
        before = size = len(kept)
        while size:
            kept = _without_runs(kept, size, lambda some: fails(some) == why)
            size //= 2
    for number, step in enumerate(kept):
        calmer = [*kept[:number], replace(step, fault=None), *kept[number + 1 :]]
        if step.fault is not None and fails(calmer) == why:
            kept = calmer
    return kept


def _without_runs(
    steps: list[Step], size: int, still_fails: Callable[[Sequence[Step]], bool]
) -> list[Step]:
    """Leave out each run of so many steps that is not needed."""
    start = 0
    while start < len(steps):
        rest = steps[:start] + steps[start + size :]
        if still_fails(rest):
            steps = rest
        else:
            start += size
    return steps
