"""What the routes of files take and answer."""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta

from backburner.web import files
from backburner.web.openapi.operation import (
    Answer,
    Operation,
    Optional,
    Page,
    Params,
    Timestamp,
)

ExpirySeconds = Annotated[int, Meta(ge=files.EXPIRY_MIN_SECONDS, le=files.EXPIRY_MAX_SECONDS)]


class File(Answer):
    """A file of one tenant: uploaded, or written by a batch."""

    id: str
    object: Literal["file"]
    bytes: Annotated[int, Meta(ge=0)]
    created_at: Timestamp
    expires_at: Timestamp | None
    filename: str
    purpose: Literal["batch", "batch_output"]
    status: Literal["processed"]
    status_details: None
    sample_type: Literal["batch_request", "batch_result"]
    source: Literal["upload", "mistral"]
    num_lines: int | None
    mimetype: str
    x_sha256: str | None
    #: Of a running batch: what is there is the finished part.
    x_incomplete: bool | Optional = UNSET


class DeletedFile(Answer):
    """What is left of a deleted file."""

    id: str
    object: Literal["file"]
    deleted: Literal[True]


class NewFile(msgspec.Struct, kw_only=True):
    """A form; its parts may come in any order."""

    file: Annotated[str, Meta(extra_json_schema={"format": "binary"})]
    purpose: Literal["batch"]
    expires_after_anchor: Literal["created_at"] | Optional = msgspec.field(
        name="expires_after[anchor]", default=UNSET
    )
    expires_after_seconds: ExpirySeconds | Optional = msgspec.field(
        name="expires_after[seconds]", default=UNSET
    )


class ListFiles(Params):
    """Which files, and in which order."""

    after: Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,100}$")] | Optional = UNSET
    limit: Annotated[int, Meta(ge=1, le=10000)] | Optional = UNSET
    order: Literal["asc", "desc"] | Optional = UNSET
    purpose: str | Optional = UNSET


class Content(Params):
    """Which lines; all of them, if nothing is said."""

    limit: Annotated[int, Meta(ge=1, le=999_999_999)] | Optional = UNSET
    search: (
        Annotated[str, Meta(description="Only lines whose custom_id has this in it.")] | Optional
    ) = UNSET


class FileContent(Content):
    """From where on, too."""

    offset: (
        Annotated[
            int, Meta(ge=0, le=999_999_999, description="Lines of a result file to leave out.")
        ]
        | Optional
    ) = UNSET


OPERATIONS: dict[str, Operation] = {
    "POST /v1/files": Operation(
        summary="Upload a file",
        answer=File,
        body=NewFile,
        body_type="multipart/form-data",
        is_idempotent=True,
    ),
    "GET /v1/files": Operation(summary="List files", answer=Page[File], query=ListFiles),
    "GET /v1/files/<file_id>": Operation(summary="Show one file", answer=File, errors=(404,)),
    "DELETE /v1/files/<file_id>": Operation(
        summary="Delete a file", answer=DeletedFile, errors=(400, 404)
    ),
    "GET /v1/files/<file_id>/content": Operation(
        summary="Read a file's content",
        answer=bytes,
        answer_type="application/jsonl",
        query=FileContent,
        errors=(404, 413, 416),
        takes_ranges=True,
        may_redirect=True,
    ),
}
