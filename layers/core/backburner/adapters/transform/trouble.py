"""SageMaker's refusals and failures of transform jobs, in our words.

Classified by code and by the beginning of what SageMaker says. What its operator has to mend costs
no request anything: the shard waits.
"""

import logging
import re
from dataclasses import dataclass

from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ProxyConnectionError,
)

from backburner.domain.catalog import Model
from backburner.domain.errors import BackendError, BackendFull, BackendThrottled, BackendUnready

#: What is raised where there was no connection to send anything over.
NOT_SENT = (EndpointConnectionError, ConnectTimeoutError, ProxyConnectionError)

#: There is such a job already: an earlier call made it.
TAKEN = "ResourceInUse"
#: Codes of an answer to something that is over, or was never there.
PAST = frozenset({"ValidationException", "ResourceNotFound"})

_FULL = "ResourceLimitExceeded"
_THROTTLED = frozenset(
    {"ThrottlingException", "Throttling", "TooManyRequestsException", "RequestLimitExceeded"}
)
#: Codes after which nobody knows whether a job was created.
_UNKNOWN = frozenset({"InternalFailure", "InternalServerError", "ServiceUnavailable"})
_SERVER_ERRORS = range(500, 600)

_MISSING = re.compile("could not find", re.IGNORECASE)

_logger = logging.getLogger(__name__)


def code_of(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _message_of(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Message", ""))


def is_missing(error: ClientError) -> bool:
    """Whether there is no such job: SageMaker has no code of its own for that."""
    code = code_of(error)
    is_said = code == "ValidationException" and _MISSING.search(_message_of(error)) is not None
    return code == "ResourceNotFound" or is_said


def turned(error: ClientError, model: Model) -> BackendError:
    """Why a job was not created, as one of our errors."""
    code, message = code_of(error), _message_of(error)
    # Nothing in it is of a request: inputs are not looked into before the job runs.
    _logger.warning(
        "job.refused model=%s code=%s hint=%s message=%s", model.name, code, _hint(message), message
    )
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code == _FULL:
        return BackendFull("The account has as many instances for transform jobs as it may have.")
    if code in _UNKNOWN or status in _SERVER_ERRORS:
        return BackendError("SageMaker failed; whether it took the job is unknown.")
    if code in _THROTTLED:
        return BackendThrottled("SageMaker asks for fewer calls.")
    return BackendUnready("SageMaker did not take the job.")


def not_set_up(model: Model) -> BackendError:
    """The error of a model that the catalog says too little of: its shards wait."""
    _logger.warning("job.refused model=%s hint=give it jobs.instance_type", model.name)
    return BackendUnready("The catalog does not say what runs jobs of the model.")


#: What an operator may do, by what SageMaker says.
_HINTS = (
    (
        re.compile("could not find model", re.IGNORECASE),
        "jobs.model_id of the catalog names no model",
    ),
    (re.compile("not authorized", re.IGNORECASE), "deploy with RunTransformJobs=true"),
    (
        re.compile("S3|bucket|access|role", re.IGNORECASE),
        "the model's execution role must reach the bucket, and its KMS key if it has one",
    ),
    (
        re.compile("instance|capacity", re.IGNORECASE),
        "see that jobs.instance_type is offered for transform jobs in this Region",
    ),
)


def _hint(message: str) -> str:
    return next((text for pattern, text in _HINTS if pattern.search(message)), "none")


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a job that ended brought nothing."""

    #: In words that a client may see.
    reason: str
    #: Whether another job would bring no more.
    is_final: bool = False


_STOPPED = Ending("The job was stopped before any request was run.")
_EMPTY = Ending("The job ended without a result.")
_FAILED = Ending("The model's transform job failed.")
_NO_CAPACITY = Ending("There were no instances for the transform job.")
_NO_ACCESS = Ending("The job could not reach its files: its operator has to see to that.")
_REFUSED = Ending("The model's container does not take these requests.", is_final=True)

_ACCESS = re.compile("access|permission|S3|KMS|role", re.IGNORECASE)


def ending(name: str, status: str, message: str) -> Ending:
    """Say why a job brought nothing; SageMaker's own words go to the log."""
    _logger.warning(
        "job.brought_nothing job=%s status=%s hint=%s message=%s",
        name,
        status,
        _hint(message),
        message,
    )
    if status != "Failed":
        return _STOPPED if status == "Stopped" else _EMPTY
    if message.startswith("CapacityError"):
        return _NO_CAPACITY
    if not message.startswith("ClientError"):
        return _FAILED
    # A container that refuses one object of a shard refuses the next as well.
    return _NO_ACCESS if _ACCESS.search(message) else _REFUSED
