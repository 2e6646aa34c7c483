"""Lines of Message Batches."""

import json

import pytest

from backburner.domain.request import Outcome
from backburner.wire.anthropic.dialect import AnthropicDialect

DIALECT = AnthropicDialect()
BATCH = "msgbatch_x"

OUTCOMES = {
    "succeeded": Outcome(
        line=7, custom_id="c", status_code=200, body=b'{"choices":[{"message":{"content":"a"}}]}'
    ),
    "canceled": Outcome(line=7, custom_id="c", code="batch_cancelled", message="m"),
    "expired": Outcome(line=7, custom_id="c", code="batch_expired", message="m"),
    "errored": Outcome(line=7, custom_id="c", code="result_lost", message="m"),
}


@pytest.mark.parametrize("kind", OUTCOMES)
def test_a_result_is_one_line_that_tells_whose_it_is(kind):
    line = DIALECT.render(OUTCOMES[kind], batch_id=BATCH)
    assert b"\n" not in line
    assert json.loads(line)["result"]["type"] == kind
    assert DIALECT.head(line) == (7, "c")


def test_messages_are_named_by_batch_and_line():
    line = json.loads(DIALECT.render(OUTCOMES["succeeded"], batch_id=BATCH))
    assert line["result"]["message"]["id"] == "msg_x-7"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("result_lost", "api_error"),
        ("backend_failed", "api_error"),
        ("model_not_found", "not_found_error"),
        ("duplicate_custom_id", "invalid_request_error"),
        (None, "invalid_request_error"),
    ],
)
def test_reasons_have_anthropics_types(code, kind):
    outcome = Outcome(line=1, custom_id="c", code=code, message="m")
    error = json.loads(DIALECT.render(outcome, batch_id=BATCH))["result"]["error"]["error"]
    assert (error["type"], error["message"]) == (kind, "m")
    assert error.get("details") == (None if code is None else {"error_code": code})


def test_the_prompt_is_what_the_model_reads():
    asked = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}]}
    data = json.dumps({"custom_id": "c", "params": asked}).encode()
    request = DIALECT.parse(3, data, route="/v1/chat/completions")
    assert (request.line, DIALECT.prompt(request)) == (3, "hi")
