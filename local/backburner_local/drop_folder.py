"""The drop folder of one machine: tells of files as S3 tells of objects, once they are whole."""

import fcntl
import logging
import signal
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from watchfiles import Change, watch

from backburner.domain.dropped import Source, is_ignored, source_of
from backburner.ports import Blobs, BlobStat
from backburner_local import events
from backburner_local.functions import LoadedFunction

logger = logging.getLogger(__name__)

#: Time between two looks at all files: the system forgets changes where there are many at once.
_SCAN_SECONDS = 60.0

#: Texts that are told of in one event, and for how many times the settling time the first waits for
#: those that come behind it.
_TEXTS, _PATIENCE = 50, 5


@dataclass(slots=True)
class _Coming:
    """A file that was not told of yet, as it was last seen."""

    etag: str = ""
    #: When it is looked at again; on the monotonic clock.
    look_at: float = 0.0
    #: Since when it is whole; None: it is not.
    whole_since: float | None = None
    #: Times that the function failed on it.
    failures: int = 0


class DropTrigger:
    """A file that stays as it is for a moment, and that nobody writes, is whole.

    Files that are ignored on AWS are ignored here as well, and so are links that lead out of the
    folder.
    """

    def __init__(
        self, bucket_folder: Path, prefix: str, blobs: Blobs, *, settle_seconds: float = 1.0
    ) -> None:
        """Watch a folder, which is made if there is none.

        Args:
            bucket_folder: that of the bucket.
            prefix: of the keys that are told of; ends in a slash.
            blobs: the bucket.
            settle_seconds: how long a file must stay as it is.
        """
        self._bucket = bucket_folder.name
        self._bucket_folder = bucket_folder
        self._folder = bucket_folder / prefix
        self._blobs = blobs
        self._settle_seconds = settle_seconds
        self._coming: dict[str, _Coming] = {}
        #: What was told of, by key.
        self._told: dict[str, str] = {}
        #: What was said to be ignored.
        self._ignored: set[str] = set()
        self._scan_at = 0.0
        self._folder.mkdir(parents=True, exist_ok=True)
        self._inside = self._folder.resolve()

    def run(self, function: LoadedFunction, stopping: threading.Event) -> None:
        """Tell of the files that are there, and of those that come, until told to stop."""
        self._scan_at = 0.0  # what came before anyone watched
        for changes in watch(
            self._folder,
            stop_event=stopping,
            debounce=max(10, int(self._settle_seconds * 400)),
            step=max(10, int(self._settle_seconds * 100)),
            rust_timeout=max(10, int(self._settle_seconds * 250)),
            yield_on_timeout=True,
            raise_interrupt=False,
        ):
            paths = {Path(path) for change, path in changes if change is not Change.deleted}
            self._note(paths)
            if time.monotonic() >= self._scan_at:
                self._scan()
            self._tell(function)

    def _scan(self) -> None:
        """Note the files that changed although nobody said so."""
        told: dict[str, str] = {}
        for file in self._folder.rglob("*"):
            key = self._key(file)
            stat = self._blobs.stat(key)  # None for a folder, and for what can't be an object
            if stat is not None and self._told.get(key) == stat.etag:
                told[key] = stat.etag
            elif not file.is_dir():
                self._note([file])
        self._told = told
        self._scan_at = time.monotonic() + _SCAN_SECONDS

    def _note(self, paths: Iterable[Path]) -> None:
        for path in paths:
            # A folder may have been filled before it was watched.
            for file in path.rglob("*") if path.is_dir() else (path,):
                key = self._key(file)
                if key not in self._coming and not is_ignored(key) and self._is_inside(file):
                    self._coming[key] = _Coming()

    def _key(self, file: Path) -> str:
        return file.relative_to(self._bucket_folder).as_posix()

    def _is_inside(self, file: Path) -> bool:
        if not file.is_file():
            return False
        if file.resolve().is_relative_to(self._inside):
            return True
        self._ignore(self._key(file), "a link that leads out of the folder")
        return False

    def _ignore(self, key: str, why: str) -> None:
        if key not in self._ignored:
            self._ignored.add(key)
            logger.warning("drop.ignored %r: %s", key, why)

    def _tell(self, function: LoadedFunction) -> None:
        now = time.monotonic()
        whole = [stat for key in sorted(self._coming) if (stat := self._look(key, now))]
        texts = [stat for stat in whole if source_of(stat.key) is Source.TEXT]
        for stat in whole:
            if source_of(stat.key) is not Source.TEXT:
                self._call(function, [stat], now)
        if not self._waits(len(texts), now):
            for start in range(0, len(texts), _TEXTS):
                self._call(function, texts[start : start + _TEXTS], now)

    def _look(self, key: str, now: float) -> BlobStat | None:
        """The file if it is whole."""
        coming = self._coming[key]
        if now < coming.look_at:
            return None
        stat = self._blobs.stat(key)
        if stat is None:  # gone again, or its name can't be a key
            if (self._bucket_folder / key).is_file():
                self._ignore(key, "its name can't be that of an object")
            del self._coming[key]
        elif stat.etag != coming.etag or _is_being_written(self._bucket_folder / key):
            coming.etag, coming.look_at = stat.etag, now + self._settle_seconds
            coming.whole_since = None
        else:
            coming.whole_since = coming.whole_since or now
            return stat
        return None

    def _waits(self, texts: int, now: float) -> bool:
        """Whether texts that are whole wait for others, to be told of together."""
        coming = [one for key, one in self._coming.items() if source_of(key) is Source.TEXT]
        since = min((one.whole_since for one in coming if one.whole_since is not None), default=now)
        is_patient = now - since < self._settle_seconds * _PATIENCE
        return texts < min(len(coming), _TEXTS) and is_patient

    def _call(self, function: LoadedFunction, some: list[BlobStat], now: float) -> None:
        try:
            function(events.s3(self._bucket, [(stat.key, stat) for stat in some]))
        except Exception:
            logger.exception("function.failed %s", function.name)
            for stat in some:
                coming = self._coming[stat.key]
                coming.failures += 1
                coming.look_at = now + min(60.0, 2.0**coming.failures)
        else:
            for stat in some:
                del self._coming[stat.key]
                self._told[stat.key] = stat.etag


def _is_being_written(path: Path) -> bool:
    """Whether someone has the file open for writing; False where the system can't tell."""
    if not hasattr(fcntl, "F_SETLEASE"):
        return False
    with suppress(OSError), path.open("rb") as file:
        # Should a writer come while we hold the lease, the kernel signals us: by default with one
        # that would end the process.
        fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)
        try:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        except BlockingIOError:
            return True
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False
