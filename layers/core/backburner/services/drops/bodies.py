"""Anything else: the object is the body of a raw request, which reads it where it lies."""

import logging
import mimetypes
import re
from pathlib import PurePosixPath

from backburner.domain.batch import RAW_ROUTE, BatchKind
from backburner.domain.errors import Conflict, InvalidRequest, NotFound, TooLarge
from backburner.ports import Environment
from backburner.services import raw, records, singles
from backburner.services.drops import taking
from backburner.services.drops.taking import Dropped, Replaced

_logger = logging.getLogger(__name__)

#: What S3 and other programs say of what they know nothing about.
_UNKNOWN = frozenset({None, "", "application/octet-stream", "binary/octet-stream"})

#: Longest location that SageMaker takes (API reference, InvokeEndpointAsync, InputLocation), and
#: characters that mean the same whether or not it takes it for a URL, which is not documented.
_LOCATION_LENGTH = 1024
_PLAIN = re.compile(r"[A-Za-z0-9!_.*'()/=,:@&$;-]+")


def take(env: Environment, one: Dropped) -> None:
    """Make a raw request of the object.

    It is not copied, unless its key has odd characters. So it must stay until the request
    has ended; what is put there meanwhile is what the model reads.

    Raises:
        Rejected: no model takes it.
        Replaced: it is gone.
    """
    model = one.model or taking.only_model(env, RAW_ROUTE)
    if not one.stat.size:
        raise InvalidRequest("The file is empty.")
    if one.stat.size > env.limits.raw_bytes:
        raise TooLarge(f"A request has at most {env.limits.raw_bytes} bytes.")
    request_id = env.ids.new(records.PREFIXES[BatchKind.REQUEST])
    new = singles.NewRaw(
        request_id=request_id,
        model=model.name,
        content_type=content_type(one),
        body_key=one.key if _can_be_told(env.blobs.uri(one.key)) else None,
        completion_window=one.asked.window if one.asked.window is not None else taking.WINDOW,
        metadata=one.metadata(etag=one.stat.etag[:512]),
        priority=one.asked.priority or 0,
        dropped_key=one.key,
    )
    singles.check_raw(env, new)
    copied = None
    if new.body_key is None:
        copied = raw.body_key(env.drop_tenant, request_id)
        _copy(env, one, copied)
    try:
        singles.submit_raw(env, env.drop_tenant, new, note=one.note)
    except Conflict:
        taken = taking.taken_by(env, one)
        if copied is not None and (taken is None or taken.id != request_id):
            env.blobs.delete(copied)
        if taken is None:  # nobody took it: S3 tells again
            raise
        return
    _logger.info("drop.taken key=%s request=%s", one.key, request_id)


def content_type(one: Dropped) -> str:
    """What who put it there said, or else what its name says."""
    said = one.stat.content_type
    if said not in _UNKNOWN:
        return str(said)
    name = PurePosixPath(one.key).name
    return mimetypes.guess_type(name, strict=False)[0] or "application/octet-stream"


def _can_be_told(location: str) -> bool:
    """Whether the location can stand in a header of HTTP, and be read there in one way alone."""
    return len(location) <= _LOCATION_LENGTH and _PLAIN.fullmatch(location) is not None


def _copy(env: Environment, one: Dropped, target: str) -> None:
    try:
        env.blobs.copy(one.key, target)
    except NotFound as error:
        raise Replaced from error
