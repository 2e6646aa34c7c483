"""Whatever is dropped is run, and what became of it lies beside it under the same path."""

import io
import json
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backburner.domain.batch import BatchKind
from backburner.domain.errors import Conflict
from backburner.services import batches, files
from backburner.services.drops import bodies, prompts, ranges, taking
from tests import oracle
from tests.backend import answer_with, by_name
from tests.tap import crash_after, meanwhile_at
from tests.world import (
    CHAT,
    EMBEDDINGS,
    LIMITS,
    World,
    a_catalog,
    a_model,
    a_raw_model,
    a_world,
    a_world_in_memory,
    chat,
    jsonl,
)

TEMPLATE = b'system = "Be brief."\nprompt = "Sum up: {text}"\nmax_tokens = 5\n'


@pytest.fixture
def lone() -> Iterator[World]:
    """A world with one model for prompts, and one for anything else."""
    with a_world_in_memory(catalog=a_catalog(a_model(), a_raw_model())) as world:
        yield world
        oracle.check_end(world)


def drop(world: World, files: dict[str, Any], *, together: bool = False) -> None:
    """Put files into the drop folder, and tell of each."""
    keys = [world.drop(name, lines) for name, lines in files.items()]
    for some in [keys] if together else [[key] for key in keys]:
        world.notify_upload(*some)


def found(world: World, folder: str) -> dict[str, bytes]:
    """Content of the objects of a folder, by name."""
    return {
        stat.key.removeprefix(f"{folder}/"): world.blobs.get(stat.key)
        for stat in world.blobs.list(f"{folder}/")
    }


def asked(world: World, url: str = CHAT) -> dict[str, Any]:
    """The bodies that models got on a route, by custom_id."""
    sent = [one for attempt in world.backend.submissions for one in attempt.requests]
    return {one["custom_id"]: one["body"] for one in sent if one["url"] == url}


def answers(data: bytes) -> dict[str, str]:
    """What the model said in a file of OpenAI's results, by custom_id."""
    lines = [json.loads(line) for line in data.split(b"\n")[:-1]]
    return {
        one["custom_id"]: one["response"]["body"]["choices"][0]["message"]["content"]
        for one in lines
    }


def reasons(world: World, name: str) -> list[tuple[int | None, str, str]]:
    told = json.loads(world.blobs.get(f"rejected/{name}.error.json"))
    return [(error["line"], error["code"], error["message"]) for error in told["errors"]]


def blamed(world: World, name: str) -> list[str | None]:
    """What the reasons are about."""
    told = json.loads(world.blobs.get(f"rejected/{name}.error.json"))
    return [error["param"] for error in told["errors"]]


# ---------------------------------------------------------------- files of lines


def test_lines_of_anthropic_become_a_message_batch(world):
    line = {
        "custom_id": "a",
        "params": {
            "model": "mistral",
            "max_tokens": 5,
            "messages": [{"role": "user", "content": "hi"}],
        },
    }
    drop(world, {"a.jsonl": [line, line | {"custom_id": "b"}]})
    world.settle(by_name({"b": 400}))
    first, second = found(world, "results")["a.jsonl"].split(b"\n")[:-1]
    assert json.loads(first)["result"]["message"]["content"][0]["text"] == "answer to hi"
    assert json.loads(second)["result"]["type"] == "errored"
    (item,) = world.store.query("dropper/messages/batches")
    assert item["dialect"] == "anthropic"


def test_records_of_bedrock_come_back_as_records(world):
    hi = {"messages": [{"role": "user", "content": [{"text": "hi"}]}]}
    lines = [{"recordId": "R1", "modelInput": hi}, {"recordId": "R2", "modelInput": hi}]
    drop(world, {"mistral/a.jsonl": lines})
    world.settle(by_name({"R2": 400}))
    assert list(found(world, "results")) == ["mistral/a.jsonl.out"]
    first, second = found(world, "results")["mistral/a.jsonl.out"].split(b"\n")[:-1]
    assert json.loads(first)["modelOutput"]["choices"][0]["message"]["content"] == "answer to hi"
    assert json.loads(second)["error"] == {"errorCode": 400, "errorMessage": "status 400"}


