"""Stream an object out: part by part, in constant memory."""

import io
import logging
from dataclasses import dataclass
from itertools import pairwise
from types import TracebackType
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from backburner.ports import BlobStat

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer
    from mypy_boto3_s3 import S3Client

#: Most parts of an object, and most bytes of one (user guide, "Multipart upload limits").
MAX_PARTS, MAX_PART_BYTES = 10_000, 5 * 1024**3

#: Parts after which the next ones are twice as large: an object of 8 GB takes 8 MiB of memory, and
#: all 10,000 parts hold 8 TB.
_DOUBLED_AFTER = 1000

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Bytes of the parts that large objects are written in."""

    #: Least of every part but the last: S3's limit (user guide, "Multipart upload limits").
    least: int = 5 * 1024 * 1024
    #: Sent at once; smaller objects are put in one piece.
    sent: int = 8 * 1024 * 1024
    #: Copied at once: one call must end before its time is over.
    copied: int = 256 * 1024 * 1024


class Upload(io.RawIOBase):
    """An object that is being written: it appears when it is finished, or never.

    Leaving its block without that removes the parts; should that fail too, the bucket's
    lifecycle rule does.
    """

    def __init__(
        self, s3: "S3Client", bucket: str, key: str, content_type: str, sizes: Sizes
    ) -> None:
        super().__init__()
        self._s3 = s3
        self._object: dict[str, Any] = {"Bucket": bucket, "Key": key}
        self._content_type = content_type
        self._sizes = sizes
        self._id: str | None = None
        self._is_finished = False
        self._parts: list[Any] = []
        #: Of the part that is being filled.
        self._buffer = io.BytesIO()
        #: Bytes that it still takes.
        self._room = sizes.sent

    @property
    def missing(self) -> int:
        """Bytes that must be written before an object can be copied in as parts of their own."""
        filled = self._buffer.tell()
        return max(0, self._sizes.least - filled) if filled else 0

    def writable(self) -> bool:
        return True

    def write(self, data: "ReadableBuffer", /) -> int:
        view = memoryview(data).cast("B")
        taken = 0
        while taken < len(view):
            written = self._buffer.write(view[taken : taken + self._room])
            taken += written
            self._room -= written
            if not self._room:
                self._send()
        return taken

    def copy(self, source: BlobStat, start: int) -> None:
        """Append an object from a byte on, by copies within S3.

        At least `least` bytes have to be left of it, and nothing may be `missing`.
        """
        if self._buffer.tell():
            self._send()
        left = source.size - start
        number = -(-left // max(self._sizes.copied, -(-left // (MAX_PARTS // 2))))
        bounds = [start + left * n // number for n in range(number + 1)]
        for first, after in pairwise(bounds):
            self._copy_part(source, first, after)

    def finish(self) -> str:
        """Let the object appear; returns its etag."""
        if self._id is None:
            answer = self._s3.put_object(
                **self._object, ContentType=self._content_type, Body=self._buffer.getvalue()
            )
            self._is_finished = True
            return answer["ETag"]
        if self._buffer.tell():
            self._send()
        done = self._s3.complete_multipart_upload(
            **self._object, UploadId=self._id, MultipartUpload={"Parts": self._parts}
        )
        self._is_finished = True
        return done["ETag"]

    def close(self) -> None:
        self._buffer.close()
        super().close()

    def __enter__(self) -> "Upload":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
        if self._id is None or self._is_finished:
            return
        try:
            self._s3.abort_multipart_upload(**self._object, UploadId=self._id)
        except (ClientError, BotoCoreError):
            _logger.warning("upload.left upload=%s", self._id, exc_info=True)

    def _part_bytes(self) -> int:
        """Bytes of the next part, if it is full."""
        size: int = self._sizes.sent << len(self._parts) // _DOUBLED_AFTER
        return min(size, MAX_PART_BYTES)

    def _send(self) -> None:
        data = self._buffer.getvalue()
        self._buffer = io.BytesIO()
        part = self._next_part()
        answer = self._s3.upload_part(**self._object, **part, Body=data)
        self._note(part["PartNumber"], answer)

    def _copy_part(self, source: BlobStat, first: int, after: int) -> None:
        part = self._next_part()
        answer = self._s3.upload_part_copy(
            **self._object,
            **part,
            CopySource={"Bucket": self._object["Bucket"], "Key": source.key},
            CopySourceRange=f"bytes={first}-{after - 1}",
            CopySourceIfMatch=source.etag,
        )
        self._note(part["PartNumber"], answer["CopyPartResult"])

    def _next_part(self) -> dict[str, Any]:
        if self._id is None:
            answer = self._s3.create_multipart_upload(
                **self._object, ContentType=self._content_type, ChecksumAlgorithm="CRC32"
            )
            self._id = answer["UploadId"]
        return {"UploadId": self._id, "PartNumber": len(self._parts) + 1}

    def _note(self, number: int, answer: Any) -> None:
        """Keep what completing has to name: with a checksum of the parts, S3 asks for each."""
        part = {"PartNumber": number, "ETag": answer["ETag"]}
        if checksum := answer.get("ChecksumCRC32"):
            part["ChecksumCRC32"] = checksum
        self._parts.append(part)
        self._room = self._part_bytes()
