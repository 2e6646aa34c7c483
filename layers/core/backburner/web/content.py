"""What is in a file: whole, a range of its bytes, or some of its lines, while it is written too."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO

from backburner.domain.errors import NotFound, TooLarge
from backburner.domain.file import StoredFile
from backburner.services import files, results
from backburner.web.answer import Answer
from backburner.web.call import Call
from backburner.web.errors import RangeNotSatisfiable
from backburner.wire.openai import custom_id_of

#: Most bytes of a file that are answered at once; as base64 they must fit into Lambda's 6 MB.
INLINE_BYTES = 4 * 1024 * 1024
#: How long the link to a larger file works.
LINK_SECONDS = 3600

#: One range of bytes; more at once are answered with the whole, as RFC 9110 (14.2) allows.
_RANGE = re.compile(r"bytes=([0-9]{1,18})?-([0-9]{1,18})?")

_MOST = 999_999_999


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which lines a client wants."""

    #: Lines that it has; None: it did not ask for lines.
    offset: int | None = None
    limit: int | None = None
    #: Only lines whose custom_id has this in it; they alone count then.
    search: str = ""

    @classmethod
    def of(cls, call: Call, *, offset: str = "offset") -> "Wanted":
        """What the query says, in which the offset may have another name."""
        return cls(
            call.number(offset, least=0, most=_MOST),
            call.number("limit", least=1, most=_MOST),
            call.query("search") or "",
        )

    @property
    def is_whole(self) -> bool:
        return self.offset is None and self.limit is None and not self.search


def content(call: Call, file_id: str) -> Answer:
    """`GET /v1/files/{id}/content`."""
    wanted = Wanted.of(call)
    try:
        return _content(call, file_id, wanted)
    except NotFound:
        if not files.got_no_line(call.env, call.tenant, file_id):
            raise
        # Who read on while the batch ran gets to the end of this file, too.
        return _inline(b"", last_line=wanted.offset or 0, is_incomplete=False)


def _content(call: Call, file_id: str, wanted: Wanted) -> Answer:
    found = files.find_or_running(call.env, call.tenant, file_id)
    if isinstance(found, StoredFile):
        return _stored(call, found, wanted)
    batch, name = found
    skip = wanted.offset or 0
    lines = results.rendered(
        call.env, batch, successes=name == "output", skip=skip, search=wanted.search
    )
    try:
        return answer_lines(lines, wanted, is_running=True)
    except NotFound:  # the batch ended meanwhile, and what it was made of is gone
        return _stored(call, files.find(call.env, call.tenant, file_id), wanted)


def answer_lines(left: Iterable[bytes], wanted: Wanted, *, is_running: bool) -> Answer:
    """As many whole lines as are wanted and fit into an answer, but at least one.

    Args:
        left: the lines after the offset.
        wanted: by the client.
        is_running: whether there will be more.
    """
    taken: list[bytes] = []
    size = 0
    has_more = is_running
    for line in left:
        is_full = size + len(line) > INLINE_BYTES or len(taken) == wanted.limit
        if taken and is_full:
            has_more = True
            break
        taken.append(line)
        size += len(line)
    last = (wanted.offset or 0) + len(taken)
    return _inline(b"".join(taken), last_line=last, is_incomplete=has_more)


def _stored(call: Call, file: StoredFile, wanted: Wanted) -> Answer:
    blobs = call.env.blobs
    key = file.key or files.blob_key(file.tenant, file.id)
    if not wanted.is_whole:
        skip = wanted.offset or 0
        start, skip = (0, skip) if wanted.search else file.place_of(skip)
        with blobs.read(key, start=start) as stream:
            return answer_lines(_lines(stream, wanted.search, skip), wanted, is_running=False)
    size = file.size
    asked = _RANGE.fullmatch(call.header("range")) if not call.header("if-range") else None
    if asked is not None and any(asked.groups()):
        first, after = _span(asked[1], asked[2], size)
        if first >= after:
            raise RangeNotSatisfiable(size=size)
        if after - first <= INLINE_BYTES:
            return _part(blobs.get(key, start=first, length=after - first), first, size)
    elif size <= INLINE_BYTES:
        data = blobs.get(key)
        has_tail = bool(data) and not data.endswith(b"\n")
        return _inline(data, last_line=data.count(b"\n") + has_tail, is_incomplete=False)
    # Whoever asked for a range asks for it there as well.
    link = blobs.presign(key, seconds=LINK_SECONDS, filename=file.filename)
    return Answer(status=302, headers={"location": link, "x-incomplete": "false"})


def _lines(stream: BinaryIO, search: str, skip: int) -> Iterator[bytes]:
    """Lines of a file, of which none is held in memory that would not fit into an answer."""
    return islice(_found(stream, search), skip, None)


def _found(stream: BinaryIO, search: str) -> Iterator[bytes]:
    while line := stream.readline(INLINE_BYTES + 1):
        if len(line) > INLINE_BYTES:
            raise TooLarge(
                f"A line has more than {INLINE_BYTES} bytes: read the file without 'offset', "
                "'limit' and 'search'.",
                param="offset",
            )
        if not search or results.is_named(search, custom_id_of(line)):
            yield line


def _span(first: str | None, last: str | None, size: int) -> tuple[int, int]:
    """First byte of a range, and the byte after its last one (RFC 9110, 14.1.2)."""
    if first is None:
        return max(0, size - int(last or 0)), size
    return int(first), min(size, int(last) + 1) if last is not None else size


def _part(data: bytes, first: int, size: int) -> Answer:
    headers = {**_HEADERS, "content-range": f"bytes {first}-{first + len(data) - 1}/{size}"}
    return Answer(status=206, body=data, headers=headers)


_HEADERS = {
    "content-type": "application/jsonl",
    "content-disposition": "attachment",
    "x-content-type-options": "nosniff",
    "accept-ranges": "bytes",
}


def _inline(data: bytes, *, last_line: int, is_incomplete: bool) -> Answer:
    headers = {
        **_HEADERS,
        "x-incomplete": str(is_incomplete).lower(),
        "x-last-line": str(last_line),
    }
    return Answer(body=data, headers=headers)
