"""The way from botocore to the emulator in the same process, past the sockets.

The adapter and botocore do what they do on AWS: botocore puts the parameters into headers and
body, and parses the answer, into an exception if it is an error. What lies between is left out:
HTTP would cost the one loop of the emulator more than all that it does with an invocation before it
is run, and to make a request and a response costs as much as the rest of the call. `backburner
emulate`, and every other client, is served over HTTP.
"""

from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import unquote

import botocore.session
from botocore.awsrequest import AWSResponse, HeadersDict
from botocore.exceptions import EndpointConnectionError
from botocore.parsers import ResponseParserFactory

from backburner.adapters.clients import Clients
from backburner_local.emulators.sagemaker.server import SageMakerEmulator
from backburner_local.template import REGION

#: What a handler of this event returns is the response, and what was parsed of it (botocore's
#: BaseClient._make_api_call). It comes once an invocation: nothing of this client is tried again.
_EVENT = "before-call.sagemaker-runtime.InvokeEndpointAsync"


def clients_of(emulator: SageMakerEmulator, endpoints: Mapping[str, str] | None = None) -> Clients:
    """Clients of a running emulator, which hand invocations over.

    It checks no signature: to sign would cost a fifth of each call.

    Args:
        emulator: of SageMaker.
        endpoints: URLs of the emulators of other services, which may be started later.
    """
    parsers = ResponseParserFactory()

    def answer(*, model: Any, params: dict[str, Any], **_: Any) -> tuple[AWSResponse, Any]:
        name = unquote(params["url_path"].split("/")[2])  # /endpoints/NAME/async-invocations
        try:
            told = emulator.invoke_async(name, HeadersDict(params["headers"]), _bytes(params))
        except ConnectionRefusedError as error:
            raise EndpointConnectionError(endpoint_url=params["url"], error=error) from error
        headers: Any = HeadersDict(told.headers)
        unread: Any = None
        response = {"status_code": told.status, "headers": headers, "body": told.body}
        parser = parsers.create_parser(model.service_model.resolved_protocol)
        parsed = parser.parse(response, model.output_shape)
        return AWSResponse(params["url"], told.status, headers, unread), parsed

    session = botocore.session.get_session()
    session.register(_EVENT, cast("Any", answer))
    return Clients(
        session=session,
        endpoint_url=emulator.url,
        endpoints=endpoints,
        region_name=REGION,
        is_signed=False,
    )


def _bytes(params: dict[str, Any]) -> bytes:
    body = params["body"]
    return body.encode() if isinstance(body, str) else bytes(body)
