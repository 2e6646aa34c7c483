"""5,000 hostile requests: each is refused in clear words, none breaks anything, none is stored."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.web.conftest import CATALOG, Client, WebMemoryWorld, form, requests
from tests.world import CHAT

COUNT, LINES, SEED = 5000, 300, 20250101


#: What breaks parsers and what keeps things: performance notes call them the input faults.
WORDS = ["\0", "\u2028", "'", "\x7f", "../..", "%00", "A" * 3000, "\u202e", "-1", "NaN"]
NO_JSON = [
    b"", b"{", b"nul", b"[1,]", b"{'a':1}", b"\xff\xfe{\0}\0", b"\xef\xbb\xbf{}", b'{"a":NaN}',
    b'{"a":1e400}', b'{"a":"\xff"}', b'{"a":"\xc0\xaf"}', b'{"a":"\\ud800"}', b"[" * 50_000,
    b'{"a":' * 900 + b"1" + b"}" * 900, b"\0", b'"text"', b"17", b"[]", b"null", b"{}{}",
]  # fmt: skip
WRONG: list[Any] = [None, True, 0, -1, 1.5, 10**30, "", [], {}, [[]], {"a": {}}, "x" * 5000, *WORDS]
EMPTY: list[Any] = [None, "", [], {}]
NUMBERS: list[Any] = [True, 0, -1, 1.5, 10**30, [[]]]
GOOD: dict[str, dict[str, Any]] = {
    "/v1/batches": {"input_file_id": "none", "endpoint": CHAT, "completion_window": "24h"},
    "/v1/responses": {"model": "none", "input": "hi", "background": True},
    CHAT: {"model": "none", "messages": [{"role": "user", "content": "hi"}]},
    "/v1/uploads": {"bytes": 0, "filename": "a", "mime_type": "b", "purpose": "batch"},
}
PATHS = ["/v1/files/{}", "/v1/files/{}/content", "/v1/batches/{}", "/v1/responses/{}", "/v1/x{}"]

Ask = tuple[str, str, bytes, dict[str, str], dict[str, str]]


def no_json(draw: random.Random) -> Ask:
    return "POST", draw.choice(list(GOOD)), draw.choice(NO_JSON), {}, {}


def wrong_fields(draw: random.Random) -> Ask:
    path = draw.choice(list(GOOD))
    body = dict(GOOD[path])
    for name in draw.sample(sorted(body), draw.randint(1, len(body))):
        body[name] = draw.choice(WRONG)
    return "POST", path, json.dumps(body).encode(), {}, {}


def doubled_keys(draw: random.Random) -> Ask:
    path = draw.choice(list(GOOD))
    data = json.dumps(GOOD[path]).encode()
    return "POST", path, b'{"model":"","endpoint":7,' + data[1:], {}, {}


def strange_ids(draw: random.Random) -> Ask:
    path = draw.choice(PATHS).format(draw.choice(WORDS))
    return draw.choice(["GET", "DELETE", "PUT", "POST"]), path, b"", {}, {}


def strange_pages(draw: random.Random) -> Ask:
    name = draw.choice(["limit", "after"])
    values = ["\u0661", " 1", "1;2", "\0", "\u2028"]  # and for numbers, what is none
    value = draw.choice([*values, "0", "-1", "1e3", "9" * 40] if name == "limit" else values)
    return "GET", draw.choice(["/v1/files", "/v1/batches"]), b"", {}, {name: value}


def strange_keys(draw: random.Random) -> Ask:
    value = draw.choice(["x" * 256, "na\u00efve", "a\tb", "\x7f", "\0"])
    body = json.dumps(GOOD["/v1/batches"]).encode()
    return "POST", "/v1/batches", body, {"idempotency-key": value}, {}


def strange_forms(draw: random.Random) -> Ask:
    good, kind = form([("purpose", "batch"), ("file", ("a", b"one\n"))])
    cut = draw.randrange(len(good) - 4)
    bodies = [
        (good[:cut], kind),
        (good, "multipart/form-data"),
        (good, "multipart/form-data; boundary=" + "x" * 300),
        form([("purpose", draw.choice(WORDS[3:])), ("file", ("a", b"x"))]),
        form([("purpose", "batch")]),
        form([("purpose", "batch"), *[("file", ("a", b"x"))] * 2]),
        (b"\x1f\x8b" + bytes(100), "application/gzip"),
    ]
    body, content_type = draw.choice(bodies)
    return "POST", "/v1/files", body, {"content-type": content_type}, {}


def bad_request(draw: random.Random, key: str) -> dict[str, Any]:
    """One of a batch, whose body is at `key`; it can't be run."""
    body: dict[str, Any] = {"model": "tiny", "max_tokens": 5, "messages": GOOD[CHAT]["messages"]}
    one: dict[str, Any] = {"custom_id": "bad", key: body}
    match draw.choice(["custom_id", "body", "model", "messages"]):
        case "custom_id":
            one["custom_id"] = draw.choice([*EMPTY, *NUMBERS])
        case "body":
            one[key] = draw.choice([*EMPTY, *NUMBERS, *WORDS])
        case name:
            body[name] = draw.choice([*EMPTY, *NUMBERS])
    return one


