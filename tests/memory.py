"""Blobs, queues, ids, mail and receivers in memory: a world without a disk."""

import hashlib
import io
import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

from backburner.domain.errors import InvalidRequest, NotFound
from backburner.domain.request import Instant
from backburner.ports import BlobStat, Clock, HookAnswer, Mail
from backburner_local.adapters.messages import MAX_RECEIVES, Counts, Message
from backburner_local.adapters.queue import MAX_DELAY_SECONDS
from backburner_local.adapters.signing import Signer

MAX_KEY_BYTES = 1024


class MemoryBlobs:
    """Objects by key."""

    def __init__(self, bucket: str, clock: Clock, sign_key: bytes, public_url: str) -> None:
        self._prefix = f"s3://{bucket}/"
        self.objects: dict[str, tuple[BlobStat, bytes]] = {}
        self.puts = 0
        self._signer = Signer(clock, sign_key, bucket, public_url)

    def put(self, key: str, data: bytes, *, content_type: str = "application/octet-stream") -> None:
        _check(key)
        self.puts += 1
        self.objects[key] = (BlobStat(key=key, size=len(data), etag=f"{self.puts:x}"), data)

    def put_all(self, objects: Mapping[str, bytes]) -> None:
        for key, data in objects.items():
            self.put(key, data)

    @contextmanager
    def write(
        self, key: str, *, content_type: str = "application/octet-stream"
    ) -> Iterator[BinaryIO]:
        _check(key)
        out = io.BytesIO()
        yield out
        self.put(key, out.getvalue())

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        return self._find(key)[start : None if length is None else start + length]

    @contextmanager
    def read(self, key: str, *, start: int = 0) -> Iterator[BinaryIO]:
        yield io.BytesIO(self._find(key)[start:])

    def stat(self, key: str) -> BlobStat | None:
        return self.objects[key][0] if key in self.objects else None

    def copy(self, source: str, target: str) -> BlobStat:
        return self.compose(target, [source])

    def compose(self, target: str, parts: Sequence[str]) -> BlobStat:
        self.put(target, b"".join(self._find(part) for part in parts))
        return self.objects[target][0]

    def delete(self, *keys: str) -> None:
        for key in keys:
            self.objects.pop(key, None)

    def list(self, prefix: str) -> Iterator[BlobStat]:
        for key in sorted(key for key in self.objects if key.startswith(prefix)):
            if key in self.objects:
                yield self.objects[key][0]

    def uri(self, key: str) -> str:
        return self._prefix + key

    def key_of(self, uri: str) -> str | None:
        return uri.removeprefix(self._prefix) or None if uri.startswith(self._prefix) else None

    def presign(
        self,
        key: str,
        *,
        seconds: int,
        filename: str | None = None,
        content_type: str | None = None,
    ) -> str:
        return self._signer.presign(
            key, seconds=seconds, filename=filename, content_type=content_type
        )

    def presign_upload(self, key: str, *, seconds: int) -> str:
        return self._signer.presign_upload(key, seconds=seconds)

    def verify(self, path_and_query: str) -> str | None:
        return self._signer.verify(path_and_query)

    def verify_upload(self, path_and_query: str) -> str | None:
        return self._signer.verify_upload(path_and_query)

    def _find(self, key: str) -> bytes:
        if key not in self.objects:
            raise NotFound(f"No such object: {key[:100]!r}.")
        return self.objects[key][1]


def _check(key: str) -> None:
    try:
        is_key = 0 < len(key.encode()) <= MAX_KEY_BYTES
    except UnicodeEncodeError:
        is_key = False
    if not is_key:
        raise InvalidRequest(f"{key[:100]!r} can't be a key.")


@dataclass
class Sent:
    """A message, and where it is on its way."""

    message: Message
    visible_at: Instant
    is_dead: bool = False


