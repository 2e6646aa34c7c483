"""What a deployment costs: counted calls times list prices.

`python -m benchmarks.cost` counts anew on the adapters of AWS (moto answers), and writes the counts
to `benchmarks/cost.json` and the page to `docs/reference/cost.md`. The counts are the same in every
run; whatever is not counted is an assumption that the page names.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
COUNTS = Path(__file__).parent / "cost.json"
PAGE = ROOT / "docs" / "reference" / "cost.md"

#: What was counted: see `tests.aws.counts`.
Counts = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Price:
    """A list price in us-east-1, in USD, without free tiers."""

    usd: float
    unit: str
    #: Where it was read, and when.
    source: str

    @property
    def each(self) -> float:
        """USD for one."""
        return self.usd / (1e6 if self.unit.startswith("million") else 1.0)


_LIST, _PAGES = "AWS price list, us-east-1, 2026-09-20", "AWS pricing pages, us-east-1, 2026-08-01"
_METERED = "AWS price list, us-east-1, 2026-09-11"
_UNCHECKED = "AWS pricing pages, us-east-1; not checked lately"

PRICES = {
    "API Gateway": Price(1.00, "million requests of an HTTP API, each 512 KB", _UNCHECKED),
    "Lambda requests": Price(0.20, "million requests", _UNCHECKED),
    "Lambda time": Price(0.0000133334, "GB-second, arm64", _UNCHECKED),
    "DynamoDB writes": Price(0.625, "million write request units", _PAGES),
    "DynamoDB reads": Price(0.125, "million read request units", _PAGES),
    "S3 writes": Price(5.00, "million PUT, COPY, POST and LIST requests", _UNCHECKED),
    "S3 reads": Price(0.40, "million GET and HEAD requests", _UNCHECKED),
    "SQS": Price(0.40, "million requests", _METERED),
    "SNS": Price(0.50, "million publishes", _PAGES),
    "SES": Price(100.00, "million mails", _UNCHECKED),
    "Schedules": Price(1.00, "million invocations of EventBridge Scheduler", _UNCHECKED),
    "Logs": Price(0.50, "GB taken in", _UNCHECKED),
    "Metrics": Price(0.30, "custom metric and month", _UNCHECKED),
    "Alarms": Price(0.10, "metric of an alarm and month", _UNCHECKED),
    "Dashboards": Price(3.00, "dashboard and month", _UNCHECKED),
    "GPU": Price(2.8026, "hour of ml.g6e.2xlarge, asynchronous inference", _LIST),
}

#: Seconds that one call of a function takes, and one invocation beside its calls.
CALL_SECONDS, INVOCATION_SECONDS = 0.015, 0.005
#: Seconds of CPU of one line: of all processes on one machine (benchmarks/results.md), on the share
#: of a core that 1024 MB have (1769 MB have one), twice that for a slower core.
LINE_SECONDS = 2 * 76e-6 / (1024 / 1769)
#: Bytes that Lambda itself logs of an invocation: START, END and REPORT.
LOG_BYTES = 700
#: Receives of one queue in a minute in which nothing comes: five long polls of 20 seconds at once.
IDLE_RECEIVES = 15
#: Seconds from zero instances to the first answer, and from the last one to zero, both billed.
COLD_SECONDS, TAIL_SECONDS = 643, 277

MINUTES = 30 * 24 * 60

_S3_WRITES = frozenset(
    {
        "PutObject",
        "CopyObject",
        "ListObjectsV2",
        "CreateMultipartUpload",
        "UploadPart",
        "UploadPartCopy",
        "CompleteMultipartUpload",
    }
)
_S3_READS = frozenset({"GetObject", "HeadObject"})

#: Dollars by price.
Bill = dict[str, float]


def bill(counted: Counts, memory_mb: Mapping[str, int]) -> Bill:
    """Dollars of counted work."""
    functions = counted["functions"]
    amounts = {
        "API Gateway": counted["api_requests"],
        "Lambda requests": sum(one["invocations"] for one in functions.values()),
        "Lambda time": sum(
            _gb_seconds(name, one, counted, memory_mb) for name, one in functions.items()
        ),
        "DynamoDB writes": sum(one["write_units"] for one in functions.values()),
        "DynamoDB reads": sum(one["read_units"] for one in functions.values()),
        "S3 writes": calls(functions, "s3", _S3_WRITES) + invocations(counted),
        "S3 reads": calls(functions, "s3", _S3_READS) + counted["shards_in_objects"],
        "SQS": calls(functions, "sqs") + counted["polls"],
        "SNS": calls(functions, "sns") + invocations(counted),
        "SES": calls(functions, "sesv2"),
        "Logs": LOG_BYTES * sum(one["invocations"] for one in functions.values()) / 1e9,
    }
    return {name: amount * PRICES[name].each for name, amount in amounts.items()}


def invocations(counted: Counts) -> int:
    """Of the endpoint: it writes an object and publishes a notification for each."""
    return int(counted["shards_inline"] + counted["shards_in_objects"])


def calls(
    functions: Mapping[str, Counts], service: str, operations: Iterable[str] | None = None
) -> int:
    """Calls of a service, by all functions."""
    return sum(
        count
        for one in functions.values()
        for name, count in one["calls"].items()
        if name.startswith(f"{service}:")
        and (operations is None or name.partition(":")[2] in operations)
    )


def _gb_seconds(name: str, one: Counts, counted: Counts, memory_mb: Mapping[str, int]) -> float:
    seconds = one["invocations"] * INVOCATION_SECONDS + sum(one["calls"].values()) * CALL_SECONDS
    if name == "plan":  # the work of all lines, in one place
        seconds += counted.get("lines", 0) * LINE_SECONDS
    return float(seconds * memory_mb[name] / 1024)


def idle_month(counts: Counts) -> Bill:
    """Dollars of a month in which nobody asks for anything."""
    minute, standing = counts["idle_minute"], counts["standing"]
    month = {name: usd * MINUTES for name, usd in bill(minute, counts["memory_mb"]).items()}
    month["SQS"] += standing["read_queues"] * IDLE_RECEIVES * MINUTES * PRICES["SQS"].each
    month["Schedules"] = standing["schedules"] * MINUTES * PRICES["Schedules"].each
    month["Logs"] += minute["metric_bytes"] * MINUTES / 1e9 * PRICES["Logs"].each
    month["Metrics"] = len(minute["metrics"]) * PRICES["Metrics"].each
    month["Alarms"] = standing["alarm_metrics"] * PRICES["Alarms"].each
    month["Dashboards"] = standing["dashboards"] * PRICES["Dashboards"].each
    return month


# ---------------------------------------------------------------- the page

_TEMPLATE = """\
# What it costs

