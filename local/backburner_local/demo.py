"""The demo: a real batch through the whole stack, from zero instances and back.

Exit code 0 means that every line of the input came out exactly once, and that the endpoint went
back to zero.
"""

import argparse
import collections
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from backburner_local.client import ENDED, Client
from backburner_local.options import stack_root

EVENTS = stack_root() / "events"
ADDRESS = "you@example.com"

#: A bad line is put after so many good ones.
BAD_LINE_EVERY = 50

_INSTANCES = re.compile(r"^backburner_instances\{.*\} (\d+)", re.MULTILINE)


@dataclass(slots=True)
class Seen:
    """What the demo saw on its way."""

    instances: list[int] = field(default_factory=list)
    partial_lines: int = 0
    mails: int = 0
    batch: dict[str, Any] = field(default_factory=dict)

    def note_instances(self, count: int) -> None:
        if not self.instances or self.instances[-1] != count:
            self.instances.append(count)


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", default="openvino", help="`null` needs no model")
    parser.add_argument("--data-dir", type=Path, help="kept afterwards; default: a new folder")
    arguments = parser.parse_args()
    data_dir = arguments.data_dir or Path(tempfile.mkdtemp(prefix="backburner-demo-"))
    console = Console(highlight=False, soft_wrap=True)
    command = [
        sys.executable, "-m", "backburner_local.cli", "up", "--json", "--port", "0",
        "--data-dir", str(data_dir), "--engine", arguments.engine,
        "--minute-seconds", "2", "--provisioning-seconds", "2", "--idle-minutes", "2",
    ]  # fmt: skip
    console.print(
        "Starting the stack: gateway, functions, and an endpoint with [bold]0 instances[/bold]."
        " A minute lasts 2 seconds here."
    )
    # An engine that answers at once would leave nothing to watch.
    environment = {**os.environ, "BACKBURNER_NULL_DELAY_SECONDS": "0.5"}
    with subprocess.Popen(  # noqa: S603
        command, stdout=subprocess.PIPE, text=True, env=environment
    ) as stack:
        try:
            is_good = _run(console, stack, data_dir)
        finally:
            stack.send_signal(signal.SIGTERM)
            stack.wait(timeout=60)
    console.print(f"\nEverything is in {data_dir}")
    sys.exit(0 if is_good else 1)


def _run(console: Console, stack: "subprocess.Popen[str]", data_dir: Path) -> bool:
    assert stack.stdout is not None
    line = stack.stdout.readline()
    if not line:
        console.print(f"[red]The stack did not start; see {data_dir / 'backburner.log'}[/red]")
        return False
    url = json.loads(line)["url"]
    client = Client.connect(url, (data_dir / "dev.key").read_text(encoding="utf-8").strip())
    batch_file = data_dir / "sample_batch.jsonl"
    names = _compose(batch_file)
    console.print(f"Submitting {len(names)} requests to {url}/v1, some of them deliberately bad.\n")
    seen = Seen()
    started = time.monotonic()
    batch = client.create_batch(
        input_file_id=client.upload(batch_file)["id"],
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"notify_email": ADDRESS},
        x_on_invalid="skip",
    )
    _follow(console, client, batch["id"], seen, started)
    took = time.monotonic() - started
    _wait_for_zero(console, client, seen, started)
    output = _lines(client, seen.batch["output_file_id"])
    errors = _lines(client, seen.batch["error_file_id"])
    seen.mails = _show_mail(console, data_dir)
    _show_accuracy(console, output)
    _show_errors(console, errors)
    return _summary(console, names, output, errors, seen, took)


def _compose(target: Path) -> list[str]:
    """Write the sample batch with the bad lines among the good ones; the names of its lines."""
    good = (EVENTS / "sample_batch.jsonl").read_bytes().splitlines(keepends=True)
    bad = (EVENTS / "sample_bad_lines.jsonl").read_bytes().splitlines(keepends=True)
    lines: list[bytes] = []
    names: list[str] = []
    for number, data in enumerate(good, 1):
        lines.append(data)
        names.append(json.loads(data)["custom_id"])
        if number % BAD_LINE_EVERY == 0 and bad:
            lines.append(bad.pop(0))
            names.append("")  # named by the error file: a bad line need not have a custom_id
    target.write_bytes(b"".join(lines))
    return names


def _follow(console: Console, client: Client, batch_id: str, seen: Seen, started: float) -> None:
    shown = ""
    while True:
        batch = client.batch(batch_id)
        seen.batch = batch
        seen.note_instances(_instances(client))
        counts = batch["request_counts"]
        done = counts["completed"] + counts["failed"]
        line = f"{batch['status']:<12}{_bar(done, counts['total'])} instances {seen.instances[-1]}"
        if line != shown:
            console.print(f"{time.monotonic() - started:6.1f} s  {line}")
            shown = line
        if batch["status"] in ENDED:
            return
        if batch["status"] == "in_progress" and counts["completed"] and not seen.partial_lines:
            seen.partial_lines = _show_partial(console, client, batch)
        time.sleep(0.2)


