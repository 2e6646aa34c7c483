"""Whether a request fits its model, counting tokens only where the bytes leave doubt."""

from collections.abc import Mapping

from backburner.domain.catalog import Model
from backburner.domain.context import Fit, estimate_fit, room_for_prompt
from backburner.domain.errors import InvalidLine
from backburner.domain.request import Request
from backburner.ports import Environment


def is_too_long(env: Environment, request: Request, model: Model, *, dialect: str) -> bool:
    """Whether prompt and answer certainly exceed the context window.

    Without a tokenizer at hand, what is doubtful is left to the model's server to refuse.
    """
    fit = estimate_fit(request, model)
    if fit is not Fit.DOUBTFUL:
        return fit is Fit.TOO_LONG
    count = env.tokenizers.get(model.name)
    if count is None:
        return False
    text = env.dialects[dialect].prompt(request)
    return count(text) > room_for_prompt(request, model)


class Fitting:
    """Finds the models of requests of one dialect; what is so for all of a model's, once."""

    def __init__(
        self,
        env: Environment,
        *,
        dialect: str,
        needs_price: bool = False,
        places: Mapping[str, Model] | None = None,
    ) -> None:
        """Know no model yet.

        Args:
            env: the world.
            dialect: that the requests are in.
            needs_price: their cost is limited.
            places: by model, where its requests run; where that is open, any place may fit.
        """
        self._env = env
        self._dialect = dialect
        self._member = env.dialects[dialect].member
        self._needs_price = needs_price
        self._places = places or {}
        #: Models that can be asked, by name and route, with the places that a request may fit.
        self._known: dict[tuple[str, str], tuple[Model, list[Model]]] = {}

    def model_of(self, request: Request) -> Model:
        """The request's model; raises InvalidLine if it can't run the request."""
        model, places = self._known.get((request.model, request.route)) or self._find(request)
        for place in places:
            if self.fits(request, place):
                return model
        raise self._misfit(request, places[-1])

    def fits(self, request: Request, place: Model) -> bool:
        """Whether nothing is known against running the request there."""
        if request.has_images and not place.takes_images:
            return False
        is_certain = request.prompt_bytes <= room_for_prompt(request, place)
        return is_certain or not is_too_long(self._env, request, place, dialect=self._dialect)

    def _misfit(self, request: Request, place: Model) -> InvalidLine:
        param, name = f"{self._member}.messages", request.custom_id
        if request.has_images and not place.takes_images:
            message = f"The model '{place.name}' takes no images."
            return InvalidLine("invalid_request", message, param=param, custom_id=name)
        message = (
            "The prompt and 'max_tokens' do not fit into the model's context window of "
            f"{place.context_window} tokens."
        )
        return InvalidLine("context_length_exceeded", message, param=param, custom_id=name)

    def _find(self, request: Request) -> tuple[Model, list[Model]]:
        member, named = self._member, {"custom_id": request.custom_id}
        model = self._env.catalog.get(request.model)
        if model is None:
            raise InvalidLine(
                "model_not_found",
                f"The model '{request.model[:64]}' does not exist.",
                param=f"{member}.model",
                **named,
            )
        if not any(request.route in place.routes for place in model.places):
            raise InvalidLine(
                "url_mismatch",
                f"The model '{model.name}' does not serve {request.route}.",
                param="url" if member == "body" else f"{member}.model",
                **named,
            )
        if self._needs_price and not all(place.has_price for place in model.places):
            raise InvalidLine(
                "no_price",
                f"The model '{model.name}' has no price, so that its cost can't be limited.",
                param=f"{member}.model",
                **named,
            )
        own = self._places.get(model.name)
        places = sorted(model.places, key=_window) if own is None else [own]
        self._known[request.model, request.route] = model, places
        return model, places


def _window(place: Model) -> int:
    return place.context_window


def prompt_tokens(
    env: Environment, request: Request, model: Model, *, dialect: str
) -> tuple[int, bool]:
    """Tokens of the prompt with the chat template, never too few; and whether they were counted.

    Without a tokenizer at hand it is the bound: no tokenizer makes more tokens than bytes.
    """
    template = model.template_tokens * max(1, request.message_count)
    count = env.tokenizers.get(model.name)
    if count is None:
        return request.prompt_bytes + template, False
    return count(env.dialects[dialect].prompt(request)) + template, True