Written by `python -m benchmarks.cost` from counted calls; tests hold the counts and this page to
the code. All prices are list prices in USD, without free tiers, taxes and data transfer.

| | USD |
|---|---|
| one single request, from its submission to reading the answer | {one:.7f} |
| a million of them | {million:.2f} |
| a million, of which {burst} at a time wait for slots and travel as bundles | {bundled:.2f} |
| a batch of {lines:,} lines | {all_lines:.4f} |
| 1,000 lines of it | {thousand:.5f} |
| a month in which nothing happens | {month:.2f} |
| an hour of the GPU (`ml.g6e.2xlarge`) | {gpu:.4f} |
| one start of the GPU from zero, and its way back | {cold:.2f} |

One start of the GPU costs as much as all the rest of {cold_ones:,.0f} single requests, or of
{cold_lines:,.0f} lines in batches. What counts is that instances stop, and that they are busy while
they run.

## By price

| | a single request | a batch of {lines:,} lines | an idle month |
|---|---|---|---|
{bills}

## Calls

A single request is submitted while a slot is free and no instance runs; it ends, its end is
published, and it is read once. A batch of {lines:,} short lines is uploaded, runs in shards of 50
lines and ends; its end is published, it is looked at and read once. Writes and reads are DynamoDB's
request units.

### A single request

{single}

### {burst} single requests at once

They are submitted while no slot is free, run as bundles, and each is read once.

{many}

### A batch of {lines:,} lines

{batch}

### A minute in which nothing happens

{minute}

## Assumptions

- A call takes a function {call_ms:.0f} ms, an invocation {invocation_ms:.0f} ms beside its calls,
  and a line {line_us:.0f} µs: twice the CPU time of a line in
  [benchmarks/results.md](../../benchmarks/results.md), on the share of a core that 1024 MB have. No
  function was measured on AWS. If all took twice as long, a single request would cost
  {slower:.8f} more.
