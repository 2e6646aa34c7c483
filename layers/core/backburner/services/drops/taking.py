"""What is common to all that is dropped: it is seen, made a file of, and accepted once."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from backburner.domain import dropped
from backburner.domain.batch import RAW_ROUTE, Batch, BatchKind
from backburner.domain.catalog import Model
from backburner.domain.dropped import Asked, Source
from backburner.domain.errors import Conflict, InvalidLine, InvalidRequest, NotFound, TooLarge
from backburner.domain.file import FilePurpose, StoredFile
from backburner.domain.finding import Finding
from backburner.ports import Absent, BlobStat, Environment, Key, Put
from backburner.services import batches, files, mirror, records, submit
from backburner.services.once import Note

_logger = logging.getLogger(__name__)

#: Window of a batch whose file asks for none.
WINDOW = "24h"


class Replaced(Exception):  # noqa: N818 - reads as a sentence where it is caught
    """The object is gone, or another content is under its key, which is told of by itself."""


class Unfit(Exception):  # noqa: N818 - as above
    """Lines or rows of the object can't be run."""

    def __init__(self, findings: list[Finding]) -> None:
        super().__init__()
        self.findings = findings


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """An object that nobody has taken yet, as it was seen."""

    key: str
    stat: BlobStat
    source: Source
    asked: Asked
    #: The model that its folder or name says; None: they say none.
    model: Model | None
    #: Key of the note that it was taken.
    once: Key

    @property
    def name(self) -> str:
        return PurePosixPath(self.key).name

    def metadata(self, **more: str) -> dict[str, str]:
        """Of its batch."""
        named = {} if self.asked.name is None else {"name": self.asked.name}
        return {"dropped": self.name[:512]} | named | more

    def note(self, batch: Batch) -> Put:
        """Says that it was taken."""
        return Put(self.once, {"batch_id": batch.id}, when=(Absent(),))


def load(env: Environment, key: str) -> Dropped | None:
    """The object, or None: it is gone, or taken already.

    Raises:
        InvalidRequest: what it asks for is wrong.
        NotFound: there is no model of that name.
        TooLarge: it is over the limit.
    """
    stat = env.blobs.stat(key)
    once = records.drop_key(env.drop_tenant, key, stat.etag if stat else "")
    if stat is None or env.store.get(once) != [None]:
        return None
    asked = dropped.asked(key, env.catalog.models)
    model = env.catalog.get(asked.model) if asked.model is not None else None
    if asked.model is not None and model is None:
        raise submit.no_model(asked.model)
    # What a model reads as it is needs nobody else to know what it is.
    is_raw = model is not None and set(model.routes) == {RAW_ROUTE}
    source = Source.RAW if is_raw else dropped.source_of(key)
    if source is not Source.RAW and stat.size > env.limits.file_bytes:
        raise TooLarge(f"A file has at most {env.limits.file_bytes} bytes.")
    return Dropped(key=key, stat=stat, source=source, asked=asked, model=model, once=once)


def is_as_seen(env: Environment, one: Dropped) -> bool:
    """Whether the object is still what was seen, or gone."""
    now = env.blobs.stat(one.key)
    return now is None or now.etag == one.stat.etag


@contextmanager
def opened(env: Environment, one: Dropped) -> Iterator[BinaryIO]:
    """Stream the object in; raises Replaced where it is gone."""
    try:
        with env.blobs.read(one.key) as stream:
            yield stream
    except NotFound as error:
        raise Replaced from error


