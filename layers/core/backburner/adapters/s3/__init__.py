"""Objects in a bucket of S3."""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, BinaryIO

from botocore.exceptions import ClientError

from backburner.adapters.clients import Clients
from backburner.adapters.s3.names import checked, code_of, disposition, fits, no_such, suits_xml
from backburner.adapters.s3.reading import Download
from backburner.adapters.s3.writing import Sizes, Upload
from backburner.domain.errors import Busy
from backburner.ports import BlobStat

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

#: Most keys of one call (API reference, DeleteObjects).
DELETED_AT_ONCE = 1000
#: Times that a source is looked at anew because someone replaced it meanwhile.
COPY_TRIES = 3

#: Objects that are written at the same time: most of a write is waiting for the answer.
_WRITERS = 8

#: Bytes that a stream asks the connection for at once.
_BUFFER_BYTES = 256 * 1024


class S3Blobs:
    """One bucket.

    A key is 1 to 1024 bytes of UTF-8; writing to another raises InvalidRequest, and to reading,
    such an object doesn't exist. The caller needs `s3:ListBucket`: without it, S3 answers 403
    for an object that isn't there, and that stays an error. Errors that no try healed are
    botocore's.

    Objects are encrypted as the bucket says.
    """

    def __init__(self, clients: Clients, bucket: str, *, sizes: Sizes | None = None) -> None:
        """Use a bucket that is there.

        Args:
            clients: of the bucket's account and Region.
            bucket: its name.
            sizes: of the parts that large objects are written in; S3's own, if not given.
        """
        self._clients = clients
        self._bucket = bucket
        self._sizes = sizes or Sizes()

    @property
    def _s3(self) -> "S3Client":
        return self._clients.s3

    # ------------------------------------------------------------ writing

    def put(self, key: str, data: bytes, *, content_type: str = "application/octet-stream") -> None:
        self._s3.put_object(
            Bucket=self._bucket, Key=checked(key), Body=data, ContentType=content_type
        )

    def put_all(self, objects: Mapping[str, bytes]) -> None:
        if len(objects) == 1:
            for key, data in objects.items():
                self.put(key, data)
            return
        from concurrent.futures import ThreadPoolExecutor  # few functions write several

        with ThreadPoolExecutor(_WRITERS) as writers:
            for _ in writers.map(self.put, objects, objects.values()):
                pass

    @contextmanager
    def write(
        self, key: str, *, content_type: str = "application/octet-stream"
    ) -> Iterator[BinaryIO]:
        with self._upload(key, content_type) as upload:
            yield upload  # type: ignore[misc] # a RawIOBase has all that a BinaryIO needs
            upload.finish()

    def copy(self, source: str, target: str) -> BlobStat:
        """Copy an object as it is at this moment.

        Raises:
            NotFound: there is no source.
            Busy: the source is replaced again and again.
        """
        for _ in range(COPY_TRIES):
            found = self._head(source)
            if found is None:
                raise no_such(source)
            checked(target)
            seen = _stat(source, found["ContentLength"], found["ETag"])
            if source == target:  # S3 refuses to copy an object onto itself
                return seen
            try:
                return self._copy(seen, target, found.get("ContentType", ""))
            except ClientError as error:
                if code_of(error) == "NoSuchKey":
                    raise no_such(source) from error
                if code_of(error) != "PreconditionFailed":
                    raise
        raise Busy(f"The object '{source}' is being written.")

    def compose(self, target: str, parts: Sequence[str]) -> BlobStat:
        """Join objects, in order, into one; what S3 can copy itself is not read.

        Raises:
            NotFound: a part isn't there.
            Busy: a part was replaced meanwhile.
        """
        checked(target)
        stats = [self._found(part) for part in parts]
        filled = [found for found in stats if found.size]
        if len(filled) == 1:
            return self.copy(filled[0].key, target)
        with self._upload(target, "application/octet-stream") as upload:
            for found in filled:
                self._append(upload, found)
            etag = upload.finish()
        return _stat(target, sum(found.size for found in filled), etag)

    def delete(self, *keys: str) -> None:
        possible = list(filter(fits, keys))
        at_once = [key for key in possible if suits_xml(key)]
        alone = [key for key in possible if not suits_xml(key)]
        for start in range(0, len(at_once), DELETED_AT_ONCE):
            some = at_once[start : start + DELETED_AT_ONCE]
            if len(some) > 1:
                self._delete_at_once(some)
            else:
                alone += some
        for key in alone:
            self._s3.delete_object(Bucket=self._bucket, Key=key)

    # ------------------------------------------------------------ reading

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """Read an object or a range of it.

        Raises:
            NotFound: there is no such object.
            ValueError: the range is negative.
        """
        if start < 0 or (length is not None and length < 0):
            raise ValueError(f"The range {start}, {length} is negative.")
        if length == 0:
            self._found(key)
            return b""
        with self._download(key, start, length) as opened:
            return opened.readall()

    @contextmanager
    def read(self, key: str, *, start: int = 0) -> Iterator[BinaryIO]:
        """Stream an object in from a byte on, over as many connections as it takes.

        Raises:
            NotFound: there is no such object.
            Busy: the connection broke, and the object has been replaced since.
        """
        with io.BufferedReader(self._download(key, start), _BUFFER_BYTES) as opened:
            yield opened

    def stat(self, key: str) -> BlobStat | None:
        found = self._head(key)
        if found is None:
            return None
        stat = _stat(key, found["ContentLength"], found["ETag"])
        return replace(stat, content_type=found.get("ContentType"))

    def list(self, prefix: str) -> Iterator[BlobStat]:
        if prefix and not fits(prefix):
            return
        pages = self._s3.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self._bucket, Prefix=prefix):
            for found in page.get("Contents", ()):
                yield _stat(found["Key"], found["Size"], found["ETag"])

    def uri(self, key: str) -> str:
        return f"s3://{self._bucket}/{key}"

    def key_of(self, uri: str) -> str | None:
        prefix = self.uri("")
        return uri.removeprefix(prefix) or None if uri.startswith(prefix) else None

    def presign(
        self,
        key: str,
        *,
        seconds: int,
        filename: str | None = None,
        content_type: str | None = None,
    ) -> str:
        """A URL that reads this one object without a key, for a while: 7 days at most.

        It ends with the credentials that signed it, however long it was made for: those of a
        function are temporary.
        """
        asked = {"Bucket": self._bucket, "Key": checked(key)}
        if filename is not None:
            asked["ResponseContentDisposition"] = disposition(filename)
        if content_type is not None:
            asked["ResponseContentType"] = content_type
        return self._s3.generate_presigned_url("get_object", Params=asked, ExpiresIn=seconds)

    def presign_upload(self, key: str, *, seconds: int) -> str:
        """A URL that writes this one object; it ends as those that read do."""
        asked = {"Bucket": self._bucket, "Key": checked(key)}
        return self._s3.generate_presigned_url("put_object", Params=asked, ExpiresIn=seconds)

    # ------------------------------------------------------------ S3

    def _upload(self, key: str, content_type: str) -> Upload:
        return Upload(self._s3, self._bucket, checked(key), content_type, self._sizes)

    def _download(self, key: str, start: int = 0, length: int | None = None) -> Download:
        if not fits(key):
            raise no_such(key)
        return Download(self._s3, self._bucket, key, start, length)

    def _head(self, key: str) -> Mapping[str, Any] | None:
        if not fits(key):
            return None
        try:
            return self._s3.head_object(Bucket=self._bucket, Key=key)
        except ClientError as error:
            if code_of(error) == "404":  # the answer to HEAD has no body that says more
                return None
            raise

    def _found(self, key: str) -> BlobStat:
        found = self.stat(key)
        if found is None:
            raise no_such(key)
        return found

    def _copy(self, seen: BlobStat, target: str, content_type: str) -> BlobStat:
        """Copy what was seen, without reading it; by parts where one call would take too long."""
        if seen.size <= self._sizes.copied:
            answer = self._s3.copy_object(
                Bucket=self._bucket,
                Key=target,
                CopySource={"Bucket": self._bucket, "Key": seen.key},
                CopySourceIfMatch=seen.etag,
                TaggingDirective="REPLACE",  # users' tags: to copy them is a permission of its own
            )
            return _stat(target, seen.size, answer["CopyObjectResult"]["ETag"])
        with self._upload(target, content_type) as upload:
            upload.copy(seen, 0)
            return _stat(target, seen.size, upload.finish())

    def _append(self, upload: Upload, found: BlobStat) -> None:
        """Let S3 copy what can be parts of their own; read and send the rest."""
        read = min(upload.missing, found.size)
        if found.size - read < self._sizes.least:
            read = found.size
        if read:
            with Download(self._s3, self._bucket, found.key, 0, read, etag=found.etag) as opened:
                while data := opened.read(_BUFFER_BYTES):
                    upload.write(data)
        if read < found.size:
            try:
                upload.copy(found, read)
            except ClientError as error:
                if code_of(error) in ("NoSuchKey", "PreconditionFailed"):
                    raise Busy(f"The object '{found.key}' is being written.") from error
                raise

    def _delete_at_once(self, keys: Sequence[str]) -> None:
        answer = self._s3.delete_objects(
            Bucket=self._bucket,
            Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True},
        )
        for refused in answer.get("Errors", ()):
            code, message = refused.get("Code", ""), refused.get("Message", "")
            raise ClientError({"Error": {"Code": code, "Message": message}}, "DeleteObjects")


def _stat(key: str, size: int, etag: str) -> BlobStat:
    return BlobStat(key=key, size=size, etag=etag.strip('"'))