def test_what_failed_of_bedrocks_records_can_be_run_again():
    hi = {"messages": [{"role": "user", "content": [{"text": "hi"}]}]}
    with a_world_in_memory() as world:
        drop(world, {"mistral/a.jsonl": [{"recordId": name, "modelInput": hi} for name in "abc"]})
        world.settle(by_name({"b": 400}))
        (batch,) = world.all_batches()
        again = world.retry(batch)
        world.settle()
        merged = world.batch(again).merged_file_id
        lines = world.blobs.get(files.blob_key("dropper", merged or "")).split(b"\n")[:-1]
        assert [json.loads(line)["recordId"] for line in lines] == ["a", "b", "c"]


def test_records_of_bedrock_need_to_say_their_model(world):
    drop(world, {"a.jsonl": [{"recordId": "R1", "modelInput": {}}]})
    ((line, _, message),) = reasons(world, "a.jsonl")
    assert line is None
    assert message.endswith("by its folder or by its name: mistral, ministral.")
    assert blamed(world, "a.jsonl") == ["model"]


def test_bad_lines_are_named_by_their_number_in_the_file(world):
    hi = {"messages": [{"role": "user", "content": [{"text": "hi"}]}]}
    good = {"recordId": "R1", "modelInput": hi}
    lines = b"\n" + jsonl([good]) + b"\n\nbad\n" + jsonl([{"recordId": "R2"}])
    drop(world, {"mistral/a.jsonl": lines})
    world.settle()
    assert [(line, code) for line, code, _ in reasons(world, "mistral/a.jsonl")] == [
        (5, "invalid_json_line"),
        (6, "invalid_request"),
    ]


def test_a_line_of_no_known_format_is_named(world):
    drop(world, {"a.jsonl": b"\nbad\n" + jsonl([{"prompt": "hi"}])})
    ((line, code, _),) = reasons(world, "a.jsonl")
    assert (line, code) == (3, "unknown_format")
    assert world.all_batches() == []


def test_a_line_that_is_too_long_for_its_model_to_be_put_in_is_named():
    with a_world_in_memory(limits=replace(LIMITS, line_bytes=300)) as world:
        drop(world, {"mistral/a.jsonl": [chat("a"), chat("b", user="x" * 300)]})
        assert reasons(world, "mistral/a.jsonl")[0][:2] == (2, "line_too_long")
        assert list(world.blobs.list("files/")) == []


def test_the_route_is_that_of_the_first_line(world):
    lines = [{"custom_id": "a", "url": EMBEDDINGS, "body": {"model": "embed", "input": "x"}}]
    drop(world, {"a.jsonl": lines})
    (batch,) = world.all_batches()
    assert batch.route == EMBEDDINGS


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("ministral/a.jsonl", "ministral"),
        ("ministral/deep/a.jsonl", "ministral"),
        ("a,model=ministral.jsonl", "ministral"),
        ("ministral/a,model=mistral.jsonl", "mistral"),
        ("other/a.jsonl", "mistral"),
    ],
)
def test_name_and_folder_say_which_model_runs_it(world, name, model):
    drop(world, {name: [chat("a"), chat("b")]})
    world.settle()
    assert {body["model"] for body in asked(world).values()} == {model}
    assert list(found(world, "results")) == [name]
    oracle.check_end(world)


def test_lines_that_name_no_model_are_for_the_only_one(lone):
    line = {"custom_id": "a", "body": {"messages": [{"role": "user", "content": "prompt of a"}]}}
    drop(lone, {"a.jsonl": [line]})
    lone.settle()
    assert asked(lone)["a"]["model"] == "mistral"


