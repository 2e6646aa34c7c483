"""What a model's artifact consists of: its weights, checked, with our code beside them."""

from __future__ import annotations

import fnmatch
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

Format = Literal["hf", "mistral"]

_HERE = Path(__file__).resolve().parent

#: Names of our code in the artifact: what the container standards look for, and its package.
SCRIPT, PACKAGE = "model.py", "backburner_model"
#: What an upload notes below the prefix: the checksums of all that has arrived.
MANIFEST = "backburner-package.json"

#: Weights that vLLM does not load where there are safetensors.
_OTHER_WEIGHTS = frozenset({".bin", ".pt", ".pth", ".gguf", ".onnx", ".h5", ".msgpack", ".ot"})
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "tekken.json", "vocab.json")
#: A header is a few MB at most; more means that it is none.
_MAX_HEADER_BYTES = 100_000_000
#: Longest name of a file that SageMaker makes of a key (API reference, S3ModelDataSource).
_MAX_NAME_BYTES = 255
#: An S3 key has 1,024 bytes at most; the other half is the prefix's.
_MAX_PATH_BYTES = 512


class UnfitModel(ValueError):  # noqa: N818 - reads as a sentence where it is caught
    """The folder is no model that an endpoint could load; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file of the artifact."""

    #: Its path below the prefix, with slashes.
    name: str
    source: Path
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """Everything that goes below the prefix, sorted by name."""

    entries: tuple[Entry, ...]
    #: Whose files the weights are: Hugging Face's or Mistral's own.
    format: Format
    #: Paths of the folder that stay behind, because the container needs none of them.
    left_out: tuple[str, ...]

    @property
    def size(self) -> int:
        return sum(entry.size for entry in self.entries)


def artifact_of(
    folder: Path, *, weights: Format | None = None, include: Sequence[str] = ()
) -> Artifact:
    """Choose and check the files of a model's folder, and add our code.

    Repositories often hold the same weights twice. An instance downloads all of its prefix before
    it starts, so one copy goes along: Hugging Face's if there is a `config.json`, else Mistral's.

    Args:
        folder: The model as a hub lays it out; links are followed.
        weights: Which copy of the weights; by default what the folder holds.
        include: Patterns of paths that go along although they would be left out.

    Raises:
        UnfitModel: something is missing, broken, or has a name that SageMaker refuses.
    """
    found = {entry.name: entry for entry in _walk(folder)}
    chosen = weights or ("hf" if "config.json" in found else "mistral")
    kept = {
        name: entry
        for name, entry in found.items()
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in include)
        or not _is_left_out(name, chosen, found)
    }
    _check_model(kept, chosen)
    entries = {**kept, **{entry.name: entry for entry in _code(kept)}}
    _check_names(entries)
    return Artifact(
        entries=tuple(entries[name] for name in sorted(entries)),
        format=chosen,
        left_out=tuple(sorted(found.keys() - entries.keys())),
    )


# ---------------------------------------------------------------- the folder


def _walk(folder: Path) -> Iterator[Entry]:
    """Every file of the folder; a hub's cache is made of links, so they are followed."""
    if not folder.is_dir():
        raise UnfitModel(f"{folder} is no folder.")
    for path, folders, files in os.walk(folder, followlinks=True):
        here = Path(path)
        if here.resolve() in {above.resolve() for above in here.parents}:
            raise UnfitModel(f"{here} is a link to a folder that it lies in.")
        folders.sort()
        for name in files:
            source = here / name
            if not source.is_file():
                raise UnfitModel(f"{source} is no file, or a link to nothing.")
            relative = source.relative_to(folder).as_posix()
            yield Entry(name=relative, source=source, size=source.stat().st_size)


def _is_left_out(name: str, chosen: Format, found: dict[str, Entry]) -> bool:
    path = PurePosixPath(name)
    if any(piece.startswith(".") or piece == "__pycache__" for piece in path.parts):
        return True
    if len(path.parts) > 1:
        # The container loads weights from the top only: a folder with some is another form of them.
        top = path.parts[0] + "/"
        return path.parts[0] == PACKAGE or any(
            other.startswith(top) and _is_weights(other) for other in found
        )
    return name == MANIFEST or path.suffix in _OTHER_WEIGHTS or _is_other_format(name, chosen)


def _is_weights(name: str) -> bool:
    suffix = PurePosixPath(name).suffix
    return suffix == ".safetensors" or suffix in _OTHER_WEIGHTS


