"""Raw requests: their answers are kept as they come, and no byte of them is read here."""

from contextlib import suppress
from dataclasses import dataclass

import msgspec

from backburner.domain.errors import InvalidRequest, NotFound
from backburner.domain.request import Outcome
from backburner.domain.shard import AttemptRef, Shard
from backburner.ports import Environment

#: Number and name of the only request.
LINE, CUSTOM_ID = 1, "request"

#: Of what the model's server says of a failure, so much is read.
_SAID_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer that is kept."""

    key: str
    #: None: nobody told.
    content_type: str | None


def body_key(tenant: str, request_id: str) -> str:
    """Where the body of a request is put, unless it is small."""
    return f"batches/{tenant}/{request_id}/body"


def keep(
    env: Environment,
    shard: Shard,
    ref: AttemptRef,
    result_key: str,
    *,
    content_type: str | None,
) -> Answer | None:
    """Copy the answer of an attempt to where the request's objects are; None: it is not there."""
    key = f"batches/{shard.tenant}/{shard.batch_id}/results/{shard.id}-a{ref.attempt}"
    try:
        env.blobs.copy(result_key, key)
    except NotFound:
        return None
    return Answer(key=key, content_type=content_type)


def outcome(env: Environment, answer: Answer | None) -> Outcome:
    """What became of the request: it was answered, or the answer is missing."""
    if answer is None:
        (missing,) = env.shards.outcomes({LINE: CUSTOM_ID}, iter(()))
        return missing
    return Outcome(line=LINE, custom_id=CUSTOM_ID, status_code=200)


def failure(
    env: Environment, shard: Shard, *, code: str, reason: str, status_code: int | None
) -> Outcome:
    """What became of the request: the model's server answered with a status and words of its own.

    Without a status, no answer of the server is known.
    """
    if status_code is None:
        return Outcome(line=LINE, custom_id=CUSTOM_ID, code=code, message=reason)
    said = _said(env, shard) or reason
    error = {"message": said, "status": status_code}
    return Outcome(
        line=LINE,
        custom_id=CUSTOM_ID,
        status_code=status_code,
        body=msgspec.json.encode({"error": error}),
    )


def _said(env: Environment, shard: Shard) -> str:
    """The server's own words, as text; empty if there are none."""
    key = env.blobs.key_of(shard.failure_location) if shard.failure_location else None
    data = b""
    with suppress(NotFound, InvalidRequest):
        data = env.blobs.get(key, length=_SAID_BYTES) if key else b""
    text = data.decode(errors="replace").strip()
    with suppress(msgspec.DecodeError):
        found = msgspec.json.decode(data)
        error = found.get("error") if isinstance(found, dict) else None
        given = error.get("message") if isinstance(error, dict) else error
        if isinstance(given, str) and given:
            return given
    return text
