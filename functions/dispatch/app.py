"""SQS dispatch queue → hand waiting shards of a pool to its backend, as slots allow."""

from typing import Any

from aws_lambda_powertools.utilities.batch import (
    BatchProcessor,
    EventType,
    process_partial_response,
)
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from backburner.bootstrap import environment
from backburner.services.dispatch import dispatch


def record_handler(record: SQSRecord) -> None:
    message = record.json_body
    dispatch(environment(), message["pool"])


def handler(event: dict[str, Any], context: Any) -> Any:
    # A processor holds the state of one event, and handlers may run side by side.
    processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)
    return process_partial_response(event, record_handler, processor, context)
