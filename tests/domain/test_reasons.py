"""Why requests failed, in words of ours alone."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import backburner
from backburner.domain import reasons
from backburner.domain.batch import DROPPED_CODES
from backburner.domain.request import Outcome

#: What makes outcomes and findings, and where the code stands that they are given.
_MAKERS = {"InvalidLine": 0, "Finding": None, "Outcome": None, "collect_failure": None}


#: Codes that are shown in place of one: of a list that was removed, and of dropped files.
_ELSEWHERE = {"batch_failed", "rejected", "request_failed"}


def given() -> Iterator[str]:
    """Codes that our own code gives to outcomes and findings."""
    for path in Path(backburner.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield from _codes(node)


def _codes(call: ast.Call) -> Iterator[str]:
    name = getattr(call.func, "id", getattr(call.func, "attr", ""))
    if name not in _MAKERS:
        return
    place = _MAKERS[name]
    found = [one.value for one in call.keywords if one.arg == "code"]
    found += call.args[place : place + 1] if place is not None else []
    for value in found:
        for part in ast.walk(value):
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                yield part.value


def test_every_code_of_ours_has_words():
    codes = {*given(), *DROPPED_CODES} - _ELSEWHERE
    assert len(codes) > 20
    assert {code for code in codes if reasons.known(code) != code} == set()
    assert reasons.words(reasons.OTHER) == "another reason"
    assert all(reasons.words(code) != "another reason" for code in codes)


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        ({"code": "batch_expired"}, "batch_expired"),
        ({"code": "My prompt is a secret"}, "other"),
        ({"code": "http_400"}, "other"),
        ({"status_code": 429, "body": b'{"error":{"code":"My prompt"}}'}, "http_429"),
        ({"status_code": 0}, "other"),
        ({"status_code": 7}, "other"),
    ],
)
def test_the_words_of_others_are_no_reason(outcome, code):
    assert reasons.code_of(Outcome(line=1, custom_id="a", **outcome)) == code


def test_the_most_frequent_come_first_and_no_more_than_ten_are_noted():
    counts = {f"http_{400 + number}": number % 4 for number in range(30)}
    found = reasons.most(counts)
    assert len(found) == 10
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert reasons.counted(["no_price", "other", "no_price"]) == {"no_price": 2, "other": 1}
