"""The front door on one machine: HTTP in, API Gateway events to the function, HTTP out."""

import asyncio
import base64
import contextlib
import logging
import socket
import threading
import uuid
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Self

from aiohttp import HttpVersion11, web
from aiohttp.helpers import content_disposition_header

from backburner.domain.errors import Busy, InvalidRequest, StorageUnavailable, TooLarge
from backburner.ports import Blobs
from backburner.web import errors
from backburner_local import events
from backburner_local.functions import LoadedFunction
from backburner_local.listening import BACKLOG
from backburner_local.loop_threads import LoopThreads
from backburner_local.streams import Streams

logger = logging.getLogger(__name__)

#: Larger bodies are spooled to an object instead of being held in memory.
SPOOL_BYTES = 1 << 20
#: Where they are put; what is left there after a crash belongs to no request any more.
SPOOL = "spool/"

#: Largest object that a link takes: SageMaker's asynchronous inference takes no more.
UPLOAD_BYTES = 1 << 30

_CHUNK = 1 << 18

#: What API Gateway answers where the function failed.
_FAILED = {
    "statusCode": 500,
    "headers": {"content-type": "application/json"},
    "body": '{"message": "Internal Server Error"}',
}

#: What reads an object and changes nothing.
_READING = ("GET", "HEAD")

#: When a client should come back that found too many streams.
STREAM_RETRY_SECONDS = 15

#: Longest line and longest header of a request.
_HEAD_BYTES = 64 * 1024


