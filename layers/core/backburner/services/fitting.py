"""Whether a request fits its model, counting tokens only where the bytes leave doubt."""

from backburner.domain.catalog import Model
from backburner.domain.context import Fit, estimate_fit, room_for_prompt
from backburner.domain.request import Request
from backburner.ports import Environment


def is_too_long(env: Environment, request: Request, model: Model, *, dialect: str) -> bool:
    """Whether prompt and answer certainly exceed the context window.

    Without a tokenizer at hand, what is doubtful is left to the model's server to refuse.
    """
    fit = estimate_fit(request, model)
    count = env.tokenizers.get(model.name)
    if fit is Fit.DOUBTFUL and count is not None:
        text = env.dialects[dialect].prompt(request)
        return count(text) > room_for_prompt(request, model)
    return fit is Fit.TOO_LONG
