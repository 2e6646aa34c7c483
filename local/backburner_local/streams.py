"""Answers that come piece by piece, as long as their clients stay."""

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from backburner.domain.errors import BackburnerError
from backburner.web.answer import Stream
from backburner_local.loop_threads import LoopThreads

logger = logging.getLogger(__name__)


class Streams:
    """Sends them, so many at once; all on the event loop, with no thread while they wait."""

    def __init__(self, threads: LoopThreads, stopping: asyncio.Event, *, most: int) -> None:
        """Prepare.

        Args:
            threads: read the pieces, which takes the store a moment.
            stopping: ends them all.
            most: at once.
        """
        self._threads = threads
        self._stopping = stopping
        self._left = most

    async def send(
        self, request: web.BaseRequest, answer: Mapping[str, Any], stream: Stream
    ) -> web.StreamResponse | None:
        """Send a body as it comes, until it ends, its client has gone or the gateway stops.

        None: there are too many already, and nothing was sent.
        """
        if not self._left:
            return None
        response = web.StreamResponse(status=answer["statusCode"], headers=answer["headers"])
        self._left -= 1
        try:
            await response.prepare(request)
            await self._send_pieces(request, response, stream)
        except ConnectionError:
            logger.debug("stream.left %s", request.path)
        except BackburnerError as error:  # such as: the batch was deleted
            logger.info("stream.ended %s %s", request.path, error)
        except Exception:
            logger.exception("stream.broke %s", request.path)
        finally:
            self._left += 1
        return response

    async def _send_pieces(
        self, request: web.BaseRequest, response: web.StreamResponse, stream: Stream
    ) -> None:
        while not self._stopping.is_set() and request.transport is not None:
            piece = await self._threads.run(stream.read)
            if piece is None:
                return
            if piece:
                await response.write(piece)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), stream.next_pause())
