"""Reading a file: what is wrong with it, and how it is cut."""

import io
import tracemalloc
from dataclasses import replace
from typing import Any

import pytest

from backburner.domain.batch import Batch, BatchStatus
from backburner.domain.errors import NotFound
from backburner.domain.shard import Cut
from backburner.ports import QueueName
from backburner.services import batches, files, manifest, plan, reading
from tests import oracle
from tests.tap import meanwhile
from tests.world import (
    EMBEDDINGS,
    LIMITS,
    World,
    a_catalog,
    a_model,
    a_world,
    a_world_in_memory,
    chat,
    jsonl,
)


def planned(world: World, lines: Any, **options: Any) -> Any:
    batch = world.submit(lines, **options)
    world.pump(QueueName.PLAN)
    return world.batch(batch)


def findings(world: World, batch: Batch) -> Any:
    return [(one.line, one.code, one.param) for one in batches.findings(world.untapped, batch)]


def bad_lines() -> Any:
    other = chat("other-model", model="nobody")
    other_route = chat("other-route") | {"url": EMBEDDINGS}
    too_long = chat("too-long", max_tokens=5000)
    return [
        (b"no json", "invalid_json_line", None),
        (b'"text"', "invalid_json_line", None),
        (b'{"custom_id":"cut","body":{"mo', "invalid_json_line", None),
        (b'{"custom_id":"\xff","body":{}}', "invalid_json_line", None),
        ({"body": {"model": "mistral"}}, "invalid_request", "custom_id"),
        ({"custom_id": "no-body"}, "invalid_request", "body"),
        (chat("get") | {"method": "GET"}, "invalid_request", "method"),
        (other_route, "url_mismatch", "url"),
        (other, "model_not_found", "body.model"),
        (chat("stream", stream=True), "invalid_request", "body.stream"),
        (chat("none", messages=[]), "invalid_request", "body.messages"),
        (too_long, "context_length_exceeded", "body.messages"),
        (chat("embed", model="embed"), "url_mismatch", "url"),
    ]


def test_each_bad_line_is_named_with_its_number_and_field_and_nothing_runs(world):
    lines = [chat("good-1"), *(line for line, _, _ in bad_lines()), chat("good-2")]
    batch = planned(world, lines)
    assert batch.status is BatchStatus.FAILED
    assert findings(world, batch) == [
        (number, code, param) for number, (_, code, param) in enumerate(bad_lines(), start=2)
    ]
    world.settle()
    assert world.backend.submissions == []
    oracle.check_end(world)


def test_at_most_as_many_bad_lines_are_reported_as_the_limit_says(world):
    batch = planned(world, [b"bad"] * 1001 + [chat("good")])
    reported = findings(world, batch)
    assert [line for line, _, _ in reported] == list(range(1, 1001))


def test_a_bad_last_line_leaves_nothing_of_the_lines_before_it(world):
    batch = planned(world, [*(chat(f"r{n}") for n in range(20)), b"bad"])
    assert batch.status is BatchStatus.FAILED
    assert list(world.blobs.list(batch.blob_prefix)) == []


def test_bad_lines_may_be_skipped_and_come_out_in_their_places(world):
    lines = [b"bad", chat("a"), chat("b", model="nobody"), chat("c"), b"{}"]
    batch = world.submit(lines, on_invalid="skip")
    world.settle()
    after = world.batch(batch)
    assert after.status is BatchStatus.COMPLETED
    assert (after.total, after.completed, after.failed, after.skipped) == (5, 2, 3, 3)
    assert [line["custom_id"] for line in world.output(batch)] == ["a", "c"]
    assert [(line["custom_id"], line["error"]["code"]) for line in world.errors(batch)] == [
        ("line-1", "invalid_json_line"),
        ("b", "model_not_found"),
        ("line-5", "invalid_request"),
    ]
    oracle.check_end(world)


