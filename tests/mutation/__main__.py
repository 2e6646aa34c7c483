"""Mutation tests: change the domain and the services, and see whether a test notices (make mutate).

    make mutate                                          # 300 mutants, drawn by a seed
    make mutate ARGS="--sample 50 'backburner.domain.retry.*'"
    make mutate ARGS="--all"                             # an hour or two
    make mutate ARGS="--survivors"                       # those that survived, once more

A mutant whose fate is known is not run again until its function changes.
"""

import argparse
import random
import subprocess
import sys
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from tests.mutation import page, stage
from tests.mutation.stage import STAGE, Mutant

MUTMUT = Path(sys.executable).with_name("mutmut")


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="make mutate", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("patterns", nargs="*", default=["*"], help="of mutants' names")
    parser.add_argument("--sample", type=int, default=300, help="how many; 300 if not given")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of the sample")
    parser.add_argument("--all", action="store_true", help="no sample")
    parser.add_argument("--survivors", action="store_true", help="run those that survived again")
    parser.add_argument("--seconds", type=float, default=1.5, help="of tests a mutant; 1.5")
    parser.add_argument("--children", type=int, default=2, help="processes; 2 if not given")
    parser.add_argument("--page", action="store_true", help=f"write {page.PATH.name}")
    options = parser.parse_args(arguments)
    stage.prepare()
    mutants = stage.mutants()
    chosen = _chosen(mutants, options)
    if chosen:
        print(f"{len(chosen)} mutants, seed {options.seed}", flush=True)
        _run(chosen, options)
    report = page.judge(mutants, stage.verdicts())
    print(page.table(report), page.survivors(report), sep="\n")
    if options.page:
        page.write(report, seed=options.seed)
    return 0


def _chosen(mutants: Sequence[Mutant], options: argparse.Namespace) -> list[str]:
    """Names of the mutants to run now."""
    names = [
        one.name
        for one in mutants
        if one.skipped_by is None and any(fnmatch(one.name, given) for given in options.patterns)
    ]
    verdicts = stage.verdicts()
    if options.survivors:
        return [name for name in names if page.outcome(verdicts.get(name)) == "survived"]
    if not options.all:
        random.Random(options.seed).shuffle(names)
        names = names[: options.sample]
    return [name for name in names if verdicts.get(name) is None]


def _run(names: Sequence[str], options: argparse.Namespace) -> None:
    """Have mutmut run these; first one alone, if it has yet to learn which tests run what."""
    if not stage.STATS.exists():
        _mutmut(names[:1], options.children)
    stage.keep_the_most_telling_tests(options.seconds)
    _mutmut(names, options.children)


def _mutmut(names: Sequence[str], children: int) -> None:
    command = [str(MUTMUT), "run", "--max-children", str(children), *names]
    subprocess.run(command, cwd=STAGE, check=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
