"""Show the user of the drop folder what became of a dropped object, beside it.

| object | its results |
|---|---|
| `a.jsonl` | `a.jsonl`, and what failed `a.errors.jsonl`; of Bedrock's records `a.jsonl.out` |
| `a.csv`, `a.parquet`, `a.json` with a list | `a.csv.jsonl`, and what failed `a.csv.errors.jsonl` |
| `a.json` with one request | `a.json`: the model's answer |
| `a.txt` | `a.txt`: what the model says |
| anything else | `a.png.out`: what the model answered |

Whatever is one request itself and fails has its reasons under `rejected/`.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

import msgspec

from backburner.domain.batch import STOPPED, Batch
from backburner.domain.dropped import FOLDER, Source, source_of
from backburner.domain.errors import NotFound
from backburner.domain.finding import Finding
from backburner.domain.request import Outcome
from backburner.domain.shard import Shard
from backburner.ports import Environment
from backburner.services import files

DROP, RESULTS, REJECTED = FOLDER, "results/", "rejected/"

#: Most bytes of a key (S3 user guide, "Naming Amazon S3 objects"), and of a file's name locally.
_KEY_BYTES, _NAME_BYTES = 1024, 255

#: Ending of answers whose form is their model's: that which SageMaker's batch transform gives them.
_OUT = ".out"

#: Answers that are held, to be put at once.
_HELD = 16


def publish(env: Environment, ended: Batch) -> None:
    """Put a dropped batch's results under `results/`, before it is told as ended."""
    key = ended.dropped_key
    if key is None:
        return
    if ended.is_single:
        code, message = _end_of(ended)
        _tell_failure(env, key, Finding(code=code, message=message))
    elif not answers_each(ended):
        _publish_files(env, ended, key)


def _publish_files(env: Environment, ended: Batch, key: str) -> None:
    written = {"": ended.output_file_id, ".errors": ended.error_file_id}
    found = {mark: files.blob_key(ended.tenant, one) for mark, one in written.items() if one}
    if ended.dialect == "bedrock" and len(found) > 1:  # its results are one file, in no order
        env.blobs.compose(mirrored(key, RESULTS, _OUT), list(found.values()))
        return
    for mark, source in found.items():
        env.blobs.copy(source, _result_key(ended, key, mark))


def _result_key(ended: Batch, key: str, mark: str) -> str:
    if ended.dialect == "bedrock":
        return mirrored(key, RESULTS, _OUT)
    if source_of(key) is Source.LINES:
        stem, dot, suffix = key.rpartition(".")
        return mirrored(stem, RESULTS, mark + dot + suffix)
    return mirrored(key, RESULTS, f"{mark}.jsonl")


class Answers:
    """Puts what became of each request of a batch beside the object that it was."""

    def __init__(self, env: Environment, batch: Batch) -> None:
        self._env = env
        self._key = batch.dropped_key or ""
        self._held: dict[str, bytes] = {}

    def add(self, outcome: Outcome) -> None:
        # A folder's are named by their requests.
        key = self._key + outcome.custom_id if self._key.endswith("/") else self._key
        if outcome.is_success:
            self._held[mirrored(key, RESULTS)] = self._answer(key, outcome)
        else:
            finding = Finding(code=outcome.code or "request_failed", message=_said(outcome))
            self._held[mirrored(key, REJECTED, _REASONS)] = _reasons(key, [finding])
        if len(self._held) >= _HELD:
            self.put()

    def put(self) -> None:
        """Put what is held."""
        if self._held:
            self._env.blobs.put_all(self._held)
        self._held.clear()

    def _answer(self, key: str, outcome: Outcome) -> bytes:
        text = self._env.shards.text(outcome.body) if source_of(key) is Source.TEXT else None
        return outcome.body if text is None else text.encode() + b"\n"


