"""SQS finalize queue → write a batch's files and end it."""

from typing import Any

from aws_lambda_powertools.utilities.batch import (
    BatchProcessor,
    EventType,
    process_partial_response,
)
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from backburner.bootstrap import environment
from backburner.services.finalize import finalize


def record_handler(record: SQSRecord) -> None:
    message = record.json_body
    finalize(environment(), message["tenant"], message["batch_id"])


def handler(event: dict[str, Any], context: Any) -> Any:
    # A processor holds the state of one event, and handlers may run side by side.
    processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)
    return process_partial_response(event, record_handler, processor, context)
