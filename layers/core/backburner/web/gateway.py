"""The routes in one table, and the resolver that finds them."""

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response
from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEventV2

from backburner import bootstrap
from backburner.ports import Environment
from backburner.web import batches, errors, files, models, responses
from backburner.web.call import authenticate, body_key, checked_id

_logger = logging.getLogger("backburner")

#: What a route does: takes the call and the ids of its path.
Action = Callable[..., Any]

#: `/openai/v1` is how Groq's and Azure's clients call it.
_ALIAS = "/openai"

_ROUTES: tuple[tuple[str, str, Action], ...] = (
    ("POST", "/v1/files", files.upload),
    ("GET", "/v1/files", files.page),
    ("GET", "/v1/files/<file_id>", files.retrieve),
    ("DELETE", "/v1/files/<file_id>", files.delete),
    ("GET", "/v1/files/<file_id>/content", files.content),
    ("POST", "/v1/batches", batches.create),
    ("GET", "/v1/batches", batches.page),
    ("GET", "/v1/batches/<batch_id>", batches.retrieve),
    ("POST", "/v1/batches/<batch_id>/cancel", batches.cancel),
    ("POST", "/v1/responses", responses.create),
    ("GET", "/v1/responses/<response_id>", responses.retrieve),
    ("POST", "/v1/responses/<response_id>/cancel", responses.cancel),
    ("GET", "/v1/models", models.page),
    ("GET", "/v1/models/<name>", models.retrieve),
    ("GET", "/v1/models/<owner>/<name>", models.retrieve_owned),
)

HEALTH = "/healthz"


class Gateway(APIGatewayHttpResolver):
    """Powertools' resolver, with the event kept in the resolver itself.

    Powertools keeps it on the class, which all resolvers share. On one machine several threads
    answer at once, each with its own resolver: none may see another's event.
    """

    def __init__(self, environment: Callable[[], Environment]) -> None:
        super().__init__(serializer=_serialize, strip_prefixes=[_ALIAS], debug=False)
        self._environment = environment
        self._event = APIGatewayProxyEventV2({})

    @property
    def current_event(self) -> APIGatewayProxyEventV2:  # type: ignore[override]
        return self._event

    def resolve(self, event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        """Answer one request; whatever happens, with an OpenAI-shaped answer and its id."""
        self._event = APIGatewayProxyEventV2(dict(event))
        request_id = str((event.get("requestContext") or {}).get("requestId") or "req_unknown")
        with self._put_aside(event):
            answer = super().resolve(event, context)
        answer["headers"] |= {"x-request-id": request_id, "request-id": request_id}
        return answer

    @contextmanager
    def _put_aside(self, event: Mapping[str, Any]) -> Iterator[None]:
        """Remove the object that a large body was put in, once it is read or refused."""
        try:
            yield
        finally:
            key = body_key(event)
            if key is not None:
                try:
                    self._environment().blobs.delete(key)
                except Exception:  # the answer stands; the object is removed by its age
                    _logger.exception("body.left")


def build(environment: Callable[[], Environment] = bootstrap.environment) -> Gateway:
    """Make a resolver with all routes; one for each thread.

    Args:
        environment: called for each request.
    """
    app = Gateway(environment)
    for method, rule, action in _ROUTES:
        app.route(rule, method=method)(_bound(app, action, environment))
    app.get(HEALTH)(lambda: {"status": "ok"})
    app.not_found(lambda _: _no_route(app))
    app.exception_handler(Exception)(errors.to_response)
    return app


def _bound(app: Gateway, action: Action, environment: Callable[[], Environment]) -> Action:
    is_about_models = action.__module__ == models.__name__

    def answer(**path: str) -> Any:
        call = authenticate(environment(), app.current_event.raw_event)
        ids = path.values() if is_about_models else map(checked_id, path.values())
        return action(call, *ids)

    return answer


def _serialize(answer: object) -> str:
    return msgspec.json.encode(answer).decode()


_RULES = [
    (method, re.compile(re.sub(r"<\w+>", "[^/]+", rule)))
    for method, rule in [*((m, r) for m, r, _ in _ROUTES), ("GET", HEALTH)]
]


def _no_route(app: Gateway) -> Response[Any]:
    """Tell a path that does not exist from a method that it does not have."""
    event = app.current_event
    path = event.path.removeprefix(_ALIAS)
    methods = sorted({method for method, rule in _RULES if rule.fullmatch(path)})
    asked = f"{event.http_method} {event.path}"[:200]
    if methods:
        return errors.failed(
            405,
            "invalid_request_error",
            f"Not allowed: {asked}. Allowed: {', '.join(methods)}.",
            code="method_not_allowed",
            headers={"allow": ", ".join(methods)},
        )
    return errors.failed(
        404, "invalid_request_error", f"Unknown request URL: {asked}.", code="unknown_url"
    )
