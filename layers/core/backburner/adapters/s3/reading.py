"""Stream an object in, over as many connections as it takes."""

import io
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError, HTTPClientError, IncompleteReadError
from urllib3.exceptions import HTTPError

from backburner.adapters.s3.names import code_of, no_such
from backburner.domain.errors import Busy

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client

#: Connections in a row that may break without a byte having come.
TRIES = 4

#: What reading raises where the connection breaks. botocore lets some of urllib3's pass.
_BROKEN = (HTTPClientError, IncompleteReadError, HTTPError, OSError)
#: Bytes read at once where all are wanted: what a break may cost.
_CHUNK_BYTES = 1024 * 1024


class Download(io.RawIOBase):
    """The bytes of one object, or of a range of it, as it was when it was opened.

    A connection that breaks is replaced, and reading goes on where it stood: S3 drops those that
    are read slowly. Raises NotFound, and Busy if the object was replaced before such a break.
    """

    def __init__(
        self,
        s3: "S3Client",
        bucket: str,
        key: str,
        start: int = 0,
        length: int | None = None,
        *,
        etag: str | None = None,
    ) -> None:
        """Open the object.

        Args:
            s3: the client.
            bucket: its bucket.
            key: its key.
            start: first byte.
            length: number of bytes, at least 1; None: all that follow.
            etag: of the one content that is wanted; None: whatever there is.
        """
        super().__init__()
        self._s3, self._bucket, self._key = s3, bucket, key
        self._position = start
        self._end = None if length is None else start + length
        self._etag = etag
        self._body: StreamingBody | None = None
        self._connect()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        view = memoryview(buffer).cast("B")
        data = self._take(len(view))
        view[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        return b"".join(iter(lambda: self._take(_CHUNK_BYTES), b""))

    def close(self) -> None:
        """Give the connection back; one that was not read to its end is closed."""
        self._disconnect()
        super().close()

    def _take(self, size: int) -> bytes:
        """At most so many bytes; none at the end."""
        tries = 0
        while self._body is not None:
            try:
                data = self._body.read(size)
            except _BROKEN:
                tries += 1
                self._disconnect()
                if self._position == self._end:
                    break
                if tries == TRIES:
                    raise
                self._connect()
                continue
            self._position += len(data)
            if not data:  # checked by botocore: the length, and the checksum where there is one
                self._disconnect()
            return data
        return b""

    def _connect(self) -> None:
        asked: dict[str, Any] = {}
        if self._position or self._end is not None:
            asked["Range"] = f"bytes={self._position}-{'' if self._end is None else self._end - 1}"
        if self._etag is not None:
            asked["IfMatch"] = self._etag
        try:
            answer = self._s3.get_object(Bucket=self._bucket, Key=self._key, **asked)
        except ClientError as error:
            code = code_of(error)
            if code == "InvalidRange":  # it begins behind the end
                return
            if code == "NoSuchKey":
                raise no_such(self._key) from error
            if code == "PreconditionFailed":
                raise Busy(f"The object '{self._key}' was replaced while it was read.") from error
            raise
        self._etag = answer["ETag"]
        self._end = self._position + answer["ContentLength"]
        self._body = answer["Body"]

    def _disconnect(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None