@pytest.mark.parametrize(
    ("name", "called"),
    [
        ("a.jsonl", "a.jsonl"),
        ("mistral/a.jsonl", "a.jsonl"),
        ("mistral/a.json", "a.json.jsonl"),
        ("mistral/a.csv", "a.csv.jsonl"),
    ],
)
def test_the_input_of_a_batch_is_called_like_what_was_dropped(world, name, called):
    contents = {"json": json.dumps([chat("a")]).encode(), "csv": b"prompt\nhi\n"}
    drop(world, {name: contents.get(name.rpartition(".")[2], jsonl([chat("a")]))})
    (batch,) = world.all_batches()
    file = files.find(world.env, "dropper", batch.input_file_id)
    assert (file.filename, file.id.partition("_")[0]) == (called, "file")
    assert file.size == len(world.blobs.get(file.key or ""))
    assert batch.id.startswith("batch_")


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("a,model=gpt-9.jsonl", "model_not_found", "The model 'gpt-9' does not exist."),
        ("a,window=9y.jsonl", "rejected", "'completion_window' must be a span"),
        ("a,window=.jsonl", "rejected", "'completion_window' must be a span"),
        ("a,priority=12.jsonl", "rejected", "'priority' must be an integer from 0 to 9."),
        ("a,speed=9.jsonl", "rejected", "The option 'speed'"),
    ],
)
def test_options_that_can_not_be_met_reject_the_file(world, name, code, said):
    drop(world, {name: [chat("a")]})
    ((_, told, message),) = reasons(world, name)
    assert told == code
    assert message.startswith(said)
    assert f"rejected/{name}" in [stat.key for stat in world.blobs.list("rejected/")]
    assert list(world.blobs.list("files/")) == []


def test_a_name_may_ask_for_a_window_a_priority_and_a_name(world):
    drop(world, {"a,window=2h,priority=3,name=nightly run.jsonl": [chat("a")]})
    (batch,) = world.all_batches()
    assert (batch.completion_window, batch.priority) == ("2h", 3)
    assert batch.metadata["name"] == "nightly run"


def test_a_name_that_asks_for_nothing_has_a_day_and_no_priority(world):
    drop(world, {"a.jsonl": [chat("a")]})
    (batch,) = world.all_batches()
    assert (batch.completion_window, batch.priority) == ("24h", 0)


# ---------------------------------------------------------------- JSON


def test_one_body_is_answered_by_one(lone):
    drop(lone, {"q.json": json.dumps(chat("a")["body"]).encode()})
    lone.settle()
    assert list(found(lone, "results")) == ["q.json"]
    answer = json.loads(found(lone, "results")["q.json"])
    assert answer["choices"][0]["message"]["content"] == "answer to prompt of a"


def test_one_body_that_fails_has_its_reasons_under_rejected(lone):
    drop(lone, {"q.json": json.dumps(chat("a")["body"]).encode()})
    lone.settle(answer_with(400))
    assert found(lone, "results") == {}
    assert reasons(lone, "q.json") == [(None, "request_failed", "status 400")]


def test_a_list_may_have_bodies_or_lines(lone):
    bodies = [chat("a")["body"], chat("b")["body"]]
    drop(lone, {"bodies.json": json.dumps(bodies).encode()})
    drop(lone, {"lines.json": json.dumps([chat("x"), chat("y")], indent=1).encode()})
    lone.settle(by_name({"2": 400}))
    results = found(lone, "results")
    assert answers(results["bodies.json.jsonl"]) == {"1": "answer to prompt of a"}
    assert answers(results["lines.json.jsonl"]).keys() == {"x", "y"}
    assert set(results) == {"bodies.json.jsonl", "bodies.json.errors.jsonl", "lines.json.jsonl"}