def bad_requests(draw: random.Random) -> Ask:
    path, key = draw.choice([("/v1/batches", "body"), ("/v1/messages/batches", "params")])
    one = {"custom_id": "good", key: {**GOOD[CHAT], "model": "tiny", "max_tokens": 5}}
    some: Any = [one, bad_request(draw, key)]
    given = draw.choice([some, some[::-1], [one, one], *EMPTY, *NUMBERS, WORDS])
    return "POST", path, json.dumps({"requests": given, "endpoint": CHAT}).encode(), {}, {}


CLASSES: list[Callable[[random.Random], Ask]] = [
    no_json, wrong_fields, doubled_keys, strange_ids, strange_pages, strange_keys, strange_forms,
    bad_requests,
]  # fmt: skip


def test_five_thousand_hostile_requests_are_refused_and_leave_nothing():
    world = WebMemoryWorld(Path("/dev/null"), catalog=CATALOG)
    try:
        client: Client = world.client("acme")
        draw = random.Random(SEED)
        wrong = []
        for number in range(COUNT):
            method, path, body, headers, query = CLASSES[number % len(CLASSES)](draw)
            answer = client.ask(method, path, body, headers, query=query)
            if not 400 <= answer.status < 500 or not answer.error["message"]:
                wrong.append((method, path[:60], body[:120], query, answer.status))
        assert wrong == []
        assert world.keys("") == []
        for kind in ("files", "batches", "responses", "requests", "uploads", "once"):
            assert world.store.query(f"acme/{kind}") == []
    finally:
        world.close()


def bad_line(draw: random.Random) -> bytes:
    """A line of a file that can't be run."""
    good = requests(1).strip()
    match draw.randrange(4):
        case 0:
            return draw.choice([data for data in NO_JSON if data])
        case 1:
            return good[: draw.randrange(1, len(good))]
        case 2:
            return json.dumps({"custom_id": "bad", "url": draw.choice(WRONG), "body": {}}).encode()
    return json.dumps({"url": CHAT, **bad_request(draw, "body")}).encode()


def test_good_lines_run_between_hostile_ones_and_each_bad_one_is_told(tmp_path):
    world = WebMemoryWorld(tmp_path, catalog=CATALOG)
    try:
        client = world.client("acme")
        draw = random.Random(SEED)
        good = requests(LINES).splitlines()
        content = b"\n".join(line for one in good for line in (bad_line(draw), one))
        batch = client.batch(content, x_on_invalid="skip")
        world.finish()
        ended = client.get(f"/v1/batches/{batch['id']}").json
        assert (ended["status"], ended["x_skipped"]) == ("completed", LINES)
        counts = {"total": 2 * LINES, "completed": LINES, "failed": LINES}
        assert ended["request_counts"] == counts
        output = client.get(f"/v1/files/{ended['output_file_id']}/content").lines
        assert [one["custom_id"] for one in output] == [f"r-{n + 1}" for n in range(LINES)]
        errors = client.get(f"/v1/files/{ended['error_file_id']}/content").lines
        assert len(errors) == LINES
        assert all(one["error"]["code"] and one["error"]["message"] for one in errors)
    finally:
        world.close()