def test_a_line_that_is_skipped_keeps_its_name_where_it_has_one(world):
    long = chat("too-long", max_tokens=5000)
    other = chat("other-model", model="nobody")
    batch = world.submit([chat("twice"), chat("twice"), long, other], on_invalid="skip")
    world.settle()
    assert [(line["custom_id"], line["error"]["code"]) for line in world.errors(batch)] == [
        ("twice", "duplicate_custom_id"),
        ("too-long", "context_length_exceeded"),
        ("other-model", "model_not_found"),
    ]
    oracle.check_end(world)


def test_a_batch_of_bad_lines_alone_completes_where_they_are_skipped(world):
    batch = world.submit([b"bad", b"worse"], on_invalid="skip")
    world.settle()
    assert world.batch(batch).status is BatchStatus.COMPLETED
    assert [line["error"]["code"] for line in world.errors(batch)] == ["invalid_json_line"] * 2
    oracle.check_end(world)


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf" + jsonl([chat("a"), chat("b")]),
        jsonl([chat("a"), chat("b")]).replace(b"\n", b"\r\n"),
        b"\n\n" + jsonl([chat("a")]) + b"   \r\n\t\n" + jsonl([chat("b")]) + b"\n\n",
        jsonl([chat("a"), chat("b")]).rstrip(b"\n"),
        b"  " + jsonl([chat("a"), chat("b")]).replace(b"\n", b"  \n"),
    ],
    ids=["byte order mark", "carriage returns", "blank lines", "no last newline", "spaces"],
)
def test_line_ends_and_blanks_do_not_matter(world, data):
    batch = world.submit(data)
    world.settle()
    assert [line["custom_id"] for line in world.output(batch)] == ["a", "b"]
    oracle.check_end(world)


def test_only_a_line_feed_ends_a_line(world):
    said = "one\u2028two\u2029three\x85four"
    batch = world.submit([chat("a", messages=[{"role": "user", "content": said}])])
    world.settle()
    (line,) = world.output(batch)
    assert said in line["response"]["body"]["choices"][0]["message"]["content"]


def test_numbers_of_lines_count_blank_ones(world):
    batch = planned(world, jsonl([chat("a")]) + b"\n\n" + b"bad\n")
    assert findings(world, batch) == [(4, "invalid_json_line", None)]


def test_a_custom_id_used_twice_is_an_error_that_names_both_lines(world):
    batch = planned(world, [chat("same"), chat("other"), chat("same")])
    (finding,) = batches.findings(world.untapped, batch)
    assert (finding.line, finding.code, finding.param) == (3, "duplicate_custom_id", "custom_id")
    assert "on line 1" in finding.message


@pytest.mark.parametrize("data", [b"", b"\n\n  \n", b"\xef\xbb\xbf"])
def test_a_file_without_requests_fails(world, data):
    batch = planned(world, data)
    assert findings(world, batch) == [(None, "empty_batch", None)]


@pytest.mark.parametrize(("size", "is_taken"), [(-1, True), (0, True), (1, False)])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_line_may_be_as_long_as_the_limit(size, is_taken, end, mark):
    limit = 600
    line = jsonl([chat("a", user="x")]).strip()
    line = line.replace(b'"x"', b'"' + b"x" * (1 + limit + size - len(line)) + b'"')
    assert len(line) == limit + size
    with a_world_in_memory(limits=replace(LIMITS, line_bytes=limit)) as world:
        batch = planned(world, mark + line + end)
        assert (batch.status is BatchStatus.IN_PROGRESS) is is_taken
        if not is_taken:
            assert findings(world, batch) == [(1, "line_too_long", None)]


def test_a_line_that_is_too_long_does_not_hide_those_after_it():
    with a_world_in_memory(limits=replace(LIMITS, line_bytes=600)) as world:
        batch = planned(world, [chat("a", user="x" * 3_000_000), b"bad"])
        assert findings(world, batch) == [
            (1, "line_too_long", None),
            (2, "invalid_json_line", None),
        ]


