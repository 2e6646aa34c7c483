"""Objects in a directory: the key of an object is the path of its file."""

import errno
import os
import secrets
import shutil
import stat
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import BinaryIO

from backburner.domain.errors import (
    Busy,
    InvalidRequest,
    NotFound,
    StorageFull,
    StorageUnavailable,
)
from backburner.ports import BlobStat, Clock
from backburner_local.adapters.durable import sync_folder
from backburner_local.adapters.signing import Signer

#: Most bytes of a key: S3's limit (user guide, "Naming Amazon S3 objects").
MAX_KEY_BYTES = 1024
#: Most bytes of one piece of a key: what file systems allow a name.
MAX_NAME_BYTES = 255
#: Age at which what a crash left in the staging folder is removed.
STALE_SECONDS = 86400.0
#: Times that a source is read anew because someone changed it meanwhile.
COPY_TRIES = 3
#: Times that a folder is made anew because someone removed it meanwhile.
PUBLISH_TRIES = 100

#: Objects up to this size are read at once: each look into a file hands the interpreter to another
#: thread, which costs more than the look.
_SMALL_BYTES = 256 * 1024

#: Objects that are written at the same time: most of a write is waiting for the disk.
_WRITERS = 8

_OUT = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
#: Does not wait where someone put a pipe into the bucket.
_IN = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
#: What the system says where there is no such file.
_NOWHERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO})
#: What the system says where there is no room, and where nothing may be written.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
#: What the system says where it can't copy within the kernel.
_NO_COPY = frozenset({errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM})


