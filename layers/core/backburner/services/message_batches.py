"""Message Batches: taken in with their requests, and removed by whoever made them.

Their requests are translated when they are planned, like the lines of any other batch.
"""

from contextlib import ExitStack
from dataclasses import replace
from typing import Any, BinaryIO, Self

from backburner.domain.batch import Batch, BatchKind
from backburner.domain.errors import Conflict, InvalidLine, InvalidRequest, NotFound, Rejected
from backburner.domain.quota import Quota
from backburner.ports import Environment
from backburner.services import batches, files, outbox, quotas, records, submit, transitions
from backburner.services.fitting import Fitting
from backburner.services.once import Note
from backburner.services.submit import NewBatch

DIALECT = "anthropic"
#: What requests become.
ROUTE = "/v1/chat/completions"

#: What those do whose requests are too many for a body.
ADVICE = (
    "Upload the requests as a file instead, one JSON object of custom_id and params a line "
    "(POST /v1/files with purpose 'batch'), and name it as 'requests_file_id'."
)


class Requests:
    """Requests that come in the body of their batch: each is checked, and becomes a line.

    The lines are an object of the batch, there once the block ends without an error.
    """

    def __init__(self, env: Environment, tenant: str, batch_id: str) -> None:
        # What only counting tokens can tell is left to planning: a client waits for this.
        self._env = replace(env, tokenizers={})
        self.key = f"batches/{tenant}/{batch_id}/requests.jsonl"
        self.count = 0
        self._fitting = Fitting(self._env, dialect=DIALECT)
        self._seen: dict[str, int] = {}
        self._found: list[str] = []
        self._bad = 0
        self._stack = ExitStack()
        self._lines: BinaryIO | None = None

    def __enter__(self) -> Self:
        self._stack.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def add(self, data: bytes | None) -> None:
        """Take the next request; None stands for one that is too long."""
        index = self.count
        self.count += 1
        limits = self._env.limits
        if self.count > limits.body_requests:
            raise InvalidRequest(
                f"requests: has more than {limits.body_requests} requests. {ADVICE}",
                param="requests",
            )
        try:
            if data is None:
                raise InvalidLine(
                    "line_too_long", f"This request is longer than {limits.line_bytes} bytes."
                )
            self._check(index, data)
        except InvalidLine as error:
            self._bad += 1
            if self._bad <= limits.reported_errors:
                self._found.append(_told(index, error))
        else:
            self._write(data)

    def check(self) -> None:
        """Raise InvalidRequest that names every bad request, or that there are none."""
        if self.count == 0:
            raise InvalidRequest("requests: must have at least one request.", param="requests")
        if self._bad > len(self._found):
            self._found.append(f"… and {self._bad - len(self._found)} more.")
        if self._found:
            raise InvalidRequest("\n".join(self._found), param="requests")

    def _check(self, index: int, data: bytes) -> None:
        dialect = self._env.dialects[DIALECT]
        request = dialect.parse(index + 1, data, route=ROUTE)
        first = self._seen.setdefault(request.custom_id, index)
        if first != index:
            raise InvalidLine(
                "duplicate_custom_id",
                f"'{request.custom_id}' is that of requests.{first} already.",
                param="custom_id",
            )
        self._fitting.model_of(request)

    def _write(self, data: bytes) -> None:
        if self._lines is None:
            self._lines = self._stack.enter_context(
                self._env.blobs.write(self.key, content_type="application/jsonl")
            )
        self._lines.write(data + b"\n")


def _told(index: int, error: InvalidLine) -> str:
    """What is wrong with a request, named by its place: `requests.3.params.max_tokens: …`."""
    where = f"requests.{index}"
    if error.param is None:
        return f"{where}: {error.message}"
    said = error.message.removeprefix(f"{error.param}: ")
    return f"{where}.{error.param}: {said}"


def accept(
    env: Environment,
    tenant: str,
    new: NewBatch,
    *,
    batch_id: str,
    requests: Requests | None = None,
    note: Note | None = None,
    quota: Quota | None = None,
) -> Batch:
    """Accept a Message Batch: of requests that came with it, or of the lines of a file.

    Args:
        env: the world.
        tenant: whose it is.
        new: what is asked for.
        batch_id: what it is called.
        requests: that came with it, checked and written; None: they are in the file.
        note: written with the batch, so that what it names is accepted only once.
        quota: of the tenant; None: whatever waits already.

    Raises:
        Conflict: the note was there before.
        InvalidRequest: a field is wrong.
        NotFound: the tenant has no such file.
        OverQuota: too many requests of the tenant wait for one model.
    """
    try:
        submit.check(new)
        if quota is not None:
            quotas.check_waiting(env, tenant, quota)
        batch = _validating(env, tenant, new, batch_id=batch_id, requests=requests)
        submit.accept(env, batch, note)
    except (Rejected, Conflict):  # of anything else it is not known whether the batch stands
        if requests is not None:
            env.blobs.delete(requests.key)
        raise
    return batch


def _validating(
    env: Environment, tenant: str, new: NewBatch, *, batch_id: str, requests: Requests | None
) -> Batch:
    if requests is None:
        file = submit.input_file(env, tenant, new.input_file_id, param="requests_file_id")
        source: dict[str, Any] = {"input_file_id": file.id, "input_key": file.key}
    else:
        source = {"input_key": requests.key, "total": requests.count}
    return submit.validating(
        env,
        tenant,
        new,
        id=batch_id,
        kind=BatchKind.MESSAGES,
        dialect=DIALECT,
        **source,
    )


def remove(env: Environment, ended: Batch) -> None:
    """Forget a batch that has ended, with its results. Its shards vanish by their age.

    What it holds goes first: whoever dies before the end leaves a batch that can be removed again.
    Who deletes needs no word of the end: what was not told yet isn't.
    """
    result = files.result_id(ended.id, "output")
    try:
        files.delete(env, ended.tenant, result)
    except NotFound:  # its client or reap removed it, or who died here left its object
        env.blobs.delete(files.blob_key(ended.tenant, result))
    # Who ended it removes these as well; but finds no batch any more.
    batches.remove_objects(env, ended.tenant, ended.id)
    told = map(records.key_of, outbox.of_batch(env, ended.tenant, ended.id))
    env.store.transact(*transitions.forget(ended, told))
