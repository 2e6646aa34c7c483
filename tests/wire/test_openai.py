"""The lines of OpenAI's batch files."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from backburner.domain.errors import InvalidLine, InvalidRequest
from backburner.domain.request import Outcome, Request
from backburner.wire import bodies
from backburner.wire.openai import OpenAIDialect
from tests.effort import tried

CHAT = "/v1/chat/completions"
DIALECT = OpenAIDialect()


def line(body: Any = None, **members: Any) -> bytes:
    """A good line, with some of it changed; `...` leaves a member out."""
    whole = {
        "custom_id": "r-1",
        "method": "POST",
        "url": CHAT,
        "body": {
            "model": "tiny",
            "messages": [{"role": "user", "content": "hi"}],
            **(body or {}),
        },
        **members,
    }
    whole["body"] = {k: v for k, v in whole["body"].items() if v is not ...}
    return json.dumps({k: v for k, v in whole.items() if v is not ...}).encode()


def refused(data: bytes, route: str = CHAT) -> InvalidLine:
    with pytest.raises(InvalidLine) as caught:
        DIALECT.parse(7, data, route=route)
    return caught.value


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


NOT_JSON = {
    "nothing": b"",
    "text": b"hello",
    "half an object": b'{"custom_id":"r-1","body":{',
    "two objects": line() + line(),
    "NaN": b'{"custom_id":"r-1","body":{"model":"m","x":NaN}}',
    "NaN beside the body": b'{"custom_id":"r-1","x":NaN,"body":{}}',
    "Infinity": b'{"custom_id":"r-1","body":{"model":"m","x":Infinity}}',
    "a number beyond floats": b'{"custom_id":"r-1","body":{"model":"m","x":1e400}}',
    "a leading zero": b'{"custom_id":"r-1","body":{"model":"m","x":01}}',
    "a trailing comma": b'{"custom_id":"r-1",}',
    "single quotes": b"{'custom_id':'r-1'}",
    "a comment": b'{"custom_id":"r-1"} // mine',
    "a raw control character": b'{"custom_id":"r\x01","body":{}}',
    "a lone surrogate": b'{"custom_id":"\\ud800","body":{}}',
    "a lone surrogate in the body": b'{"custom_id":"r-1","body":{"model":"\\udc00"}}',
    "invalid UTF-8": b'{"custom_id":"r-1","body":{"model":"\xff"}}',
    "invalid UTF-8 in a key": b'{"custom_id":"r-1","body":{"\xff":1}}',
    "invalid UTF-8 beside the body": b'{"custom_id":"r-1","x":"\xff","body":{"model":"m"}}',
    "UTF-16": line().decode().encode("utf-16"),
    "a BOM": b"\xef\xbb\xbf" + line(),
    "a list": b"[]",
    "null": b"null",
    "a number": b"1",
    "a string": b'"r-1"',
    "depth that would break the stack": b'{"custom_id":"r-1","body":' + b"[" * 100_000,
    "depth that would break the stack, closed": b"[" * 100_000 + b"]" * 100_000,
}


@pytest.mark.parametrize("data", NOT_JSON.values(), ids=NOT_JSON)
def test_what_is_no_json_object_is_an_invalid_json_line(data):
    error = refused(data)
    assert error.code == "invalid_json_line"
    assert error.custom_id is None
    assert error.message.startswith("This line is n")


BAD_ID = {
    "missing": (line(custom_id=...), "missing"),
    "null": (line(custom_id=None), "missing"),
    "a number": (line(custom_id=1), "string"),
    "a list": (line(custom_id=["r-1"]), "string"),
    "empty": (line(custom_id=""), "0 characters"),
    "513 characters": (line(custom_id="x" * 513), "513 characters"),
    "a newline": (line(custom_id="a\nb"), "control"),
    "a NUL": (line(custom_id="a\0"), "control"),
    "a C1 control": (line(custom_id="a\x85b"), "control"),
}


@pytest.mark.parametrize(("data", "words"), BAD_ID.values(), ids=BAD_ID)
def test_a_bad_custom_id_is_named_and_not_repeated(data, words):
    error = refused(data)
    assert (error.code, error.param, error.custom_id) == ("invalid_request", "custom_id", None)
    assert words in error.message


MESSAGE = {"role": "user", "content": "hi"}

BAD_FIELD = {
    "method GET": (line(method="GET"), "method"),
    "method a number": (line(method=1), "method"),
    "body missing": (b'{"custom_id":"r-1"}', "body"),
    "body null": (json.dumps({"custom_id": "r-1", "body": None}).encode(), "body"),
    "body a list": (json.dumps({"custom_id": "r-1", "body": []}).encode(), "body"),
    "body a string": (json.dumps({"custom_id": "r-1", "body": "{}"}).encode(), "body"),
    "no model": (line({"model": ...}), "body.model"),
    "model empty": (line({"model": ""}), "body.model"),
    "model a number": (line({"model": 1}), "body.model"),
    "stream": (line({"stream": True}), "body.stream"),
    "stream a string": (line({"stream": "no"}), "body.stream"),
    "no messages": (line({"messages": ...}), "body.messages"),
    "messages empty": (line({"messages": []}), "body.messages"),
    "messages an object": (line({"messages": MESSAGE}), "body.messages"),
    "a message a string": (line({"messages": ["hi"]}), "body.messages[0]"),
    "no role": (line({"messages": [MESSAGE, {"content": "x"}]}), "body.messages[1].role"),
    "role a number": (line({"messages": [{"role": 1, "content": ""}]}), "body.messages[0].role"),
    "role empty": (line({"messages": [{"role": "", "content": []}]}), "body.messages[0].role"),
    "no content": (line({"messages": [{"role": "user"}]}), "body.messages[0].content"),
    "content a number": (
        line({"messages": [{"role": "user", "content": 1}]}),
        "body.messages[0].content",
    ),
    "a part a string": (
        line({"messages": [{"role": "user", "content": ["hi"]}]}),
        "body.messages[0].content[0]",
    ),
    "a part without type": (
        line({"messages": [{"role": "user", "content": [{"text": "hi"}]}]}),
        "body.messages[0].content[0]",
    ),
    "a part without text": (
        line({"messages": [{"role": "user", "content": [{"type": "text"}]}]}),
        "body.messages[0].content[0].text",
    ),
    "max_tokens 0": (line({"max_tokens": 0}), "body.max_tokens"),
    "max_tokens negative": (line({"max_tokens": -1}), "body.max_tokens"),
    "max_tokens true": (line({"max_tokens": True}), "body.max_tokens"),
    "max_tokens a float": (line({"max_tokens": 8.0}), "body.max_tokens"),
    "max_tokens a string": (line({"max_tokens": "8"}), "body.max_tokens"),
    "max_tokens huge": (line({"max_tokens": 10**30}), "body.max_tokens"),
    "max_completion_tokens 0": (line({"max_completion_tokens": 0}), "body.max_completion_tokens"),
    "max_tokens wrong beside a good limit": (
        line({"max_completion_tokens": 8, "max_tokens": "8"}),
        "body.max_tokens",
    ),
}


@pytest.mark.parametrize(("data", "param"), BAD_FIELD.values(), ids=BAD_FIELD)
def test_a_bad_field_is_named_together_with_the_request(data, param):
    error = refused(data)
    assert (error.code, error.param, error.custom_id) == ("invalid_request", param, "r-1")
    assert "'" + param.removeprefix("body.") in error.message or "'body'" in error.message


@pytest.mark.parametrize("url", ["/v1/embeddings", "https://api.openai.com" + CHAT, "", 1])
def test_a_line_for_another_route_is_a_url_mismatch(url):
    error = refused(line(url=url))
    assert (error.code, error.param, error.custom_id) == ("url_mismatch", "url", "r-1")


@pytest.mark.parametrize(("levels", "is_good"), [(126, True), (127, False), (500, False)])
def test_nesting_is_limited_to_128_levels_of_the_line(levels, is_good):
    # The line is the first level, its body the second.
    data = line({"x": nested(levels)})
    if is_good:
        assert DIALECT.parse(1, data, route=CHAT).custom_id == "r-1"
    else:
        assert "128 levels" in refused(data).message


def test_brackets_in_text_are_no_nesting():
    data = line({"messages": [{"role": "user", "content": "[{" * 500}]})
    assert DIALECT.parse(1, data, route=CHAT).prompt_bytes == 1000


GOOD = {
    "the plain one": (line(), (2, 1, 0)),
    "without method and url": (line(method=..., url=...), (2, 1, 0)),
    "with null for them": (line(method=None, url=None), (2, 1, 0)),
    "method in lower case": (line(method="post"), (2, 1, 0)),
    "with more members": (line(extra={"a": [1]}), (2, 1, 0)),
    "the longest custom_id": (line(custom_id="x" * 512), (2, 1, 0)),
    "a custom_id in Japanese": (line(custom_id="要求 1"), (2, 1, 0)),
    "a custom_id with odd spaces": (line(custom_id="a\u00a0b\u2028c"), (2, 1, 0)),
    "n above 1": (line({"n": 3}), (2, 1, 0)),
    "stream false": (line({"stream": False}), (2, 1, 0)),
    "stream null": (line({"stream": None}), (2, 1, 0)),
    "max_tokens": (line({"max_tokens": 8}), (2, 1, 8)),
    "max_tokens null": (line({"max_tokens": None}), (2, 1, 0)),
    "both limits": (line({"max_tokens": 8, "max_completion_tokens": 9}), (2, 1, 9)),
    "two messages": (line({"messages": [MESSAGE, MESSAGE]}), (4, 2, 0)),
    "an empty message": (line({"messages": [{"role": "user", "content": ""}]}), (0, 1, 0)),
    "text that is not ASCII": (
        line({"messages": [{"role": "user", "content": "é€😀"}]}),
        (9, 1, 0),
    ),
}


@pytest.mark.parametrize(("data", "measure"), GOOD.values(), ids=GOOD)
def test_a_good_line_is_measured(data, measure):
    request = DIALECT.parse(3, data, route=CHAT)
    assert request.line == 3
    assert (request.prompt_bytes, request.message_count, request.max_tokens) == measure


def test_the_body_keeps_its_exact_bytes():
    message = b'{"role":"user","content":"\\u00e9 \xc3\xa9"}'
    body = b'{ "model" : "tiny","messages":[ ' + message + b' ],"seed":1.50}'
    request = DIALECT.parse(1, b'{"body": ' + body + b' ,"custom_id":"r-1"}', route=CHAT)
    assert request == Request(
        line=1,
        custom_id="r-1",
        model="tiny",
        route=CHAT,
        body=body,
        prompt_bytes=5,
        message_count=1,
    )


RICH = {
    "parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": "é" * 50}]}]},
    "a name": {"messages": [{"role": "user", "name": "n" * 50, "content": "hi"}]},
    "tool calls": {
        "messages": [
            {"role": "assistant", "tool_calls": [{"function": {"arguments": "a" * 90}}]},
        ]
    },
    "tools": {"tools": [{"type": "function", "function": {"name": "f", "x": ["y"] * 30}}]},
    "a schema": {"response_format": {"type": "json_schema", "json_schema": {"a": "b" * 60}}},
}


@pytest.mark.parametrize("body", RICH.values(), ids=RICH)
def test_the_measure_is_never_below_the_bytes_that_the_model_reads(body):
    request = DIALECT.parse(1, line(body), route=CHAT)
    assert request.prompt_bytes >= len(DIALECT.prompt(request).encode())


def test_images_are_no_text_however_large_they_are():
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "x" * 9000}}
    body = {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}, image]}]}
    request = DIALECT.parse(1, line(body), route=CHAT)
    assert request.prompt_bytes < 100
    assert DIALECT.prompt(request) == "hi"


OTHER_ROUTES = {
    "a prompt": ("/v1/completions", {"prompt": "héllo", "max_tokens": 4}, (6, 1, 4), "héllo"),
    "prompts": ("/v1/completions", {"prompt": ["a", "bcd"]}, (3, 1, 0), "bcd"),
    "tokens": ("/v1/completions", {"prompt": [1, 2, 3]}, (3, 1, 0), ""),
    "lists of tokens": ("/v1/embeddings", {"input": [[1], [2, 3]]}, (2, 1, 0), ""),
    "an input": ("/v1/embeddings", {"input": "abc"}, (3, 1, 0), "abc"),
    "a response": (
        "/v1/responses",
        {"input": "abc", "max_output_tokens": 5},
        (3, 2, 5),
        "abc",
    ),
    "a response of items": (
        "/v1/responses",
        {"input": [{"role": "user", "content": "abc"}], "instructions": "be brief"},
        (43, 2, 0),
        'be brief\n[{"role":"user","content":"abc"}]',
    ),
}


@pytest.mark.parametrize(
    ("route", "body", "measure", "text"), OTHER_ROUTES.values(), ids=OTHER_ROUTES
)
def test_other_routes_are_read_as_well(route, body, measure, text):
    data = json.dumps({"custom_id": "r", "body": {"model": "m", **body}}).encode()
    request = DIALECT.parse(1, data, route=route)
    assert (request.prompt_bytes, request.message_count, request.max_tokens) == measure
    assert DIALECT.prompt(request) == text


@pytest.mark.parametrize(
    "given", [None, "", [], [""], [1, "a"], [True], [-1], [[]], [[1], ["a"]], {}]
)
@pytest.mark.parametrize(
    ("route", "name"), [("/v1/completions", "prompt"), ("/v1/embeddings", "input")]
)
def test_a_prompt_is_text_or_tokens(route, name, given):
    data = json.dumps({"custom_id": "r", "body": {"model": "m", name: given}}).encode()
    assert refused(data, route).param == f"body.{name}"


@pytest.mark.parametrize("given", [None, "", [], 1, ["a"], {}])
def test_an_input_of_responses_is_text_or_items(given):
    data = json.dumps({"custom_id": "r", "body": {"model": "m", "input": given}}).encode()
    assert refused(data, "/v1/responses").param == "body.input"


def test_a_route_that_nobody_knows_is_refused():
    assert refused(line(url=...), "/v1/rerank").code == "invalid_request"


def test_the_prompt_of_a_chat_is_its_text():
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
    ]
    request = DIALECT.parse(1, line({"messages": messages, "tools": ["t"]}), route=CHAT)
    assert DIALECT.prompt(request) == '["t"]\nbe brief\nhi\n{"tool_calls":[{"id":"1"}]}'


# ---------------------------------------------------------------- whatever comes

LEAF = st.sampled_from([None, True, -1, 0, 8, 1.5, float("nan"), float("inf"), 10**30, "", "a\n"])
LISTS = st.lists(LEAF, max_size=2)
JSON = LEAF | LISTS | st.dictionaries(st.sampled_from(["type", "text", "x"]), LEAF | LISTS)
NAMES = ("messages", "stream", "max_tokens", "tools", "prompt", "input", "instructions")
LINES = st.fixed_dictionaries(
    {"custom_id": st.just("r")},
    optional={
        "method": st.none() | JSON,
        "url": st.none() | JSON,
        "body": JSON
        | st.fixed_dictionaries({"model": st.just("m")}, optional=dict.fromkeys(NAMES, JSON))
        | st.fixed_dictionaries(
            {
                "model": st.just("m"),
                "messages": st.lists(
                    st.fixed_dictionaries(
                        {}, optional={"role": JSON, "content": JSON, "name": JSON}
                    )
                ),
            },
            optional={"tools": JSON},
        ),
    },
)
ROUTES = st.sampled_from(
    [CHAT, "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/unknown"]
)


@settings(max_examples=tried(100, long=1000), deadline=None)
@given(data=st.binary(max_size=200), route=ROUTES)
@example(data=b"\xed\xa0\x80", route=CHAT)
def test_any_bytes_are_a_request_or_an_invalid_line(data, route):
    with suppress(InvalidLine):
        DIALECT.parse(1, data, route=route)


@settings(max_examples=tried(100, long=1000), deadline=None)
@given(value=LINES, route=ROUTES, cut=st.integers(0, 40), flip=st.integers(0, 255))
def test_any_json_is_a_request_or_an_invalid_line(value, route, cut, flip):
    data = json.dumps(value).encode()
    broken = data[:cut] + bytes([flip]) + data[cut + 1 :]
    for given_data in (data, broken):
        try:
            request = DIALECT.parse(1, given_data, route=route)
        except InvalidLine as error:
            json.dumps([error.message, error.param, error.custom_id]).encode()
        else:
            assert b"\n" not in request.body
            # One newline stands between two messages.
            read = len(DIALECT.prompt(request).encode()) - request.message_count - 2
            assert read <= request.prompt_bytes


TURNS = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "", 1]), "content": st.text(max_size=3) | LEAF},
    optional={"name": JSON},
)
NUMBERS = st.sampled_from([None, True, -1, 0, 1, 8, 8.0, 0.5, 2**31 - 1, 2**31, 10**30, "8"])
CHATS = st.fixed_dictionaries(
    {"model": st.sampled_from(["m", "", None]), "messages": st.lists(TURNS, max_size=2) | JSON},
    optional={
        **dict.fromkeys(("max_tokens", "max_completion_tokens", "temperature", "seed"), NUMBERS),
        **dict.fromkeys(("stream", "tools", "response_format", "user", "x"), JSON),
    },
)


@settings(max_examples=tried(200, long=2000), deadline=None)
@given(body=CHATS)
@example(body={"model": "m", "messages": [MESSAGE], "max_tokens": 8, "temperature": 0.5})
@example(body={"model": "m", "messages": [MESSAGE], "max_tokens": 8.0})
@example(body={"model": "m", "messages": [MESSAGE], "stream": True})
@example(body={"model": "m", "messages": [MESSAGE | {"name": "n" * 50}]})
def test_a_body_measured_in_one_go_is_measured_as_it_is_member_by_member(body):
    plain = bodies.measure_plain(CHAT, json.dumps(body).encode())
    try:
        measure = bodies.measure(CHAT, body)
    except InvalidRequest:
        assert plain is None
    else:
        assert plain in (None, measure)


@pytest.mark.parametrize("more", [{}, {"max_tokens": 8, "temperature": 0, "seed": 1, "user": "u"}])
def test_most_bodies_are_measured_in_one_go(more):
    body = {"model": "m", "messages": [MESSAGE, {"role": "user", "content": "é"}], **more}
    measure = bodies.measure_plain(CHAT, json.dumps(body).encode())
    assert measure == bodies.measure(CHAT, body)


@pytest.mark.parametrize("number", [b"1e400", b"01", b"NaN"])
def test_what_is_no_number_is_never_measured_in_one_go(number):
    data = b'{"model":"m","messages":[{"role":"user","content":""}],"temperature":%b}' % number
    assert bodies.measure_plain(CHAT, data) is None


# ---------------------------------------------------------------- results


def outcome(**members: Any) -> Outcome:
    return Outcome(**{"line": 7, "custom_id": "r-1", **members})


def test_an_answer_becomes_a_line_with_its_body_as_it_is():
    data = DIALECT.render(outcome(status_code=200, body=b'{"id": 1.50}'), batch_id="batch_abc")
    assert data == (
        b'{"id":"batch_req_abc-7","custom_id":"r-1","response":{"status_code":200,'
        b'"request_id":"req_abc-7","body":{"id": 1.50}},"error":null}'
    )


def test_an_error_of_the_model_keeps_its_status():
    data = DIALECT.render(outcome(status_code=400, body=b'{"error":{}}'), batch_id="batch_abc")
    shown = json.loads(data)
    assert shown["response"]["status_code"] == 400
    assert shown["response"]["body"] == {"error": {}}
    assert shown["error"] is None


def test_no_answer_becomes_a_line_with_the_reason():
    data = DIALECT.render(outcome(code="batch_expired", message="Too late."), batch_id="batch_abc")
    assert json.loads(data) == {
        "id": "batch_req_abc-7",
        "custom_id": "r-1",
        "response": None,
        "error": {"code": "batch_expired", "message": "Too late."},
    }


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b"", None),
        (b'{"a":\n1\r}', {"a": 1}),
        (b"[1, 2]", [1, 2]),
        (b"<html>\n", "<html>\n"),
        (b"\xff", "\ufffd"),
    ],
)
def test_whatever_a_model_says_stays_one_line_of_json(body, shown):
    data = DIALECT.render(outcome(status_code=500, body=body), batch_id="batch_abc")
    assert b"\n" not in data
    assert b"\r" not in data
    assert json.loads(data)["response"]["body"] == shown


@given(
    custom_id=st.text(st.characters(codec="utf-8"), min_size=1),
    number=st.integers(1, 10**6),
    message=st.none() | st.text(st.characters(codec="utf-8")),
)
def test_rendering_twice_gives_the_same_line_that_names_the_request(custom_id, number, message):
    failed = Outcome(line=number, custom_id=custom_id, code="x", message=message)
    first = DIALECT.render(failed, batch_id="batch_abc")
    assert first == DIALECT.render(failed, batch_id="batch_abc")
    assert json.loads(first)["custom_id"] == custom_id
    assert first.count(b"\n") == 0