@pytest.mark.parametrize(
    ("text", "line", "code"),
    [
        (b"[{]", None, "invalid_json"),
        (b"", None, "invalid_json"),
        (b"[]", None, "empty_batch"),
        (b"[{}]", 1, "unknown_format"),
        (b"7", 1, "invalid_json_line"),
        (b'[{"messages":[{"role":"user","content":"x"}]},{"messages":[]},7]', 2, "invalid_request"),
    ],
)
def test_json_that_can_not_be_run_is_rejected(lone, text, line, code):
    drop(lone, {"bad.json": text})
    lone.settle()
    assert reasons(lone, "bad.json")[0][:2] == (line, code)


# ---------------------------------------------------------------- tables


def parquet(columns: dict[str, Any], **options: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out, **options)
    return out.getvalue()


TABLES = {
    "t.csv": b'custom_id,text\nr1,"one,\ntwo"\nr2,three\n',
    "t.parquet": parquet({"custom_id": ["r1", "r2"], "text": ["one,\ntwo", "three"]}),
}


CRASHES: dict[str, tuple[str, bytes]] = {
    "a file is half written": ("blobs.write", TABLES["t.csv"]),
    "a file has no batch": ("store.transact", TABLES["t.csv"]),
    "a request was accepted": ("store.transact", b"\x89PNG"),
    "a request was sent": ("backend.submit", b"\x89PNG"),
}


@pytest.mark.parametrize("when", CRASHES)
def test_a_crash_loses_nothing_and_takes_nothing_twice(lone, when):
    call, content = CRASHES[when]
    lone.drop("_template.toml", TEMPLATE)
    key = lone.drop("t.csv" if content is TABLES["t.csv"] else "t.png", content)
    with crash_after(lone.tap, call):
        lone.notify_upload(key)
    lone.notify_upload(key)  # S3 tells again of what failed
    lone.settle()
    assert len(lone.all_batches()) == 1
    assert len(found(lone, "results")) == 1


@pytest.mark.parametrize("name", TABLES)
def test_each_row_of_a_table_is_a_request_made_by_the_template_beside_it(lone, name):
    lone.drop("team/_template.toml", TEMPLATE)
    drop(lone, {f"team/{name}": TABLES[name]})
    lone.settle(by_name({"r2": 400}))
    assert asked(lone)["r1"] == {
        "model": "mistral",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Sum up: one,\ntwo"},
        ],
        "max_tokens": 5,
    }
    results = found(lone, "results")
    assert answers(results[f"team/{name}.jsonl"]) == {"r1": "answer to Sum up: one,\ntwo"}
    assert set(results) == {f"team/{name}.jsonl", f"team/{name}.errors.jsonl"}
    (batch,) = lone.all_batches()
    assert batch.metadata["dropped"] == name


def test_rows_without_names_are_known_by_their_numbers(lone):
    drop(lone, {"t.csv": b"prompt\nprompt of a\n\nprompt of b\n"})
    lone.settle()
    assert answers(found(lone, "results")["t.csv.jsonl"]) == {
        "1": "answer to prompt of a",
        "2": "answer to prompt of b",
    }


def test_the_catalog_may_have_a_template_for_a_model():
    model = a_model(template={"prompt": "Say {word}"})
    with a_world_in_memory(catalog=a_catalog(model)) as world:
        drop(world, {"t.csv": b"word\nhi\n"})
        world.settle()
        assert asked(world)["1"]["messages"][0]["content"] == "Say hi"


def test_a_template_may_say_the_model_and_the_model_the_route(world):
    world.drop("_template.toml", b'model = "embed"\nprompt = "{a}"\n')
    drop(world, {"t.csv": b"a\nhi\n", "mistral/t.csv": b"prompt\nhi\n"})
    routes = {batch.route: batch for batch in world.all_batches()}
    assert set(routes) == {EMBEDDINGS, CHAT}
    world.pump()
    assert asked(world, EMBEDDINGS) == {"1": {"model": "embed", "input": "hi"}}