def only_model(env: Environment, *routes: str) -> Model:
    """The model of what names none: the only one that serves one of these routes.

    Raises:
        InvalidRequest: there are several, or none.
    """
    found = [one for one in env.catalog.models.values() if set(one.routes) & set(routes)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise InvalidRequest(f"No model of the catalog serves {routes[0]}.", param="model")
    names = ", ".join(one.name for one in found)
    raise InvalidRequest(
        f"The file must say which model it is for, by its folder or by its name: {names}.",
        param="model",
    )


def made_file(env: Environment, one: Dropped, lines: Iterable[bytes | InvalidLine]) -> StoredFile:
    """A file of these lines, which were made of the object.

    Raises:
        Replaced: the object is not what was seen.
        Unfit: some of the lines can't be made.
    """
    tenant, file_id = env.drop_tenant, env.ids.new("file")
    key = files.blob_key(tenant, file_id)
    findings: list[Finding] = []
    size = 0
    with env.blobs.write(key, content_type="application/jsonl") as out:
        for number, line in enumerate(lines, 1):
            if isinstance(line, bytes):
                size += out.write(line + b"\n")
            elif len(findings) < env.limits.reported_errors:
                findings.append(
                    Finding(line=number, code=line.code, message=line.message, param=line.param)
                )
        if findings:
            raise Unfit(findings)
    if not is_as_seen(env, one):
        env.blobs.delete(key)
        raise Replaced
    name = one.name if one.source is Source.LINES else f"{one.name}.jsonl"
    return add_file(env, file_id, name, size)


def copied_file(env: Environment, one: Dropped) -> StoredFile:
    """A file with the object's content; raises Replaced."""
    file_id = env.ids.new("file")
    key = files.blob_key(env.drop_tenant, file_id)
    try:
        size = env.blobs.copy(one.key, key).size
    except NotFound as error:
        raise Replaced from error
    if not is_as_seen(env, one):
        env.blobs.delete(key)
        raise Replaced
    return add_file(env, file_id, one.name, size)


def add_file(env: Environment, file_id: str, name: str, size: int) -> StoredFile:
    kept = env.limits.output_expires_seconds
    return files.add(
        env,
        env.drop_tenant,
        file_id=file_id,
        filename=name,
        purpose=FilePurpose.BATCH,
        size=size,
        expires_at=env.clock.now() + kept if kept else None,
    )


def new_batch(one: Dropped, *, route: str, **options: Any) -> submit.NewBatch:
    """What the object asks for."""
    return submit.NewBatch(
        route=route,
        completion_window=one.asked.window if one.asked.window is not None else WINDOW,
        priority=one.asked.priority or 0,
        **{"metadata": one.metadata(), "dropped_key": one.key} | options,
    )


def accept(
    env: Environment,
    some: Sequence[Dropped],
    file: StoredFile,
    new: submit.NewBatch,
    *,
    dialect: str = "openai",
) -> None:
    """Make a batch of the file's lines, unless someone was faster."""
    kind = BatchKind.MESSAGES if dialect == "anthropic" else BatchKind.FILE
    batch = submit.validating(
        env,
        env.drop_tenant,
        new,
        kind=kind,
        id=env.ids.new(records.PREFIXES.get(kind, "batch")),
        dialect=dialect,
        input_file_id=file.id,
        input_key=file.key,
    )
    notes: list[Note] = [one.note for one in some]
    try:
        submit.accept(env, batch, *notes)
    except Conflict:
        taken = [taken_by(env, one) for one in some]
        if not any(one is not None and one.input_file_id == file.id for one in taken):
            files.forget(env, file)
        if not all(taken):  # of what nobody took, S3 tells again
            raise
        return
    _logger.info("drop.taken key=%s files=%d batch=%s", some[0].key, len(some), batch.id)


def taken_by(env: Environment, one: Dropped) -> Batch | None:
    """The batch that the object became, or None: nobody has taken it."""
    (taken,) = env.store.get(one.once)
    return batches.load(env, env.drop_tenant, str(taken["batch_id"])) if taken else None


def reject(env: Environment, one: Dropped, findings: list[Finding]) -> None:
    """Put an object aside that can't be run, with the reasons."""
    mirror.reject(env, one.key, findings)
    _logger.warning("drop.rejected key=%s code=%s", one.key, findings[0].code)


def note_replaced(one: Dropped) -> None:
    _logger.info("drop.changed key=%s: what is there now is told of by itself", one.key)
