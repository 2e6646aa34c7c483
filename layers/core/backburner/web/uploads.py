"""The routes of uploads: large files in parts."""

import re
from typing import Any

from backburner.domain.errors import InvalidRequest, TooLarge
from backburner.domain.file import FilePurpose, StoredFile
from backburner.domain.upload import Upload
from backburner.services import quotas, records, uploads
from backburner.web.answer import Answer
from backburner.web.call import Call, open_body, read_object
from backburner.web.files import checked_expiry
from backburner.web.forms import clean_filename, read_form
from backburner.web.once import created, digest
from backburner.wire import objects
from backburner.wire.objects import Object

_MIMETYPE = re.compile(r"[!-~ ]{1,255}")
_PART_ID = re.compile(r"part_[0-9a-f]{40}")
_MD5 = re.compile(r"[0-9A-Fa-f]{32}")


def create(call: Call) -> Answer:
    """`POST /v1/uploads`: parts may come, for an hour."""
    data = call.raw_body()
    new = _asked_for(read_object(data), call.env.limits.file_bytes)
    quotas.check_room(call.env, call.tenant, new.size, call.quota)
    return created(
        call,
        digest(data),
        make=lambda note: uploads.create(call.env, call.tenant, new, note=note),
        read=records.to_upload,
        show=lambda upload: _shown(call, upload),
    )


def _asked_for(body: dict[str, Any], limit: int) -> uploads.NewUpload:
    if body.get("purpose") != FilePurpose.BATCH:
        raise InvalidRequest("'purpose' must be 'batch'.", param="purpose")
    return uploads.NewUpload(
        size=_size(body.get("bytes"), limit),
        filename=_filename(body.get("filename")),
        purpose=FilePurpose.BATCH,
        mimetype=_text(body.get("mime_type"), _MIMETYPE, "mime_type", "1 to 255 ASCII characters"),
        file_expires_seconds=_kept(body.get("expires_after")),
    )


def add_part(call: Call, upload_id: str) -> Object:
    """`POST /v1/uploads/{id}/parts`; a part that is sent twice is one part.

    The body is read twice: a part is named by what is in it.
    """
    env = call.env
    upload = uploads.find_open(env, call.tenant, upload_id)
    kind, limit = call.header("content-type"), env.limits.part_bytes
    with open_body(call.event, env) as body:
        form = read_form(body, kind, None, limit=limit, name="data")
    if form.filename is None:
        raise InvalidRequest("The form has no part named 'data'.", param="data")
    part_id = uploads.part_id(form.sha256)
    with (
        open_body(call.event, env) as body,
        env.blobs.write(uploads.part_key(upload, part_id)) as part,
    ):
        read_form(body, kind, part, limit=limit, name="data")
    uploads.receive(env, upload, part_id, form.size)
    return objects.part_object(part_id, upload.id, env.clock.now())


def complete(call: Call, upload_id: str) -> Object:
    """`POST /v1/uploads/{id}/complete`: the parts become a file, in the order that is given."""
    body = call.body()
    given = body.get("part_ids")
    if not isinstance(given, list) or not 0 < len(given) <= uploads.MAX_PARTS:
        raise InvalidRequest(
            f"'part_ids' must be a list of 1 to {uploads.MAX_PARTS} ids.", param="part_ids"
        )
    parts = [
        _text(one, _PART_ID, f"part_ids.{number}", "the id of a part")
        for number, one in enumerate(given)
    ]
    md5 = body.get("md5")
    if md5 is not None:
        md5 = _text(md5, _MD5, "md5", "32 hexadecimal digits")
    upload, file = uploads.complete(call.env, call.tenant, upload_id, parts, md5=md5)
    return _shown(call, upload, file)


def cancel(call: Call, upload_id: str) -> Object:
    """`POST /v1/uploads/{id}/cancel`; again is no error."""
    return _shown(call, uploads.cancel(call.env, call.tenant, upload_id))


def _shown(call: Call, upload: Upload, file: StoredFile | None = None) -> Object:
    status = upload.status_at(call.env.clock.now())
    return objects.upload_object(upload, status, file, part_bytes=call.env.limits.part_bytes)


def _size(given: Any, limit: int) -> int:
    if not isinstance(given, int) or isinstance(given, bool) or given < 1:
        raise InvalidRequest("'bytes' must be a positive integer.", param="bytes")
    if given > limit:
        raise TooLarge(f"'bytes' is {given}; a file has at most {limit} bytes.", param="bytes")
    return given


def _filename(given: Any) -> str:
    if not isinstance(given, str) or not given:
        raise InvalidRequest("'filename' must be a name.", param="filename")
    return clean_filename(given.encode(errors="replace"))


def _text(given: Any, form: re.Pattern[str], param: str, what: str) -> str:
    if not isinstance(given, str) or not form.fullmatch(given):
        raise InvalidRequest(f"'{param}' must be {what}.", param=param)
    return given


def _kept(given: Any) -> float | None:
    if given is None:
        return None
    if not isinstance(given, dict):
        raise InvalidRequest("'expires_after' must be an object.", param="expires_after")
    return checked_expiry(given.get("anchor"), given.get("seconds"), param="expires_after")
