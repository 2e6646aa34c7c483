"""One HTTP request: who asks, and what for."""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any, BinaryIO

import msgspec

from backburner.domain.errors import InvalidRequest, NotFound, TooLarge
from backburner.domain.quota import UNLIMITED, Quota, Rate
from backburner.domain.request import Instant
from backburner.ports import Environment
from backburner.services import keys, quotas
from backburner.wire import bodies
from backburner.wire.jsonlines import NESTING

Event = Mapping[str, Any]

#: What our ids look like; anything else names nothing.
_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")
_NUMBER = re.compile(r"[0-9]{1,9}")

_decode = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request whose key is valid."""

    env: Environment
    event: Event
    tenant: str
    #: Method and path, without the names of the stage and of the alias.
    route: str = ""
    arrived_at: Instant = 0.0
    #: What its tenant may use.
    quota: Quota = UNLIMITED
    #: How the tenant's minute stands; None: it isn't counted.
    rate: Rate | None = None

    def header(self, name: str) -> str:
        return header(self.event, name)

    @property
    def request_id(self) -> str:
        """Names the request and its answer."""
        context = self.event.get("requestContext") or {}
        return str(context.get("requestId") or "req_unknown")

    @property
    def can_stream(self) -> bool:
        """Whether the gateway takes an answer that comes piece by piece."""
        return bool(_of_gateway(self.event).get("streams"))

    def query(self, name: str) -> str | None:
        return (self.event.get("queryStringParameters") or {}).get(name)

    def number(self, name: str, *, least: int, most: int) -> int | None:
        """A number of the query; None if it is not given."""
        given = self.query(name)
        if given is None:
            return None
        if not _NUMBER.fullmatch(given) or not least <= int(given) <= most:
            raise InvalidRequest(f"'{name}' must be a number from {least} to {most}.", param=name)
        return int(given)

    def after(self) -> str | None:
        """The id that a page of a list begins after."""
        return self.id("after")

    def id(self, name: str) -> str | None:
        """An id of the query; None if it is not given."""
        given = self.query(name)
        if given is not None and not _ID.fullmatch(given):
            raise InvalidRequest(f"'{name}' must be an id.", param=name)
        return given

    def body(self) -> dict[str, Any]:
        """The body as a JSON object."""
        return read_object(self.raw_body())

    def raw_body(self, limit: int | None = None) -> bytes:
        """The body, up to so many bytes; the most of a line if no limit is given."""
        limit = limit or self.env.limits.line_bytes
        if body_key(self.event) is None:
            data = _inline(self.event)
        else:
            with open_body(self.event, self.env) as stream:
                data = stream.read(limit + 1)
        if len(data) > limit:
            raise TooLarge(f"The body is larger than the limit of {limit} bytes.")
        return data


def authenticate(env: Environment, event: Event, route: str = "") -> Call:
    """Find out whose request it is, and count it; raises Unauthenticated, RateLimited."""
    arrived_at = env.clock.now()
    known = keys.authenticate(env, _secret(event))
    quota = known.quota or env.limits.quota
    return Call(
        env=env,
        event=event,
        tenant=known.tenant,
        route=route,
        arrived_at=arrived_at,
        quota=quota,
        rate=quotas.take_request(env, known.tenant, quota),
    )


def _secret(event: Event) -> str | None:
    scheme, _, bearer = header(event, "authorization").strip().partition(" ")
    given = bearer.strip() if scheme.lower() == "bearer" else ""
    given = given or header(event, "x-api-key") or header(event, "api-key")
    # A key is ASCII; anything else would not even encode.
    return given if given.isascii() else "?"


def header(event: Event, name: str) -> str:
    """A header's value, by its name in lower case; empty if there is none."""
    return str((event.get("headers") or {}).get(name) or "")


def checked_id(given: str) -> str:
    """The id that a path names; raises NotFound for what can't be one."""
    if not _ID.fullmatch(given):
        raise NotFound("No such object.", param="id")
    return given


def read_object(data: bytes) -> dict[str, Any]:
    """Read a JSON object; raises InvalidRequest."""
    try:
        body = _decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise InvalidRequest("The body is not valid JSON.", code="invalid_json") from None
    if not isinstance(body, dict):
        raise InvalidRequest("The body must be a JSON object.")
    if bodies.nesting(body) > NESTING:
        raise InvalidRequest(f"The body is nested deeper than {NESTING} levels.")
    return body


def body_key(event: Event) -> str | None:
    """Key of the object that the body is in, where the gateway put a large one aside."""
    return _of_gateway(event).get("bodyKey")


def _of_gateway(event: Event) -> Mapping[str, Any]:
    """What the gateway of one machine says beyond what API Gateway does."""
    context = event.get("requestContext") or {}
    return context.get("backburner") or {}


@contextmanager
def open_body(event: Event, env: Environment) -> Iterator[BinaryIO]:
    """Stream the body in, wherever it is."""
    key = body_key(event)
    if key is not None:
        with env.blobs.read(key) as stream:
            yield stream
        return
    yield BytesIO(_inline(event))


def _inline(event: Event) -> bytes:
    """The body of an event that holds it."""
    body = str(event.get("body") or "")
    if not event.get("isBase64Encoded"):
        return body.encode(errors="surrogatepass")
    try:
        return base64.b64decode(body)
    except (binascii.Error, ValueError):
        raise InvalidRequest("The body is not valid base64.") from None
