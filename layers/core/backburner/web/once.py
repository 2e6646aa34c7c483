"""Creating routes: a request that comes again gets the first one's answer."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import BinaryIO, TypeVar

from backburner.domain.errors import InvalidRequest
from backburner.ports import Item
from backburner.services import once
from backburner.web.answer import Answer
from backburner.web.call import Call
from backburner.wire.objects import Object

T = TypeVar("T")

KEY_HEADER = "idempotency-key"
#: How often the clients of OpenAI and Anthropic have asked already; they send no key by themselves.
RETRIES_HEADER = "x-stainless-retry-count"

_KEY_LENGTH = 255

#: Tells an answer that is given again, in the word that Stripe's API has for it.
_REPLAYED = "idempotent-replayed"


def created(
    call: Call,
    payload: str,
    *,
    make: Callable[[once.Note | None], T],
    read: Callable[[Item], T],
    show: Callable[[T], Object],
) -> Answer:
    """Answer with what the request makes, or with what it made when it came first.

    Args:
        call: the request.
        payload: digest of all that it says.
        make: makes it; the note goes into the same transaction.
        read: the value of an item, as it was noted.
        show: the body of the answer.
    """
    value, is_known = made_once(call, payload, make=make, read=read)
    answer = Answer(body=show(value))
    return as_replay(answer) if is_known else answer


def made_once(
    call: Call,
    payload: str,
    *,
    make: Callable[[once.Note | None], T],
    read: Callable[[Item], T],
) -> tuple[T, bool]:
    """What the request makes, or made when it came first; and whether it did. As `created`."""
    return once.create(call.env, _asked(call, payload), make, read)


def as_replay(answer: Answer) -> Answer:
    """The answer, marked as that of an earlier request."""
    return replace(answer, headers={**answer.headers, _REPLAYED: "true"})


def is_replay(answer: Answer) -> bool:
    """Whether the answer is that of an earlier request."""
    return _REPLAYED in answer.headers


def _asked(call: Call, payload: str) -> once.Asked | None:
    """By what the request is known; None where it has nothing that a second one would have too."""
    name = call.header(KEY_HEADER)
    if name and (len(name) > _KEY_LENGTH or not name.isascii() or not name.isprintable()):
        raise InvalidRequest(
            f"'Idempotency-Key' must be 1 to {_KEY_LENGTH} printable ASCII characters.",
            param="Idempotency-Key",
        )
    retries = call.header(RETRIES_HEADER)
    if not name and not retries:
        return None
    return once.Asked(
        tenant=call.tenant,
        route=call.route,
        payload=payload,
        arrived_at=call.arrived_at,
        name=name or None,
        is_retry=retries not in ("", "0"),
    )


def digest(*parts: bytes | str) -> str:
    """Of all that a request says."""
    whole = hashlib.sha256()
    for part in parts:
        data = part.encode(errors="surrogatepass") if isinstance(part, str) else part
        whole.update(b"%d:" % len(data))
        whole.update(data)
    return whole.hexdigest()


def digest_of(stream: BinaryIO) -> str:
    """Of a body that is too large to be held."""
    return hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]
