"""Completion windows and metadata, at and beyond their limits."""

import pytest

from backburner.domain.batch import (
    checked_metadata,
    window_seconds,
)
from backburner.domain.errors import InvalidRequest


@pytest.mark.parametrize(
    ("window", "seconds"),
    [
        ("15m", 900),
        ("60m", 3600),
        ("1h", 3600),
        ("24h", 86400),
        ("1d", 86400),
        ("7d", 604800),
        ("168h", 604800),
        ("10080m", 604800),
        ("90m", 5400),
        ("PT15M", 900),
        ("PT900S", 900),
        ("PT2H", 7200),
        ("PT1H30M", 5400),
        ("P1D", 86400),
        ("P1DT12H", 129600),
        ("P7D", 604800),
        ("PT168H", 604800),
    ],
)
def test_a_window_is_a_span(window, seconds):
    assert window_seconds(window) == seconds


@pytest.mark.parametrize(
    "window",
    [
        "",
        "h",
        "24",
        "14m",
        "8d",
        "169h",
        "0h",
        "-1h",
        "+24h",
        "1.5h",
        "24 h",
        " 24h",
        "24H",
        "1w",
        "P",
        "PT",
        "P1DT",
        "PT14M59S",
        "P7DT1S",
        "P1W",
        "P1M",
        "PT1.5H",
        "-PT2H",
        "pt2h",
        "PT2H ",
        "PT²H",
        "PT" + "9" * 99 + "H",
        "²4h",
        "2²h",
        "٢h",
        "1" * 99 + "m",
        "24h\n",
        None,
        24,
        24.0,
        True,
        ["24h"],
        b"24h",
    ],
)
def test_other_windows_are_refused_with_the_limits(window):
    with pytest.raises(InvalidRequest, match="'15m' to '7d'") as caught:
        window_seconds(window)
    assert caught.value.param == "completion_window"


@pytest.mark.parametrize(
    "given",
    [
        None,
        {},
        {"a": ""},
        {"k" * 64: "v" * 512},
        {str(n): "x" for n in range(16)},
        {"ключ": "значение"},
    ],
)
def test_metadata_within_the_limits_is_kept(given):
    assert checked_metadata(given) == (given or {})


@pytest.mark.parametrize(
    ("given", "param", "limit"),
    [
        ([], "metadata", "object"),
        ("text", "metadata", "object"),
        (False, "metadata", "object"),
        ({str(n): "x" for n in range(17)}, "metadata", "has 17 pairs; the limit is 16"),
        ({"k" * 65: "v"}, "metadata", "has 65 characters; the limit is 64"),
        ({"k": "v" * 513}, "metadata.k", "512"),
        ({"k": 1}, "metadata.k", "string"),
        ({"k": None}, "metadata.k", "string"),
    ],
)
def test_metadata_beyond_a_limit_is_refused_with_it(given, param, limit):
    with pytest.raises(InvalidRequest, match=limit) as caught:
        checked_metadata(given)
    assert caught.value.param == param
