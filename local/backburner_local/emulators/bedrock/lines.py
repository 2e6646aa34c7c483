"""Files that only grow, line by line: what a power cut or a full disk tore is left out."""

from __future__ import annotations

from io import FileIO
from pathlib import Path


def read_lines(path: Path) -> list[bytes]:
    """The whole lines of a file; none, if it is not there."""
    return path.read_bytes().split(b"\n")[:-1] if path.exists() else []


def open_lines(path: Path) -> FileIO:
    """A file to append whole lines to, each with one write; a torn one at its end is cut off."""
    file = FileIO(path, "a+")
    file.seek(0)
    body = file.readall()
    file.truncate(body.rfind(b"\n") + 1)
    return file
