"""The objects of a job: the requests of a shard, so many in each, and what comes of them.

They lie below the batch's own prefix, and go with the batch: they hold prompts and answers.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from backburner.adapters.job_names import attempt_name
from backburner.domain.shard import AttemptRef, Shard
from backburner.ports import Blobs

_INPUT = re.compile(r"batches/([^/]+)/([^/]+)/jobs/transform/in/([0-9]+)/([^/]+)-a([0-9]+)/")

_MEGABYTE = 1024 * 1024
#: Most objects that a job is cut into: each is a call to write.
_MOST_OBJECTS = 500
#: Bytes after which an object has enough, so that an instance gets several at once.
_OBJECT_BYTES = 16 * _MEGABYTE
#: Bytes, and objects, that are written at once: what this takes in memory.
_BYTES_AT_ONCE = 16 * _MEGABYTE
_OBJECTS_AT_ONCE = 50


@dataclass(frozen=True, slots=True)
class Place:
    """Where the objects of an attempt are."""

    ref: AttemptRef
    #: Requests of an object. In the name, so that an attempt whose job could not be created yet
    #: does not mix objects of two sizes, should the catalog change meanwhile.
    object_lines: int

    @classmethod
    def parse(cls, prefix: str | None) -> "Place | None":
        """The attempt whose input has this prefix; None: it is not one of ours."""
        match = _INPUT.fullmatch(prefix or "")
        if match is None:
            return None
        tenant, batch_id, lines, shard_id, attempt = match.groups()
        ref = AttemptRef(tenant=tenant, batch_id=batch_id, shard_id=shard_id, attempt=int(attempt))
        return cls(ref, int(lines))

    @property
    def input_prefix(self) -> str:
        return f"{self._folder}in/{self.object_lines}/{attempt_name(self.ref)}/"

    @property
    def output_prefix(self) -> str:
        return f"{self._folder}out/{attempt_name(self.ref)}/"

    @property
    def _folder(self) -> str:
        return f"batches/{self.ref.tenant}/{self.ref.batch_id}/jobs/transform/"

    def input_key(self, number: int) -> str:
        """Of the object with this number; in the order of their numbers."""
        return f"{self.input_prefix}{number:06d}.jsonl"


def lines_of_object(shard: Shard, usual: int) -> int:
    """Requests of one object of the shard's attempt.

    One request may have spoiled an object for all others in it: what is tried again is cut finer,
    and in the end each request is alone.
    """
    finer = usual if shard.attempt <= 1 else -(-usual // 10) if shard.attempt == 2 else 1
    return max(finer, -(-shard.line_count // _MOST_OBJECTS))


@dataclass(slots=True)
class Objects:
    """What was written."""

    count: int = 0
    largest_bytes: int = 0

    @property
    def largest_megabytes(self) -> int:
        """What the largest payload needs; SageMaker counts whole ones."""
        return max(1, -(-self.largest_bytes // _MEGABYTE))


def put_objects(blobs: Blobs, place: Place, requests: Iterable[bytes]) -> Objects:
    """Write the requests, in objects of so many; those of one attempt are always the same."""
    put = Objects()
    due: dict[str, bytes] = {}
    size = 0
    for data in _cut(requests, place.object_lines):
        put.count += 1
        put.largest_bytes = max(put.largest_bytes, len(data))
        due[place.input_key(put.count)] = data
        size += len(data)
        if size >= _BYTES_AT_ONCE or len(due) == _OBJECTS_AT_ONCE:
            blobs.put_all(due)
            due, size = {}, 0
    blobs.put_all(due)
    return put


def _cut(requests: Iterable[bytes], lines: int) -> Iterable[bytes]:
    held: list[bytes] = []
    size = 0
    for request in requests:
        if held and (len(held) == lines or size + len(request) > _OBJECT_BYTES):
            yield b"".join(held)
            held, size = [], 0
        held.append(request)
        size += len(request)
    if held:
        yield b"".join(held)