def _bar(done: int, total: int) -> str:
    width = 30
    filled = width * done // total if total else 0
    return f"[{'#' * filled}{'.' * (width - filled)}] {done:>4}/{total:<4}".replace("[", "\\[", 1)


def _show_partial(console: Console, client: Client, batch: dict[str, Any]) -> int:
    lines = _lines(client, batch["output_file_id"])
    if lines:
        first = lines[0]
        answer = first["response"]["body"]["choices"][0]["message"]["content"]
        console.print(
            f"          partial results: {len(lines)} can be read already; the first,"
            f" {first['custom_id']}: {answer[:60]!r}"
        )
    return len(lines)


def _wait_for_zero(console: Console, client: Client, seen: Seen, started: float) -> None:
    deadline = time.monotonic() + 60
    while seen.instances[-1] != 0 and time.monotonic() < deadline:
        time.sleep(0.4)
        count = _instances(client)
        if count != seen.instances[-1]:
            console.print(f"{time.monotonic() - started:6.1f} s  idle: instances {count}")
        seen.note_instances(count)


def _instances(client: Client) -> int:
    return sum(int(n) for n in _INSTANCES.findall(client.http.get("/metrics").text))


def _lines(client: Client, file_id: str | None) -> list[dict[str, Any]]:
    if file_id is None:
        return []
    return [json.loads(line) for line in b"".join(client.content(file_id)).split(b"\n")[:-1]]


def _show_mail(console: Console, data_dir: Path) -> int:
    """Show what is in the outbox, once something is; how many mails that are."""
    deadline = time.monotonic() + 30
    while not (mails := sorted((data_dir / "outbox").glob("*.eml"))):
        if time.monotonic() > deadline:
            break
        time.sleep(0.2)
    for path in mails:
        mail = message_from_bytes(path.read_bytes(), policy=policy.default)
        body = mail.get_body(("plain",))
        console.print(f"\nThe mail that was sent ({path.name}):")
        console.print(f"  To: {mail['To']}\n  Subject: {mail['Subject']}", markup=False)
        for line in (body.get_content() if body else "").splitlines():
            console.print(f"  {line}", markup=False)
    return len(mails)


def _show_accuracy(console: Console, output: list[dict[str, Any]]) -> None:
    known = {
        line["custom_id"]: line
        for line in map(json.loads, (EVENTS / "sample_answers.jsonl").read_bytes().splitlines())
    }
    right: collections.Counter[str] = collections.Counter()
    asked: collections.Counter[str] = collections.Counter()
    for line in output:
        answer = line["response"]["body"]["choices"][0]["message"]["content"].strip()
        expected = known[line["custom_id"]]
        asked[expected["task"]] += 1
        right[expected["task"]] += answer == expected["answer"]
    table = Table("task", "right", "of", "accuracy", title="Whole answers that are exactly right")
    for task in sorted(asked):
        share = right[task] / asked[task]
        table.add_row(task, str(right[task]), str(asked[task]), f"{share:.0%}")
    console.print()
    console.print(table)


def _show_errors(console: Console, errors: list[dict[str, Any]]) -> None:
    console.print("\nLines that were not run, with the reason that the error file gives:")
    for line in errors:
        error = line["error"] or line["response"]["body"]["error"]
        console.print(f"  {line['custom_id']:<15} {error['message']}", markup=False)


def _summary(
    console: Console,
    names: list[str],
    output: list[dict[str, Any]],
    errors: list[dict[str, Any]],
    seen: Seen,
    took: float,
) -> bool:
    bad = [str(number) for number, name in enumerate(names, 1) if not name]
    good = [name for name in names if name]
    checks = {
        f"every one of the {len(good)} good lines came out exactly once, in input order": [
            line["custom_id"] for line in output
        ]
        == good,
        f"each of the {len(bad)} bad lines is in the error file, and nothing else": [
            line["id"].rpartition("-")[2] for line in errors
        ]
        == bad,
        "results could be read while the batch ran": seen.partial_lines > 0,
        f"instances went {' → '.join(map(str, seen.instances))}": seen.instances[0] == 0
        and max(seen.instances) > 0
        and seen.instances[-1] == 0,
        "one mail told of it": seen.mails == 1,
        f"the batch ended as {seen.batch['status']}": seen.batch["status"] == "completed",
    }
    console.print()
    for what, holds in checks.items():
        console.print(f"  {'[green]yes[/green]' if holds else '[red] no[/red]'}  {what}")
    rate = len(output) / took if took else 0.0
    console.print(f"\n{len(names)} lines in {took:.1f} s: {rate:.0f} answers a second.")
    return all(checks.values())


if __name__ == "__main__":
    main()
