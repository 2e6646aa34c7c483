"""What the bytes of a prompt say about its fit."""

import pytest

from backburner.domain.context import Fit, estimate_fit, room_for_prompt
from backburner.domain.request import Request
from tests.world import a_model


@pytest.mark.parametrize(
    ("prompt", "answer", "messages", "fit"),
    [
        (84, 0, 1, Fit.DOUBTFUL),
        (83, 0, 1, Fit.FITS),
        (74, 10, 1, Fit.FITS),
        (75, 10, 1, Fit.DOUBTFUL),
        (68, 0, 2, Fit.DOUBTFUL),
        (67, 0, 2, Fit.FITS),
        (83 * 16, 0, 1, Fit.DOUBTFUL),
        (83 * 16 + 1, 0, 1, Fit.TOO_LONG),
        (0, 84, 1, Fit.FITS),
        (0, 85, 1, Fit.TOO_LONG),
        (1, 100, 1, Fit.TOO_LONG),
        (1, 10**9, 1, Fit.TOO_LONG),
    ],
)
def test_bytes_bound_the_tokens_from_both_sides(prompt, answer, messages, fit):
    request = Request(
        line=1,
        custom_id="a",
        model="mistral",
        route="/",
        body=b"",
        prompt_bytes=prompt,
        message_count=messages,
        max_tokens=answer,
    )
    model = a_model(context_window=100, template_tokens=16, longest_token_bytes=16)
    assert estimate_fit(request, model) is fit
    assert room_for_prompt(request, model) == 100 - (answer or 1) - 16 * messages
