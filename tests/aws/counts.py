"""What work costs, as counts: calls by function, DynamoDB's units, requests, bytes of metrics.

The counts are the same in every run: `benchmarks/cost.py` puts prices on them.
"""

import contextlib
import io
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from backburner.domain.batch import BatchStatus
from tests.aws.stack import Stack
from tests.aws.world import MODEL, AwsWorld, an_aws_world, requests
from tests.world import MINUTE

#: What is counted.
Counts = dict[str, Any]

#: Lines of the batch that is priced, and of the small one that every test run counts again.
BATCH_LINES, SMALL_LINES = 10_000, 200

#: Single requests that come at once.
BURST = 100

#: An HTTP API counts a request for each such part of it (API Gateway pricing).
_METERED_BYTES = 512 * 1024


def single() -> Counts:
    """One request: submitted, run, its end published, and read once."""
    with an_aws_world(charges=True) as world:
        response = world.respond()
        world.run()
        world.clock.advance(MINUTE)
        assert world.get(f"/v1/responses/{response.id}").json["status"] == "completed"
        return _counts(world)


def burst(count: int = BURST) -> Counts:
    """So many requests at once while all slots are taken; each is read once."""
    with an_aws_world(charges=True) as world:
        first = [world.respond() for _ in range(world.env.catalog.models[MODEL].slots)]
        world.recorder.forget_calls()
        some = [world.respond() for _ in range(count)]
        world.run()
        world.clock.advance(MINUTE)
        assert {world.batch(one).status for one in first} == {BatchStatus.COMPLETED}
        for one in some:
            assert world.get(f"/v1/responses/{one.id}").json["status"] == "completed"
        return _counts(world) | {"requests": count}


def batch(lines: int) -> Counts:
    """A file of so many lines: uploaded, run, its end published, looked at and read once."""
    with an_aws_world(charges=True) as world:
        submitted = world.submit(requests(lines))
        world.run()
        world.clock.advance(MINUTE)
        ended = world.batch(submitted)
        assert (ended.status, ended.completed) == (BatchStatus.COMPLETED, lines)
        world.get(f"/v1/batches/{ended.id}")
        assert world.get(f"/v1/files/{ended.output_file_id}/content").status in (200, 302)
        return _counts(world) | {"lines": lines}


def idle_minute() -> Counts:
    """A minute in which nothing is to be done: the schedules run."""
    with an_aws_world(charges=True) as world:
        with contextlib.redirect_stdout(io.StringIO()):
            world.report_backlog()  # the first one notes how many instances there are
        world.recorder.forget_calls()
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            world.reap()
            world.report_backlog()
        published = [json.loads(line) for line in printed.getvalue().splitlines()]
        names = {
            metric["Name"]
            for line in published
            for directive in line["_aws"]["CloudWatchMetrics"]
            for metric in directive["Metrics"]
        }
        return _counts(world) | {
            "metrics": sorted(names),
            # Time stamps and counts have as many digits in every run.
            "metric_bytes": len(printed.getvalue()),
        }


def standing(stack: Stack) -> Counts:
    """What stands there all month."""
    kinds = Counter(resource["Type"] for resource in stack.resources.values())
    return {
        "alarm_metrics": sum(
            _metrics(resource["Properties"])
            for resource in stack.resources.values()
            if resource["Type"] == "AWS::CloudWatch::Alarm"
        ),
        "dashboards": kinds["AWS::CloudWatch::Dashboard"],
        "read_queues": kinds["AWS::Lambda::EventSourceMapping"],
        "schedules": kinds["AWS::Scheduler::Schedule"],
    }


def _metrics(alarm: Mapping[str, Any]) -> int:
    """Metrics that the alarm reads: each is billed, and an expression is none."""
    return sum("MetricStat" in metric for metric in alarm.get("Metrics", ())) or 1


def everything() -> Counts:
    """All counts that the page is made of."""
    with an_aws_world() as world:
        stack = standing(world.stack)
        memory = {function.name: function.memory_mb for function in world.functions.values()}
    return {
        "memory_mb": memory,
        "standing": stack,
        "single": single(),
        "burst": burst(),
        "small_batch": batch(SMALL_LINES),
        "batch": batch(BATCH_LINES),
        "idle_minute": idle_minute(),
    }


def _counts(world: AwsWorld) -> Counts:
    functions: dict[str, Counts] = {}
    for name in world.functions:
        calls = world.recorder.of(name)
        if world.recorder.invocations[name]:
            made = (call for call in calls if not call.is_presigned)
            functions[name] = {
                "invocations": world.recorder.invocations[name],
                "calls": dict(sorted(Counter(call.name for call in made).items())),
                "write_units": sum(call.write_units for call in calls),
                "read_units": sum(call.read_units for call in calls),
            }
    return {
        "functions": functions,
        "api_requests": sum(-(-size // _METERED_BYTES) for size in world.asked_bytes),
        "polls": world.queues.polls,
        "shards_inline": sum(not one.is_object for one in world.endpoint.invocations),
        "shards_in_objects": sum(one.is_object for one in world.endpoint.invocations),
    }
