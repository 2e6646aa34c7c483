"""What was measured, as it is kept in `results.json`."""

import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "results.json"


@dataclass(slots=True)
class Row:
    """What is known of one peer."""

    #: Figures of each round, as `benchmarks.peers.driver` prints them, and the floor's rate.
    rounds: list[dict[str, Any]] = field(default_factory=list)
    crashes: list[dict[str, Any]] = field(default_factory=list)
    #: When and where it was measured.
    measured: dict[str, str] = field(default_factory=dict)
    #: Why it was not measured, or not wholly.
    trouble: list[str] = field(default_factory=list)

    def median(self, value: Callable[[dict[str, Any]], float]) -> float | None:
        """Median of all rounds; None if there is none, or one has no such figure."""
        try:
            return statistics.median(map(value, self.rounds))
        except (statistics.StatisticsError, KeyError, TypeError):
            return None

    def crashed(self, name: str) -> int:
        """Sum over all crashes."""
        return sum(int(crash[name]) for crash in self.crashes)


def load(path: Path = FILE) -> dict[str, Row]:
    if not path.exists():
        return {}
    rows = json.loads(path.read_text(encoding="utf-8"))
    return {name: Row(**row) for name, row in rows.items()}


def merge(old: dict[str, Row], new: dict[str, Row]) -> dict[str, Row]:
    """The old rows, with what was measured again in the place of what it was."""
    merged = dict(old)
    for name, row in new.items():
        before = old.get(name, Row())
        merged[name] = Row(
            rounds=row.rounds or before.rounds,
            crashes=row.crashes or before.crashes,
            measured=row.measured,
            trouble=row.trouble,
        )
    return merged


def save(rows: dict[str, Row], path: Path = FILE) -> None:
    members = ("measured", "rounds", "crashes", "trouble")
    plain = {name: {key: getattr(row, key) for key in members} for name, row in rows.items()}
    path.write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")
