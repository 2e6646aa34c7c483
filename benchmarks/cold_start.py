"""Cold start of each function: its imports and its first request, in a fresh process.

Beside it stands the least that a function on AWS can do: import boto3, make a client, read one
item. Both talk to moto over a socket, so the difference is what we import and do. Bytecode is
cached and the machine is this one: on Lambda the seconds differ, their shares hardly.
"""

import logging
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from moto.server import ThreadedMotoServer

from backburner.adapters.clients import Clients
from backburner.services.keys import digest_of
from backburner.settings import Settings
from backburner_local import template

ROOT = Path(__file__).parent.parent
ROUNDS = 10

BARE = "bare boto3 handler: one GetItem"

#: What each function is handed first.
EVENTS = {
    "api": "api_list_models",
    "on_upload": "s3_removed",
    "plan": "sqs_plan",
    "dispatch": "sqs_dispatch",
    "on_success": "sns_success",
    "on_error": "sns_error",
    "on_mail_event": "sns_mailevents_bounce",
    "finalize": "sqs_finalize",
    "deliver": "sqs_deliver",
    "report_backlog": "schedule",
    "reap": "schedule",
}

_OURS = """
import json, sys, time
event = json.load(open(sys.argv[2]))
started = time.perf_counter()
import importlib
handler = importlib.import_module(f"functions.{sys.argv[1]}.app").handler
handler(event, None)
print()
print(time.perf_counter() - started, time.process_time())
"""

_BARE = """
import os, time
started = time.perf_counter()
import boto3
client = boto3.client("dynamodb")
key = {"partition": {"S": "keys"}, "sort": {"S": "none"}}
def handler(event, context):
    return client.get_item(TableName=os.environ["TABLE_NAME"], Key=key)
handler({}, None)
print(time.perf_counter() - started, time.process_time())
"""


@dataclass(frozen=True, slots=True)
class Cold:
    """One cold start, in milliseconds."""

    elapsed: float
    #: CPU time of the process, the interpreter's own start included.
    cpu: float


def measure() -> list[tuple[str, str]]:
    """Medians, as rows of the page."""
    found: dict[str, list[Cold]] = {name: [] for name in (BARE, *EVENTS)}
    with _account() as variables:
        for turn in range(ROUNDS + 1):
            for name, colds in found.items():
                cold = _start(name, variables)
                if turn:  # the first round only warms the disk's cache
                    colds.append(cold)
    medians = {
        name: Cold(
            statistics.median(cold.elapsed for cold in colds),
            statistics.median(cold.cpu for cold in colds),
        )
        for name, colds in found.items()
    }
    floor = medians[BARE]
    return [
        (
            name,
            f"{cold.elapsed:.0f} ms, {cold.elapsed / floor.elapsed:.2f} x · "
            f"CPU {cold.cpu:.0f} ms, {cold.cpu / floor.cpu:.2f} x",
        )
        for name, cold in medians.items()
    ]


def _start(name: str, variables: Mapping[str, str]) -> Cold:
    event = EVENTS.get(name)
    code = [_OURS, name, str(ROOT / "events" / f"{event}.json")] if event else [_BARE]
    done = subprocess.run(
        [sys.executable, "-c", *code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=dict(variables),
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr}")
    elapsed, cpu = done.stdout.splitlines()[-1].split()
    return Cold(float(elapsed) * 1000, float(cpu) * 1000)


@contextmanager
def _account() -> Iterator[dict[str, str]]:
    """Variables of functions in an account that has what the template declares."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it would print every request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    access: dict[str, Any] = {
        "region_name": "us-east-1",
        "aws_access_key_id": "x",
        "aws_secret_access_key": "x",
    }
    clients = Clients(endpoint_url=url, **access)
    try:
        yield {
            "PATH": os.environ["PATH"],
            "AWS_ENDPOINT_URL": url,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "x",
            "AWS_SECRET_ACCESS_KEY": "x",
            **_make(clients),
        }
    finally:
        server.stop()


def _make(clients: Clients) -> dict[str, str]:
    """Make the table, the bucket, the queues and the topic; returns what the functions are told."""
    declared = template.load(ROOT / "template.yaml")
    ((_, table),) = declared.of_type("AWS::DynamoDB::Table").items()
    clients.dynamodb.create_table(
        TableName="backburner",
        **{name: table[name] for name in ("BillingMode", "AttributeDefinitions", "KeySchema")},
        GlobalSecondaryIndexes=table["GlobalSecondaryIndexes"],
    )
    clients.s3.create_bucket(Bucket="backburner")
    made = {
        f"{name}_queue_url": clients.sqs.create_queue(QueueName=name)["QueueUrl"]
        for name in ("plan", "dispatch", "finalize", "deliver")
    }
    made["events_topic_arn"] = clients.sns.create_topic(Name="events")["TopicArn"]
    key = {"partition": "keys", "sort": digest_of("bb-sample-key"), "tenant": "acme"}
    clients.dynamodb.put_item(
        TableName="backburner", Item={name: {"S": value} for name, value in key.items()}
    )
    values = {
        "bucket_name": "backburner",
        "table_name": "backburner",
        "endpoint_name": "none",
        **made,
    }
    return {
        field.name.upper(): values[field.name] for field in fields(Settings) if field.name in values
    }