def _is_other_format(name: str, chosen: Format) -> bool:
    is_weights_or_index = name.endswith((".safetensors", ".safetensors.index.json"))
    return is_weights_or_index and name.startswith("consolidated") != (chosen == "mistral")


# ---------------------------------------------------------------- the model


def _check_model(kept: dict[str, Entry], chosen: Format) -> None:
    config = "config.json" if chosen == "hf" else "params.json"
    if config not in kept:
        raise UnfitModel(f"There is no {config}: this is no model in the format '{chosen}'.")
    _read_json(kept[config].source)
    weights = [entry for name, entry in kept.items() if _is_top_weights(name)]
    if not weights:
        raise UnfitModel(f"There are no safetensors in the format '{chosen}'.")
    if not any(name in kept for name in _TOKENIZERS):
        raise UnfitModel(f"There is no tokenizer: none of {', '.join(_TOKENIZERS)}.")
    for name, entry in kept.items():
        if name.endswith(".safetensors.index.json"):
            _check_index(entry, kept)
    for entry in weights:
        _check_safetensors(entry)


def _is_top_weights(name: str) -> bool:
    return name.endswith(".safetensors") and "/" not in name


def _check_index(index: Entry, kept: dict[str, Entry]) -> None:
    named = _read_json(index.source).get("weight_map")
    if not isinstance(named, dict):
        raise UnfitModel(f"{index.name} has no 'weight_map'.")
    missing = sorted({str(shard) for shard in named.values()} - kept.keys())
    if missing:
        raise UnfitModel(f"{index.name} names files that are not there: {', '.join(missing)}.")


def _check_safetensors(entry: Entry) -> None:
    """A download that was cut off, or a pointer of Git LFS, must not cost a start of an instance.

    The file is the length of its header in 8 bytes, the header, and the tensors up to the largest
    of `data_offsets` (safetensors, README, "Format").
    """
    with entry.source.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(entry.size, _MAX_HEADER_BYTES):
            raise UnfitModel(
                f"{entry.name} is no safetensors file. If it is a pointer of Git LFS, run"
                " `git lfs pull`."
            )
        try:
            header = json.loads(file.read(length))
            ends = [one["data_offsets"][1] for key, one in header.items() if key != "__metadata__"]
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise UnfitModel(f"{entry.name} is no safetensors file.") from error
    expected = 8 + length + max(ends, default=0)
    if entry.size != expected:
        raise UnfitModel(
            f"{entry.name} has {entry.size:,} bytes where {expected:,} belong: it is not whole."
        )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except ValueError as error:
        raise UnfitModel(f"{path.name} is not valid JSON: {error}") from error
    if not isinstance(document, dict):
        raise UnfitModel(f"{path.name} is no JSON object.")
    return document


# ---------------------------------------------------------------- our code


def _code(kept: dict[str, Entry]) -> Iterator[Entry]:
    """The handlers' script and the whole package: 0.1 MB, and every engine can be tried there."""
    # Beside the package in a checkout, in it when installed from a wheel.
    script = next(path for path in (_HERE.parent / SCRIPT, _HERE / SCRIPT) if path.is_file())
    theirs = kept.get(SCRIPT)
    if theirs is not None and theirs.source.read_bytes() != script.read_bytes():
        raise UnfitModel(
            f"The folder has a {SCRIPT} of its own; the container would run ours or that one."
        )
    yield Entry(name=SCRIPT, source=script, size=script.stat().st_size)
    for source in _HERE.rglob("*.py"):
        name = f"{PACKAGE}/{source.relative_to(_HERE).as_posix()}"
        if name != f"{PACKAGE}/{SCRIPT}":
            yield Entry(name=name, source=source, size=source.stat().st_size)


def _check_names(entries: dict[str, Entry]) -> None:
    """SageMaker makes files of the keys: no key may need a name that a file can't have."""
    for name in entries:
        path = PurePosixPath(name)
        if any(len(os.fsencode(piece)) > _MAX_NAME_BYTES for piece in path.parts):
            raise UnfitModel(f"A name in {name} has more than {_MAX_NAME_BYTES} bytes.")
        if len(os.fsencode(name)) > _MAX_PATH_BYTES:
            raise UnfitModel(f"The path {name} is too long for a key.")
        for above in path.parents:
            if str(above) in entries:
                raise UnfitModel(f"{above} would be a file and a folder.")
