"""Why requests failed, in codes and words of our own: fit for mails, logs and events.

What a model's server says of an error may quote the prompt, so nothing of it is in here: of its
answers only the status counts.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

from backburner.domain.request import Outcome

#: Of codes that requests and input files fail with.
_WORDS = {
    "attempt_lost": "no result came back from the model",
    "backend_failed": "the model's server failed",
    "backend_refused": "the endpoint refused the request",
    "batch_cancelled": "not run: the batch was cancelled",
    "batch_expired": "not run before the completion window ended",
    "budget_exceeded": "not run: the budget is used up",
    "canary_failed": "not run: too many of the first requests failed",
    "context_length_exceeded": "too long for the model",
    "duplicate_custom_id": "the custom_id was used before",
    "empty_batch": "the file has no requests",
    "empty_text": "the file has no text",
    "invalid_cell": "a cell is no text",
    "invalid_json_line": "the line is not a JSON object",
    "invalid_request": "the request is not valid",
    "invalid_result": "the model's server answered with an error",
    "invalid_row": "a row has more cells than the header",
    "invalid_text": "the file is not valid UTF-8",
    "line_too_long": "the line is too long",
    "missing_column": "a column is missing",
    "missing_result": "the model's server returned no result",
    "model_not_found": "there is no such model",
    "no_backend": "no backend of the model runs such requests",
    "no_price": "the model has no price",
    "result_lost": "the result was lost",
    "result_too_large": "the result is too large",
    "too_many_tasks": "the file has too many requests",
    "unknown_format": "the format of the line is not known",
    "unknown_request_id": "the first batch has no such request",
    "url_mismatch": "not the route of the batch, or not one of the model",
}

OTHER = "other"

#: What a model's server answered: `http_429`.
_STATUS = "http_"

#: Reasons that are noted of a batch.
_NOTED = 10


def code_of(outcome: Outcome) -> str:
    """Code of the reason why a request failed."""
    if outcome.code is None and 100 <= outcome.status_code <= 599:
        return f"{_STATUS}{outcome.status_code}"
    return known(outcome.code)


def known(code: str | None) -> str:
    """The code, if it is one of ours: others may be anybody's text."""
    return code if code in _WORDS else OTHER


def words(code: str) -> str:
    """What the code means, in a few words."""
    if code.startswith(_STATUS):
        return f"the model's server answered {code.removeprefix(_STATUS)}"
    return _WORDS.get(code, "another reason")


def most(counts: Mapping[str, int]) -> dict[str, int]:
    """The most frequent reasons, those first; of equals, by name."""
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:_NOTED])


def counted(codes: Iterable[str]) -> dict[str, int]:
    """How often each reason is there, as far as they are noted."""
    return most(Counter(codes))
