"""The page of the results."""

from collections.abc import Mapping
from pathlib import Path

from benchmarks.peers import driver, effects
from benchmarks.peers.results import Row
from benchmarks.peers.roster import PEERS, Peer

FILE = Path(__file__).parent.parent / "peers.md"

_TEMPLATE = """\
# Beside what people would use instead

Written by `make bench-peers`.

{circumstances}

![Results a second, and what became of accepted jobs after a kill](../docs/images/peers.svg)

The others are task queues: they hand a job to a function and keep nothing. Backburner is a service
over HTTP that checks a request, keeps it, hands it to a model's server, stores the result and lets
the client read it. So its rows do more; the tables say what that costs, and what an accepted job
may count on.

## Speed

Payload {payload:,} bytes, a job that does nothing, {rounds} in rotated order; medians. Producer,
workers and servers share the machine. Rates and latencies move by 40 % between runs, and by much
more where others write to the same disk; CPU time by 20 %.

| | submissions a second | results a second | share of its floor | CPU a job \
| submission p50, p99 | until it has run, p50, p99 |
|---|---|---|---|---|---|---|
{speed}

- Submissions: the producer is one process. Blocking clients submit one after another, others keep
  {in_flight} on their way.
- Results: until the job has run; for Backburner, until the client has read its stored result.
- Share of its floor: results a second beside the bare Redis list of the same round for those that
  keep jobs in Redis, beside the bare SQLite table for those that fsync each job.
- CPU: of producer, workers, and the servers that the queue needs.
- RQ's workers start a process for each job; where they do fewer than {rate} a second, their last
  column grows with the length of the run.
{twice}- The last two columns: {rate} submissions a second, one at a time. Backburner's client asks
  for each result every 10 ms.

## Killed

{jobs} accepted jobs of {job_ms:.0f} ms, {times}. When {killed_after} have run, and up to
{within_ms:.0f} ms later, the whole worker group is killed (`kill -9`) and started again; the
queue's server lives on. Of Backburner everything is killed: gateway, queue, store and instance.
{patience:.0f} s later it is counted what has finished, what the queue still has (stranded) and what
is gone or given up (lost).

| | finished | stranded | lost | run twice | all done within |
|---|---|---|---|---|---|
{crashes}

Stranded jobs may come later; how, the next table says. Run twice: the job's effect happened twice.
Of Backburner the model was asked twice; one result is visible. The lines of a batch are run again
with their shard, and single requests with their bundle, unless its result was stored.

## How each was set up

| | settings | what an acknowledged job may count on | versions |
|---|---|---|---|
{settings}
"""


def render(rows: Mapping[str, Row]) -> str:
    """The page."""
    known = [(peer, rows[peer.name]) for peer in PEERS if peer.name in rows]
    return _TEMPLATE.format(
        circumstances=_circumstances(known),
        payload=len(effects.PAYLOAD),
        rounds=_counted([len(row.rounds) for _, row in known], "round"),
        speed="\n".join(_speed(peer, row) for peer, row in known),
        twice=_twice(known),
        in_flight=driver.IN_FLIGHT,
        rate=driver.RATE,
        jobs=driver.CRASHED,
        job_ms=driver.JOB_SECONDS * 1000,
        times=_counted([len(row.crashes) for _, row in known], "time"),
        within_ms=driver.KILLED_WITHIN_SECONDS * 1000,
        killed_after=driver.KILLED_AFTER,
        patience=driver.PATIENCE_SECONDS,
        crashes="\n".join(_crash(peer, row) for peer, row in known if row.crashes),
        settings="\n".join(_settings(peer, row) for peer, row in known),
    )


def _counted(counts: list[int], noun: str) -> str:
    """Such as `3 rounds`, or `2 to 3 rounds` where rows differ."""
    found = sorted({count for count in counts if count}) or [0]
    words = f"{found[0]} to {found[-1]}" if len(found) > 1 else f"{found[0]}"
    return f"{words} {noun}" + ("s" if found[-1] != 1 else "")


def _circumstances(known: list[tuple[Peer, Row]]) -> str:
    """Where and when; rows are named where they were not all measured together."""
    found: dict[str, list[str]] = {}
    for peer, row in known:
        if at := row.measured:
            words = [at["date"], f"commit {at['commit']}", at["machine"], f"Python {at['python']}"]
            text = " · ".join([*words, f"load average at the end {at['load']}"])
            found.setdefault(text, []).append(peer.title)
    if len(found) == 1:
        return "".join(found)
    return "\n".join(f"- {', '.join(titles)}: {text}" for text, titles in found.items())


def _speed(peer: Peer, row: Row) -> str:
    cells = [
        _number(row.median(lambda one: one["submit_rate"])),
        _number(row.median(lambda one: one["end_rate"])),
        _number(_share(row), unit="%"),
        _number(row.median(lambda one: one["cpu_us"]), unit=" µs"),
        _pair(row, "submit_ms"),
        _pair(row, "latency_ms"),
    ]
    return f"| {peer.title} | {' | '.join(cells)} |"


def _twice(known: list[tuple[Peer, Row]]) -> str:
    """A line about jobs that ran twice although nothing was killed."""
    found = {peer.title: sum(one.get("twice", 0) for one in row.rounds) for peer, row in known}
    words = ", ".join(f"{title} {count}" for title, count in found.items() if count)
    return f"- Ran twice although nothing was killed, in all rounds: {words}.\n" if words else ""


def _share(row: Row) -> float | None:
    return row.median(lambda one: one["end_rate"] / one["floor_rate"] * 100)


def _number(value: float | None, *, unit: str = "") -> str:
    return "" if value is None else f"{value:,.0f}{unit}"


def _pair(row: Row, name: str) -> str:
    half, most = row.median(lambda one: one[name][0]), row.median(lambda one: one[name][1])
    return "" if half is None or most is None else f"{half:.1f} ms, {most:.1f} ms"


def _crash(peer: Peer, row: Row) -> str:
    seconds = [crash["recovered_seconds"] for crash in row.crashes]
    late = f"{max(seconds):.0f} s" if all(seconds) else "not within a minute"
    finished = f"{row.crashed('finished')} of {row.crashed('jobs')}"
    others = (str(row.crashed(name)) for name in ("stranded", "lost", "twice"))
    return f"| {peer.title} | {finished} | {' | '.join(others)} | {late} |"


def _settings(peer: Peer, row: Row) -> str:
    versions = row.measured.get("versions", "")
    trouble = f" **Not measured: {'; '.join(row.trouble)}**" if row.trouble else ""
    return f"| {peer.title} | {peer.settings} | {peer.promise} | {versions}{trouble} |"
