"""A small client of the HTTP API, for the command line."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import httpx

#: Statuses after which a batch changes no more.
ENDED = frozenset({"completed", "failed", "expired", "cancelled"})

#: Larger files come in parts; what a gateway on AWS takes is a little more.
_WHOLE_BYTES = 4_000_000
#: Largest part: it stands in memory.
_PART_BYTES = 8 * 1024 * 1024
#: Calls that joining the parts of a file may take; each goes on where the last one stopped.
_JOINING_CALLS = 20


class ApiError(Exception):
    """The gateway refused a request."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Unreachable(Exception):  # noqa: N818 - an outcome, told by its own exit code
    """No gateway answers at the URL."""


@dataclass(frozen=True, slots=True)
class Client:
    """Files and batches of one gateway, as one tenant."""

    http: httpx.Client

    @classmethod
    def connect(cls, url: str, key: str) -> Self:
        """A client of the gateway at the URL, such as `http://127.0.0.1:8787`.

        Raises:
            ApiError: the key can't be one.
            Unreachable: the URL can't be one.
        """
        if not key.isascii() or not key.isprintable():
            raise ApiError(401, "The API key is not valid.")
        headers = {"Authorization": f"Bearer {key}"}
        base = url.rstrip("/").removesuffix("/v1")
        timeout = httpx.Timeout(30.0, read=300.0, write=300.0)
        try:
            return cls(
                httpx.Client(base_url=base, headers=headers, timeout=timeout, follow_redirects=True)
            )
        except httpx.InvalidURL as error:
            raise Unreachable(f"'{url}' is no URL: {error}.") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def upload(self, path: Path) -> dict[str, Any]:
        """Upload a file of requests; a large one in parts, as a gateway on AWS takes no other."""
        if path.stat().st_size > _WHOLE_BYTES:
            return self._upload_parts(path)
        with path.open("rb") as stream:
            return self._call(
                "POST",
                "/v1/files",
                data={"purpose": "batch"},
                files={"file": (path.name, stream, "application/jsonl")},
            )

    def _upload_parts(self, path: Path) -> dict[str, Any]:
        upload = self._call(
            "POST",
            "/v1/uploads",
            json={
                "bytes": path.stat().st_size,
                "filename": path.name,
                "mime_type": "application/jsonl",
                "purpose": "batch",
            },
        )
        route = f"/v1/uploads/{upload['id']}"
        size = min(_PART_BYTES, int(upload.get("x_part_bytes", _WHOLE_BYTES)))
        parts: list[str] = []
        with path.open("rb") as stream:
            while data := stream.read(size):
                given = {"data": ("part", data, "application/octet-stream")}
                parts.append(self._call("POST", f"{route}/parts", files=given)["id"])
        file: dict[str, Any] = self._complete(route, parts)["file"]
        return file

    def _complete(self, route: str, parts: list[str]) -> dict[str, Any]:
        """Have the parts joined, over as many calls as it takes."""
        for left in reversed(range(_JOINING_CALLS)):
            try:
                return self._call("POST", f"{route}/complete", json={"part_ids": parts})
            except ApiError as error:
                if error.status not in (503, 504) or not left:
                    raise
            time.sleep(1.0)
        raise AssertionError("the last call returns or raises")

    def estimate(self, **fields: Any) -> dict[str, Any]:
        """Where a batch would run; nothing is stored."""
        return self._call("POST", "/v1/estimates", json=fields)

    def create_batch(self, **fields: Any) -> dict[str, Any]:
        return self._call("POST", "/v1/batches", json=fields)

    def batch(self, batch_id: str) -> dict[str, Any]:
        """A batch of either API, in the words of OpenAI's."""
        return _in_one_shape(self._call("GET", _path(batch_id)))

    def batches(self, limit: int = 20) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._call("GET", f"/v1/batches?limit={limit}")["data"]
        return found

    def message_batches(self, limit: int = 20) -> list[dict[str, Any]]:
        """The same of Message Batches, in the words of OpenAI's API."""
        found = self._call("GET", f"/v1/messages/batches?limit={limit}")["data"]
        return [_in_one_shape(one) for one in found]

    def backlog(self) -> list[dict[str, Any]]:
        """Of each model, its instances and what waits."""
        found: list[dict[str, Any]] = self._call("GET", "/v1/backlog")["data"]
        return found

    def create_webhook(self, **fields: Any) -> dict[str, Any]:
        return self._call("POST", "/v1/webhook_endpoints", json=fields)

    def webhooks(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._call("GET", "/v1/webhook_endpoints?limit=100")["data"]
        return found

    def delete_webhook(self, webhook_id: str) -> dict[str, Any]:
        return self._call("DELETE", f"/v1/webhook_endpoints/{quote(webhook_id, safe='')}")

    def webhook_action(self, webhook_id: str, action: str, **fields: Any) -> dict[str, Any]:
        """Change an endpoint, or have something done to it: `/test`, `/rotate_secret`."""
        path = f"/v1/webhook_endpoints/{quote(webhook_id, safe='')}{action}"
        return self._call("POST", path, json=fields)

    def callback_secret(self, **fields: Any) -> dict[str, Any]:
        return self._call("POST", "/v1/x-callback-secret", json=fields)

    def deliveries(self, batch_id: str | None = None) -> list[dict[str, Any]]:
        """All of a batch; else what was given up, the latest first."""
        which = "status=dead" if batch_id is None else f"batch={quote(batch_id, safe='')}"
        path = f"/v1/x-deliveries?{which}&limit=100"
        found: list[dict[str, Any]] = self._call("GET", path)["data"]
        return found

    def replay(self, delivery_id: str) -> dict[str, Any]:
        return self._call("POST", f"/v1/x-deliveries/{quote(delivery_id, safe='')}/replay")

    def replay_since(self, since: float, webhook_id: str | None) -> int:
        """How many deliveries are made again, in as many calls as that takes."""
        count, at = 0, since
        while True:
            given = {"since": at} | ({"endpoint_id": webhook_id} if webhook_id else {})
            answer = self._call("POST", "/v1/x-deliveries/replay", json=given)
            count += int(answer["replayed"])
            if not answer["has_more"]:
                return count
            at = answer["next_since"]

    def cancel(self, batch_id: str) -> dict[str, Any]:
        return _in_one_shape(self._call("POST", f"{_path(batch_id)}/cancel"))

    def results(self, batch_id: str) -> Iterator[bytes]:
        """Stream the results of a Message Batch that has ended."""
        with self._reaching(), self.http.stream("GET", f"{_path(batch_id)}/results") as answer:
            yield from _chunks(answer)

    def retry(self, batch_id: str, **fields: Any) -> dict[str, Any]:
        return self._call("POST", f"/v1/batches/{quote(batch_id, safe='')}/retry", json=fields)

    def pause(self, batch_id: str) -> dict[str, Any]:
        return self._call("POST", f"/v1/batches/{quote(batch_id, safe='')}/pause")

    def resume(self, batch_id: str) -> dict[str, Any]:
        return self._call("POST", f"/v1/batches/{quote(batch_id, safe='')}/resume")

    def content(self, file_id: str) -> Iterator[bytes]:
        """Stream a file's content; of a batch that runs, the lines that are in by now."""
        offset = 0
        while True:
            route = f"/v1/files/{file_id}/content" + (f"?offset={offset}" if offset else "")
            with self._reaching(), self.http.stream("GET", route) as answer:
                yield from _chunks(answer)
            last = int(answer.headers.get("x-last-line", 0))
            if answer.headers.get("x-incomplete") != "true" or last <= offset:
                return
            offset = last

    def watch(self, batch_id: str, every_seconds: float = 0.5) -> Iterator[dict[str, Any]]:
        """The batch, again and again until it has ended; the last one has."""
        while True:
            batch = self.batch(batch_id)
            yield batch
            if batch["status"] in ENDED:
                return
            time.sleep(every_seconds)

    def _call(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        with self._reaching():
            answer = self.http.request(method, path, **arguments)
        if answer.is_error:
            raise _error(answer)
        try:
            body: dict[str, Any] = answer.json()
        except ValueError as error:
            raise Unreachable(f"What answers at {answer.url} is no Backburner.") from error
        return body

    def _reaching(self) -> "_Reaching":
        return _Reaching(str(self.http.base_url))


def _path(batch_id: str) -> str:
    kind = "messages/batches" if batch_id.startswith("msgbatch_") else "batches"
    return f"/v1/{kind}/{quote(batch_id, safe='')}"


def _in_one_shape(batch: dict[str, Any]) -> dict[str, Any]:
    """A Message Batch with the status and counts of other batches beside its own members."""
    if "processing_status" not in batch:
        return batch
    counts = batch["request_counts"]
    if batch["processing_status"] != "ended":
        status = "cancelling" if batch["cancel_initiated_at"] else "in_progress"
    elif batch["cancel_initiated_at"]:
        status = "cancelled"
    elif batch["x_failure"]:
        status = "failed"
    else:
        status = "expired" if counts["expired"] else "completed"
    failed = counts["errored"] + counts["canceled"] + counts["expired"]
    same = {"completed": counts["succeeded"], "failed": failed, "total": sum(counts.values())}
    error = {"code": "batch_failed", "message": batch["x_failure"], "line": None}
    return batch | {
        "status": status,
        "request_counts": counts | same,
        "errors": {"data": [error]} if batch["x_failure"] else None,
    }


def _chunks(answer: httpx.Response) -> Iterator[bytes]:
    if answer.is_error:
        answer.read()
        raise _error(answer)
    yield from answer.iter_bytes()


class _Reaching:
    """Turns the HTTP library's failures into ours."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, httpx.TransportError):
            raise Unreachable(
                f"No gateway answers at {self._url}: {error}. Start one with `backburner up`."
            ) from error


def _error(answer: httpx.Response) -> ApiError:
    try:
        message = str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        message = answer.text[:200] or answer.reason_phrase
    return ApiError(answer.status_code, message)