MARK = b"\xef\xbb\xbf"


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"x" * 10 + b"\n", [(1, b"x" * 10)]),
        (b"x" * 11 + b"\n", [(1, None)]),
        (b"x" * 9 + b"\r\n", [(1, b"x" * 9)]),
        (b"x" * 10 + b"\r\n", [(1, b"x" * 10)]),
        (b"x" * 11 + b"\r\n", [(1, None)]),
        (MARK + b"x" * 10 + b"\r\n" + b"y" * 11 + b"\n", [(1, b"x" * 10), (2, None)]),
        (MARK + b"x" * 11 + b"\r\ny\n", [(1, None), (2, b"y")]),
        (b"x" + b"\r" * 9 + b"\n", [(1, b"x")]),
        (b"x" + b"\r" * 10 + b"\n", [(1, b"x")]),
        (b"x" + b"\r" * 11 + b"\n", [(1, None)]),
        (b"x" + b"\r" * 200 + b"\ny\n", [(1, None), (2, b"y")]),
        (b"x" + b"\r" * 200, [(1, None)]),
        (b"x" * 15 + b"y\nz", [(1, None), (2, b"z")]),
        (b"\r" * 16 + b"y\nz", [(1, None), (2, b"z")]),
        (b" " * 11 + b"\nz", [(1, None), (2, b"z")]),
        (b"x" * 3_000_000 + b"\n\nz", [(1, None), (3, b"z")]),
        (b"x\n" + MARK + b"y\n", [(1, b"x"), (2, MARK + b"y")]),
        (b"\x0cx\x0b\n\x0c\n", [(1, b"\x0cx\x0b"), (2, b"\x0c")]),
    ],
)
def test_a_line_is_what_stands_before_one_line_end(data, lines):
    assert list(reading.numbered_lines(io.BytesIO(data), 10)) == lines


def test_a_file_may_have_as_many_lines_as_the_limit():
    with a_world_in_memory(limits=replace(LIMITS, file_lines=3)) as world:
        assert planned(world, 3).status is BatchStatus.IN_PROGRESS
        assert findings(world, planned(world, 4)) == [(4, "too_many_tasks", None)]


@pytest.mark.parametrize("bad", [b"", b"bad\n"])
def test_bad_lines_that_are_skipped_count_to_the_limit_of_lines(bad):
    with a_world_in_memory(limits=replace(LIMITS, file_lines=3)) as world:
        data = jsonl([chat("a"), b"bad", chat("b")])
        assert planned(world, data, on_invalid="skip").status is BatchStatus.IN_PROGRESS
        over = planned(world, data + bad + jsonl([b"bad"] * 9), on_invalid="skip")
        assert findings(world, over) == [(4, "too_many_tasks", None)]
        assert list(world.blobs.list(over.blob_prefix)) == []


@pytest.mark.long
def test_reading_takes_little_memory_for_each_line():
    model = a_model(cut=Cut(lines=1000, bytes=100_000, tokens=10**9))
    good = (chat(f"a-custom-id-of-some-length-{number}") for number in range(40_000))
    data = jsonl(good) + b'{"custom_id":"no-body"}\n' * 10_000
    with a_world(catalog=a_catalog(model)) as world:
        batch = world.submit(data, on_invalid="skip")
        tracemalloc.start()
        world.pump(QueueName.PLAN)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert world.batch(batch).skipped == 10_000
        assert peak < 150 * 50_000


def test_mixed_models_are_parted_and_come_out_in_input_order(world):
    models = ["mistral", "ministral", "mistral", "ministral", "ministral", "mistral"] * 2
    batch = world.submit([chat(f"r{n}", model=model) for n, model in enumerate(models)])
    world.settle()
    assert world.batch(batch).model is None
    for attempt in world.backend.submissions:
        named = {request["body"]["model"] for request in attempt.requests}
        assert named == {attempt.shard.model}
    assert [line["custom_id"] for line in world.output(batch)] == [f"r{n}" for n in range(12)]
    oracle.check_end(world)


