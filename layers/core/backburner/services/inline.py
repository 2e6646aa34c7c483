"""Batches whose requests stand in the call itself: written down as the file that they could be."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from backburner.domain.batch import Batch
from backburner.domain.errors import Conflict, InvalidLine, InvalidRequest, Rejected
from backburner.domain.file import FilePurpose, StoredFile
from backburner.domain.quota import Quota
from backburner.ports import Environment
from backburner.services import files, submit
from backburner.services.fitting import Fitting
from backburner.services.once import Note

_DIALECT = "openai"


def submit_requests(
    env: Environment,
    tenant: str,
    new: submit.NewBatch,
    requests: Any,
    *,
    model: Any = None,
    note: Note | None = None,
    quota: Quota | None = None,
) -> Batch:
    """Accept a batch of requests that are given as a list.

    Args:
        env: the world.
        tenant: whose it is.
        new: what is asked for; its input file is made here.
        requests: each as the line of a file would say it.
        model: of those whose body names none.
        note: written with the batch, so that what it names is accepted only once.
        quota: of the tenant; None: whatever waits already.

    Raises:
        Conflict: the note was there before.
        InvalidRequest: a field is wrong; of a request, with its number from 0.
    """
    submit.check(new)
    if not isinstance(requests, list) or not requests:
        raise InvalidRequest("'requests' must be a list of requests.", param="requests")
    if len(requests) > env.limits.file_lines:
        raise InvalidRequest(
            f"'requests' has {len(requests)} requests; the limit is {env.limits.file_lines}.",
            param="requests",
        )
    if model is not None and not isinstance(model, str):
        raise InvalidRequest("'model' must be a string.", param="model")
    lines = [_line(number, one, new, model) for number, one in enumerate(requests)]
    if new.on_invalid == "fail":
        _check(env, lines, new)
    file = _write(env, tenant, lines)
    try:
        return submit.submit_batch(
            env,
            tenant,
            replace(new, input_file_id=file.id, is_inline=True),
            note=note,
            quota=quota,
        )
    except (Rejected, Conflict):  # of anything else it is not known whether the batch stands
        files.forget(env, file)
        raise


def _line(number: int, given: Any, new: submit.NewBatch, model: str | None) -> bytes:
    if not isinstance(given, dict):
        raise InvalidRequest(f"'requests.{number}' must be an object.", param=f"requests.{number}")
    line = {"method": "POST", "url": new.route, **given}
    body = given.get("body")
    if isinstance(body, Mapping) and model is not None:
        line["body"] = {"model": model, **body}
    return msgspec.json.encode(line)


def _check(env: Environment, lines: list[bytes], new: submit.NewBatch) -> None:
    """Raise InvalidRequest with the first request that can't be run."""
    seen: dict[str, int] = {}
    fitting = Fitting(env, dialect=_DIALECT, needs_price=new.max_cost_usd is not None)
    for number, data in enumerate(lines):
        try:
            if len(data) > env.limits.line_bytes:
                raise InvalidLine(
                    "line_too_long", f"This request is longer than {env.limits.line_bytes} bytes."
                )
            request = env.dialects[_DIALECT].parse(number + 1, data, route=str(new.route))
            first = seen.setdefault(request.custom_id, number)
            if first != number:
                raise InvalidLine(
                    "duplicate_custom_id",
                    f"The custom_id '{request.custom_id[:64]}' is that of 'requests.{first}', too.",
                    param="custom_id",
                )
            fitting.model_of(request)
        except InvalidLine as wrong:
            name = f"requests.{number}"
            param = f"{name}.{wrong.param}" if wrong.param else name
            raise InvalidRequest(
                f"'{name}': {wrong.message}", param=param, code=wrong.code
            ) from None


def _write(env: Environment, tenant: str, lines: list[bytes]) -> StoredFile:
    file_id = env.ids.new("file")
    data = b"".join(line + b"\n" for line in lines)
    env.blobs.put(files.blob_key(tenant, file_id), data, content_type="application/jsonl")
    kept = env.limits.output_expires_seconds
    return files.add(
        env,
        tenant,
        file_id=file_id,
        filename="requests.jsonl",
        purpose=FilePurpose.BATCH,
        size=len(data),
        line_count=len(lines),
        expires_at=env.clock.now() + kept if kept else None,
    )
