"""Server-sent events of one batch (HTML standard, "Server-sent events").

Where the gateway can stream, one answer lasts until the batch has ended. API Gateway hands over a
function's answer whole: there it waits for something new, tells it and ends, and the client comes
back with the id of the last event that it saw, as `EventSource` does by itself.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from backburner.domain.batch import Batch, BatchKind
from backburner.domain.change import Change, Seen
from backburner.services import batches as service
from backburner.services.watching import Watcher, has_seen_the_end
from backburner.web import batches, message_batches, preference
from backburner.web.answer import Answer
from backburner.web.call import Call

#: Proxies must neither keep an answer back nor keep it; the last is nginx's word for that.
_HEADERS = {
    "content-type": "text/event-stream",
    "cache-control": "no-store",
    "x-accel-buffering": "no",
}

#: A comment is sent after so long without an event, so that nobody takes the connection for dead.
HEARTBEAT_SECONDS = 15.0
_HEARTBEAT = b": nothing new\n\n"

#: When a client comes back: after a stream that broke, and after an answer that had to end. On AWS
#: each time is a call, and progress of a second ago is good enough.
_STREAM_RETRY, _ANSWER_RETRY = b"retry: 1000\n\n", b"retry: 5000\n\n"

#: The body of GET of a batch.
_Show = Callable[[Call, Batch], Any]


def batch_events(call: Call, batch_id: str) -> Answer:
    """`GET /v1/batches/{id}/events`."""
    return _events(call, batch_id, BatchKind.FILE, batches.as_it_stands)


def message_batch_events(call: Call, batch_id: str) -> Answer:
    """`GET /v1/messages/batches/{id}/events`."""
    return _events(call, batch_id, BatchKind.MESSAGES, message_batches.as_it_stands)


def _events(call: Call, batch_id: str, kind: BatchKind, show: _Show) -> Answer:
    batch = service.find(call.env, call.tenant, batch_id, kind=kind)
    seen = Seen.parse(call.header("last-event-id"))
    if has_seen_the_end(batch, seen):
        return Answer(status=204)  # which keeps an EventSource from coming back
    limits = call.env.limits
    if call.can_stream:
        wait = preference.read(call.header("prefer"), most_seconds=float("inf")).wait_seconds
        watcher = Watcher(call.env, batch, seen, seconds=wait)
        return Answer(headers=_HEADERS, stream=_Events(call, watcher, show))
    wait = preference.read(call.header("prefer"), most_seconds=limits.wait_seconds).wait_seconds
    watcher = Watcher(call.env, batch, seen, seconds=limits.wait_seconds if wait is None else wait)
    return Answer(headers=_HEADERS, body=_ANSWER_RETRY + _first_news(call, watcher, show))


def _first_news(call: Call, watcher: Watcher, show: _Show) -> bytes:
    """The next events, waited for; a comment where none came in time."""
    while True:
        news = _told(call, watcher, show)
        if news or watcher.is_over or not call.env.clock.sleep(watcher.next_pause()):
            return news or _HEARTBEAT


class _Events:
    """The events of one batch, as a gateway reads them."""

    def __init__(self, call: Call, watcher: Watcher, show: _Show) -> None:
        self._call = call
        self._watcher = watcher
        self._show = show
        self._has_begun = False
        self._sent_at = call.env.clock.now()

    def read(self) -> bytes | None:
        if self._has_begun and self._watcher.is_over:
            return None
        news = _told(self._call, self._watcher, self._show)
        if not self._has_begun:
            self._has_begun = True
            news = _STREAM_RETRY + news
        now = self._call.env.clock.now()
        if not news and now - self._sent_at >= HEARTBEAT_SECONDS:
            news = _HEARTBEAT
        if news:
            self._sent_at = now
        return news

    def next_pause(self) -> float:
        return 0.0 if self._watcher.is_over else self._watcher.next_pause()


def _told(call: Call, watcher: Watcher, show: _Show) -> bytes:
    """What is new, as lines of the stream; all of it shows the batch as it is now."""
    found = watcher.look()
    if not found:
        return b""
    batch = watcher.batch
    shown = show(call, batch)
    return b"".join(_event(call, batch, change, shown) for change in found)


def _event(call: Call, batch: Batch, change: Change, shown: Any) -> bytes:
    at = call.env.clock.now() if change.at is None else change.at
    name = f"{batch.kind.noun}.{change.name}"
    event = {"object": "event", "type": name, "created_at": int(at), "data": shown}
    data = msgspec.json.encode(event)  # in which no line ends
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (str(change.seen).encode(), name.encode(), data)
