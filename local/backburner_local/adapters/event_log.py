"""Events in a file that one can look at: a line each, the latest last."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec.json

#: Of a file; then it takes the name of the one before.
_MOST_BYTES = 16 * 1024 * 1024


class EventLog:
    """Appends what was published, with the attributes that subscribers choose by."""

    def __init__(self, path: Path, *, most_bytes: int = _MOST_BYTES) -> None:
        """Say where; the file is made with the first event.

        Args:
            path: of the file.
            most_bytes: before the file is put aside as `<name>.1.<suffix>`, in place of the last.
        """
        self._path = path
        self._most_bytes = most_bytes
        self._lock = threading.Lock()

    def write(self, event: Mapping[str, Any], attributes: Mapping[str, str]) -> None:
        """Append one event; a subscriber of LocalEvents."""
        line = msgspec.json.encode({"event": event, "attributes": attributes}) + b"\n"
        with self._lock:
            with self._path.open("ab") as stream:
                stream.write(line)
                size = stream.tell()
            if size >= self._most_bytes:
                self._path.replace(self._path.with_suffix(f".1{self._path.suffix}"))
