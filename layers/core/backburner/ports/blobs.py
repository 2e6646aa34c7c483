"""Objects of any size under keys."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobStat:
    """What is known about an object without reading it."""

    key: str
    size: int
    #: Changes whenever the content does.
    etag: str
    #: That who put it there said; None where that is not kept, or was not asked for.
    content_type: str | None = field(default=None, compare=False)


class Blobs(Protocol):
    """Objects of any size under keys; a reader sees a whole object or none."""

    def put(self, key: str, data: bytes, *, content_type: str = "application/octet-stream") -> None:
        """Write an object in one piece; durable and visible on return, replaces what was there."""

    def put_all(self, objects: Mapping[str, bytes]) -> None:
        """Write several objects at once; all are durable and visible on return.

        Where one fails, any of the others may be there.
        """

    def write(
        self, key: str, *, content_type: str = "application/octet-stream"
    ) -> AbstractContextManager[BinaryIO]:
        """Stream an object out; it appears, durable, when the block ends without an error."""

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """Read an object or a range of it; raises NotFound."""

    def read(self, key: str, *, start: int = 0) -> AbstractContextManager[BinaryIO]:
        """Stream an object in, from a byte on; raises NotFound."""

    def stat(self, key: str) -> BlobStat | None:
        """Size and etag, or None: there is no such object."""

    def copy(self, source: str, target: str) -> BlobStat:
        """Copy an object as it is at this moment; raises NotFound."""

    def compose(self, target: str, parts: Sequence[str]) -> BlobStat:
        """Join objects, in order, into one."""

    def delete(self, *keys: str) -> None:
        """Remove objects; no error for those that are not there."""

    def list(self, prefix: str) -> Iterator[BlobStat]:
        """Objects whose keys start with the prefix, sorted by key."""

    def uri(self, key: str) -> str:
        """The object's `s3://` location."""

    def key_of(self, uri: str) -> str | None:
        """The key of an `s3://` location, or None: it is not in this bucket."""

    def presign(
        self,
        key: str,
        *,
        seconds: int,
        filename: str | None = None,
        content_type: str | None = None,
    ) -> str:
        """A URL that reads this one object without a key, for a while.

        Args:
            key: of the object.
            seconds: how long.
            filename: that a browser saves it under.
            content_type: that the answer has; None: the object's, if it has one.
        """

    def presign_upload(self, key: str, *, seconds: int) -> str:
        """A URL that writes this one object, by one PUT of its content, for a while."""
