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


def model_of(
    env: Environment, request: Request, *, dialect: str, needs_price: bool = False
) -> Model:
    """The request's model; raises InvalidLine if it can't run the request.

    Args:
        env: the world.
        request: as its dialect read it.
        dialect: that it is in.
        needs_price: its cost is limited.
    """
    member, named = env.dialects[dialect].member, {"custom_id": request.custom_id}
    model = env.catalog.get(request.model)
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
    if request.has_images and not model.takes_images:
        raise InvalidLine(
            "invalid_request",
            f"The model '{model.name}' takes no images.",
            param=f"{member}.messages",
            **named,
        )
    if is_too_long(env, request, model, dialect=dialect):
        raise InvalidLine(
            "context_length_exceeded",
            f"The prompt and 'max_tokens' do not fit into the model's context window of "
            f"{model.context_window} tokens.",
            param=f"{member}.messages",
            **named,
        )
    if needs_price and not all(place.has_price for place in model.places):
        raise InvalidLine(
            "no_price",
            f"The model '{model.name}' has no price, so that its cost can't be limited.",
            param=f"{member}.model",
            **named,
        )
    return model


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
