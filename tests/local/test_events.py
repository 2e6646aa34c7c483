"""Events have the shapes that AWS gives them, and the handlers' libraries read them."""

import base64
from datetime import datetime
from typing import Any
from urllib.parse import unquote_plus

import pytest
from aws_lambda_powertools.utilities.data_classes import (
    APIGatewayProxyEventV2,
    S3Event,
    SNSEvent,
    SQSEvent,
)

from backburner.ports import BlobStat
from backburner.wire.notifications import async_results, uploaded_keys
from backburner_local import events
from backburner_local.adapters.messages import Message


def test_an_sns_notification_carries_its_message():
    event = events.sns("arn:aws:sns:us-east-1:123456789012:Success", '{"a": 1}')

    (record,) = SNSEvent(event).records
    assert record.sns.message == '{"a": 1}'
    assert record.sns.topic_arn == "arn:aws:sns:us-east-1:123456789012:Success"
    assert record.sns.get_type == "Notification"
    assert record.sns.message_id
    assert _is_utc(record.sns.timestamp)


def test_a_batch_of_messages_carries_each_with_its_receipt_and_count():
    messages = [
        Message(id="m1", queue="plan", body='{"n": 1}', receipt="r1", receives=1, sent_at=1.5),
        Message(id="m2", queue="plan", body='{"n": 2}', receipt="r2", receives=3, sent_at=2.5),
    ]

    records = list(SQSEvent(events.sqs("plan", messages)).records)

    assert [record.message_id for record in records] == ["m1", "m2"]
    assert [record.receipt_handle for record in records] == ["r1", "r2"]
    assert [record.json_body for record in records] == [{"n": 1}, {"n": 2}]
    assert [record.attributes.approximate_receive_count for record in records] == ["1", "3"]
    assert [record.attributes.sent_timestamp for record in records] == ["1500", "2500"]
    assert {record.event_source_arn.rpartition(":")[2] for record in records} == {"plan"}


@pytest.mark.parametrize(
    "key", ["drop/plain.jsonl", "drop/a b+c&d%25.jsonl", "drop/ü/名前 \U0001f600.jsonl"]
)
def test_the_key_of_an_object_is_encoded_as_s3_does(key):
    event = events.s3("bucket", [(key, BlobStat(key=key, size=5, etag="abc"))])

    (record,) = S3Event(event).records
    assert record.event_name == "ObjectCreated:Put"
    assert record.s3.bucket.name == "bucket"
    assert record.s3.get_object.key.isascii()
    assert " " not in record.s3.get_object.key
    assert unquote_plus(record.s3.get_object.key) == key
    assert (record.s3.get_object.size, record.s3.get_object.etag) == (5, "abc")
    assert list(uploaded_keys(event)) == [key]


def test_a_tick_of_a_schedule_tells_the_time():
    assert _is_utc(events.schedule()["time"])


def http(**changes: Any) -> APIGatewayProxyEventV2:
    given: dict[str, Any] = {
        "method": "GET",
        "path": "/v1/files",
        "query": "",
        "headers": {"host": "127.0.0.1:8787"},
        "body": b"",
        "source_ip": "127.0.0.1",
    }
    return APIGatewayProxyEventV2(events.http(**(given | changes)))


def test_a_request_without_query_and_body_has_neither():
    event = http()
    assert event.http_method == "GET"
    assert event.raw_path == "/v1/files"
    assert event.raw_query_string == ""
    assert event.query_string_parameters == {}
    assert event.body is None
    assert event.is_base64_encoded is False
    assert event.request_context.domain_name == "127.0.0.1:8787"


@pytest.mark.parametrize(
    ("query", "parameters"),
    [
        ("limit=2", {"limit": "2"}),
        ("after=a%26b&empty=&limit=1&limit=2", {"after": "a&b", "empty": "", "limit": "1,2"}),
        ("a=b+c&d=%C3%BC", {"a": "b c", "d": "ü"}),
    ],
)
def test_the_query_is_there_as_it_came_and_decoded(query, parameters):
    event = http(query=query)
    assert event.raw_query_string == query
    assert event.query_string_parameters == parameters


def test_a_body_comes_whole_whatever_its_bytes():
    body = bytes(range(256))
    event = http(method="POST", body=body)
    assert event.is_base64_encoded is True
    assert base64.b64decode(event["body"]) == body


def test_a_body_that_was_put_aside_is_named():
    event = http(method="POST", body=b"", body_key="spool/1")
    assert event["requestContext"]["backburner"] == {"bodyKey": "spool/1"}
    assert "body" not in event.raw_event


def test_every_event_has_an_id_of_its_own():
    assert http().request_context.request_id != http().request_context.request_id
    topic = "arn:aws:sns:us-east-1:123456789012:Success"
    message_ids = {events.sns(topic, "")["Records"][0]["Sns"]["MessageId"] for _ in range(2)}
    assert len(message_ids) == 2


def test_what_sagemaker_tells_first_is_no_result():
    message = '{"eventName": "TestNotification", "eventSource": "aws:sagemaker"}'
    test = events.sns("arn:aws:sns:us-east-1:123456789012:Success", message)
    assert list(async_results(test)) == []


def _is_utc(timestamp: str) -> bool:
    offset = datetime.fromisoformat(timestamp).utcoffset()
    return offset is not None and not offset
