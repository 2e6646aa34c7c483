"""What a run found, as JSON for programs and as a page for people."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from backburner_local.emulators.sagemaker.knobs import Knobs
from tests.live.measurements import Finding
from tests.live.questions import NOT_MEASURED, QUESTIONS

_ACCOUNT = re.compile(r"(?<![0-9])[0-9]{12}(?![0-9])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """When, where and how a run went."""

    name: str
    date: str
    region: str
    instance_type: str
    minutes: float
    findings: Sequence[Finding]
    #: Measurements that broke, and why.
    errors: dict[str, str]


def rows(run: Run, knobs: Knobs) -> list[dict[str, Any]]:
    """Every question with what was assumed and what was measured."""
    found = {finding.question: finding for finding in run.findings}
    table = []
    for question in QUESTIONS:
        row: dict[str, Any] = {**asdict(question), "assumed": question.assumption(knobs)}
        finding = found.get(question.id)
        if finding is not None:
            row["measured"], row["evidence"] = finding.value, finding.evidence
            row["agrees"] = finding.value == row["assumed"]
        table.append(row)
    return table


def write(run: Run, folder: Path, knobs: Knobs) -> Path:
    """Write `<name>.json` and `<name>.md` without the account's number; returns the page."""
    folder.mkdir(parents=True, exist_ok=True)
    table = rows(run, knobs)
    head = {"date": run.date, "region": run.region, "instance_type": run.instance_type}
    document = {**head, "minutes": run.minutes, "questions": table, "errors": run.errors}
    text = _ACCOUNT.sub("<account>", json.dumps(document, indent=2, default=str))
    (folder / f"{run.name}.json").write_text(text + "\n", encoding="utf-8")
    page = folder / f"{run.name}.md"
    page.write_text(_ACCOUNT.sub("<account>", _page(run, table)), encoding="utf-8")
    return page


def _page(run: Run, table: list[dict[str, Any]]) -> str:
    lines = [
        "# What SageMaker does, measured",
        "",
        f"{run.date}, {run.region}, {run.instance_type}, {run.minutes:.0f} minutes.",
        "",
        "| question | our emulator assumes | measured | |",
        "|---|---|---|---|",
    ]
    for row in table:
        verdict = "agrees" if row.get("agrees") else "**differs**"
        knob = f" (`{row['knob']}`)" if row["knob"] else ""
        measured = _cell(row["measured"]) if "measured" in row else ""
        verdict = verdict if measured else "not answered"
        lines.append(f"| {row['asks']} | {_cell(row['assumed'])}{knob} | {measured} | {verdict} |")
    lines += ["", "Not measured:", ""]
    lines += [f"- {what}: {why}." for what, why in NOT_MEASURED.items()]
    if run.errors:
        lines += ["", "Broken off:", ""]
        lines += [f"- `{what}`: {why}" for what, why in run.errors.items()]
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return f"`{text}`".replace("|", "\\|")
