"""What an error tells whoever can act on it."""

import pytest

from backburner.domain.errors import (
    BackburnerError,
    Busy,
    InvalidLine,
    NotFound,
    StorageFull,
    Unauthenticated,
)


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        (BackburnerError, ["The disk is gone."], "The disk is gone."),
        (NotFound, ["No such Batch object: batch_1"], "No such Batch object: batch_1"),
        (Busy, ["Later."], "Later."),
        (Busy, [], "Too much is going on: try again later."),
        (StorageFull, [], StorageFull.__doc__),
    ],
)
def test_an_error_says_what_happened_if_only_by_its_kind(kind, given, message):
    error = kind(*given)
    assert error.message == message == str(error)


@pytest.mark.parametrize(
    ("error", "param", "code"),
    [
        (NotFound(), None, None),
        (NotFound(param="id", code="gone"), "id", "gone"),
        (Unauthenticated(), None, "invalid_api_key"),
        (Unauthenticated(code="revoked"), None, "revoked"),
    ],
)
def test_a_refusal_names_the_field_and_has_the_code_of_its_kind_or_its_own(error, param, code):
    assert (error.param, error.code) == (param, code)


@pytest.mark.parametrize(("given", "seconds"), [({}, 5), ({"retry_after_seconds": 30}, 30)])
def test_who_is_sent_away_is_told_when_to_come_back(given, seconds):
    assert StorageFull(**given).retry_after_seconds == seconds


def test_a_bad_line_is_told_with_its_code_field_and_name():
    found = InvalidLine("invalid_json_line", "Not JSON.", param="body", custom_id="r-1")
    assert str(found) == found.message == "Not JSON."
    assert (found.code, found.param, found.custom_id) == ("invalid_json_line", "body", "r-1")