@pytest.mark.parametrize(
    ("template", "code", "said"),
    [
        (b'prompt = "{question}"', "missing_column", "The template needs 'question'"),
        (b"prompt = ", "rejected", "The template is not valid TOML"),
        (b'model = "none"\nprompt = "{text}"', "model_not_found", "The model 'none'"),
        (
            b'model = "vision"\nprompt = "{text}"',
            "rejected",
            "The model 'vision' takes no prompts.",
        ),
        (b"#" * 70_000, "rejected", "A template has at most 65536 bytes"),
    ],
)
def test_a_template_that_can_not_be_used_rejects_the_file_before_anything_runs(
    lone, template, code, said
):
    lone.drop("_template.toml", template)
    drop(lone, {"t.csv": TABLES["t.csv"]})
    ((_, told, message),) = reasons(lone, "t.csv")
    assert told == code
    assert message.startswith(said)
    about = {"The template needs": "question", "The model": "model"}
    assert blamed(lone, "t.csv") == [
        next((param for words, param in about.items() if said.startswith(words)), None)
    ]
    assert list(lone.blobs.list("files/")) == []


def test_bad_rows_are_named_by_their_numbers_before_anything_runs(lone):
    drop(lone, {"t.csv": b"id,prompt\n1,a\n2,b,c\n3\n"})
    assert [(line, code) for line, code, _ in reasons(lone, "t.csv")] == [
        (2, "invalid_row"),
        (3, "missing_column"),
    ]
    assert blamed(lone, "t.csv") == [None, "prompt"]
    drop(lone, {"u.csv": b"custom_id,prompt\nx,a\nx,b\n,c\n"})
    lone.settle()
    assert [(line, code) for line, code, _ in reasons(lone, "u.csv")] == [
        (2, "duplicate_custom_id"),
        (3, "invalid_request"),
    ]
    assert lone.backend.submissions == []


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_a_file_that_is_no_table_is_rejected(lone, name):
    drop(lone, {name: b'"\xff'})
    assert len(reasons(lone, name)) == 1


def test_a_table_is_read_here_and_there_whatever_its_size(world):
    texts = [f"prompt of {number}" for number in range(40)]
    stat = world.blobs.stat(world.drop("t", parquet({"prompt": texts}, row_group_size=7)))
    here_and_there = ranges.Ranges(world.env.blobs, stat, block_bytes=64, blocks=2)
    assert pq.read_table(io.BufferedReader(here_and_there)).to_pydict() == {"prompt": texts}


def test_an_object_reads_as_a_file_does_and_what_is_held_is_not_read_again(world):
    content = bytes(range(8))
    stat = world.blobs.stat(world.drop("x", content))
    with world.tap.hooked(None):
        held = ranges.Ranges(world.env.blobs, stat, block_bytes=4, blocks=2)
        for read in (io.BytesIO(content), held):
            assert (read.tell(), read.read(3), read.tell()) == (0, content[:3], 3)
            assert (read.seek(2, io.SEEK_CUR), read.read(0), read.read(2)) == (5, b"", content[5:7])
            assert (read.seek(1), read.read()) == (1, content[1:])
            assert (read.seek(-2, io.SEEK_END), read.read(2), read.read(1)) == (6, content[6:], b"")
        assert world.tap.calls == ["blobs.get"] * 2


def test_a_table_that_is_replaced_while_it_is_read_is_taken_as_the_new_one(lone):
    key = lone.drop("t.csv", b"prompt\nprompt of old\n")

    def replace_it(number: int, at: str, name: str) -> None:
        if (at, name) == ("after", "blobs.write"):
            lone.tap.hook = None
            lone.drop("t.csv", b"prompt\nprompt of new\n")

    with lone.tap.hooked(replace_it):
        lone.notify_upload(key)
    assert lone.all_batches() == []
    assert list(lone.blobs.list("files/")) == []
    lone.notify_upload(key)
    lone.settle()
    assert answers(found(lone, "results")["t.csv.jsonl"]) == {"1": "answer to prompt of new"}


# ---------------------------------------------------------------- texts


