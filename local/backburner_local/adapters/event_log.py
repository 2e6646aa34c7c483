"""Events in a file that one can look at: a line each, the latest last."""

import threading
import time
from collections.abc import Mapping
from io import FileIO
from pathlib import Path
from typing import Any

import msgspec.json

#: Of a file; then it takes the name of the one before.
_MOST_BYTES = 16 * 1024 * 1024
#: Seconds that a file is kept open for the events to come: whoever removes it finds them in a new
#: one soon.
_OPEN_SECONDS = 1.0


class EventLog:
    """Appends what was published, with the attributes that subscribers choose by."""

    def __init__(
        self, path: Path, *, most_bytes: int = _MOST_BYTES, open_seconds: float = _OPEN_SECONDS
    ) -> None:
        """Say where; the file is made with the first event.

        Args:
            path: of the file.
            open_seconds: that the file is kept open for the next event.
            most_bytes: before the file is put aside as `<name>.1.<suffix>`, in place of the last.
        """
        self._path = path
        self._most_bytes = most_bytes
        self._open_seconds = open_seconds
        self._lock = threading.Lock()
        self._stream: FileIO | None = None
        self._size = 0
        self._opened_at = 0.0

    def write(self, event: Mapping[str, Any], attributes: Mapping[str, str]) -> None:
        """Append one event; a subscriber of LocalEvents."""
        line = msgspec.json.encode({"event": event, "attributes": attributes}) + b"\n"
        with self._lock:
            stream = self._opened()
            rest = memoryview(line)
            while rest:
                rest = rest[stream.write(rest) :]
            self._size += len(line)
            if self._size >= self._most_bytes:
                self._close()
                self._path.replace(self._path.with_suffix(f".1{self._path.suffix}"))

    def close(self) -> None:
        """Close the file, until there is another event."""
        with self._lock:
            self._close()

    def _opened(self) -> FileIO:
        now = time.monotonic()
        if self._stream is not None and now - self._opened_at >= self._open_seconds:
            self._close()
        if self._stream is None:
            self._stream = self._path.open("ab", buffering=0)
            self._size = self._stream.tell()
            self._opened_at = now
        return self._stream

    def _close(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()
