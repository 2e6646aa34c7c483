"""Routes whose clients expect an answer at once: each call becomes a request of its own.

| the client says | it gets |
|---|---|
| `Prefer: respond-async` | 202 at once, and where to read the result |
| `Prefer: wait=n`, with or without `respond-async` | the result, or 202 after n seconds |
| nothing | the result, or 504 after the longest wait; asked again, it waits for the same request |

Who never heard of `Prefer` can't read a 202: its client would take the body for a result without
a text. A 504 is an error to it, and official clients repeat it with the same body and a count of
their tries, by which they find the request that they made first.
"""

from dataclasses import dataclass
from typing import Any

from backburner.domain.batch import Batch, BatchKind
from backburner.domain.errors import InvalidRequest
from backburner.domain.request import Request
from backburner.services import batches, records, singles, waiting
from backburner.services.fitting import is_too_long
from backburner.web import errors, preference, requests
from backburner.web.answer import Answer
from backburner.web.batches import priority_of
from backburner.web.call import Call, read_object
from backburner.web.once import as_replay, digest, made_once
from backburner.wire import bodies
from backburner.wire.anthropic import params
from backburner.wire.openai import read_request

#: What the only request is called.
CUSTOM_ID = "request"

#: Of requests somebody waits for: the shorter it is, the sooner a slot is given to them.
WINDOW = "1h"

_PROMPTS = {
    bodies.CHAT: "messages",
    bodies.COMPLETIONS: "prompt",
    bodies.EMBEDDINGS: "input",
    requests.MESSAGES: "messages",
}


def ask(call: Call) -> Answer:
    """`POST` to one of the routes."""
    _, _, route = call.route.partition(" ")
    preferred = preference.read(call.header("prefer"), most_seconds=call.env.limits.wait_seconds)
    data = call.raw_body()
    request = _request(data, route)
    _check_model(call, request, member=_PROMPTS[route])
    options = options_of(call, window=WINDOW)
    single = singles.NewSingle(
        kind=BatchKind.REQUEST,
        request=request,
        route=route,
        completion_window=options.completion_window,
        metadata=options.metadata,
        priority=options.priority,
        callback_url=options.callback_url,
    )
    batch, is_replay = made_once(
        call,
        digest(repr(options), data),
        make=lambda note: singles.submit_single(
            call.env, call.tenant, single, note=note, quota=call.quota
        ),
        read=records.to_batch,
    )
    return answer(call, batch, preferred, is_replay=is_replay)


def answer(
    call: Call, batch: Batch, preferred: preference.Preference, *, is_replay: bool
) -> Answer:
    """Wait as long as the client likes, and answer as it understands."""
    seconds = preferred.wait_seconds
    is_silent = seconds is None and not preferred.is_async
    if seconds is None:
        seconds = call.env.limits.wait_seconds if is_silent else 0.0
    seen = waiting.until_ended(call.env, batch, seconds=seconds)
    if is_silent and not seen.is_terminal:
        answered = _not_yet(call, seen)
    else:
        shards = batches.shards(call.env, seen)
        answered = (
            requests.result(call, seen, shards)
            if seen.is_terminal
            else requests.pending(call, seen, shards, applied=preferred.applied())
        )
    return as_replay(answered) if is_replay else answered


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a request is run, by its query: the body is the model's alone."""

    completion_window: str
    priority: Any
    metadata: dict[str, str]
    callback_url: str | None


def options_of(call: Call, *, window: str) -> Options:
    """The options; checked by whoever takes the request.

    Args:
        call: the request.
        window: that it has if it names none.
    """
    address = call.query("notify_email")
    return Options(
        completion_window=call.query("completion_window") or window,
        priority=priority_of({"priority": call.query("priority")}, {}),
        metadata={"notify_email": address} if address is not None else {},
        callback_url=call.query("callback_url"),
    )


def _request(data: bytes, route: str) -> Request:
    body = read_object(data)
    if route == requests.MESSAGES:
        return params.parse(body, line=1, custom_id=CUSTOM_ID)
    return read_request(route, body, data, line=1, custom_id=CUSTOM_ID)


def _check_model(call: Call, request: Request, *, member: str) -> None:
    """Refuse what the model can't run."""
    model = singles.direct_model(call.env, request.model)
    if request.route not in model.routes:
        raise InvalidRequest(
            f"The model '{model.name}' does not serve {request.route}.", param="model"
        )
    if request.has_images and not model.takes_images:
        raise InvalidRequest(f"The model '{model.name}' takes no images.", param=member)
    if is_too_long(call.env, request, model, dialect="openai"):
        raise InvalidRequest(
            "The prompt and 'max_tokens' do not fit into the model's context window of "
            f"{model.context_window} tokens.",
            param=member,
            code="context_length_exceeded",
        )


def _not_yet(call: Call, batch: Batch) -> Answer:
    """For clients that know no 202: an error that tells where the result will be."""
    url = requests.url_of(call, batch)
    failed = errors.failed(
        504,
        f"The model has not answered yet. The request goes on: read its result at {url}, or send "
        "'Prefer: respond-async' to get that address at once.",
        code="still_running",
        path=batch.route,
        request_id=call.request_id,
    )
    return Answer(status=504, body=failed.body, headers={"location": url, "retry-after": "1"})
