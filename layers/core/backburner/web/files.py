"""The routes of files; that of their content is in `content`."""

from collections.abc import Iterable

import msgspec

from backburner.domain.errors import InvalidRequest, Rejected, StateConflict
from backburner.domain.file import FilePurpose, StoredFile
from backburner.services import files, records
from backburner.web.answer import Answer
from backburner.web.call import Call, open_body
from backburner.web.forms import Form, read_form
from backburner.web.once import created, digest, is_replay
from backburner.wire import objects
from backburner.wire.objects import Object

#: Seconds that files may be kept (OpenAI's API reference, "Files", `expires_after`).
EXPIRY_MIN_SECONDS, EXPIRY_MAX_SECONDS = 3600, 30 * 86400

#: Most files on one page (OpenAI's API reference), and most bytes that they take: Lambda answers
#: 6 MB at most, in which the page is a text whose quotes are escaped.
_MOST, _PAGE_BYTES = 10_000, 5_500_000


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
                quota=call.quota,
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
    limit = call.number("limit", least=1, most=_MOST) or _MOST
    found, has_more = files.page(
        call.env,
        call.tenant,
        after=call.after(),
        limit=limit,
        newest_first=order == "desc",
        purpose=call.query("purpose"),
    )
    shown = _fitting(map(objects.file_object, found))
    return objects.page_object(shown, has_more=has_more or len(shown) < len(found))


def _fitting(given: Iterable[Object]) -> list[Object]:
    """As many as fit into an answer; the client asks for the rest."""
    shown: list[Object] = []
    size = 0
    for one in given:
        data = msgspec.json.encode(one)
        size += len(data) + data.count(b'"') + data.count(b"\\") + 1
        if size > _PAGE_BYTES:
            break
        shown.append(one)
    return shown


def retrieve(call: Call, file_id: str) -> Object:
    """`GET /v1/files/{id}`."""
    found = files.find_or_running(call.env, call.tenant, file_id)
    if isinstance(found, StoredFile):
        return objects.file_object(found)
    batch, name = found
    return objects.running_file_object(batch, file_id, name)


def delete(call: Call, file_id: str) -> Object:
    """`DELETE /v1/files/{id}`."""
    if not isinstance(files.find_or_running(call.env, call.tenant, file_id), StoredFile):
        raise StateConflict("The batch that writes this file still runs.", param="id")
    files.delete(call.env, call.tenant, file_id)
    return objects.deleted_object(file_id, "file")
