"""Events as AWS hands them to functions; shapes: AWS Lambda developer guide, per service."""

import base64
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, quote_plus

from backburner.ports import BlobStat
from backburner_local import names
from backburner_local.adapters.messages import Message
from backburner_local.template import ACCOUNT, REGION


def sns(
    topic_arn: str, message: str, attributes: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """One SNS notification.

    Args:
        topic_arn: of the topic.
        message: its text.
        attributes: of the message, all of them text.
    """
    about = {name: {"Type": "String", "Value": text} for name, text in (attributes or {}).items()}
    return {
        "Records": [
            {
                "EventSource": "aws:sns",
                "EventVersion": "1.0",
                "EventSubscriptionArn": f"{topic_arn}:{names.new()}",
                "Sns": {
                    "Type": "Notification",
                    "MessageId": str(names.new()),
                    "TopicArn": topic_arn,
                    "Subject": None,
                    "Message": message,
                    "Timestamp": _timestamp(),
                    "MessageAttributes": about,
                },
            }
        ]
    }


def sqs(queue: str, messages: Iterable[Message]) -> dict[str, Any]:
    """A batch of SQS messages."""
    return {
        "Records": [
            {
                "messageId": message.id,
                "receiptHandle": message.receipt,
                "body": message.body,
                "attributes": {
                    "ApproximateReceiveCount": str(message.receives),
                    "SentTimestamp": str(int(message.sent_at * 1000)),
                },
                "messageAttributes": {},
                "eventSource": "aws:sqs",
                "eventSourceARN": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}",
                "awsRegion": REGION,
            }
            for message in messages
        ]
    }


def s3(bucket: str, created: Iterable[tuple[str, BlobStat | None]]) -> dict[str, Any]:
    """Created objects, by key; None stands for one that is gone again."""
    return {
        "Records": [
            {
                "eventVersion": "2.1",
                "eventSource": "aws:s3",
                "awsRegion": REGION,
                "eventTime": _timestamp(),
                "eventName": "ObjectCreated:Put",
                "s3": {
                    "s3SchemaVersion": "1.0",
                    "bucket": {"name": bucket, "arn": f"arn:aws:s3:::{bucket}"},
                    "object": {
                        "key": quote_plus(key, safe="/"),
                        "size": stat.size if stat is not None else 0,
                        "eTag": stat.etag if stat is not None else "",
                    },
                },
            }
            for key, stat in created
        ]
    }


def bus(source: str, detail_type: str, detail: Mapping[str, Any]) -> dict[str, Any]:
    """One event of an EventBridge bus."""
    return {
        "version": "0",
        "id": str(names.new()),
        "detail-type": detail_type,
        "source": source,
        "account": ACCOUNT,
        "time": _timestamp(),
        "region": REGION,
        "resources": [],
        "detail": dict(detail),
    }


def schedule() -> dict[str, Any]:
    """A tick of EventBridge Scheduler."""
    return {"source": "aws.scheduler", "time": _timestamp(), "detail": {}}


def http(
    *,
    method: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    body: bytes,
    source_ip: str,
    body_key: str | None = None,
    streams: bool = False,
) -> dict[str, Any]:
    """One request to an HTTP API, payload format 2.0.

    Args:
        method: of the request.
        path: decoded.
        query: as it was sent, still encoded.
        headers: by lower-case name.
        body: empty where the body was spooled.
        source_ip: of the client.
        body_key: object that a large body was spooled to; only on one machine.
        streams: whether the answer may come piece by piece; only on one machine.
    """
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "ANY /{proxy+}",
        "rawPath": path,
        "rawQueryString": query,
        "headers": dict(headers),
        "requestContext": {
            "accountId": ACCOUNT,
            "apiId": "local",
            "domainName": headers.get("host", "127.0.0.1"),
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": source_ip,
                "userAgent": headers.get("user-agent", ""),
            },
            "requestId": names.new().hex,
            "routeKey": "ANY /{proxy+}",
            "stage": "$default",
            "timeEpoch": int(time.time() * 1000),
        },
        "isBase64Encoded": False,
    }
    if query:
        event["queryStringParameters"] = _joined(parse_qsl(query, keep_blank_values=True))
    own = {"bodyKey": body_key} if body_key is not None else {}
    if own or streams:
        event["requestContext"]["backburner"] = own | ({"streams": True} if streams else {})
    if body:
        event["body"] = base64.b64encode(body).decode()
        event["isBase64Encoded"] = True
    return event


def _joined(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Parameters by name; those that were given several times are joined by commas."""
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    return {name: ",".join(given) for name, given in values.items()}


def _timestamp() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