class DirectoryBlobs:
    """A bucket that people can open in a file manager.

    Not every key of S3 can be a path. Writing to one that can't raises InvalidRequest: keys with
    an empty piece (`/a`, `a//b`, `a/`), with a piece `.` or `..`, with a NUL, with a piece over
    255 bytes or over 1024 bytes in all, and keys that run through another object (`a/b` where `a`
    is an object, or the other way round). To reading, such objects simply don't exist.

    Objects are written in a staging folder beside the bucket and renamed: a reader sees the old
    object or the new one. Files that people put into the bucket themselves are objects too,
    unless their names are no UTF-8.
    """

    def __init__(
        self,
        root: Path,
        bucket: str,
        clock: Clock,
        sign_key: bytes,
        public_url: str,
        *,
        durable: bool = True,
        kept_folders: Sequence[str] = (),
    ) -> None:
        """Open the bucket, or make it.

        Args:
            root: folder of all buckets, on one file system with them.
            bucket: name of the bucket, and of its folder.
            clock: tells when signed URLs end.
            sign_key: secret that URLs are signed with.
            public_url: where users reach the gateway; no slash at the end.
            durable: whether a write waits for the disk. Objects that can be made again, and
                those of tests, need not.
            kept_folders: prefixes, such as `drop/`, whose folders stay when they become empty.
        """
        self._bucket = bucket
        self._folder = root / bucket
        self._folder_path = str(self._folder)
        self._staging = root / ".staging"
        self._durable = durable
        self._kept_folders = tuple(kept_folders)
        self._signer = Signer(clock, sign_key, bucket, public_url)
        self._numbers = count()
        self._run = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._folders_lock = threading.Lock()
        self._make_folder(self._folder)
        self._staging.mkdir(exist_ok=True)
        self._remove_stale()

    # ------------------------------------------------------------ writing

    def put(self, key: str, data: bytes, *, content_type: str = "application/octet-stream") -> None:
        with self.write(key, content_type=content_type) as out:
            out.write(data)

    def put_all(self, objects: Mapping[str, bytes]) -> None:
        with ThreadPoolExecutor(_WRITERS) as writers:  # they share the disk's commits
            for _ in writers.map(self.put, objects, objects.values()):
                pass

    @contextmanager
    def write(
        self,
        key: str,
        *,
        content_type: str = "application/octet-stream",  # noqa: ARG002 - a file has none
    ) -> Iterator[BinaryIO]:
        target = self._target(key)
        staged = self._staging / f"{self._run}-{next(self._numbers)}"
        try:
            with os.fdopen(os.open(staged, _OUT, 0o644), "wb") as out:
                yield out
                out.flush()
                # The kernel's own stamps are as coarse as its ticks: two objects could share one.
                now = time.time_ns()
                os.utime(out.fileno(), ns=(now, now))
                if self._durable:
                    os.fsync(out.fileno())
            self._publish(staged, target, key)
        except BaseException as exc:
            with suppress(OSError):
                staged.unlink(missing_ok=True)
            if isinstance(exc, OSError):
                raise _not_stored(exc) from exc
            raise

    def copy(self, source: str, target: str) -> BlobStat:
        with os.fdopen(self._open(source)[0], "rb") as opened, self.write(target) as out:
            for _ in range(COPY_TRIES):
                before = _etag(os.fstat(opened.fileno()))
                out.seek(0)
                out.truncate()
                opened.seek(0)
                _copy(opened, out)
                if _etag(os.fstat(opened.fileno())) == before:
                    break
            else:
                raise Busy(f"The object '{source}' is being written.")
        return self._written(target)

    def compose(self, target: str, parts: Sequence[str]) -> BlobStat:
        with self.write(target) as out:
            for part in parts:
                with os.fdopen(self._open(part)[0], "rb") as opened:
                    _copy(opened, out)
        return self._written(target)

    def delete(self, *keys: str) -> None:
        for key in keys:
            path = self._path(key)
            if path is None:
                continue
            try:
                os.unlink(path)  # noqa: PTH108 - a path is text here: a Path costs more than the call
            except IsADirectoryError:
                continue
            except OSError as exc:
                if exc.errno not in _NOWHERE:
                    raise
            self._prune(key)

    # ------------------------------------------------------------ reading

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        with self.read(key) as opened:
            opened.seek(start)
            return opened.read(-1 if length is None else length)

    @contextmanager
    def read(self, key: str, *, start: int = 0) -> Iterator[BinaryIO]:
        descriptor, size = self._open(key)
        opened = os.fdopen(descriptor, "rb") if size > _SMALL_BYTES else _whole(descriptor, size)
        with opened:
            if start:
                opened.seek(start)
            yield opened

    def stat(self, key: str) -> BlobStat | None:
        path = self._path(key)
        return None if path is None else _look(key, path)

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
        return self._signer.presign(
            key, seconds=seconds, filename=filename, content_type=content_type
        )

    def presign_upload(self, key: str, *, seconds: int) -> str:
        return self._signer.presign_upload(key, seconds=seconds)

    def verify(self, path_and_query: str) -> str | None:
        """The key that a signed URL's path and query open now, or None: they open nothing."""
        return self._signer.verify(path_and_query)

    def verify_upload(self, path_and_query: str) -> str | None:
        """The key that a signed URL's path and query may write now, or None: it may not."""
        return self._signer.verify_upload(path_and_query)

    def list(self, prefix: str) -> Iterator[BlobStat]:
        base, slash, _ = prefix.rpartition("/")
        folder = self._folder_path if not slash else self._path(base)
        if folder is None:
            return
        found_first = _entries(Path(folder), base + slash)
        pending = [entry for entry in found_first if entry[0].startswith(prefix)]
        while pending:
            key, path, is_folder = pending.pop()
            if is_folder:
                pending += _entries(path, key)
            elif _is_path(key) and (found := _look(key, path)):
                yield found

    # ------------------------------------------------------------ files

    def _path(self, key: str) -> str | None:
        """The file of a key, or None: no file can be."""
        return f"{self._folder_path}/{key}" if _is_path(key) else None

    def _open(self, key: str) -> tuple[int, int]:
        """A descriptor of the object, to be closed by the caller, and its size."""
        path = self._path(key)
        if path is None:
            raise _no_such(key)
        try:
            descriptor = os.open(path, _IN)
        except OSError as exc:
            if exc.errno in _NOWHERE:
                raise _no_such(key) from exc
            raise
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            os.close(descriptor)
            raise _no_such(key)
        return descriptor, found.st_size

    def _target(self, key: str) -> Path:
        path = self._path(key)
        if path is None:
            raise InvalidRequest(
                f"{key[:100]!r} can't be the key of an object in a directory: a key has at most "
                f"{MAX_KEY_BYTES} bytes, no NUL, and between its slashes 1 to {MAX_NAME_BYTES} "
                "bytes that are not '.' or '..'."
            )
        return Path(path)

    def _publish(self, staged: Path, target: Path, key: str) -> None:
        """Let the staged file be the object, where deletes may remove its folder meanwhile."""
        for _ in range(PUBLISH_TRIES):
            try:
                self._make_folder(target.parent)
                staged.replace(target)
            except FileNotFoundError:
                continue
            except IsADirectoryError:
                with suppress(OSError):
                    target.rmdir()  # an empty folder is no object
                    continue
                raise _in_the_way(key) from None
            except (FileExistsError, NotADirectoryError) as exc:
                raise _in_the_way(key) from exc
            if self._durable:
                with suppress(FileNotFoundError):  # deleted already
                    sync_folder(target.parent)
            return
        raise Busy(f"The folder of '{key}' is removed as fast as it is made.")

    def _make_folder(self, folder: Path) -> None:
        """Make a folder and those above it; durable before anyone relies on them."""
        with self._folders_lock:
            missing = []
            while not folder.is_dir():
                missing.append(folder)
                folder = folder.parent
            for one in reversed(missing):
                try:
                    one.mkdir()
                except FileExistsError:  # another process made it, and may have removed it again
                    if one.is_file():
                        raise
                if self._durable:
                    sync_folder(one.parent)

    def _prune(self, key: str) -> None:
        """Remove the folders that an object leaves empty, but not those of the top level."""
        if key.startswith(self._kept_folders):
            return
        folder = key.rpartition("/")[0]
        while "/" in folder:
            try:
                os.rmdir(f"{self._folder_path}/{folder}")  # noqa: PTH106 - as above
            except OSError:  # not empty, or gone
                return
            folder = folder.rpartition("/")[0]

    def _written(self, key: str) -> BlobStat:
        found = self.stat(key)
        if found is None:
            raise _no_such(key)
        return found

    def _remove_stale(self) -> None:
        for left in self._staging.iterdir():
            with suppress(FileNotFoundError):
                if time.time() - left.stat().st_mtime > STALE_SECONDS:
                    left.unlink()


