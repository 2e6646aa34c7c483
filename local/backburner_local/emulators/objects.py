"""Where emulators read and write S3 objects: a local directory, or any S3 endpoint."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

#: What the system says where there is no room.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

_LOCATION = re.compile(r"^(?:https|s3)://([^/]+)/?(.*)$", re.DOTALL)


class ObjectUnavailable(Exception):  # noqa: N818 - an outcome the callers name in a notification
    """The object is not there, or cannot be read or written."""


class NoRoom(ObjectUnavailable):
    """The disk that the object would be written to is full."""


def split_location(location: str) -> tuple[str, str]:
    """Bucket and key of an ``s3://`` (or ``https://``) location."""
    match = _LOCATION.match(location)
    if match is None:
        raise ValueError(f"not an S3 location: {location!r}")
    return match[1], match[2]


class Objects(Protocol):
    """Objects by bucket and key; a reader sees a whole object or none.

    Every verb raises `ObjectUnavailable` when it cannot keep its promise.
    """

    #: True when calls are short enough to be made on an event loop for small objects.
    is_local: bool

    def get(self, bucket: str, key: str) -> bytes: ...

    def put(self, bucket: str, key: str, body: bytes, content_type: str | None = None) -> None:
        """Write the object, replacing an older one."""

    def exists(self, bucket: str, key: str) -> bool: ...

    def size(self, bucket: str, key: str) -> int:
        """Length in bytes."""

    def keys(self, bucket: str, prefix: str) -> list[str]:
        """Keys that begin with the prefix, in order; none in a bucket that is not there."""

    def delete(self, bucket: str, key: str) -> None:
        """Remove the object, if it is there."""


class DirectoryObjects:
    """Objects as files ``<root>/<bucket>/<key>``; the content type is not kept.

    A file is written aside, in ``<root>/.partial``, and renamed into place. It survives a kill of
    this process; a power cut may lose what the operating system had not yet written.
    """

    is_local = True

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root).absolute()
        self._partial = self.root / ".partial"
        self._partial.mkdir(parents=True, exist_ok=True)
        self._names = itertools.count()
        #: That the last object was written to: most come in rows of one folder, or have their own.
        self._folder = ""

    def path(self, bucket: str, key: str) -> str:
        parts = key.split("/")
        if not key or bucket.startswith(".") or "/" in bucket or "\0" in bucket + key:
            raise ObjectUnavailable(f"no object can be called s3://{bucket}/{key}")
        if any(part in {"", ".", ".."} for part in parts):
            raise ObjectUnavailable(f"no file can be called s3://{bucket}/{key}")
        return f"{self.root}/{bucket}/{key}"

    def get(self, bucket: str, key: str) -> bytes:
        path = self.path(bucket, key)
        try:
            with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - a hot path
                return file.read()
        except OSError as error:
            raise ObjectUnavailable(f"s3://{bucket}/{key}: {error.strerror}") from error

    def put(self, bucket: str, key: str, body: bytes, content_type: str | None = None) -> None:  # noqa: ARG002
        path = self.path(bucket, key)
        partial = f"{self._partial}/{os.getpid()}-{id(self)}-{next(self._names)}"
        try:
            _write(partial, body)
            self._rename(partial, path)
        except OSError as error:
            Path(partial).unlink(missing_ok=True)
            kind = NoRoom if error.errno in _FULL else ObjectUnavailable
            raise kind(f"s3://{bucket}/{key}: {error.strerror}") from error

    def _rename(self, partial: str, path: str) -> None:
        folder = path.rpartition("/")[0]
        if folder != self._folder:
            with contextlib.suppress(FileExistsError, FileNotFoundError):
                os.mkdir(folder)  # noqa: PTH102 - a hot path
            self._folder = folder
        try:
            os.replace(partial, path)  # noqa: PTH105
        except FileNotFoundError:
            os.makedirs(folder, exist_ok=True)  # noqa: PTH103
            os.replace(partial, path)  # noqa: PTH105

    def exists(self, bucket: str, key: str) -> bool:
        try:
            return Path(self.path(bucket, key)).is_file()
        except ObjectUnavailable:
            return False

    def size(self, bucket: str, key: str) -> int:
        try:
            return os.stat(self.path(bucket, key)).st_size  # noqa: PTH116 - a hot path
        except OSError as error:
            raise ObjectUnavailable(f"s3://{bucket}/{key}: {error.strerror}") from error

    def keys(self, bucket: str, prefix: str) -> list[str]:
        root = Path(f"{self.root}/{bucket}")
        # Below the prefix's last folder there is all that begins with it.
        folder = root / prefix.rpartition("/")[0]
        if bucket.startswith(".") or ".." in prefix.split("/"):
            return []
        found = (path.relative_to(root).as_posix() for path in folder.rglob("*") if path.is_file())
        return sorted(key for key in found if key.startswith(prefix))

    def delete(self, bucket: str, key: str) -> None:
        try:
            Path(self.path(bucket, key)).unlink(missing_ok=True)
        except OSError as error:
            raise ObjectUnavailable(f"s3://{bucket}/{key}: {error.strerror}") from error


def _write(path: str, body: bytes) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        rest = memoryview(body)
        while rest:
            rest = rest[os.write(file, rest) :]
    finally:
        os.close(file)


class S3Objects:
    """Objects of any S3 endpoint, through boto3."""

    is_local = False

    def __init__(self, client: S3Client) -> None:
        self.client = client

    def get(self, bucket: str, key: str) -> bytes:
        try:
            return self.client.get_object(Bucket=bucket, Key=key)["Body"].read()
        except _failures() as error:
            raise ObjectUnavailable(f"s3://{bucket}/{key}: {error}") from error

    def put(self, bucket: str, key: str, body: bytes, content_type: str | None = None) -> None:
        try:
            if content_type is None:
                self.client.put_object(Bucket=bucket, Key=key, Body=body)
            else:
                self.client.put_object(Bucket=bucket, Key=key, Body=body, ContentType=content_type)
        except _failures() as error:
            raise ObjectUnavailable(f"s3://{bucket}/{key}: {error}") from error

    def exists(self, bucket: str, key: str) -> bool:
        try:
            self.size(bucket, key)
        except ObjectUnavailable:
            return False
        return True

    def size(self, bucket: str, key: str) -> int:
        try:
            return self.client.head_object(Bucket=bucket, Key=key)["ContentLength"]
        except _failures() as error:
            raise ObjectUnavailable(f"s3://{bucket}/{key}: {error}") from error

    def keys(self, bucket: str, prefix: str) -> list[str]:
        pages = self.client.get_paginator("list_objects_v2")
        try:
            return [
                one["Key"]
                for page in pages.paginate(Bucket=bucket, Prefix=prefix)
                for one in page.get("Contents", ())
            ]
        except _failures() as error:
            raise ObjectUnavailable(f"s3://{bucket}/{prefix}: {error}") from error

    def delete(self, bucket: str, key: str) -> None:
        try:
            self.client.delete_object(Bucket=bucket, Key=key)
        except _failures() as error:
            raise ObjectUnavailable(f"s3://{bucket}/{key}: {error}") from error


def _failures() -> tuple[type[Exception], ...]:
    from botocore.exceptions import BotoCoreError, ClientError  # slow to import: only when needed

    return BotoCoreError, ClientError
