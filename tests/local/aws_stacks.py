"""A deployed stack, as far as its operator sees it: real resources in moto, behind real outputs."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

import pytest

from backburner.ports import QueueName
from backburner_local.deployed import OUTPUTS, URL_OUTPUT, Account
from tests.aws.light_moto import light_aws

REGION = "us-east-1"
STACK = "backburner"
ENDPOINT = "backburner-mistral"
SENDER = "backburner@example.com"

#: Output of the template, by the resource and what of it.
_VALUES: Mapping[str, Any] = {
    "ApiUrl": "https://abc123.execute-api.us-east-1.amazonaws.com/v1",
    "BucketName": {"Ref": "Bucket"},
    "TableName": {"Ref": "Table"},
    "EventsTopicArn": {"Ref": "EventsTopic"},
    "EndpointName": ENDPOINT,
    "PlanQueueUrl": {"Ref": "PlanQueue"},
    "DispatchQueueUrl": {"Ref": "DispatchQueue"},
    "FinalizeQueueUrl": {"Ref": "FinalizeQueue"},
    "DeliverQueueUrl": {"Ref": "DeliverQueue"},
}


@contextmanager
def an_account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    """An empty account, whose credentials are in the environment."""
    for name in ("AWS_PROFILE", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_REGION", REGION)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with light_aws():
        yield _connected()


@cache
def _connected() -> Account:
    """Made once: botocore reads megabytes of JSON for each client. The accounts are moto's."""
    return Account.connect()


def deploy(account: Account, *, name: str = STACK, leave_out: tuple[str, ...] = ()) -> None:
    """Create the stack, with what of the template keys, redrives and checks touch."""
    outputs = {key: {"Value": value} for key, value in _VALUES.items() if key not in leave_out}
    assert set(_VALUES) == {*OUTPUTS.values(), URL_OUTPUT}
    template = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Parameters": {
            "MaxInstances": {"Type": "Number", "Default": 3},
            "ConcurrentInvocations": {"Type": "Number", "Default": 4},
            "SenderAddress": {"Type": "String", "Default": SENDER},
            "DropTenant": {"Type": "String", "Default": "dropper"},
        },
        "Resources": {
            "Bucket": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": f"{name}-bucket"}},
            "Table": {"Type": "AWS::DynamoDB::Table", "Properties": _table()},
            "EventsTopic": {"Type": "AWS::SNS::Topic", "Properties": {}},
            **{key: value for queue in QueueName for key, value in _queues(queue).items()},
        },
        "Outputs": outputs,
    }
    account.clients.other("cloudformation").create_stack(
        StackName=name, TemplateBody=json.dumps(template)
    )
    for alarm in ("WorkAlarm", "FailedAlarm"):  # moto's CloudFormation has none
        account.clients.other("cloudwatch").put_metric_alarm(**_alarm(f"{name}-{alarm}-X1"))


def _table() -> dict[str, Any]:
    names = ("partition", "sort", "queue_key", "queue_sort", "due_key", "due_sort")
    return {
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": n, "AttributeType": "S"} for n in names],
        "KeySchema": _keys("partition", "sort"),
        "GlobalSecondaryIndexes": [
            {
                "IndexName": index,
                "KeySchema": _keys(f"{index}_key", f"{index}_sort"),
                "Projection": {"ProjectionType": "ALL"},
            }
            for index in ("queue", "due")
        ],
    }


def _keys(partition: str, sort: str) -> list[dict[str, str]]:
    return [
        {"AttributeName": partition, "KeyType": "HASH"},
        {"AttributeName": sort, "KeyType": "RANGE"},
    ]


def _queues(queue: QueueName) -> dict[str, Any]:
    dead = f"{queue.capitalize()}DeadLetters"
    redrive = {"deadLetterTargetArn": {"Fn::GetAtt": [dead, "Arn"]}, "maxReceiveCount": 5}
    return {
        dead: {"Type": "AWS::SQS::Queue", "Properties": {}},
        f"{queue.capitalize()}Queue": {
            "Type": "AWS::SQS::Queue",
            "Properties": {"RedrivePolicy": redrive},
        },
    }


def _alarm(name: str) -> dict[str, Any]:
    """An alarm, named as CloudFormation names those of a stack; one of them is there to scale."""
    policy = f"arn:aws:autoscaling:{REGION}:123456789012:scalingPolicy:1"
    return {
        "AlarmName": name,
        "Namespace": "Backburner",
        "MetricName": "WantedInstances",
        "Statistic": "Maximum",
        "Period": 60,
        "EvaluationPeriods": 1,
        "Threshold": 1,
        "ComparisonOperator": "GreaterThanOrEqualToThreshold",
        "AlarmActions": [policy] if "WorkAlarm" in name else [],
    }


def bury(account: Account, queue_url: str, count: int) -> str:
    """Put messages into the dead-letter queue of a queue; returns its ARN."""
    attributes = account.clients.sqs.get_queue_attributes(
        QueueUrl=queue_url, AttributeNames=["RedrivePolicy"]
    )["Attributes"]
    arn = str(json.loads(attributes["RedrivePolicy"])["deadLetterTargetArn"])
    url = account.clients.sqs.get_queue_url(QueueName=arn.rsplit(":", 1)[1])["QueueUrl"]
    for number in range(count):
        account.clients.sqs.send_message(QueueUrl=url, MessageBody=str(number))
    return arn