def _is_path(key: str) -> bool:
    """Whether a key can be a path."""
    try:
        data = key.encode()
    except UnicodeEncodeError:
        return False
    if len(data) > MAX_KEY_BYTES or b"\0" in data:
        return False
    return all(
        0 < len(piece) <= MAX_NAME_BYTES and piece not in (b".", b"..")
        for piece in data.split(b"/")
    )


def _entries(folder: Path, base: str) -> list[tuple[str, Path, bool]]:
    """What is in a folder, last first: key (a folder's ends with a slash), path, is a folder."""
    try:
        with os.scandir(folder) as found:
            entries = [
                (base + entry.name + "/" * is_folder, folder / entry.name, is_folder)
                for entry in found
                for is_folder in (entry.is_dir(follow_symlinks=False),)
            ]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(entries, key=lambda entry: os.fsencode(entry[0]), reverse=True)


def _look(key: str, path: Path | str) -> BlobStat | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - as above
    except OSError as exc:
        if exc.errno in _NOWHERE:
            return None
        raise
    if not stat.S_ISREG(found.st_mode):
        return None
    return BlobStat(key=key, size=found.st_size, etag=_etag(found))


def _etag(found: os.stat_result) -> str:
    """Differs if the content does: a new object is a new file, an edit sets a new time."""
    return f"{found.st_size:x}-{found.st_mtime_ns:x}-{found.st_ino:x}"


def _whole(descriptor: int, size: int) -> BinaryIO:
    """What the file has now; closes it. Someone may write to it meanwhile."""
    try:
        data = os.read(descriptor, size + 1)
        # As many bytes as it has: there are no more, and nobody needs to be asked.
        while len(data) != size and (more := os.read(descriptor, 1 << 20)):
            data += more
    finally:
        os.close(descriptor)
    return BytesIO(data)


def _copy(source: BinaryIO, out: BinaryIO) -> None:
    """Copy to the end of the source; file systems that can share the blocks do."""
    out.flush()
    try:
        while os.copy_file_range(source.fileno(), out.fileno(), 1 << 30):
            pass
    except (AttributeError, OSError) as exc:
        if isinstance(exc, OSError) and exc.errno not in _NO_COPY:
            raise
        shutil.copyfileobj(source, out, 1 << 20)


def _not_stored(error: OSError) -> Exception:
    """Why an object could not be written, where its writer can do something about it."""
    if error.errno in _FULL:
        return StorageFull(f"An object could not be written: {error.strerror}.")
    if error.errno in _READ_ONLY:
        return StorageUnavailable(f"An object could not be written: {error.strerror}.")
    return error


def _no_such(key: str) -> NotFound:
    return NotFound(f"No such object: {key[:100]!r}.")


def _in_the_way(key: str) -> InvalidRequest:
    return InvalidRequest(
        f"{key[:100]!r} can't be an object in a directory: another object is where its folder "
        "would be, or it is the folder of other objects."
    )
