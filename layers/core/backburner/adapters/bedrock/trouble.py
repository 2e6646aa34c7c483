"""Bedrock's refusals and failures, in our words.

Classified by code, never by HTTP status: 400 is a conflict, a quota and a mistake alike (reference
page `bedrock.md` §1). What its operator has to mend costs no request anything: the shard waits.
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
from backburner.domain.errors import (
    BackendError,
    BackendFull,
    BackendRefused,
    BackendThrottled,
    BackendUnready,
)

#: What is raised where there was no connection to send anything over.
NOT_SENT = (EndpointConnectionError, ConnectTimeoutError, ProxyConnectionError)

MISSING = frozenset({"ResourceNotFoundException"})
#: Codes of an answer to something that is over, or is none of ours.
PAST = frozenset({"ValidationException", "ConflictException", "ResourceNotFoundException"})

_THROTTLED = frozenset(
    {"ThrottlingException", "Throttling", "TooManyRequestsException", "RequestLimitExceeded"}
)
_FULL = "ServiceQuotaExceededException"
#: Codes after which nobody knows whether a job was created.
_UNKNOWN = frozenset(
    {"InternalServerException", "InternalFailure", "ServiceUnavailableException", "RequestTimeout"}
)

_TAKEN = re.compile(r"already (exists|in use|used|been used)", re.IGNORECASE)

#: What is wrong with the requests themselves, and would be again.
_INPUT_FAULTS = re.compile(
    r"\brecords?\b|malformed|invalid json|not valid json|jsonl|file size|too large", re.IGNORECASE
)

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Hint:
    """What an operator may do about a message of Bedrock's."""

    pattern: re.Pattern[str]
    text: str


def _hint(pattern: str, text: str) -> _Hint:
    return _Hint(re.compile(pattern, re.IGNORECASE), text)


#: Reference page `bedrock.md` §5 and §7.
_HINTS = (
    _hint(
        r"passrole",
        "the function may not pass the role: deploy with RunBedrockJobs, or allow iam:PassRole",
    ),
    _hint(r"modelId|model identifier", "jobs.model_id of the catalog names no model of the Region"),
    _hint(
        r"GetObject|PutObject|ListBucket|S3|bucket",
        "the jobs' role must reach the bucket, and its KMS key if it has one (kms:Decrypt, "
        "kms:GenerateDataKey): Bedrock does not say so where the key is why",
    ),
    _hint(
        r"inference.?profile|InvokeModel",
        "the jobs' role needs bedrock:InvokeModel on the inference profile, and on the model in "
        "each of its Regions",
    ),
    _hint(r"\brole\b|assume", "the jobs' role must trust bedrock.amazonaws.com"),
    _hint(
        r"model|not supported|doesn't support",
        "see that jobs.model_id can run batch jobs in this Region, and that access to it is given",
    ),
)


def code_of(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def is_taken(error: ClientError) -> bool:
    """Whether there is such a job already: whether names are unique is documented nowhere."""
    code, message = code_of(error), str(error.response.get("Error", {}).get("Message", ""))
    is_said = code == "ValidationException" and _TAKEN.search(message) is not None
    return code == "ConflictException" or is_said


def turned(error: ClientError, model: Model) -> BackendError:
    """Why a job was not created, as one of our errors."""
    code, message = code_of(error), str(error.response.get("Error", {}).get("Message", ""))
    # Nothing in it is of a request: what is asked is not looked at before the job runs.
    _logger.warning(
        "job.refused model=%s code=%s hint=%s message=%s",
        model.name,
        code,
        _hint_for(message),
        message,
    )
    if code == _FULL:
        return BackendFull("Bedrock has as many jobs of this model as the account may have.")
    if code in _UNKNOWN:
        return BackendError("Bedrock failed; whether it took the job is unknown.")
    if code == "ValidationException" and _INPUT_FAULTS.search(message):
        return BackendRefused("Bedrock takes no job of these requests.")
    if code in _THROTTLED:
        return BackendThrottled("Bedrock asks for fewer calls.")
    return BackendUnready("Bedrock did not take the job.")


def no_role(model: Model) -> BackendError:
    """The error of a stack that has models on Bedrock, and no role for their jobs."""
    _logger.warning("job.refused model=%s hint=deploy with RunBedrockJobs", model.name)
    return BackendUnready("This stack runs no jobs of Bedrock.")


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a job that ended brought nothing."""

    #: In words that a client may see.
    reason: str
    #: Whether another job would bring no more.
    is_final: bool = False


_ENDINGS = {
    "Expired": Ending("The job waited for its turn until its time was over."),
    "PartiallyCompleted": Ending("The job's time was over before any request was run."),
    "Stopped": Ending("The job was stopped before any request was run."),
}
_EMPTY = Ending("The job ended without a result.")
_FAILED = Ending("The model's batch job failed.")
_NO_ACCESS = Ending("The batch job could not reach its files: its operator has to see to that.")
_BAD_INPUT = Ending("The model's batch jobs do not take these requests.", is_final=True)

_ACCESS = re.compile(
    r"access|permission|GetObject|PutObject|ListBucket|\bkms\b|\brole\b|assume", re.IGNORECASE
)


def ending(job_arn: str, status: str, message: str) -> Ending:
    """Say why a job brought nothing; Bedrock's own words, with the account's id, go to the log."""
    _logger.warning(
        "job.brought_nothing job=%s status=%s hint=%s message=%s",
        job_arn,
        status,
        _hint_for(message),
        message,
    )
    if status != "Failed":
        return _ENDINGS.get(status, _EMPTY)
    if _ACCESS.search(message):
        return _NO_ACCESS
    return _BAD_INPUT if _INPUT_FAULTS.search(message) else _FAILED


def _hint_for(message: str) -> str:
    return next((hint.text for hint in _HINTS if hint.pattern.search(message)), "none")