@pytest.mark.parametrize(
    ("cut", "sizes"),
    [
        (Cut(lines=3, bytes=10**6, tokens=10**6), [3, 3, 3, 1]),
        (Cut(lines=99, bytes=300, tokens=10**6), [2, 2, 2, 2, 2]),
        (Cut(lines=99, bytes=10**6, tokens=35), [3, 3, 3, 1]),
        (Cut(lines=99, bytes=1, tokens=1), [1] * 10),
    ],
    ids=["lines", "bytes", "tokens", "at least one"],
)
def test_a_shard_ends_at_the_first_limit_it_reaches(cut, sizes):
    with a_world_in_memory(catalog=a_catalog(a_model(cut=cut))) as world:
        batch = planned(world, [chat(f"{n}") for n in range(10)])
        shards = manifest.load(world.untapped, batch)
        assert [shard.line_count for shard in shards] == sizes
        assert [shard.id for shard in shards] == [f"{n:05d}" for n in range(1, len(sizes) + 1)]


def test_fifty_models_of_one_shard_each_fit_into_one_transaction():
    models = [a_model(f"m{number}") for number in range(50)]
    with a_world_in_memory(catalog=a_catalog(*models)) as world:
        batch = world.submit([chat(f"r{one.name}", model=one.name) for one in models])
        world.settle()
        assert world.batch(batch).completed == 50
        oracle.check_end(world)


@pytest.mark.long
def test_more_shards_than_one_transaction_takes_are_all_released():
    catalog = a_catalog(a_model(cut=Cut(lines=1, bytes=10**6, tokens=10**6), slots=500))
    with a_world(catalog=catalog) as world:
        batch = world.submit(230)
        world.settle()
        assert world.batch(batch).completed == 230
        oracle.check_end(world)


def test_the_tokenizer_decides_where_bytes_leave_doubt():
    with a_world_in_memory(catalog=a_catalog(a_model(context_window=100))) as world:
        world.set_env(
            replace(world.untapped, tokenizers={"mistral": lambda text: len(text.split())})
        )
        few, many = ["word " * 60, "w " * 90]
        lines = [
            chat("few", messages=[{"role": "user", "content": few}]),
            chat("many", messages=[{"role": "user", "content": many}]),
        ]
        assert findings(world, planned(world, lines)) == [
            (2, "context_length_exceeded", "body.messages")
        ]


def test_an_input_file_that_is_deleted_while_validating_fails_the_batch(world):
    batch = world.submit(3)
    files.delete(world.untapped, "acme", batch.input_file_id)
    world.pump()
    assert world.batch(batch).status is BatchStatus.FAILED
    (finding,) = batches.findings(world.untapped, world.batch(batch))
    assert "deleted" in finding.message


def test_an_input_file_that_is_deleted_while_it_is_opened_fails_the_batch(world):
    batch = world.submit(3)
    hook = meanwhile(
        2, world.tap, lambda: files.delete(world.untapped, "acme", batch.input_file_id)
    )
    with world.tap.hooked(hook), pytest.raises(NotFound):
        plan.plan(world.env, "acme", batch.id)
    world.pump()
    assert world.batch(batch).status is BatchStatus.FAILED


def test_an_input_file_that_is_deleted_later_changes_nothing(world):
    batch = planned(world, 12)
    files.delete(world.untapped, "acme", batch.input_file_id)
    world.settle()
    assert world.batch(batch).status is BatchStatus.COMPLETED
    oracle.check_end(world)


def test_a_slower_planner_with_another_catalog_changes_nothing():
    with a_world_in_memory() as world:
        batch = world.submit(12)
        env = world.untapped

        def newer() -> None:
            cut = Cut(lines=1, bytes=10**6, tokens=10**6)
            plan.plan(replace(env, catalog=a_catalog(a_model(cut=cut))), "acme", batch.id)

        for number in range(1, 12):
            with world.tap.hooked(meanwhile(number, world.tap, newer)):
                plan.plan(world.env, "acme", batch.id)
            world.settle()
            oracle.check_end(world)
            batch = world.submit([chat(f"{number}-{line}") for line in range(12)])


def test_a_planner_that_finds_the_batch_expired_stops_it(world):
    batch = world.submit(3, window="15m")
    world.advance(15 * 60)
    world.pump()
    assert world.batch(batch).status is BatchStatus.EXPIRED
    oracle.check_end(world)
