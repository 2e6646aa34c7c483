"""The messages that SageMaker publishes to the success and error topics, byte for byte."""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from backburner_local.emulators.sagemaker.endpoint import (
    ERROR_NOTIFICATION_TOPIC,
    SUCCESS_NOTIFICATION_TOPIC,
    Endpoint,
)
from backburner_local.emulators.sagemaker.invocation import Invocation
from backburner_local.emulators.sagemaker.knobs import Knobs
from backburner_local.emulators.wire import iso_milliseconds

#: Larger responses are never put into a notification.
MAX_RESPONSE_BYTES = 128 * 1024
RESPONSE_MESSAGE = "Check S3 path location(if configured) or Cloudwatch for additional details."

TEST_NOTIFICATION = (
    '{"eventVersion":"1.0","eventSource":"aws:sagemaker","eventName":"TestNotification"}'
)


def completed(
    invocation: Invocation,
    endpoint: Endpoint,
    knobs: Knobs,
    *,
    at: float,
    response: bytes,
    content_type: str | None,
) -> str:
    """The notification of an invocation whose response the container gave with a 2xx."""
    message = _head(invocation, knobs, at, "Completed")
    message["requestParameters"] = _request(invocation)
    told = {"contentType": content_type, "outputLocation": invocation.output_location}
    message["responseParameters"] = {key: value for key, value in told.items() if value}
    if _is_included(response, endpoint, SUCCESS_NOTIFICATION_TOPIC):
        message["responseBody"] = _body(response)
    return _tail(message, invocation)


def failed(
    invocation: Invocation,
    endpoint: Endpoint,
    knobs: Knobs,
    *,
    at: float,
    reason: str,
    response: bytes | None,
) -> str:
    """The notification of an invocation that did not succeed, for whatever reason.

    Args:
        invocation: What was asked.
        endpoint: Of whom.
        knobs: Where the failure location goes.
        at: When it was over.
        reason: The sentence of ``failureReason``.
        response: The container's error body, None when there is none.
    """
    message = _head(invocation, knobs, at, "Failed")
    message["failureReason"] = reason
    message["requestParameters"] = _request(invocation)
    location = invocation.failure_location
    if location and knobs.failure_location_in == "response_parameters":
        message["responseParameters"] = {"failureLocation": location}
    if location and knobs.failure_location_in == "top_level":
        message["failureLocation"] = location
    if response is not None and _is_included(response, endpoint, ERROR_NOTIFICATION_TOPIC):
        message["responseBody"] = _body(response)
    return _tail(message, invocation)


def _head(invocation: Invocation, knobs: Knobs, at: float, status: str) -> dict[str, Any]:
    return {
        "awsRegion": knobs.region,
        "eventTime": iso_milliseconds(at),
        "receivedTime": iso_milliseconds(invocation.accepted_at),
        "invocationStatus": status,
    }


def _request(invocation: Invocation) -> dict[str, str]:
    """Only what the caller sent."""
    told = {
        "accept": invocation.accept,
        "contentType": invocation.content_type,
        "customAttributes": invocation.custom_attributes,
        "endpointName": invocation.endpoint,
        "inputLocation": invocation.input_location,
    }
    return {key: value for key, value in told.items() if value is not None}


def _is_included(response: bytes, endpoint: Endpoint, topic: str) -> bool:
    return len(response) <= MAX_RESPONSE_BYTES and topic in endpoint.include_inference_response_in


def _body(response: bytes) -> dict[str, str]:
    return {
        "content": base64.b64encode(response).decode(),
        "message": RESPONSE_MESSAGE,
        "encoding": "BASE64",
    }


def _tail(message: dict[str, Any], invocation: Invocation) -> str:
    message["inferenceId"] = invocation.inference_id
    message["eventVersion"] = "1.0"
    message["eventSource"] = "aws:sagemaker"
    message["eventName"] = "InferenceResult"
    return msgspec.json.encode(message).decode()
