"""The route of estimates: where a batch's requests would run, and what that comes to."""

from typing import Any

from backburner.domain.batch import window_seconds
from backburner.domain.catalog import Model
from backburner.domain.errors import InvalidRequest
from backburner.domain.routing import Group
from backburner.services import routing
from backburner.services.submit import no_model
from backburner.web.call import Call
from backburner.wire import objects
from backburner.wire.objects import Object

#: Members that say how much there is for one model.
_AMOUNTS = ("requests", "bytes", "prompt_bytes", "answer_tokens", "unlimited_requests")
_MOST = 2**53 - 1


def create(call: Call) -> Object:
    """`POST /v1/estimates`: nothing is stored, nothing is run."""
    body = call.body()
    window = body.get("completion_window", "24h")
    seconds = window_seconds(window)
    route = body.get("endpoint", "")
    if not isinstance(route, str):
        raise InvalidRequest("'endpoint' must be a route.", param="endpoint")
    groups = body.get("models")
    if not isinstance(groups, dict) or not groups:
        raise InvalidRequest("'models' must be an object with a member a model.", param="models")
    now = call.env.clock.now()
    shown = []
    for name, amounts in groups.items():
        model = call.env.catalog.get(name)
        if model is None:
            raise no_model(name)
        group = _group(amounts, f"models.{name}", model, route=route)
        choice = routing.choose(
            call.env, call.tenant, model, group, accepted_at=now, deadline=now + seconds
        )
        shown.append(objects.choice_object(model, group, choice))
    return {"object": "estimate", "completion_window": window, "data": shown}


def _group(amounts: Any, param: str, model: Model, *, route: str) -> Group:
    if not isinstance(amounts, dict):
        raise InvalidRequest(f"'{param}' must be an object.", param=param)
    found = {name: amounts.get(name, 0) for name in _AMOUNTS}
    for name, amount in found.items():
        if type(amount) is not int or not 0 <= amount <= _MOST:
            raise InvalidRequest(
                f"'{param}.{name}' must be a whole number from 0 to {_MOST}.",
                param=f"{param}.{name}",
            )
    if not found["requests"]:
        raise InvalidRequest(f"'{param}.requests' must be at least 1.", param=f"{param}.requests")
    return Group(
        route=route,
        lines=found["requests"],
        bytes=found["bytes"],
        prompt_bytes=found["prompt_bytes"],
        answer_tokens=found["answer_tokens"] + found["unlimited_requests"] * model.answer_tokens,
    )
