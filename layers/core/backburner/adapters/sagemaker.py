"""SageMaker asynchronous inference as a Backend: one invocation a shard.

Facts: `InvokeEndpointAsync` (API reference) takes up to 128,000 bytes inline, or an
`InputLocation`; `S3OutputPathExtension` and `Filename` name the output object, so that a repeated
call overwrites its own result instead of making a second one. It has no idempotency token, and no
API tells how an invocation goes: the result's object, or its absence, is all there is to look at.
"""

import logging
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ProxyConnectionError,
)

from backburner.adapters.clients import Clients
from backburner.domain.catalog import Model
from backburner.domain.errors import BackendError, BackendThrottled
from backburner.domain.shard import AttemptRef, Shard
from backburner.ports import AttemptState, Blobs, Limits, Look, Room, Submitted

#: Largest inline body (API reference, InvokeEndpointAsync, Body).
INLINE_BYTES = 128_000

VARIANT = "AllTraffic"

#: Answers after which nothing was enqueued: the call was refused before that.
_NOT_STARTED = range(400, 500)
_UNAVAILABLE = 503
#: What is raised where there was no connection to send anything over.
_NOT_SENT = (EndpointConnectionError, ConnectTimeoutError, ProxyConnectionError)

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class SageMakerAsync:
    """The asynchronous endpoints of one account and Region."""

    clients: Clients
    blobs: Blobs
    limits: Limits
    #: Prefix that the endpoint configuration gives as S3OutputPath, as a key.
    output_prefix: str = "async/output/"

    def submit(self, shard: Shard, model: Model, payload: bytes | str) -> Submitted:
        # What is an object already is not read here to be sent inline: SageMaker reads it as fast.
        is_inline = isinstance(payload, bytes) and len(payload) <= INLINE_BYTES
        source: dict[str, Any] = (
            {"Body": payload}
            if is_inline
            else {"InputLocation": self.blobs.uri(self._input_key(shard, payload))}
        )
        try:
            with self.clients.invoking() as client:
                answer = client.invoke_endpoint_async(
                    EndpointName=model.endpoint,
                    **_told(shard),
                    InferenceId=str(shard.ref),
                    S3OutputPathExtension=_extension(shard),
                    Filename=_filename(shard),
                    RequestTTLSeconds=self.limits.request_ttl_seconds,
                    InvocationTimeoutSeconds=self.limits.invocation_timeout_seconds,
                    **source,
                )
        except ClientError as error:
            raise _turned(error, model) from error
        except _NOT_SENT as error:
            raise BackendThrottled("SageMaker could not be reached.") from error
        except BotoCoreError as error:
            raise BackendError("SageMaker did not answer.") from error
        output = answer.get("OutputLocation")
        return Submitted(
            output_location=output if output != self.blobs.uri(self._output_key(shard)) else None,
            failure_location=answer.get("FailureLocation"),
        )

    def look(self, shard: Shard) -> Look:
        key = self._output_key(shard)
        if shard.output_location is not None:
            key = self.blobs.key_of(shard.output_location) or key
        if self.blobs.stat(key) is not None:
            return Look(state=AttemptState.SUCCEEDED, result_key=key)
        failure = self.blobs.key_of(shard.failure_location) if shard.failure_location else None
        if failure is not None and self.blobs.stat(failure) is not None:
            return Look(state=AttemptState.FAILED)
        return Look(state=AttemptState.UNKNOWN)

    def stop(self, shard: Shard) -> None:
        """Nothing: SageMaker has no call that takes an invocation back."""

    def attempt_of(self, job: str) -> AttemptRef | None:  # noqa: ARG002
        """None: an invocation is no job, and its notification names the attempt."""
        return None

    def instances(self, model: Model) -> int | None:
        try:
            endpoint = self.clients.sagemaker.describe_endpoint(EndpointName=model.endpoint)
        except (ClientError, BotoCoreError) as error:
            raise BackendError(f"{model.endpoint} can't be described.") from error
        variants = endpoint.get("ProductionVariants", [])
        return sum(
            max(v.get("CurrentInstanceCount", 0), v.get("DesiredInstanceCount", 0))
            for v in variants
        )

    def room(self, model: Model) -> Room | None:  # noqa: ARG002
        """None: instances limit the slots, and the catalog knows both."""
        return None

    def wake(self, model: Model, wanted: int) -> None:
        """Set the capacity at once; the policies take over from there.

        Refused while the endpoint is being created or updated.
        """
        try:
            self.clients.sagemaker.update_endpoint_weights_and_capacities(
                EndpointName=model.endpoint,
                DesiredWeightsAndCapacities=[
                    {"VariantName": VARIANT, "DesiredInstanceCount": wanted}
                ],
            )
        except (ClientError, BotoCoreError) as error:
            raise BackendError(f"{model.endpoint} can't be scaled now.") from error

    def _input_key(self, shard: Shard, payload: bytes | str) -> str:
        if isinstance(payload, str):
            return payload
        key = f"batches/{shard.tenant}/{shard.batch_id}/inputs/{shard.id}.jsonl"
        self.blobs.put(key, payload, content_type="application/jsonl")
        return key

    def _output_key(self, shard: Shard) -> str:
        return f"{self.output_prefix}{_extension(shard)}/{_filename(shard)}"


def _told(shard: Shard) -> dict[str, Any]:
    """What the container is told of the body."""
    if not shard.is_raw:
        return {"ContentType": "application/jsonl", "Accept": "application/jsonl"}
    told = {
        "ContentType": shard.content_type,
        "Accept": shard.accept,
        "CustomAttributes": shard.custom_attributes,
    }
    return {name: value for name, value in told.items() if value is not None}


def _extension(shard: Shard) -> str:
    return f"{shard.tenant}/{shard.batch_id}"


def _filename(shard: Shard) -> str:
    """At most 32 characters with one dot; one name an attempt."""
    return f"{shard.id}-a{shard.attempt}.out"


def _turned(error: ClientError, model: Model) -> BackendError:
    """SageMaker's error as one of ours.

    A 4xx is a throttle, or a mistake in the set-up that its operator will mend: nothing is wrong
    with the shard, which we built. A 503 is taken as not enqueued, although that is not documented.
    """
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    code = error.response.get("Error", {}).get("Code", "")
    _logger.warning(
        "invocation.refused endpoint=%s status=%s code=%s", model.endpoint, status, code
    )
    if status in _NOT_STARTED or status == _UNAVAILABLE:
        return BackendThrottled("SageMaker did not take the invocation.")
    return BackendError("SageMaker failed; whether it took the invocation is unknown.")
