"""Replay simulations: `python -m tests.sim SEED [--verbose]`, or `--seeds FROM TO`.

A seed that fails is shrunk, and its steps are shown. `--planted FAULT` tries whether a fault of
the store is seen: a condition of a transition that it forgets.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from functools import partial

from tests.sim.planted import PLANTED
from tests.sim.player import run
from tests.sim.shrink import shrink
from tests.sim.stage import Report
from tests.sim.steps import Step, draw


def why(steps: Sequence[Step], *, planted: str | None = None) -> str | None:
    """How the steps fail, in a way that other steps may fail in too."""
    try:
        run(steps, planted=planted)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a failure
        numbers = getattr(error, "numbers", "")
        return f"{type(error).__name__} {numbers}".strip()
    return None


def tell(seed: int, *, planted: str | None = None) -> None:
    """Show how the seed fails, with as few steps as it takes."""
    steps = draw(seed)
    print(f"seed {seed} fails; shrinking its {len(steps)} steps")
    fewer = shrink(steps, partial(why, planted=planted))
    try:
        run(fewer, say=print, planted=planted)
    except Exception as error:  # noqa: BLE001 - shown
        print(f"{type(error).__name__}: {error}")
    again = f" --planted {planted!r}" if planted is not None else ""
    print(f"again: python -m tests.sim {seed} --verbose{again}")


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("seed", type=int, nargs="?")
    parser.add_argument("--verbose", action="store_true", help="show the steps, all of them")
    parser.add_argument("--seeds", type=int, nargs=2, metavar=("FROM", "TO"))
    parser.add_argument("--planted", choices=sorted(PLANTED), metavar="FAULT")
    options = parser.parse_args(arguments)
    if (options.seed is None) is (options.seeds is None):
        parser.error("give one seed, or --seeds FROM TO")
    logging.disable()
    total, failed = Report(), []
    for seed in range(*options.seeds) if options.seeds else [options.seed]:
        try:
            say = print if options.verbose else None
            total.add(run(draw(seed), say=say, planted=options.planted))
        except Exception:  # noqa: BLE001 - shown at the end
            failed.append(seed)
    for seed in failed:
        tell(seed, planted=options.planted)
    print(f"{total}\n{len(failed)} seeds failed: {failed}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
