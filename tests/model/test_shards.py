"""What becomes of a shard and of each of its lines, over engines made for the occasion."""

import asyncio
import json
from typing import Any

import pytest

from backburner_model.container import Container, Invocation
from backburner_model.engine import Engine
from backburner_model.engines.null import NullEngine
from backburner_model.settings import Settings
from backburner_model.wire import CHAT, Answer

JSONL = "application/jsonl"


class ScriptedEngine(Engine):
    """Does for each request what its text says."""

    routes = frozenset({CHAT})

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.running = 0
        self.most_running = 0
        self.cancelled = 0

    async def start(self):
        pass

    async def close(self):
        pass

    async def answer(self, route, body):
        self.asked.append(json.loads(body))
        text = self.asked[-1]["messages"][-1]["content"]
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            if text == "crash":
                raise RuntimeError(text)
            await asyncio.sleep(float(text))
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        return Answer(200, json.dumps({"slept": text}).encode())


def invoke_shard(engine, lines, **settings: Any) -> Any:
    """The outcomes of the lines; text lines are sent as they are."""

    async def run() -> Any:
        container = Container(engine, Settings(engine="null", **settings))
        await container.start()
        texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        invocation = Invocation(body="\n".join(texts).encode(), content_type="application/jsonl")
        return await container.invoke(invocation)

    answer = asyncio.run(run())
    assert answer.status_code == 200
    return [json.loads(line) for line in answer.body.decode().split("\n") if line]


@pytest.fixture
def null_engine():
    return NullEngine(Settings(engine="null"))


def test_a_shard_gives_one_outcome_a_line_in_the_same_order(null_engine, line_of):
    numbers = [7, 3, *range(100, 1100), 5]
    outcomes = invoke_shard(null_engine, [line_of(n, f"text {n}") for n in numbers])
    assert [outcome["line"] for outcome in outcomes] == numbers
    assert {outcome["status_code"] for outcome in outcomes} == {200}
    texts = [outcome["body"]["choices"][0]["message"]["content"] for outcome in outcomes]
    assert texts == [f"text {n}" for n in numbers]


def test_lines_that_finish_out_of_order_come_out_in_order(line_of):
    lines = [line_of(number, str(0.05 - number / 100)) for number in range(5)]
    outcomes = invoke_shard(ScriptedEngine(), lines)
    assert [outcome["line"] for outcome in outcomes] == [0, 1, 2, 3, 4]


def test_lines_run_together_but_never_more_than_the_limit(line_of):
    engine = ScriptedEngine()
    invoke_shard(engine, [line_of(number, "0.01") for number in range(20)], max_concurrency=4)
    assert engine.most_running == 4


def test_shards_that_come_together_end_one_after_another(line_of):
    """Else all would end at once, and the engine would run dry while others are handed over."""
    engine = ScriptedEngine()

    async def run() -> None:
        container = Container(engine, Settings(engine="null", max_concurrency=4))
        await container.start()
        shards = [
            "\n".join(json.dumps(line_of(n, "0.001", shard=shard)) for n in range(20)).encode()
            for shard in range(3)
        ]
        await asyncio.gather(
            *(container.invoke(Invocation(body=body, content_type=JSONL)) for body in shards)
        )

    asyncio.run(run())
    shards = [body["shard"] for body in engine.asked]
    assert shards == [0] * 20 + [1] * 20 + [2] * 20
    assert engine.most_running == 4


def test_blank_lines_and_unknown_members_are_ignored(null_engine, line_of):
    lines = [line_of(1) | {"custom_id": "a", "method": "POST"}, "", "   ", line_of(2), ""]
    assert [o["line"] for o in invoke_shard(null_engine, lines)] == [1, 2]


BAD_LINES = {
    "not JSON": ("{oops", None, None, "invalid_json"),
    "endless nesting": (
        '{"line":9,"url":"/v1/chat/completions","body":{"a":' + "[" * 100_000 + "}}",
        9,
        None,
        "invalid_json",
    ),
    "half a character": (
        '{"line":9,"url":"/v1/chat/completions","body":{"messages":[{"content":"\\ud800"}]}}',
        9,
        None,
        "invalid_json",
    ),
    "no object": ('"text"', None, None, None),
    "no line number": ('{"url":"/v1/chat/completions","body":{}}', None, "line", None),
    "no body": ('{"line":9,"url":"/v1/chat/completions"}', 9, "body", None),
    "no url": ('{"line":9,"body":{"messages":[]}}', 9, "url", None),
    "a body that is no object": ('{"line":9,"url":"/v1/chat/completions","body":3}', 9, None, None),
    "an unknown url": ('{"line":9,"url":"/v1/files","body":{}}', 9, "url", "unknown_url"),
    "no messages": ('{"line":9,"url":"/v1/chat/completions","body":{}}', 9, "messages", None),
    "messages that are no list": (
        '{"line":9,"url":"/v1/chat/completions","body":{"messages":"hi"}}',
        9,
        "messages",
        None,
    ),
    "streaming": (
        '{"line":9,"url":"/v1/chat/completions","body":{"messages":[],"stream":true}}',
        9,
        "stream",
        "unsupported_value",
    ),
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_a_bad_line_is_refused_alone(null_engine, line_of, name):
    text, number, param, code = BAD_LINES[name]
    before, bad, after = invoke_shard(null_engine, [line_of(1), text, line_of(2)])
    assert (before["status_code"], after["status_code"]) == (200, 200)
    assert (bad["line"], bad["status_code"]) == (number, 400)
    error = bad["body"]["error"]
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, code)
    assert error["message"]


