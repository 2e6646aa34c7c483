"""Whether a request fits its model, counting tokens only where the bytes leave doubt."""

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

    def __init__(self, env: Environment, *, dialect: str, needs_price: bool = False) -> None:
        """Know no model yet.

        Args:
            env: the world.
            dialect: that the requests are in.
            needs_price: their cost is limited.
        """
        self._env = env
        self._dialect = dialect
        self._member = env.dialects[dialect].member
        self._needs_price = needs_price
        #: Models that can be asked, by name and route.
        self._known: dict[tuple[str, str], Model] = {}

    def model_of(self, request: Request) -> Model:
        """The request's model; raises InvalidLine if it can't run the request."""
        model = self._known.get((request.model, request.route)) or self._find(request)
        if request.has_images and not model.takes_images:
            raise InvalidLine(
                "invalid_request",
                f"The model '{model.name}' takes no images.",
                param=f"{self._member}.messages",
                custom_id=request.custom_id,
            )
        if request.prompt_bytes > room_for_prompt(request, model) and is_too_long(
            self._env, request, model, dialect=self._dialect
        ):
            raise InvalidLine(
                "context_length_exceeded",
                f"The prompt and 'max_tokens' do not fit into the model's context window of "
                f"{model.context_window} tokens.",
                param=f"{self._member}.messages",
                custom_id=request.custom_id,
            )
        return model

    def _find(self, request: Request) -> Model:
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
        self._known[request.model, request.route] = model
        return model


def model_of(
    env: Environment, request: Request, *, dialect: str, needs_price: bool = False
) -> Model:
    """The model of a request that came by itself; raises InvalidLine if it can't run it."""
    return Fitting(env, dialect=dialect, needs_price=needs_price).model_of(request)


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