class MemoryQueue:
    """Messages by id, of all queues."""

    def __init__(self, clock: Clock, *, max_receives: Mapping[str, int] | None = None) -> None:
        self._clock = clock
        self._max_receives = dict(max_receives or {})
        self.sent: dict[str, Sent] = {}
        self.sends = 0
        self._lock = threading.RLock()

    def send(self, queue: str, body: Mapping[str, Any], *, delay_seconds: float = 0) -> None:
        if not 0 <= delay_seconds <= MAX_DELAY_SECONDS:
            raise ValueError(f"A delay of {delay_seconds} s; it is 0 to {MAX_DELAY_SECONDS} s.")
        now = self._clock.now()
        with self._lock:
            self.sends += 1
            message = Message(
                id=f"{self.sends}",
                queue=str(queue),
                body=json.dumps(body),
                receives=0,
                receipt="0",
                sent_at=now,
            )
            self.sent[message.id] = Sent(message, now + delay_seconds)

    def receive(self, queue: str, max_messages: int, visibility_seconds: float) -> list[Message]:
        now = self._clock.now()
        with self._lock:
            visible = sorted(
                (one for one in self._of(queue) if not one.is_dead and one.visible_at <= now),
                key=lambda one: (one.visible_at, int(one.message.id)),
            )
            return list(self._received(visible[:max_messages], now + visibility_seconds))

    def _received(self, visible: list[Sent], hidden_until: Instant) -> Iterator[Message]:
        for one in visible:
            before = one.message
            if before.receives >= self._max_receives.get(before.queue, MAX_RECEIVES):
                one.is_dead = True
                continue
            receives = before.receives + 1
            receipt = f"{int(before.receipt) + 1}"
            one.message = replace(before, receives=receives, receipt=receipt)
            one.visible_at = hidden_until
            yield one.message

    def delete(self, messages: Iterable[Message]) -> None:
        with self._lock:
            for message in messages:
                if self._holds(message):
                    del self.sent[message.id]

    def release(self, message: Message, delay_seconds: float = 0) -> None:
        with self._lock:
            if self._holds(message):
                self.sent[message.id].visible_at = self._clock.now() + delay_seconds

    def dead_letters(self, queue: str) -> list[Message]:
        return [one.message for one in self._of(queue) if one.is_dead]

    def redrive(self, queue: str) -> int:
        dead = [one for one in self._of(queue) if one.is_dead]
        for one in dead:
            one.is_dead, one.visible_at = False, self._clock.now()
            one.message = replace(one.message, receives=0)
        return len(dead)

    def counts(self, queue: str) -> Counts:
        live = [one for one in self._of(queue) if not one.is_dead]
        now = self._clock.now()
        in_flight = sum(one.visible_at > now and one.message.receives > 0 for one in live)
        dead = len(self.dead_letters(queue))
        return Counts(waiting=len(live) - in_flight, in_flight=in_flight, dead=dead)

    def visible_at(self) -> list[float]:
        """When each message may be received, but for the dead ones."""
        return [one.visible_at for one in self.sent.values() if not one.is_dead]

    def _of(self, queue: str) -> list[Sent]:
        return [one for one in self.sent.values() if one.message.queue == queue]

    def _holds(self, message: Message) -> bool:
        """Whether nobody received the message since then."""
        one = self.sent.get(message.id)
        return one is not None and not one.is_dead and one.message.receipt == message.receipt


class MemoryIds:
    """Ids, secrets and random numbers that are the same in every run."""

    def __init__(self) -> None:
        #: How many of each.
        self.made: Counter[str] = Counter()

    def new(self, kind: str) -> str:
        return f"{kind}_{self._next('id'):020d}"

    def secret(self) -> str:
        return hashlib.sha256(f"secret {self._next('secret')}".encode()).hexdigest()

    def random(self) -> float:
        return random.Random(self._next("random")).random()

    def _next(self, what: str) -> int:
        self.made[what] += 1
        return self.made[what]


class MemoryMailer:
    """Mails by their id."""

    def __init__(self) -> None:
        self.sent: dict[str, list[Mail]] = {}

    def send(self, mail: Mail) -> None:
        self.sent.setdefault(mail.message_id, []).append(mail)


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """One attempt at a webhook, as its receiver saw it."""

    url: str
    headers: Mapping[str, str]
    body: bytes
    #: Whether it was answered well.
    is_taken: bool = False

    @property
    def event(self) -> Any:
        return json.loads(self.body)


class MemoryReceiver:
    """Every receiver that there is: keeps what it is told, and answers as it is told to."""

    may_be_local = False

    def __init__(self) -> None:
        self.posted: list[Posted] = []
        self.answer: Callable[[Posted], HookAnswer] = lambda _: HookAnswer(status=200)

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> HookAnswer:
        posted = Posted(url=url, headers=dict(headers), body=body)
        answer = self.answer(posted)
        self.posted.append(replace(posted, is_taken=answer.is_success))
        return answer