- Functions have the memory that the template gives them: {memory} MB.
- Lambda logs {log_bytes} bytes of each invocation. Of the functions' own lines only the metrics'
  are counted.
- Of each of the {read_queues} queues that functions read, Lambda holds five long polls of 20
  seconds open, also while nothing comes.
- The template, with an endpoint, has {alarm_metrics} metrics in its alarms, {schedules} schedules
  and dashboards: {dashboards}. The functions publish {metrics} metrics all month.
- A start from zero takes {cold_s} s until the model answers, and the last instance {tail_s} s to
  stop, both billed: one published cold run of a 13 GB model on ml.g5.2xlarge of August 2026, not
  ours, at the price of the larger instance.
- The endpoint writes one object and publishes one notification for each shard, and reads one
  object for each that is too large to come with the call.
- Storage and backups are left out: a batch's lines and results, for as long as they are kept.
- A shard that runs for longer than five minutes is looked at by `reap`. That is left out.

## Prices

| | USD | for one | source |
|---|---|---|---|
{prices}
"""


def render(counts: Counts) -> str:
    """The page."""
    memory, lines = counts["memory_mb"], counts["batch"]["lines"]
    single, batch = bill(counts["single"], memory), bill(counts["batch"], memory)
    idle = idle_month(counts)
    one, all_lines = sum(single.values()), sum(batch.values())
    cold = (COLD_SECONDS + TAIL_SECONDS) / 3600 * PRICES["GPU"].usd
    return _TEMPLATE.format(
        one=one,
        million=one * 1e6,
        burst=counts["burst"]["requests"],
        bundled=sum(bill(counts["burst"], memory).values()) / counts["burst"]["requests"] * 1e6,
        many="\n".join(_calls(counts["burst"])),
        lines=lines,
        all_lines=all_lines,
        thousand=all_lines / lines * 1000,
        month=sum(idle.values()),
        gpu=PRICES["GPU"].usd,
        cold=cold,
        cold_ones=cold / one,
        cold_lines=cold / all_lines * lines,
        bills="\n".join(_bills(single, batch, idle)),
        single="\n".join(_calls(counts["single"])),
        batch="\n".join(_calls(counts["batch"])),
        minute="\n".join(_calls(counts["idle_minute"])),
        call_ms=CALL_SECONDS * 1000,
        invocation_ms=INVOCATION_SECONDS * 1000,
        line_us=LINE_SECONDS * 1e6,
        slower=single["Lambda time"],
        memory=", ".join(f"{name} {mb}" for name, mb in memory.items()),
        log_bytes=LOG_BYTES,
        metrics=len(counts["idle_minute"]["metrics"]),
        cold_s=COLD_SECONDS,
        tail_s=TAIL_SECONDS,
        prices="\n".join(_prices()),
        **counts["standing"],
    )


def _bills(single: Bill, batch: Bill, idle: Bill) -> Iterator[str]:
    for name in idle:
        usd = (single.get(name, 0.0), batch.get(name, 0.0), idle[name])
        shown = (f"{usd[0]:.8f}", f"{usd[1]:.5f}", f"{usd[2]:.2f}")
        cells = [text if amount else "" for text, amount in zip(shown, usd, strict=True)]
        if any(cells):
            yield f"| {name} | {' | '.join(cells)} |"
    one, many, month = (sum(some.values()) for some in (single, batch, idle))
    yield f"| all | {one:.8f} | {many:.5f} | {month:.2f} |"


def _calls(counted: Counts) -> Iterator[str]:
    yield "| function | invocations | calls | writes | reads |"
    yield "|---|---|---|---|---|"
    for name, one in counted["functions"].items():
        made = ", ".join(f"{count:,} {call}" for call, count in one["calls"].items())
        yield (
            f"| `{name}` | {one['invocations']:,} | {made} | {one['write_units']:,.0f} | "
            f"{one['read_units']:,.1f} |"
        )


def _prices() -> Iterator[str]:
    for name, price in PRICES.items():
        usd = f"{price.usd:.10f}".rstrip("0").rstrip(".")
        yield f"| {name} | {usd} | {price.unit} | {price.source} |"


def write(counts: Counts) -> None:
    COUNTS.write_text(json.dumps(counts, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(render(counts), encoding="utf-8")


def main() -> None:
    from tests.aws.counts import everything  # slow to import, and prices need none of it

    counts = everything()
    write(counts)
    print(render(counts))


if __name__ == "__main__":
    main()
