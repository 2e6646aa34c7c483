"""Figures, each beside its floor in the same run (make bench).

The engine answers at once, so what is measured is everything else.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

from benchmarks import batches, cold_start, idle, page, singles, slots, start_up
from benchmarks.stack import HERE, Rows

#: By the name that `--only` takes: the section's title, and what measures it.
SECTIONS: dict[str, tuple[str, Callable[[], Rows]]] = {
    "batch": ("A batch", lambda: batches.measure(100_000)),
    "single": ("Single requests, 1 connection", lambda: singles.measure(600, 1)),
    "singles": ("Single requests, 16 connections", lambda: singles.measure(3000, 16)),
    "idle": ("Idle engine while a backlog drains", lambda: idle.measure(6_000)),
    "slots": ("Slots of jobs", slots.measure),
    "start-up": (f"Start of the stack, median of {start_up.ROUNDS}", start_up.measure),
    "cold-start": ("Cold start, median of 10 fresh processes", cold_start.measure),
    "million": ("A million lines", lambda: batches.measure_memory(1_000_000)),
}
#: Takes minutes and gigabytes of disk.
_ASKED_FOR = ("million",)


def main() -> None:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only", choices=SECTIONS, action="append", help="a section; the others stay as they are"
    )
    parser.add_argument("--million", action="store_true", help="the same as --only million")
    parser.add_argument("--output", type=Path, default=HERE / "results.md")
    arguments = parser.parse_args()
    names = arguments.only or []
    if arguments.million:
        names.append("million")
    measured: dict[str, str] = {}
    for name in names or [one for one in SECTIONS if one not in _ASKED_FOR]:
        title, measure = SECTIONS[name]
        measured[title] = page.section(measure())
        print(f"## {title}\n\n{measured[title]}\n", flush=True)
    page.write(arguments.output, measured, [title for title, _ in SECTIONS.values()])


if __name__ == "__main__":
    main()
