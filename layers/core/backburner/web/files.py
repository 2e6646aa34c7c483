"""The routes of files."""

from collections.abc import Iterable
from contextlib import suppress
from itertools import islice

from backburner.domain.batch import Batch
from backburner.domain.errors import InvalidRequest, NotFound, Rejected, StateConflict
from backburner.domain.file import FilePurpose, StoredFile
from backburner.services import batches, files, records, results
from backburner.web.answer import Answer
from backburner.web.call import Call, open_body
from backburner.web.forms import Form, read_form
from backburner.web.once import created, digest, is_replay
from backburner.wire import objects
from backburner.wire.objects import Object

#: Most bytes of a file that are answered at once; as base64 they must fit into Lambda's 6 MB.
INLINE_BYTES = 4 * 1024 * 1024
#: How long the link to a larger file works.
LINK_SECONDS = 3600

#: Seconds that files may be kept (OpenAI's API reference, "Files", `expires_after`).
EXPIRY_MIN_SECONDS, EXPIRY_MAX_SECONDS = 3600, 30 * 86400

#: Most files on one page; more would be too large an answer.
_PAGE, _MOST = 1000, 10000

#: The file of a running batch: the batch, and which of its files.
_Running = tuple[Batch, str]


def upload(call: Call) -> Answer:
    """`POST /v1/files`: the content goes straight to its place; it counts once all was read."""
    env = call.env
    file_id = env.ids.new("file")
    key = files.blob_key(call.tenant, file_id)
    with (
        open_body(call.event, env) as body,
        env.blobs.write(key, content_type="application/jsonl") as file,
    ):
        form = read_form(body, call.header("content-type"), file, limit=env.limits.file_bytes)
        filename, purpose, seconds = _checked(form)
    kept = seconds if seconds is not None else env.limits.output_expires_seconds
    try:
        answer = created(
            call,
            # Not the body: clients that try again draw another boundary.
            digest(form.sha256, filename, purpose, str(seconds)),
            make=lambda note: files.add(
                env,
                call.tenant,
                file_id=file_id,
                filename=filename,
                purpose=purpose,
                size=form.size,
                line_count=form.line_count,
                sha256=form.sha256,
                expires_at=env.clock.now() + kept if kept else None,
                note=note,
            ),
            read=records.to_file,
            show=objects.file_object,
        )
    except Rejected:
        env.blobs.delete(key)
        raise
    if is_replay(answer):
        env.blobs.delete(key)
    return answer


def _checked(form: Form) -> tuple[str, FilePurpose, int | None]:
    if form.filename is None:
        raise InvalidRequest("The form has no part named 'file'.", param="file")
    if form.fields.get("purpose") != FilePurpose.BATCH:
        raise InvalidRequest("'purpose' must be 'batch'.", param="purpose")
    anchor = form.fields.get("expires_after[anchor]")
    seconds = form.fields.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return form.filename, FilePurpose.BATCH, None
    is_number = seconds is not None and seconds.isascii() and seconds.isdigit()
    number = int(seconds) if seconds and is_number and len(seconds) < 10 else None
    checked = checked_expiry(anchor, number, param="expires_after")
    return form.filename, FilePurpose.BATCH, checked


def checked_expiry(anchor: object, seconds: object, *, param: str) -> int:
    """Seconds after which a file goes; raises InvalidRequest that names the limits."""
    if anchor != "created_at":
        raise InvalidRequest(f"'{param}.anchor' must be 'created_at'.", param=param)
    is_number = isinstance(seconds, int) and not isinstance(seconds, bool)
    if not is_number or not EXPIRY_MIN_SECONDS <= seconds <= EXPIRY_MAX_SECONDS:  # type: ignore[operator]
        raise InvalidRequest(
            f"'{param}.seconds' must be an integer from {EXPIRY_MIN_SECONDS} to "
            f"{EXPIRY_MAX_SECONDS}.",
            param=param,
        )
    return int(seconds)  # type: ignore[call-overload,no-any-return]


