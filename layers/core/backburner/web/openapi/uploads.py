"""What the routes of uploads take and answer."""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta

from backburner.services.uploads import MAX_PARTS
from backburner.web.openapi.batches import OutputExpiry
from backburner.web.openapi.files import File
from backburner.web.openapi.operation import Answer, Operation, Optional, Timestamp


class Upload(Answer):
    """A large file that comes in parts."""

    id: str
    object: Literal["upload"]
    bytes: Annotated[int, Meta(ge=1)]
    created_at: Timestamp
    expires_at: Timestamp
    filename: str
    purpose: Literal["batch"]
    status: Literal["pending", "completed", "cancelled", "expired"]
    file: File | None
    x_part_bytes: Annotated[int, Meta(description="Largest part that is taken.")]


class Part(Answer):
    """A part of an upload; the same content has the same id."""

    id: str
    object: Literal["upload.part"]
    created_at: Timestamp
    upload_id: str


class NewUpload(msgspec.Struct, kw_only=True):
    """What is going to come."""

    bytes: Annotated[int, Meta(ge=1)]
    filename: Annotated[str, Meta(min_length=1)]
    mime_type: Annotated[str, Meta(pattern="^[ -~]{1,255}$")]
    purpose: Literal["batch"]
    expires_after: OutputExpiry | Optional | None = UNSET


class NewPart(msgspec.Struct, kw_only=True):
    """A form with one part of the file."""

    data: Annotated[str, Meta(extra_json_schema={"format": "binary"})]


class PartsInOrder(msgspec.Struct, kw_only=True):
    """Which parts, in their order, make the file."""

    part_ids: Annotated[
        list[Annotated[str, Meta(pattern="^part_[0-9a-f]{40}$")]],
        Meta(min_length=1, max_length=MAX_PARTS),
    ]
    md5: Annotated[str, Meta(pattern="^[0-9A-Fa-f]{32}$")] | Optional | None = UNSET


OPERATIONS: dict[str, Operation] = {
    "POST /v1/uploads": Operation(
        summary="Begin an upload in parts", answer=Upload, body=NewUpload, is_idempotent=True
    ),
    "POST /v1/uploads/<upload_id>/parts": Operation(
        summary="Send a part",
        answer=Part,
        body=NewPart,
        body_type="multipart/form-data",
        errors=(404, 507),
    ),
    "POST /v1/uploads/<upload_id>/complete": Operation(
        summary="Make the parts a file", answer=Upload, body=PartsInOrder, errors=(404, 507)
    ),
    "POST /v1/uploads/<upload_id>/cancel": Operation(
        summary="Give an upload up", answer=Upload, errors=(400, 404)
    ),
}
