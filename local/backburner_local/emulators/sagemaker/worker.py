"""One invocation at one instance: fetch the input, call the container, judge its answer."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import Iterable
from dataclasses import dataclass

import aiohttp

from backburner_local.emulators.objects import Objects, split_location
from backburner_local.emulators.sagemaker.instance import Instance
from backburner_local.emulators.sagemaker.invocation import Invocation
from backburner_local.emulators.sagemaker.knobs import Knobs

#: A container whose response headers are longer fails on asynchronous endpoints.
MAX_HEADER_BYTES = 4096

NO_CONTENT_LENGTH = (
    "The response from container primary did not specify the required Content-Length header"
)
LONG_HEADERS = (
    "Response received from the primary container has headers with length greater than 4096 bytes."
    " Reduce the length of your container's response headers and update your endpoint."
)
#: The sentences below are ours, in the manner of the known ones: AWS's were never captured.
TIMED_OUT = "Your invocation timed out while waiting for a response from container primary."
EXPIRED = "The request expired: it stayed longer in the queue than RequestTTLSeconds."
UNREADABLE = "The response from container primary could not be read."
LOST = "The instances that worked on the request were lost."

#: Objects up to this size are read and written on the event loop when they are local, and sent in
#: one piece.
_SMALL_BYTES = 256 * 1024
#: Seconds a process may take to be seen dead after its connection broke.
_DEATH_IS_SEEN_WITHIN = 0.5

#: Headers we do not want aiohttp to add: the container gets only what SageMaker forwards.
_NOT_ADDED = frozenset(
    {
        aiohttp.hdrs.ACCEPT,
        aiohttp.hdrs.ACCEPT_ENCODING,
        aiohttp.hdrs.CONTENT_TYPE,
        aiohttp.hdrs.USER_AGENT,
    }
)


class InstanceLost(Exception):  # noqa: N818 - not the invocation's error
    """The instance went away with the invocation."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an invocation."""

    #: None when it succeeded, else ``failureReason``.
    reason: str | None
    #: What the container answered; None when it gave no usable answer.
    response: bytes | None = None
    content_type: str | None = None
    #: Metrics that count it beyond InvocationFailures.
    metrics: tuple[str, ...] = ()


def failure(sentence: str, *metrics: str, response: bytes | None = None) -> Outcome:
    return Outcome(reason=f"ClientError: {sentence}", response=response, metrics=metrics)


async def fetch(objects: Objects, location: str) -> bytes:
    """The input object.

    Raises:
        ObjectUnavailable: it cannot be had.
    """
    bucket, key = split_location(location)
    if objects.is_local and objects.size(bucket, key) <= _SMALL_BYTES:
        return objects.get(bucket, key)
    return await asyncio.to_thread(objects.get, bucket, key)


async def store(objects: Objects, location: str, body: bytes, content_type: str | None) -> None:
    """Write an output or failure object.

    Raises:
        ObjectUnavailable: it cannot be written.
    """
    bucket, key = split_location(location)
    if objects.is_local and len(body) <= _SMALL_BYTES:
        objects.put(bucket, key, body, content_type)
    else:
        await asyncio.to_thread(objects.put, bucket, key, body, content_type)


async def invoke(
    session: aiohttp.ClientSession,
    instance: Instance,
    invocation: Invocation,
    body: bytes,
    knobs: Knobs,
) -> Outcome:
    """The container's answer, judged by the rules of asynchronous endpoints.

    Raises:
        InstanceLost: the instance died or was stopped before it answered.
    """
    try:
        async with (
            asyncio.timeout(invocation.timeout_seconds * knobs.time_scale),
            session.post(
                f"{instance.url}/invocations",
                data=body if len(body) <= _SMALL_BYTES else io.BytesIO(body),
                headers=_headers(invocation),
                skip_auto_headers=_NOT_ADDED,
            ) as response,
        ):
            answer = await response.read()
            return judge(response.status, response.raw_headers, answer)
    except TimeoutError:
        return failure(TIMED_OUT)
    except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, ConnectionError) as error:
        if await is_lost(instance):
            raise InstanceLost from error
        return failure(UNREADABLE)
    except aiohttp.ClientError:
        return failure(UNREADABLE)


def judge(status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> Outcome:
    """What SageMaker makes of a response."""
    length, names = 0, {}
    for name, value in headers:
        length += len(name) + len(value) + 4  # ": " and the line's end
        names[name.lower()] = value
    if not 200 <= status < 300:
        return failure(
            f"Received {'client' if status < 500 else 'server'} error ({status}) from model."
            " See the SageMaker Endpoint logs in your account for more information.",
            "Invocation4XXErrors" if status < 500 else "Invocation5XXErrors",
            response=body,
        )
    if b"content-length" not in names:
        return failure(NO_CONTENT_LENGTH)
    if length > MAX_HEADER_BYTES:
        return failure(LONG_HEADERS)
    content_type = names.get(b"content-type", b"").decode("latin-1") or None
    return Outcome(reason=None, response=body, content_type=content_type)


def _headers(invocation: Invocation) -> dict[str, str]:
    """Everything that SageMaker forwards to the container, and nothing else."""
    told = {
        "Content-Type": invocation.content_type,
        "Accept": invocation.accept,
        "X-Amzn-SageMaker-Custom-Attributes": invocation.custom_attributes,
        "X-Amzn-SageMaker-Inference-Id": invocation.inference_id,
    }
    return {name: value for name, value in told.items() if value is not None}


async def is_lost(instance: Instance) -> bool:
    """Whether a broken connection means a dying instance, not a container that hung up."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_DEATH_IS_SEEN_WITHIN):
            await instance.leaving.wait()
    return instance.leaving.is_set()