class Gateway:
    """Serves the API function, signed links to objects, and metrics."""

    def __init__(
        self,
        listener: socket.socket,
        *,
        function: LoadedFunction,
        blobs: Blobs,
        find_signed: Callable[[str], Path | None],
        find_upload: Callable[[str], str | None],
        metrics: Callable[[], str],
        max_body_bytes: int,
        threads: int = 128,
        streams: int = 256,
    ) -> None:
        """Prepare; nothing is served before `start`.

        Args:
            listener: listening socket; closed by `stop`.
            function: the API function.
            blobs: where large bodies are spooled.
            find_signed: the file that a signed path and query name, if the signature is good.
            find_upload: the key that a signed path and query may write, if the signature is good.
            metrics: text of `/metrics`.
            max_body_bytes: largest body that is taken at all.
            threads: requests that the function works on at once.
            streams: answers that may come piece by piece at once; each is a connection.
        """
        self._listener = listener
        self._function = function
        self._blobs = blobs
        self._find_signed = find_signed
        self._find_upload = find_upload
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes
        self._threads = LoopThreads(most=threads, name="api")
        self._stopping = asyncio.Event()
        self._streams = Streams(self._threads, self._stopping, most=streams)
        self._started: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = threading.Thread(target=self._run, name="gateway")

    def start(self) -> Self:
        """Return when requests are answered."""
        self._thread.start()
        self._started.result()
        return self

    def stop(self) -> None:
        """Take no more requests, finish those that are there, and end."""
        self._started.result().call_soon_threadsafe(self._stopping.set)
        self._thread.join()
        self._threads.stop()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            if self._started.done():
                raise
            self._started.set_exception(error)

    async def _serve(self) -> None:
        # A server without an application: its router would cost as much as the parsing of HTTP.
        server = web.Server(
            self._route,
            handler_cancellation=False,
            access_log=None,
            keepalive_timeout=75,
            # What is longer than the API allows is refused in words by the function.
            max_line_size=_HEAD_BYTES,
            max_field_size=_HEAD_BYTES,
        )
        runner = web.ServerRunner(server, shutdown_timeout=10)
        await runner.setup()
        await web.SockSite(runner, self._listener, backlog=BACKLOG).start()
        self._started.set_result(asyncio.get_running_loop())
        await self._stopping.wait()
        await runner.cleanup()

    async def _route(self, request: web.BaseRequest) -> web.StreamResponse:
        if "Expect" in request.headers:
            await _go_on(request)
        if request.path.startswith("/blobs/"):
            if request.method in _READING:
                return await self._blob(request)
            if request.method == "PUT":
                return await self._put_blob(request)
        if request.path == "/metrics" and request.method in _READING:
            return await self._show_metrics(request)
        return await self._invoke(request)

    async def _blob(self, request: web.BaseRequest) -> web.StreamResponse:
        path = self._find_signed(request.raw_path)
        if path is None:
            return web.Response(status=403, text="The link is not valid, or not any more.\n")
        headers = {"Content-Type": request.query.get("type") or "application/octet-stream"}
        if filename := request.query.get("filename"):
            headers["Content-Disposition"] = content_disposition_header(
                "attachment", filename=filename
            )
        return web.FileResponse(path, headers=headers)

    async def _put_blob(self, request: web.BaseRequest) -> web.Response:
        """Take one object in, as S3 does at such a link."""
        key = self._find_upload(request.raw_path)
        if key is None:
            return web.Response(status=403, text="The link is not valid, or not any more.\n")
        is_whole = (request.content_length or 0) <= UPLOAD_BYTES
        if is_whole:
            try:
                is_whole = await self._spool(key, b"", request, most_bytes=UPLOAD_BYTES)
            except (InvalidRequest, StorageUnavailable) as error:
                return _refused(request, error)
            if not is_whole:
                await asyncio.to_thread(self._blobs.delete, key)
        if not is_whole:
            limit = TooLarge(f"An object that is put here has at most {UPLOAD_BYTES} bytes.")
            return _refused(request, limit)
        return web.Response()

    async def _show_metrics(self, _: web.BaseRequest) -> web.Response:
        return web.Response(text=self._metrics(), content_type="text/plain")

    async def _invoke(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await self._answer(request)
        except (InvalidRequest, StorageUnavailable) as error:  # the body could not be had
            return _refused(request, error)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if not request.body_exists:
            answer = await self._ask(request, b"")
        else:
            async with self._body(request) as (body, body_key):
                if body is None:
                    limit = self._max_body_bytes
                    return _refused(request, TooLarge(f"The body is larger than {limit} bytes."))
                answer = await self._ask(request, body, body_key)
        if (stream := answer.get("stream")) is not None:
            sent = await self._streams.send(request, answer, stream)
            return sent or _refused(request, Busy(retry_after_seconds=STREAM_RETRY_SECONDS))
        return _response(answer)

    async def _ask(
        self, request: web.BaseRequest, body: bytes, body_key: str | None = None
    ) -> dict[str, Any]:
        """What the function answers."""
        event = events.http(
            method=request.method,
            path=request.path,
            query=request.rel_url.raw_query_string,
            headers=_headers(request),
            body=body,
            body_key=body_key,
            source_ip=request.remote or "",
            streams=True,
        )
        try:
            answer: dict[str, Any] = await self._threads.run(self._function, event)
        except Exception:
            logger.exception("function.failed %s", self._function.name)
            return _FAILED
        return answer

    @contextlib.asynccontextmanager
    async def _body(
        self, request: web.BaseRequest
    ) -> AsyncIterator[tuple[bytes | None, str | None]]:
        """The body, or the object that it was spooled to; None where it is too large."""
        if (request.content_length or 0) > self._max_body_bytes:
            yield None, None
            return
        head = bytearray()
        while chunk := await _read(request):
            head += chunk
            if len(head) > SPOOL_BYTES:
                break
        else:
            yield bytes(head), None
            return
        key = f"{SPOOL}{uuid.uuid4().hex}"
        try:
            is_whole = await self._spool(key, bytes(head), request, most_bytes=self._max_body_bytes)
            yield (b"", key) if is_whole else (None, None)
        finally:
            await asyncio.to_thread(self._blobs.delete, key)

    async def _spool(
        self, key: str, head: bytes, request: web.BaseRequest, *, most_bytes: int
    ) -> bool:
        """Stream the body into an object; False: it is too large."""
        size = len(head)
        writing = self._blobs.write(key)
        stream = writing.__enter__()
        try:
            await asyncio.to_thread(stream.write, head)
            while chunk := await _read(request):
                size += len(chunk)
                if size > most_bytes:
                    break
                await asyncio.to_thread(stream.write, chunk)
        except BaseException as error:
            writing.__exit__(type(error), error, error.__traceback__)
            raise
        await asyncio.to_thread(writing.__exit__, None, None, None)
        return size <= most_bytes


async def _go_on(request: web.BaseRequest) -> None:
    """Have a client send the body that asked whether it should (RFC 9110, section 10.1.1)."""
    if request.version < HttpVersion11:
        return
    if request.headers["Expect"].lower() != "100-continue":
        raise web.HTTPExpectationFailed
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0  # of the answer, nothing is out yet


async def _read(request: web.BaseRequest) -> bytes:
    """The next piece of the body, empty at its end; raises InvalidRequest."""
    try:
        return await request.content.read(_CHUNK)
    except web.RequestPayloadError:
        raise InvalidRequest("The body is not coded as its headers say.") from None


def _headers(request: web.BaseRequest) -> dict[str, str]:
    """Headers as an HTTP API passes them: lower-case names, repeats joined by commas."""
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        lower = name.lower()
        headers[lower] = f"{headers[lower]},{value}" if lower in headers else value
    return headers


def _response(answer: dict[str, Any]) -> web.Response:
    body = answer.get("body") or ""
    data = base64.b64decode(body) if answer.get("isBase64Encoded") else body.encode()
    headers = {**answer.get("headers", {})}
    for name, values in (answer.get("multiValueHeaders") or {}).items():
        headers[name] = ",".join(values)
    return web.Response(status=int(answer["statusCode"]), body=data, headers=headers)


def _refused(request: web.BaseRequest, error: Exception) -> web.Response:
    """The answer to a request that did not reach the function."""
    request_id = f"req_{uuid.uuid4().hex}"
    answer = errors.to_answer(error, path=request.path, request_id=request_id)
    response = _response(answer.to_event(request_id))
    response.force_close()  # what is left of the body was not read
    return response
