"""The routes in one table, and the gateway that finds them."""

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from backburner import bootstrap
from backburner.domain.errors import NotFound, Rejected
from backburner.ports import Environment
from backburner.web import (
    batches,
    content,
    errors,
    estimates,
    files,
    message_batches,
    messages,
    models,
    raw,
    requests,
    responses,
    results,
    sync,
    uploads,
    watching,
)
from backburner.web.answer import Answer, with_rate
from backburner.web.call import Call, authenticate, body_key, checked_id

_logger = logging.getLogger("backburner")

#: What a route does: takes the call and the ids of its path.
Action = Callable[..., Any]

#: `/openai/v1` is how Groq's and Azure's clients call it.
_ALIAS = "/openai"


def _late(module: str, name: str) -> Action:
    """An action that few ask for: its module is loaded when the first does."""

    def act(*given: Any) -> Any:
        return getattr(import_module(f"backburner.web.{module}"), name)(*given)

    return act


ROUTES: tuple[tuple[str, str, Action], ...] = (
    ("POST", "/v1/files", files.upload),
    ("GET", "/v1/files", files.page),
    ("GET", "/v1/files/<file_id>", files.retrieve),
    ("DELETE", "/v1/files/<file_id>", files.delete),
    ("GET", "/v1/files/<file_id>/content", content.content),
    ("POST", "/v1/uploads", uploads.create),
    ("POST", "/v1/uploads/<upload_id>/parts", uploads.add_part),
    ("POST", "/v1/uploads/<upload_id>/complete", uploads.complete),
    ("POST", "/v1/uploads/<upload_id>/cancel", uploads.cancel),
    ("POST", "/v1/batches", batches.create),
    ("GET", "/v1/batches", batches.page),
    ("GET", "/v1/batches/<batch_id>", batches.retrieve),
    ("GET", "/v1/batches/<batch_id>/results", results.page),
    ("GET", "/v1/batches/<batch_id>/events", watching.batch_events),
    ("POST", "/v1/batches/<batch_id>/cancel", batches.cancel),
    ("POST", "/v1/batches/<batch_id>/retry", batches.retry),
    ("POST", "/v1/batches/<batch_id>/retry-requests", batches.retry_requests),
    ("POST", "/v1/batches/<batch_id>/pause", batches.pause),
    ("POST", "/v1/batches/<batch_id>/resume", batches.resume),
    ("POST", "/v1/responses", responses.create),
    ("POST", "/v1/responses/input_tokens", responses.count_tokens),
    ("GET", "/v1/responses/<response_id>", responses.retrieve),
    ("DELETE", "/v1/responses/<response_id>", responses.delete),
    ("GET", "/v1/responses/<response_id>/input_items", responses.input_items),
    ("POST", "/v1/responses/<response_id>/cancel", responses.cancel),
    ("POST", "/v1/chat/completions", sync.ask),
    ("POST", "/v1/completions", sync.ask),
    ("POST", "/v1/embeddings", sync.ask),
    ("POST", "/v1/messages", sync.ask),
    ("POST", "/v1/requests", raw.create),
    ("GET", "/v1/requests", requests.page),
    ("GET", "/v1/requests/<request_id>", requests.retrieve),
    ("GET", "/v1/requests/<request_id>/status", requests.status),
    ("DELETE", "/v1/requests/<request_id>", requests.delete),
    ("POST", "/v1/requests/<request_id>/start", raw.start),
    ("POST", "/v1/requests/<request_id>/cancel", requests.cancel),
    ("POST", "/v1/messages/batches", message_batches.create),
    ("GET", "/v1/messages/batches", message_batches.page),
    ("GET", "/v1/messages/batches/<batch_id>", message_batches.retrieve),
    ("DELETE", "/v1/messages/batches/<batch_id>", message_batches.delete),
    ("POST", "/v1/messages/batches/<batch_id>/cancel", message_batches.cancel),
    ("GET", "/v1/messages/batches/<batch_id>/results", message_batches.results),
    ("GET", "/v1/messages/batches/<batch_id>/events", watching.message_batch_events),
    ("POST", "/v1/messages/count_tokens", messages.count_tokens),
    ("GET", "/v1/mail", _late("mail", "retrieve")),
    ("POST", "/v1/mail", _late("mail", "change")),
    ("GET", "/v1/mail/suppressions", _late("mail", "suppressions")),
    ("DELETE", "/v1/mail/suppressions/<suppression_id>", _late("mail", "allow")),
    ("POST", "/v1/webhook_endpoints", _late("webhook_endpoints", "create")),
    ("GET", "/v1/webhook_endpoints", _late("webhook_endpoints", "page")),
    ("GET", "/v1/webhook_endpoints/<endpoint_id>", _late("webhook_endpoints", "retrieve")),
    ("POST", "/v1/webhook_endpoints/<endpoint_id>", _late("webhook_endpoints", "update")),
    ("DELETE", "/v1/webhook_endpoints/<endpoint_id>", _late("webhook_endpoints", "delete")),
    (
        "POST",
        "/v1/webhook_endpoints/<endpoint_id>/rotate_secret",
        _late("webhook_endpoints", "rotate_secret"),
    ),
    ("POST", "/v1/webhook_endpoints/<endpoint_id>/test", _late("webhook_endpoints", "test")),
    ("GET", "/v1/webhook_event_types", _late("webhook_endpoints", "event_types")),
    ("POST", "/v1/x-callback-secret", _late("webhook_endpoints", "rotate_callback_secret")),
    ("GET", "/v1/x-deliveries", _late("deliveries", "page")),
    ("POST", "/v1/x-deliveries/replay", _late("deliveries", "replay_since")),
    ("GET", "/v1/x-deliveries/<delivery_id>", _late("deliveries", "retrieve")),
    ("POST", "/v1/x-deliveries/<delivery_id>/replay", _late("deliveries", "replay")),
    ("GET", "/v1/models", models.page),
    ("GET", "/v1/models/<name>", models.retrieve),
    ("GET", "/v1/models/<owner>/<name>", models.retrieve_owned),
    ("GET", "/v1/backlog", models.backlog),
    ("POST", "/v1/estimates", estimates.create),
)

