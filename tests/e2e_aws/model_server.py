"""The model's server with the engine that echoes: ``model_server.py PORT``.

An invocation whose input holds `FAILS_ONCE` is answered 500 as a whole, the first time.
"""

import sys
from typing import Final

import uvicorn
from fastapi import Request, Response
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint

from backburner_model.parent import die_with_parent
from backburner_model.server import create_app
from backburner_model.settings import Settings

FAILS_ONCE: Final = "this invocation fails once"


def main(port: int) -> None:
    failed: set[bytes] = set()

    async def fail_once(request: Request, call_next: RequestResponseEndpoint) -> Response:
        body = await request.body()
        if FAILS_ONCE.encode() in body and body not in failed:
            failed.add(body)
            return Response(b"out of order", status_code=500)
        return await call_next(request)

    app = create_app(Settings(engine="null", served_model_name="mistral-tiny"))
    moody = BaseHTTPMiddleware(app, fail_once)
    uvicorn.run(moody, port=port, log_level="warning", timeout_graceful_shutdown=5)


if __name__ == "__main__":
    die_with_parent()
    main(int(sys.argv[1]))
