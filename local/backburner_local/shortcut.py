"""The way from botocore to the emulator in the same process, past the sockets.

The adapter and botocore do all that they do on AWS: botocore makes the request and reads the
answer. Only what would go over the loopback is handed over instead: HTTP would cost the one loop of
the emulator more than all that it does with an invocation before it is run. `backburner emulate`,
and every other client, is served over HTTP.
"""

from collections.abc import Iterator, Mapping
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import botocore.session
from botocore.awsrequest import AWSPreparedRequest, AWSResponse, HeadersDict
from botocore.exceptions import EndpointConnectionError

from backburner.adapters.clients import Clients
from backburner_local.emulators.sagemaker.server import SageMakerEmulator
from backburner_local.template import REGION

#: What a handler of this event returns is the response (botocore's Endpoint._do_get_response).
_EVENT = "before-send.sagemaker-runtime.InvokeEndpointAsync"


class _Raw:
    """A body as urllib3 would hand it out."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self) -> Iterator[bytes]:
        yield self._body


def clients_of(emulator: SageMakerEmulator, endpoints: Mapping[str, str] | None = None) -> Clients:
    """Clients of a running emulator, which hand invocations over.

    It checks no signature: to sign would cost a fifth of each call.

    Args:
        emulator: of SageMaker.
        endpoints: URLs of the emulators of other services, which may be started later.
    """

    def answer(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        path = urlsplit(request.url).path.split("/")  # /endpoints/NAME/async-invocations
        headers = HeadersDict({name: _text(value) for name, value in request.headers.items()})
        name, body = unquote(path[2]), _bytes(request.body)
        try:
            told = emulator.invoke_async(name, headers, body)
        except ConnectionRefusedError as error:
            raise EndpointConnectionError(endpoint_url=request.url, error=error) from error
        told_headers: Any = told.headers  # any mapping will do
        return AWSResponse(request.url, told.status, told_headers, _Raw(told.body))

    session = botocore.session.get_session()
    session.register(_EVENT, cast("Any", answer))
    return Clients(
        session=session,
        endpoint_url=emulator.url,
        endpoints=endpoints,
        region_name=REGION,
        is_signed=False,
    )


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _bytes(body: Any) -> bytes:
    if body is None:
        return b""
    if isinstance(body, str):
        return body.encode()
    return body if isinstance(body, bytes) else bytes(body.read())