def test_a_text_is_one_request_and_its_answer_is_text(lone):
    drop(lone, {"notes/a b.txt": "häß\n".encode(), "readme.md": b"# hi"})
    lone.settle()
    assert found(lone, "results") == {
        "notes/a b.txt": "answer to häß\n".encode(),
        "readme.md": b"answer to # hi\n",
    }
    assert len(lone.all_batches()) == 2


def test_texts_that_arrive_together_are_one_batch(lone):
    lone.drop("notes/_template.toml", b'prompt = "{name}: {text}"')
    files = {f"notes/{number}.txt": f"text {number}".encode() for number in range(3)}
    drop(lone, files | {"other.txt": b"x"}, together=True)
    notes, other = sorted(lone.all_batches(), key=lambda batch: -batch.total or 0)
    lone.settle()
    assert {batch.dropped_key for batch in (notes, other)} == {"drop/notes/", "drop/other.txt"}
    assert {batch.metadata["dropped"] for batch in (notes, other)} == {"3 texts", "other.txt"}
    assert found(lone, "results")["notes/1.txt"] == b"answer to 1.txt: text 1\n"
    assert len(found(lone, "results")) == 4
    for name in files:
        lone.notify_upload(f"drop/{name}")
    assert len(lone.all_batches()) == 2


def test_a_text_that_one_event_tells_of_twice_is_taken_once(lone):
    keys = [lone.drop(name, b"good") for name in ("a.txt", "b.txt")]
    lone.notify_upload(*keys, *keys)
    lone.settle()
    assert sorted(asked(lone)) == ["a.txt", "b.txt"]
    assert set(found(lone, "results")) == {"a.txt", "b.txt"}


def test_a_text_that_is_wrong_costs_no_other(lone):
    files = {
        "a.txt": b"good",
        "bytes.txt": b"\xff\xfe",
        "empty.txt": b" \n",
        "fails.txt": b"fails",
        "long.txt": b"x" * 90_000,
    }
    drop(lone, files, together=True)
    lone.settle(by_name({"fails.txt": 422}))
    assert found(lone, "results") == {"a.txt": b"answer to good\n"}
    assert {name: reasons(lone, name)[0][1] for name in files if name != "a.txt"} == {
        "bytes.txt": "invalid_text",
        "empty.txt": "empty_text",
        "fails.txt": "request_failed",
        "long.txt": "context_length_exceeded",
    }
    assert reasons(lone, "empty.txt")[0][2] == "The file has no text."


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"x" * 301, "A text has at most 300 bytes."),
        (b"x" * 300, "The text's request has more than 300 bytes."),
        (b'"' * 90, "The text's request has more than 300 bytes."),
    ],
)
def test_a_text_over_the_limit_of_a_line_costs_no_other(text, said):
    limits = replace(LIMITS, line_bytes=300)
    with a_world_in_memory(catalog=a_catalog(a_model()), limits=limits) as world:
        drop(world, {"a.txt": b"good", "long.txt": text}, together=True)
        world.settle()
        assert list(found(world, "results")) == ["a.txt"]
        assert reasons(world, "long.txt") == [(None, "line_too_long", said)]


def test_the_only_text_that_is_left_of_several_is_answered_under_its_own_name(lone):
    drop(lone, {"a.txt": b"", "b.txt": b"good"}, together=True)
    lone.settle()
    assert found(lone, "results") == {"b.txt": b"answer to good\n"}
    assert list(found(lone, "rejected")) == ["a.txt", "a.txt.error.json"]
    (batch,) = lone.all_batches()
    assert (batch.dropped_key, batch.metadata["dropped"]) == ("drop/b.txt", "b.txt")


def test_a_text_that_is_gone_before_it_is_read_costs_no_other(lone):
    keys = [lone.drop(f"{name}.txt", name.encode()) for name in "ab"]
    with lone.tap.hooked(meanwhile_at("blobs.read", lone.tap, partial(lone.blobs.delete, keys[0]))):
        lone.notify_upload(*keys)
    lone.settle()
    assert found(lone, "results") == {"b.txt": b"answer to b\n"}
    assert found(lone, "rejected") == {}


