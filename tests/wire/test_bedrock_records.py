"""A shard's requests become records, and records that come back find their line."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backburner.wire.bedrock.formats import FORMATS
from backburner.wire.bedrock.records import (
    Answers,
    Asked,
    is_padding,
    line_of,
    read_manifest,
    record_id,
    within,
)
from backburner.wire.bodies import CHAT
from backburner.wire.shard import JsonlShards
from tests.wire.bedrock import chat, user


def line(number: int, **changes: Any) -> bytes:
    given = {"line": number, "custom_id": f"c{number}", "url": CHAT, "body": chat(user("Hi"))}
    return json.dumps(given | changes).encode()


def asked_of(*lines: bytes, name: str = "converse") -> tuple[Asked, list[dict[str, Any]]]:
    asked = Asked(FORMATS[name])
    made = [asked.record(one) for one in lines]
    return asked, [json.loads(one) for one in made if one is not None]


def answered(*output: Any, lines: int = 9) -> tuple[Answers, list[dict[str, Any]]]:
    answers = Answers(FORMATS["converse"], lambda number: {"id": number}, 1, lines)
    data = (one if isinstance(one, bytes) else json.dumps(one).encode() + b"\n" for one in output)
    return answers, [json.loads(one) for one in answers.results(data)]


def output(record: str, text: str = "Dry.") -> dict[str, Any]:
    return {
        "recordId": record,
        "modelInput": {"messages": []},
        "modelOutput": {
            "output": {"message": {"role": "assistant", "content": [{"text": text}]}},
            "stopReason": "end_turn",
            "usage": {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5},
        },
    }


def failed(record: str, code: Any = 400, message: Any = "bad request") -> dict[str, Any]:
    return {
        "recordId": record,
        "modelInput": {},
        "error": {"errorCode": code, "errorMessage": message},
    }


@given(number=st.integers(1, 2**50 - 1))
def test_an_id_is_eleven_letters_and_digits_and_names_its_line(number):
    record = record_id(number)
    assert len(record) == 11
    assert record.isascii()
    assert record.isalnum()
    assert record == record.upper()
    assert line_of(record) == number
    assert not is_padding(record)


@pytest.mark.parametrize("record", ["", "R000000001", "R00000000W1", "r0000000001", "X0000000001"])
def test_an_id_that_is_none_of_ours_names_no_line(record):
    assert line_of(record) is None
    assert not is_padding(record)


def test_each_request_becomes_a_record_of_its_own():
    asked, records = asked_of(line(1), line(33))
    assert [one["recordId"] for one in records] == ["R0000000001", "R0000000011"]
    assert records[0]["modelInput"] == {"messages": [{"role": "user", "content": [{"text": "Hi"}]}]}
    assert (asked.count, asked.refused) == (2, [])


def test_a_request_that_can_t_be_asked_costs_the_others_nothing():
    asked, records = asked_of(line(1), line(2, body=chat(n=2)), line(3, url="/v1/responses"))
    assert [one["recordId"] for one in records] == ["R0000000001"]
    first, second = map(json.loads, asked.refused)
    assert first == {
        "line": 2,
        "status_code": 400,
        "body": {
            "error": {
                "message": "'n' is not supported by this model's batch jobs.",
                "type": "invalid_request_error",
                "param": "n",
                "code": "unsupported_parameter",
            }
        },
    }
    assert second["body"]["error"]["param"] == "url"


@pytest.mark.parametrize("name", FORMATS)
def test_what_fills_up_a_job_can_be_told_and_is_dropped(name):
    asked = Asked(FORMATS[name], count=98)
    records = [json.loads(one) for one in asked.padding(100)]
    assert len({one["recordId"] for one in records}) == 2
    assert all(is_padding(one["recordId"]) for one in records)
    answers, results = answered(*(output(one["recordId"]) for one in records))
    assert (results, answers.padding, answers.odd) == ([], 2, 0)


def test_answers_are_joined_by_their_ids_whatever_their_order():
    answers, results = answered(output("R0000000003", "c"), output("R0000000001", "a"))
    assert [(one["line"], one["status_code"]) for one in results] == [(3, 200), (1, 200)]
    assert results[1]["body"]["choices"][0]["message"]["content"] == "a"
    assert results[1]["body"]["id"] == 1
    assert answers.lines == {1, 3}


def test_records_of_nobody_and_of_somebody_twice_are_left_out():
    answers, results = answered(
        output("R0000000001", "first"),
        output("R0000000001", "second"),
        output("R000000000V"),  # beyond the shard's last line
        output("1234567890A"),
        {"modelOutput": {}},
        {"recordId": "R0000000002"},
        b'{"recordId": "R000',
        b"\xff\n",
        b"\n",
    )
    assert [one["line"] for one in results] == [1]
    assert results[0]["body"]["choices"][0]["message"]["content"] == "first"
    assert answers.odd == 7


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        (400, 400, "invalid_request_error"),
        ("429", 429, "invalid_request_error"),
        (503, 503, "server_error"),
        (0, 500, "server_error"),
        ("ModelError", 500, "server_error"),
    ],
)
def test_an_error_s_code_is_its_status(code, status, kind):
    answers, (result,) = answered(failed("R0000000001", code))
    assert result["status_code"] == status
    assert result["body"]["error"] == {
        "message": "bad request",
        "type": kind,
        "param": None,
        "code": str(code),
    }
    assert answers.errors == 1


def test_an_error_without_words_gets_some():
    _, (result,) = answered(failed("R0000000001", 500, None))
    assert result["body"]["error"]["message"] == "The model answered with the error 500."


def test_an_answer_that_can_t_be_read_may_be_better_another_time():
    _, (result,) = answered({"recordId": "R0000000001", "modelOutput": {"odd": 1}})
    assert result["status_code"] == 502
    assert result["body"]["error"]["code"] == "invalid_model_output"


@given(
    data=st.data(),
    count=st.integers(1, 20),
)
def test_every_request_has_the_outcome_that_came_back_for_it_or_none(data, count):
    """There and back: shuffled, repeated, lost, and mixed with what is nobody's."""
    _, records = asked_of(*(line(number) for number in range(1, count + 1)))
    kept = data.draw(st.lists(st.sampled_from(records), unique_by=lambda one: one["recordId"]))
    came = [output(one["recordId"], f"answer {one['recordId']}") for one in kept]
    noise = [output("XXXXXXXXXXX"), output("P0000000001"), failed("R00000000V0")]
    shuffled = data.draw(st.permutations(came + came[:2] + noise))
    _, results = answered(*shuffled, lines=count)
    names = {number: f"c{number}" for number in range(1, count + 1)}
    outcomes = JsonlShards().outcomes(names, iter(json.dumps(one).encode() for one in results))
    said = {
        outcome.line: json.loads(outcome.body)["choices"][0]["message"]["content"]
        for outcome in outcomes
        if outcome.status_code
    }
    assert said == {line_of(one["recordId"]): f"answer {one['recordId']}" for one in kept}


