"""What an error tells whoever can act on it."""

import pytest

from backburner.domain.errors import (
    BackburnerError,
    Busy,
    InvalidLine,
    NotFound,
    OverQuota,
    RateLimited,
    StorageFull,
    Unauthenticated,
    Undelivered,
)


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        (BackburnerError, ["The disk is gone."], "The disk is gone."),
        (NotFound, ["No such Batch object: batch_1"], "No such Batch object: batch_1"),
        (Busy, ["Later."], "Later."),
        (Busy, [], "Too much is going on: try again later."),
        (StorageFull, [], StorageFull.__doc__),
        (OverQuota, ["The limit is 9 files."], "The limit is 9 files."),
        (Undelivered, ["It answered 503."], "It answered 503."),
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
        (OverQuota(param="input_file_id"), "input_file_id", "insufficient_quota"),
    ],
)
def test_a_refusal_names_the_field_and_has_the_code_of_its_kind_or_its_own(error, param, code):
    assert (error.param, error.code) == (param, code)


@pytest.mark.parametrize(("given", "seconds"), [({}, 5), ({"retry_after_seconds": 30}, 30)])
def test_who_is_sent_away_is_told_when_to_come_back(given, seconds):
    assert StorageFull(**given).retry_after_seconds == seconds


@pytest.mark.parametrize(("given", "seconds"), [({}, 60), ({"retry_after_seconds": 9}, 9)])
def test_who_has_all_that_it_may_have_is_told_when_to_look_again(given, seconds):
    assert OverQuota(**given).retry_after_seconds == seconds


def test_who_asks_too_often_is_told_the_limit_and_when_the_next_minute_begins():
    error = RateLimited("20 a minute.", limit=20, retry_after_seconds=7)
    assert (error.message, error.limit, error.retry_after_seconds) == ("20 a minute.", 20, 7)


def test_a_target_that_could_not_be_told_names_a_pause_or_none():
    assert Undelivered().retry_after_seconds == 0
    assert Undelivered(retry_after_seconds=30.0).retry_after_seconds == 30


def test_a_bad_line_is_told_with_its_code_field_and_name():
    found = InvalidLine("invalid_json_line", "Not JSON.", param="body", custom_id="r-1")
    assert str(found) == found.message == "Not JSON."
    assert (found.code, found.param, found.custom_id) == ("invalid_json_line", "body", "r-1")