def test_many_texts_are_several_batches(lone):
    count = 2 * prompts.GROUP + 1
    drop(lone, {f"{n}.txt": f"text {n}".encode() for n in range(count)}, together=True)
    assert len(lone.all_batches()) == 3
    lone.settle()
    assert len(found(lone, "results")) == count


def test_texts_that_ask_for_something_of_their_own_are_batches_of_their_own(world):
    names = ["mistral/a.txt", "mistral/b,window=2h.txt", "ministral/c.txt", "mistral/d\u2028.txt"]
    drop(world, dict.fromkeys(names, b"hi"), together=True)
    assert len(world.all_batches()) == 4
    world.settle()
    assert set(found(world, "results")) == set(names)


def test_a_text_of_a_group_that_someone_else_took_meanwhile_is_not_taken_twice(lone):
    keys = [lone.drop(f"{name}.txt", name.encode()) for name in "abc"]

    def meanwhile(number: int, at: str, name: str) -> None:
        if (at, name) == ("before", "store.transact") and number > 8:
            lone.tap.hook = None
            lone.notify_upload(keys[1])

    with lone.tap.hooked(meanwhile), pytest.raises(Conflict):  # S3 tells again
        lone.notify_upload(*keys)
    lone.notify_upload(*keys)
    lone.settle()
    assert sorted(asked(lone)) == ["a.txt", "b.txt", "c.txt"]
    assert len(found(lone, "results")) == 3


# ---------------------------------------------------------------- anything else


def test_anything_else_is_a_raw_request_that_reads_the_object_where_it_lies(lone):
    drop(lone, {"cats/cat.png": b"\x89PNG"})
    (request,) = lone.all_batches()
    (shard,) = lone.shards(request)
    assert (shard.input_key, shard.content_type) == ("drop/cats/cat.png", "image/png")
    assert (shard.model, request.metadata["dropped"]) == ("vision", "cat.png")
    assert request.metadata["etag"] == lone.blobs.stat("drop/cats/cat.png").etag
    lone.settle()
    assert found(lone, "results") == {"cats/cat.png.out": b"\x89PNG"}
    assert lone.blobs.get("drop/cats/cat.png") == b"\x89PNG"
    lone.notify_upload("drop/cats/cat.png")
    assert len(lone.all_batches()) == 1


@pytest.mark.parametrize(
    "name",
    ["名前.png", "a" * 1015 + ".png", "tab\t.png", "a b.png", "100%25.png", "a+b.png", "a?b#c.png"],
)
def test_an_object_whose_location_might_be_misread_is_copied(lone, name):
    drop(lone, {name: b"\x89PNG"})
    (request,) = lone.all_batches()
    (shard,) = lone.shards(request)
    assert shard.input_key == f"batches/dropper/{request.id}/body"
    lone.settle()
    assert list(found(lone, "results").values()) == [b"\x89PNG"]


def test_of_two_who_take_an_object_at_once_one_makes_a_request_with_the_only_copy(lone):
    take = partial(lone.notify_upload, lone.drop("a b.png", b"\x89PNG"))
    with lone.tap.hooked(meanwhile_at("store.transact", lone.tap, take)):
        take()
    (request,) = lone.all_batches()
    copies = [stat.key for stat in lone.blobs.list("batches/")]
    assert copies == [f"batches/dropper/{request.id}/body"]
    lone.settle()


def test_a_model_that_takes_nothing_else_gets_whatever_lies_in_its_folder(lone):
    files = {"t.csv": b"1,2,3\n", "q.json": b"{}", "cat.webp": b"RIFF", "tune.midi": b"MThd"}
    drop(lone, {f"vision/{name}": content for name, content in files.items()})
    lone.settle()
    results = {f"vision/{name}.out": content for name, content in files.items()}
    assert found(lone, "results") == results
    types = {shard.content_type for one in lone.all_batches() for shard in lone.shards(one)}
    assert types == {"text/csv", "application/json", "image/webp", "audio/midi"}