def test_a_line_that_is_not_utf_8_is_refused_alone(null_engine, line_of):
    async def run() -> Any:
        container = Container(null_engine, Settings(engine="null"))
        await container.start()
        good = json.dumps(line_of(1)).encode()
        bad = good.replace(b"hello", b"\xff\xfe").replace(b"1", b"2", 1)
        invocation = Invocation(body=b"\n".join([good, bad]), content_type="application/jsonl")
        return [json.loads(line) for line in (await container.invoke(invocation)).body.splitlines()]

    outcomes = asyncio.run(run())
    assert [(o["line"], o["status_code"]) for o in outcomes] == [(1, 200), (2, 400)]


def test_an_engine_failure_is_one_lines_500_and_may_be_tried_again(line_of):
    lines = [line_of(1, "0"), line_of(2, "crash"), line_of(3, "0")]
    outcomes = invoke_shard(ScriptedEngine(), lines)
    assert [outcome["status_code"] for outcome in outcomes] == [200, 500, 200]
    assert outcomes[1]["body"]["error"]["type"] == "server_error"


def test_a_line_that_takes_too_long_is_a_504(line_of):
    engine = ScriptedEngine()
    outcomes = invoke_shard(
        engine, [line_of(1, "0"), line_of(2, "30")], request_timeout_seconds=0.05
    )
    assert [outcome["status_code"] for outcome in outcomes] == [200, 504]
    assert engine.cancelled == 1


def test_the_drains_end_keeps_finished_lines_and_gives_back_the_others(line_of):
    async def run() -> Any:
        engine = ScriptedEngine()
        settings = Settings(engine="null", drain_seconds=0.05, max_concurrency=2)
        container = Container(engine, settings)
        await container.start()
        lines = [line_of(1, "0"), line_of(2, "30"), line_of(3, "30"), line_of(4, "30")]
        body = "\n".join(map(json.dumps, lines)).encode()
        shard = Invocation(body=body, content_type="application/jsonl; charset=utf-8")
        running = asyncio.create_task(container.invoke(shard))
        await asyncio.sleep(0.02)
        await container.drain()
        late = await container.invoke(shard)
        assert not await container.is_ready()
        return (await running).body, late.status_code, engine.running

    body, late_status, still_running = asyncio.run(run())
    outcomes = [json.loads(line) for line in body.splitlines()]
    assert [o["status_code"] for o in outcomes] == [200, 503, 503, 503]
    assert [o["line"] for o in outcomes] == [1, 2, 3, 4]
    assert (late_status, still_running) == (503, 0)


def test_too_many_waiting_requests_are_sent_away_but_one_big_shard_is_not(line_of):
    async def run() -> Any:
        container = Container(ScriptedEngine(), Settings(engine="null", max_waiting=3))
        await container.start()
        body = "\n".join(json.dumps(line_of(n, "0.05")) for n in range(5)).encode()
        shard = Invocation(body=body, content_type="application/jsonl")
        first = asyncio.create_task(container.invoke(shard))
        await asyncio.sleep(0.01)
        second = await container.invoke(shard)
        return (await first).status_code, second.status_code

    assert asyncio.run(run()) == (200, 503)


def test_nothing_is_taken_in_before_the_model_is_loaded(null_engine):
    async def run() -> Any:
        container = Container(null_engine, Settings(engine="null"))
        answer = await container.invoke(Invocation(body=b"{}"))
        return answer.status_code, await container.is_ready()

    assert asyncio.run(run()) == (503, False)


def test_an_empty_shard_is_refused(null_engine):
    async def run() -> Any:
        container = Container(null_engine, Settings(engine="null"))
        await container.start()
        return await container.invoke(Invocation(body=b"\n", content_type="application/jsonl"))

    assert asyncio.run(run()).status_code == 400


def test_ten_thousand_instant_lines_never_hold_up_the_event_loop(null_engine, line_of):
    async def run() -> Any:
        container = Container(null_engine, Settings(engine="null"))
        await container.start()
        body = "\n".join(json.dumps(line_of(n)) for n in range(10_000)).encode()
        shard = Invocation(body=body, content_type="application/jsonl")
        running = asyncio.create_task(container.invoke(shard))
        turns = 0
        while not running.done():
            await asyncio.sleep(0)
            turns += 1
        return turns

    assert asyncio.run(run()) > 100
