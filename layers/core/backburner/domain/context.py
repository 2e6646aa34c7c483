"""Whether a prompt fits a model's context window, without a tokenizer where that is certain.

A byte-level BPE never makes more tokens than bytes, and never fewer than bytes divided by the
longest token: only prompts between the two bounds need to be counted.
"""

from enum import StrEnum

from backburner.domain.catalog import Model
from backburner.domain.request import Request


class Fit(StrEnum):
    """What the bounds say."""

    FITS = "fits"
    TOO_LONG = "too_long"
    #: Only counting the tokens can tell.
    DOUBTFUL = "doubtful"


def estimate_fit(request: Request, model: Model) -> Fit:
    """Judge a request by the bytes of its prompt alone."""
    room = room_for_prompt(request, model)
    if request.prompt_bytes <= room:
        return Fit.FITS
    if request.prompt_bytes > room * model.longest_token_bytes:
        return Fit.TOO_LONG
    return Fit.DOUBTFUL


def room_for_prompt(request: Request, model: Model) -> int:
    """Tokens that the prompt's text may have, beside the template and the answer."""
    answer = request.max_tokens or 1
    return model.context_window - answer - model.template_tokens * max(1, request.message_count)
