"""A model server that does one job a request: `Job 17 …` leaves the record of job 17.

It outlives the stack that asks it, so what ran before a kill is known afterwards.
"""

import re
import socket
import sys
from pathlib import Path

from aiohttp import web

from benchmarks.peers import effects

_JOB = re.compile(r"Job (\d+) (.*)")


async def _complete(request: web.Request) -> web.Response:
    body = await request.json()
    text = body["messages"][-1]["content"]
    job = _JOB.match(text)
    if job is None:
        raise web.HTTPBadRequest
    await effects.work_async(int(job[1]), job[2])
    message = {"role": "assistant", "content": text}
    return web.json_response(
        {
            "id": "chatcmpl-upstream",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }
    )


async def _models(_request: web.Request) -> web.Response:
    return web.json_response({"object": "list", "data": [{"id": "null", "object": "model"}]})


def main() -> None:
    """Listen at the free port that is written to the file named."""
    app = web.Application()
    app.add_routes([web.post("/v1/chat/completions", _complete), web.get("/v1/models", _models)])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        Path(sys.argv[1]).write_text(str(listener.getsockname()[1]), encoding="utf-8")
        # Who hangs up has died: its job must not run after that.
        web.run_app(app, sock=listener, handler_cancellation=True, print=None)


if __name__ == "__main__":
    main()
