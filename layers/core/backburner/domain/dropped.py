"""What the key of a dropped object says: what it holds, and what is asked for."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath

from backburner.domain.errors import InvalidRequest

#: Prefix of the drop folder.
FOLDER = "drop/"

#: Name of the file that says how the rows and texts beside it become prompts.
TEMPLATE_NAME = "_template.toml"


class Source(StrEnum):
    """What a dropped object holds."""

    #: One request a line.
    LINES = "lines"
    #: One body, or a list of requests.
    JSON = "json"
    #: Rows of comma-separated values.
    CSV = "csv"
    #: Rows of a Parquet file.
    PARQUET = "parquet"
    #: One prompt.
    TEXT = "text"
    #: The body of a raw request.
    RAW = "raw"

    @property
    def has_rows(self) -> bool:
        return self in (Source.CSV, Source.PARQUET)


_SOURCES = {
    ".jsonl": Source.LINES,
    ".json": Source.JSON,
    ".csv": Source.CSV,
    ".parquet": Source.PARQUET,
    ".txt": Source.TEXT,
    ".text": Source.TEXT,
    ".md": Source.TEXT,
}

_COMING = (".part", ".tmp", "~")


def source_of(key: str) -> Source:
    """What the object holds, by the ending of its name."""
    return _SOURCES.get(PurePosixPath(key).suffix.lower(), Source.RAW)


def is_ignored(key: str) -> bool:
    """Whether the object is none to take: still coming, hidden, a template, or a folder."""
    name = key.rpartition("/")[2]
    return (
        not key.startswith(FOLDER)
        or not name
        or name.startswith(".")
        or name.endswith(_COMING)
        or name == TEMPLATE_NAME
    )


def template_key(key: str) -> str:
    """Key of the template beside the object."""
    return f"{key.rpartition('/')[0]}/{TEMPLATE_NAME}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What folder and name of an object ask for; None: nothing."""

    model: str | None = None
    window: str | None = None
    priority: int | None = None
    #: What the batch is called.
    name: str | None = None


_OPTIONS = ("model", "window", "priority", "name")


def asked(key: str, models: Iterable[str]) -> Asked:
    """Read the options: `drop/<model>/…`, and `<name>,model=…,window=…,priority=…,name=….<ending>`.

    What the name says wins over the folder.

    Args:
        key: of the object.
        models: of the catalog; a name may have slashes.

    Raises:
        InvalidRequest: an option is unknown, or is there twice.
    """
    path = key.removeprefix(FOLDER)
    folders = [one for one in models if path.startswith(f"{one}/")]
    found = {"model": max(folders, key=len)} if folders else {}
    named: dict[str, str] = {}
    for part in PurePosixPath(key).stem.split(",")[1:]:
        option, equals, value = part.strip().partition("=")
        if not equals:  # the name has a comma
            continue
        if option not in _OPTIONS or option in named:
            problem = "is there twice" if option in named else "is not known"
            raise InvalidRequest(
                f"The option '{option[:64]}' of the file's name {problem}; "
                f"there are {', '.join(_OPTIONS)}.",
                param=option[:64],
            )
        named[option] = value
    found |= named
    priority = found.get("priority")
    if priority is not None and not (priority.isascii() and priority.isdigit()):
        raise InvalidRequest("'priority' must be an integer from 0 to 9.", param="priority")
    return Asked(
        model=found.get("model"),
        window=found.get("window"),
        priority=None if priority is None else int(priority),
        name=found.get("name"),
    )