def page(call: Call) -> Object:
    """`GET /v1/files`."""
    order = call.query("order") or "desc"
    if order not in ("asc", "desc"):
        raise InvalidRequest("'order' must be 'asc' or 'desc'.", param="order")
    limit = call.number("limit", least=1, most=_MOST) or _PAGE
    found, has_more = files.page(
        call.env,
        call.tenant,
        after=call.after(),
        limit=min(limit, _PAGE),
        newest_first=order == "desc",
        purpose=call.query("purpose"),
    )
    return objects.page_object(list(map(objects.file_object, found)), has_more=has_more)


def retrieve(call: Call, file_id: str) -> Object:
    """`GET /v1/files/{id}`."""
    found = _find(call, file_id)
    if isinstance(found, StoredFile):
        return objects.file_object(found)
    batch, name = found
    return objects.running_file_object(batch, file_id, name)


def delete(call: Call, file_id: str) -> Object:
    """`DELETE /v1/files/{id}`."""
    if not isinstance(_find(call, file_id), StoredFile):
        raise StateConflict("The batch that writes this file still runs.", param="id")
    files.delete(call.env, call.tenant, file_id)
    return objects.deleted_object(file_id, "file")


def content(call: Call, file_id: str) -> Answer:
    """`GET /v1/files/{id}/content`, from line `offset` on where that is given."""
    offset = call.number("offset", least=0, most=999_999_999)
    found = _find(call, file_id)
    if isinstance(found, StoredFile):
        return _stored(call, found, offset)
    batch, name = found
    lines = results.rendered(call.env, batch, successes=name == "output")
    try:
        data, last, _ = _take(lines, offset or 0)
    except NotFound:  # the batch ended meanwhile, and what it was made of is gone
        return _stored(call, files.find(call.env, call.tenant, file_id), offset)
    return _inline(data, last_line=last, is_incomplete=True)


def _find(call: Call, file_id: str) -> StoredFile | _Running:
    """The file, or the batch that still writes it; raises NotFound."""
    with suppress(NotFound):
        return files.find(call.env, call.tenant, file_id)
    running = _running(call, file_id)
    return running or files.find(call.env, call.tenant, file_id)


def _running(call: Call, file_id: str) -> _Running | None:
    named = files.batch_id_of(file_id)
    batch = batches.load(call.env, call.tenant, named[0]) if named is not None else None
    if named is None or batch is None or batch.is_terminal:
        return None
    is_its = file_id in (batch.output_file_id, batch.error_file_id)
    return (batch, named[1]) if is_its else None


def _stored(call: Call, file: StoredFile, offset: int | None) -> Answer:
    blobs = call.env.blobs
    key = file.key or files.blob_key(file.tenant, file.id)
    if offset is not None and file.purpose is FilePurpose.BATCH_OUTPUT:
        with blobs.read(key) as stream:
            data, last, has_more = _take(stream, offset)
        return _inline(data, last_line=last, is_incomplete=has_more)
    if file.size <= INLINE_BYTES:
        data = blobs.get(key)
        has_tail = bool(data) and not data.endswith(b"\n")
        return _inline(data, last_line=data.count(b"\n") + has_tail, is_incomplete=False)
    link = blobs.presign(key, seconds=LINK_SECONDS, filename=file.filename)
    return Answer(status=302, headers={"location": link, "x-incomplete": "false"})


def _take(lines: Iterable[bytes], offset: int) -> tuple[bytes, int, bool]:
    """Whole lines after the first `offset`, as many as fit into an answer but at least one.

    Returns:
        The lines, the number of the last one, and whether there are more.
    """
    taken: list[bytes] = []
    size = 0
    for line in islice(lines, offset, None):
        if taken and size + len(line) > INLINE_BYTES:
            return b"".join(taken), offset + len(taken), True
        taken.append(line)
        size += len(line)
    return b"".join(taken), offset + len(taken), False


def _inline(data: bytes, *, last_line: int, is_incomplete: bool) -> Answer:
    return Answer(
        body=data,
        headers={
            "content-type": "application/jsonl",
            "content-disposition": "attachment",
            "x-content-type-options": "nosniff",
            "x-incomplete": str(is_incomplete).lower(),
            "x-last-line": str(last_line),
        },
    )