#: What needs no key, and is read with GET.
HEALTH, DOCUMENT, PAGE = "/healthz", "/openapi.json", "/docs"
OPEN = frozenset({HEALTH, DOCUMENT, PAGE})

#: Links of mails: signed, so that they need no key.
SIGNED: tuple[tuple[str, str, Action], ...] = (
    ("GET", "/v1/links/<file_id>", _late("links", "open_file")),
    ("GET", "/v1/unsubscribe", _late("unsubscribe", "show")),
    ("POST", "/v1/unsubscribe", _late("unsubscribe", "act")),
)


class _Routes:
    """A table of routes, searched."""

    def __init__(self, table: Iterable[tuple[str, str, Action]]) -> None:
        #: Those without an id, by method and path.
        self._plain: dict[tuple[str, str], Action] = {}
        #: The others, by method.
        self._rules: dict[str, list[tuple[re.Pattern[str], Action]]] = {}
        for method, rule, action in table:
            if "<" not in rule:
                self._plain[method, rule] = action
            else:
                pattern = re.compile(re.sub(r"<\w+>", "([^/]+)", rule))
                self._rules.setdefault(method, []).append((pattern, action))

    def find(self, method: str, path: str) -> tuple[Action | None, Sequence[str]]:
        """The action of a request, and the ids of its path; None: it has none."""
        plain = self._plain.get((method, path))
        if plain is not None:
            return plain, ()
        for rule, action in self._rules.get(method, ()):
            found = rule.fullmatch(path)
            if found is not None:
                return action, found.groups()
        return None, ()

    def methods(self, path: str) -> set[str]:
        """Those that the path has."""
        known = {method for method, _ in self._plain} | set(self._rules)
        return {method for method in known if self.find(method, path)[0] is not None}


_ROUTES, _SIGNED = _Routes(ROUTES), _Routes(SIGNED)


class Gateway:
    """Answers requests; holds nothing of them, so that threads may share it."""

    def __init__(self, environment: Callable[[], Environment] = bootstrap.environment) -> None:
        """Say what the requests are about.

        Args:
            environment: called for each request.
        """
        self._environment = environment

    def resolve(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Answer one request; whatever happens, in the shape that its clients read, with its id.

        Args:
            event: of API Gateway's HTTP API, payload format 2.0.
        """
        context = event.get("requestContext") or {}
        request_id = str(context.get("requestId") or "req_unknown")
        method, path = _asked(event)
        with self._put_aside(event):
            try:
                answer = self._answer(event, method, path)
            except Exception as error:  # noqa: BLE001 - the table knows what it becomes
                answer = errors.to_answer(error, path=path, request_id=request_id)
        return answer.to_event(request_id)

    def _answer(self, event: Mapping[str, Any], method: str, path: str) -> Answer:
        if method == "GET" and path in OPEN:
            return _open(path)
        action, ids = _ROUTES.find(method, path)
        if action is not None:
            call = authenticate(self._environment(), event, f"{method} {path}")
            is_about_models = action.__module__ == models.__name__
            whole = _whole(action(call, *(ids if is_about_models else map(checked_id, ids))))
            return whole if call.rate is None else with_rate(whole, call.rate)
        action, ids = _SIGNED.find(method, path)
        if action is not None:
            stranger = Call(env=self._environment(), event=event, tenant="")
            return _whole(action(stranger, *map(checked_id, ids)))
        raise _no_route(method, path)

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


def _whole(answer: Answer | Mapping[str, Any]) -> Answer:
    return answer if isinstance(answer, Answer) else Answer(body=answer)


def _open(path: str) -> Answer:
    """What anyone may read. The document is made when it is asked for: few ever do."""
    if path == HEALTH:
        return Answer(body={"status": "ok"})
    from backburner.web import openapi

    return openapi.page() if path == PAGE else openapi.served()


def _asked(event: Mapping[str, Any]) -> tuple[str, str]:
    """Method and path, without the names of the stage and of the alias."""
    context = event.get("requestContext") or {}
    path = str(event.get("rawPath") or "/")
    stage = str(context.get("stage") or "$default")
    if stage != "$default":
        path = path.removeprefix(f"/{stage}")
    method = str((context.get("http") or {}).get("method") or "").upper()
    return method, path.removeprefix(_ALIAS)


def _no_route(method: str, path: str) -> Rejected:
    """Tell a path that does not exist from a method that it does not have."""
    methods = {known for known, rule, _ in ROUTES if rule == path}  # which no id is
    methods = methods or _ROUTES.methods(path) | _SIGNED.methods(path)
    if path in OPEN:
        methods.add("GET")
    asked = f"{method} {path}"[:200]
    if methods:
        allowed = ", ".join(sorted(methods))
        return errors.MethodNotAllowed(
            f"Not allowed: {asked}. Allowed: {allowed}.", allowed=allowed
        )
    return NotFound(f"Unknown request URL: {asked}.", code="unknown_url")
