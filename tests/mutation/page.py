"""What a mutation run found: a table, the survivors, and docs/reference/mutation.md."""

import subprocess
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import chdir
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import groupby

from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code

from tests.mutation.stage import ROOT, STAGE, Mutant

PATH = ROOT / "docs/reference/mutation.md"
REASONS = ROOT / "tests/mutation/survivors.toml"

HEAD = """\
# Mutation tests

Written by `make mutate ARGS="… --page"`: {tool} changes one thing in a function of the domain or
the services (a comparison, a number, an argument, a string), and a test that runs the function
must fail.

{date} · commit {commit} · {tool} · seed {seed}

What is not changed, by rule:

- the wording of messages (strings with a space in them) and logs (lines with `_logger.`);
- content types, which only S3 keeps: its adapter has tests of its own;
- what {tool} leaves alone: properties and other decorated functions, annotations, and what stands
  outside functions, such as the fields of dataclasses with their defaults, and tables.

Which tests run which function is found by running `tests/domain`, `services`, `functions` and `web`
once. A mutant gets some seconds of those that tell most about its function, so that a survivor may
still fall to another test, as in `tests/engine` or `tests/sim`. One that never ends has fallen too.

Where fewer ran than there are, they were drawn by the seed, or the run was broken off: it begins
with mutants whose tests are quick.
"""

_COLUMNS = ("", "mutants", "left out by rule", "run", "killed", "never end", "survive", "score")


@dataclass(slots=True)
class Report:
    """Mutants by module, and those that no test told from the original."""

    #: By module, then by what became of its mutants.
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    survivors: list[Mutant] = field(default_factory=list)


def outcome(status: int | None) -> str:
    """`killed`, `survived`, `timeout` or `not run`."""
    name: str = status_by_exit_code[status]
    named = {"not checked": "not run", "no tests": "survived"}
    named |= dict.fromkeys(("killed", "segfault", "suspicious"), "killed")
    return named.get(name, name)


def judge(mutants: Sequence[Mutant], verdicts: Mapping[str, int | None]) -> Report:
    report = Report()
    for mutant in mutants:
        became = "skipped" if mutant.skipped_by else outcome(verdicts.get(mutant.name))
        report.counts.setdefault(mutant.module, Counter())[became] += 1
        if became == "survived":
            report.survivors.append(mutant)
    return report


def table(report: Report) -> str:
    """One row a module and one a layer; the score is the share of those run that were noticed."""
    rows = [_cells(*_COLUMNS), "|---" * len(_COLUMNS) + "|"]
    for layer in ("domain", "services"):
        inside = {name: one for name, one in report.counts.items() if f".{layer}." in name}
        rows += (_row(name.partition(f"{layer}.")[2], one) for name, one in inside.items())
        rows.append(_row(f"**{layer}**", sum(inside.values(), Counter())))
    return "\n".join(row for row in rows if row)


def _row(name: str, counts: Counter[str]) -> str:
    """Empty where nothing was run."""
    killed, endless, survived = (counts[one] for one in ("killed", "timeout", "survived"))
    run = killed + endless + survived
    if not run:
        return ""
    score = f"{(killed + endless) / run:.1%}"
    return _cells(name, counts.total(), counts["skipped"], run, killed, endless, survived, score)


def _cells(*cells: object) -> str:
    return "".join(f"| {cell} " for cell in cells) + "|"


def survivors(report: Report) -> str:
    """Each survivor's change, under the reason why it may live."""
    reasons = _reasons()
    told = [(reasons.get(_key(one), "No test tells these yet."), one) for one in report.survivors]
    told.sort(key=lambda pair: (pair[0], pair[1].name))
    parts = []
    for reason, some in groupby(told, key=lambda pair: pair[0]):
        changes = "\n".join(_change(one) for _, one in some)
        parts.append(f"{reason}\n\n```diff\n{changes}\n```\n")
    return "\n".join(parts)


def write(report: Report, *, seed: int) -> None:
    command = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    head = HEAD.format(
        tool=f"mutmut {version('mutmut')}",
        date=datetime.now(UTC).date(),
        commit=commit.strip(),
        seed=seed,
    )
    parts = [head, table(report), "\n## Survivors\n", survivors(report)]
    PATH.write_text("\n".join(parts), encoding="utf-8")


def _reasons() -> dict[str, str]:
    """Why a mutant may live, by its key."""
    data = tomllib.loads(REASONS.read_text(encoding="utf-8"))
    return {mutant: one["why"] for one in data["reason"] for mutant in one["mutants"]}


def _key(mutant: Mutant) -> str:
    """Its function and the changed line: these stay when others of its mutants come or go."""
    lines = list(_lines(mutant))
    added = [line[1:] for line in lines if line[0] == "+"]
    changed = " ".join(added or ["less", *(line[1:] for line in lines)])
    return f"{_function(mutant)}: {changed}"


def _change(mutant: Mutant) -> str:
    return "\n".join([f"# {_function(mutant)}", *_lines(mutant)])


def _function(mutant: Mutant) -> str:
    """Its name below the package: `services.plan._cut`."""
    mangled = mutant.name.rpartition(".")[2].partition("__mutmut_")[0]
    name = mangled.removeprefix("x_").removeprefix("xǁ").replace("ǁ", ".")
    return f"{mutant.module.removeprefix('backburner.')}.{name}"


def _lines(mutant: Mutant) -> Iterator[str]:
    """The changed lines, each with its sign."""
    with chdir(STAGE):
        diff = get_diff_for_mutant(mutant.name, path=mutant.source)
    for line in diff.split("\n")[3:]:
        if line[:1] in ("+", "-"):
            yield line[0] + line[1:].strip()