def test_tokens_of_an_answer_are_those_that_its_shard_counts():
    _, results = answered(output("R0000000001"))
    (outcome,) = JsonlShards().outcomes({1: "c1"}, iter([json.dumps(results[0]).encode()]))
    assert (outcome.usage.input_tokens, outcome.usage.output_tokens) == (3, 2)


def test_results_that_no_one_could_read_any_more_are_said_to_be_too_large():
    _, results = answered(*(output(record_id(number), "x" * 500) for number in (1, 2, 3)))
    whole = [json.dumps(one).encode() + b"\n" for one in results]
    limit = 3 * 300 + 2 * len(whole[0])
    kept = list(within(whole, limit, count=3))
    assert sum(map(len, kept)) <= limit
    assert kept[:2] == whole[:2]
    (outcome,) = JsonlShards().outcomes({3: "c3"}, iter(kept[2:]))
    assert (outcome.status_code, outcome.is_retryable) == (413, False)
    assert b"result_too_large" in outcome.body
    assert list(within(whole, 10_000, count=3)) == whole


def test_a_manifest_that_can_t_be_read_is_none():
    manifest = read_manifest(b'{"totalRecordCount":2400,"inputTokenCount":1951382,"new":1}')
    assert manifest is not None
    assert (manifest.totalRecordCount, manifest.inputTokenCount) == (2400, 1951382)
    assert read_manifest(b'{"totalRecordCount":') is None