@pytest.mark.parametrize(
    ("said", "name", "kind"),
    [
        ("image/webp", "cat.png", "image/webp"),
        (None, "cat.png", "image/png"),
        ("", "cat.png", "image/png"),
        ("application/octet-stream", "cat.png", "image/png"),
        ("binary/octet-stream", "a/cat.png", "image/png"),
        (None, "cat.unheard-of", "application/octet-stream"),
    ],
)
def test_content_is_what_who_put_it_there_said_or_else_its_name(lone, said, name, kind):
    seen = taking.load(lone.env, lone.drop(name, b"x"))
    assert seen is not None
    assert bodies.content_type(replace(seen, stat=replace(seen.stat, content_type=said))) == kind


def test_a_raw_request_that_fails_has_its_reasons_under_rejected(lone):
    drop(lone, {"cat.png": b"x"})
    lone.fail(status=400, said=b'{"error":{"message":"no cat"}}')
    lone.settle()
    assert reasons(lone, "cat.png") == [(None, "request_failed", "no cat")]
    assert found(lone, "results") == {}


def test_a_raw_request_that_was_cancelled_has_its_reasons_under_rejected(lone):
    drop(lone, {"cat.png": b"x"})
    (request,) = lone.all_batches()
    batches.cancel(lone.env, "dropper", request.id, kind=BatchKind.REQUEST)
    lone.lose()
    lone.settle()
    assert reasons(lone, "cat.png")[0][1] == "batch_cancelled"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("empty.png", "The file is empty."),
        ("mistral/cat.png", "The model 'mistral' takes no raw requests."),
        ("cat,window=1m.png", "'completion_window' must be a span"),
    ],
)
def test_what_no_model_can_take_is_rejected(lone, name, said):
    drop(lone, {name: b"" if "empty" in name else b"x"})
    assert reasons(lone, name)[0][2].startswith(said)
    assert lone.all_batches() == []


@pytest.mark.parametrize(("content", "is_taken"), [(b"abc", True), (b"abcd", False)])
def test_an_object_may_be_as_large_as_a_raw_request(lone, content, is_taken):
    lone.set_env(replace(lone.untapped, limits=replace(LIMITS, raw_bytes=3)))
    drop(lone, {"cat.png": content})
    assert len(lone.all_batches()) == is_taken
    if not is_taken:
        assert reasons(lone, "cat.png") == [(None, "rejected", "A request has at most 3 bytes.")]
    lone.settle()


def test_without_a_model_for_it_anything_else_is_rejected(world):
    drop(world, {"cat.png": b"x"})
    assert reasons(world, "cat.png")[0][2] == "No model of the catalog serves /v1/requests."
    assert blamed(world, "cat.png") == ["model"]


# ---------------------------------------------------------------- large files


def _rows(name: str, count: int) -> bytes:
    text = "lorem ipsum " * 40
    if name == "t.csv":
        return b"prompt\n" + f"{text}\n".encode() * count
    if name == "t.parquet":
        return parquet({"prompt": [f"{number} {text}" for number in range(count)]})
    return json.dumps([{"messages": [{"role": "user", "content": text}]}] * count).encode()


def peak_bytes(name: str, count: int) -> int:
    """Most memory that Python held while a file was taken, without what reads Parquet."""
    with a_world(catalog=a_catalog(a_model())) as world:
        key = world.drop(name, _rows(name, count))
        tracemalloc.start()
        try:
            world.notify_upload(key)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()


@pytest.mark.long
@pytest.mark.parametrize("name", ["t.csv", "t.json", "t.parquet"])
def test_ten_times_the_rows_take_no_more_memory(name):
    peak_bytes(name, 10)  # whatever is loaded once
    assert peak_bytes(name, 40_000) < peak_bytes(name, 4_000) + 5_000_000
