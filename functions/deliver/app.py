"""SQS deliver queue → tell one target that a batch ended."""

from typing import Any

from aws_lambda_powertools.utilities.batch import (
    BatchProcessor,
    EventType,
    process_partial_response,
)
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from backburner.bootstrap import environment
from backburner.domain.delivery import Channel
from backburner.services.deliver import deliver


def record_handler(record: SQSRecord) -> None:
    message = record.json_body
    deliver(environment(), message["tenant"], message["batch_id"], Channel(message["channel"]))


def handler(event: dict[str, Any], context: Any) -> Any:
    # A processor holds the state of one event, and handlers may run side by side.
    processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)
    return process_partial_response(event, record_handler, processor, context)