@contextmanager
def answers(env: Environment, batch: Batch) -> Iterator[Answers | None]:
    """For a dropped batch whose requests are objects by themselves; None for any other."""
    found = Answers(env, batch) if batch.dropped_key and answers_each(batch) else None
    yield found
    if found is not None:
        found.put()


def answers_each(batch: Batch) -> bool:
    """Whether each request of a dropped batch was an object of its own."""
    key = batch.dropped_key or ""
    if key.endswith("/") or source_of(key) is Source.TEXT:
        return True
    return source_of(key) is Source.JSON and batch.total == 1 and batch.dialect == "openai"


def publish_raw(env: Environment, ended: Batch, done: Shard, outcome: Outcome) -> None:
    """Put the answer to a dropped raw request under `results/`, before it is told as ended."""
    key = ended.dropped_key
    if key is None:
        return
    if outcome.is_success and done.answer_key is not None:
        env.blobs.copy(done.answer_key, mirrored(key, RESULTS, _OUT))
    else:
        finding = Finding(code=outcome.code or "request_failed", message=_said(outcome))
        _tell_failure(env, key, finding)


def _tell_failure(env: Environment, key: str, finding: Finding) -> None:
    """Say why a request failed; the object stays where it is."""
    env.blobs.put(
        mirrored(key, REJECTED, _REASONS),
        _reasons(key, [finding]),
        content_type="application/json",
    )


def reject(env: Environment, dropped_key: str | None, found: list[Finding]) -> None:
    """Put a dropped object that can't be run under `rejected/`, with the reasons beside it."""
    if dropped_key is None:
        return
    env.blobs.put(
        mirrored(dropped_key, REJECTED, _REASONS),
        _reasons(dropped_key, found),
        content_type="application/json",
    )
    try:
        env.blobs.copy(dropped_key, mirrored(dropped_key, REJECTED))
    except NotFound:  # its user removed it meanwhile
        return


_REASONS = ".error.json"


def _reasons(key: str, found: list[Finding]) -> bytes:
    reasons = {"file": key, "errors": [asdict(finding) for finding in found]}
    return msgspec.json.format(msgspec.json.encode(reasons), indent=2) + b"\n"


class _Error(msgspec.Struct):
    message: str = ""


class _Body(msgspec.Struct):
    error: _Error = msgspec.field(default_factory=_Error)


def _said(outcome: Outcome) -> str:
    """Why a request failed, in the words of whoever refused it."""
    if outcome.message:
        return outcome.message
    try:
        said = msgspec.json.decode(outcome.body, type=_Body).error.message
    except msgspec.MsgspecError:
        said = ""
    return said or f"The model's server answered with status {outcome.status_code}."


def _end_of(ended: Batch) -> tuple[str, str]:
    """Code and words for a request that never ran to its end."""
    if ended.stopping is not None:
        return STOPPED[ended.stopping][1:]
    return "request_failed", ended.failure or "The request failed."


def mirrored(dropped_key: str, folder: str, ending: str = "") -> str:
    """The key under another folder. One that would be too long is cut, and told apart by a hash.

    Args:
        dropped_key: of the dropped object, or its beginning.
        folder: that it is mirrored under.
        ending: that the key gets.
    """
    path, slash, name = dropped_key.removeprefix(DROP).rpartition("/")
    path = folder + path + slash
    room = min(_NAME_BYTES, _KEY_BYTES - len(path.encode())) - len(ending.encode())
    if len(name.encode()) > room:
        digest = "-" + hashlib.sha256(dropped_key.encode()).hexdigest()[:12]
        name = _cut(name, room - len(digest)) + digest
    if len((path + name + ending).encode()) > _KEY_BYTES:  # it is the path that is too long
        digest = hashlib.sha256(dropped_key.encode()).hexdigest()
        return f"{folder}{digest}{ending}"
    return path + name + ending


def _cut(text: str, size: int) -> str:
    """The text's beginning, of at most so many bytes."""
    return text.encode()[: max(0, size)].decode(errors="ignore")
