"""The routes of models, and of what waits for them."""

from urllib.parse import unquote

from backburner.domain.errors import NotFound
from backburner.services import backlog as service
from backburner.web.call import Call
from backburner.wire import objects
from backburner.wire.objects import Object


def page(call: Call) -> Object:
    """`GET /v1/models`: all of them; nobody has so many that they need pages."""
    shown = [objects.model_object(model) for model in call.env.catalog.models.values()]
    return objects.page_object(shown, has_more=False)


def backlog(call: Call) -> Object:
    """`GET /v1/backlog`: of each model, what of the tenant's waits and runs."""
    shown = [objects.backlog_object(own) for own in service.of_tenant(call.env, call.tenant)]
    return objects.page_object(shown, has_more=False)


def retrieve(call: Call, name: str) -> Object:
    """`GET /v1/models/{name}`."""
    model = call.env.catalog.get(unquote(name))
    if model is None:
        raise NotFound(
            f"The model '{unquote(name)[:64]}' does not exist.",
            param="model",
            code="model_not_found",
        )
    return objects.model_object(model)


def retrieve_owned(call: Call, owner: str, name: str) -> Object:
    """`GET /v1/models/{owner}/{name}`, as many models are called."""
    return retrieve(call, f"{owner}/{name}")
