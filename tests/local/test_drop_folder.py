"""The drop folder: whatever is put there is run, once, and what became of it is beside it."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backburner.services import mirror
from backburner_local.client import Client
from backburner_local.options import Options
from backburner_local.stack import Stack
from tests.local.stacks import MODEL, lines, names, request, requests, wait_until

pytestmark = pytest.mark.slow

CATALOG = f"""
[models.{MODEL}]
backend = "sagemaker_async"
context_window = 1024
routes = ["/v1/chat/completions", "/v1/requests"]
"""


class Desk:
    """A stack that is started anew now and then, and the folders that its user sees."""

    def __init__(self, root: Path) -> None:
        catalog = root / "catalog.toml"
        catalog.write_text(CATALOG)
        data_dir = root / "data"
        self._options = Options(
            data_dir=data_dir,
            port=0,
            engine="null",
            catalog=catalog,
            minute_seconds=1.0,
            settle_seconds=0.2,
            durable=False,
        )
        self.drop, self.results, self.rejected = (
            data_dir / name for name in ("drop", "results", "rejected")
        )
        self._stack: Stack | None = None

    @property
    def bucket(self) -> Path:
        return self.drop.resolve().parent

    def start(self) -> None:
        self._stack = Stack(self._options).start()

    def stop(self) -> None:
        if self._stack is not None:
            self._stack.stop()
            self._stack = None

    def batches(self, name: str | None = None) -> list[dict[str, Any]]:
        """Batches made of dropped files, those of one name or all."""
        assert self._stack is not None
        key = (self._options.data_dir / "dev.key").read_text().strip()
        with Client.connect(self._stack.url, key) as client:
            found = client.batches(limit=100)
        return [one for one in found if name in (None, one["metadata"]["dropped"])]

    def put(self, name: str, content: bytes) -> None:
        path = self.drop / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def result(self, name: str) -> bytes:
        path = self.results / name
        wait_until(path.exists, f"results/{name}")
        return path.read_bytes()

    def reasons(self, name: str) -> list[tuple[int | None, str]]:
        path = self.rejected / f"{name}.error.json"
        wait_until(path.exists, f"rejected/{name}")
        told = json.loads(path.read_text())
        assert told["file"] == f"drop/{name}"
        return [(error["line"], error["code"]) for error in told["errors"]]


@pytest.fixture(scope="module")
def desk(tmp_path_factory) -> Iterator[Desk]:
    folders = Desk(tmp_path_factory.mktemp("desk"))
    folders.start()
    yield folders
    folders.stop()


def ids(data: bytes) -> list[str]:
    return [line["custom_id"] for line in lines(data)]


def said(line: dict[str, Any]) -> str:
    text: str = line["response"]["body"]["choices"][0]["message"]["content"]
    return text


#: As long as S3 allows, with its folder: 1,024 bytes.
LONGEST = "/".join(["d" * 200] * 4 + ["e" * (1024 - 5 - 4 * 201 - 6) + ".jsonl"])
BAD = request(1) + b"{oops\n" + request(1)
BODY = {"messages": [{"role": "user", "content": "say it"}]}
ODD_NAMES = [
    "with spaces.jsonl",
    "a+b=c&d.jsonl",
    "100%25.jsonl",
    "\"double\" and 'single'.jsonl",
    "naïve 名前 \U0001f600.jsonl",
    "two.dots.jsonl",
    "folder/of folders/deep.jsonl",
    LONGEST,
]


def anthropic() -> bytes:
    line = {"custom_id": "a1", "params": BODY | {"model": MODEL, "max_tokens": 9}}
    return json.dumps(line).encode()


def bedrock() -> bytes:
    said = {"messages": [{"role": "user", "content": [{"text": "say it"}]}]}
    return json.dumps({"recordId": "b1", "modelInput": said}).encode()


@pytest.fixture(scope="module")
def dropped(desk, tmp_path_factory):
    """The desk, with all files dropped at once: each must lie still for a moment."""
    table = tmp_path_factory.mktemp("table") / "t.parquet"
    pq.write_table(pa.table({"id": [1, 2], "text": ["one", "two"]}), table)
    contents = {
        "tables/_template.toml": b'prompt = "{id}: {text}"\nmax_tokens = 9\n',
        "work.jsonl": requests(80),
        "mixed.jsonl": request(1) + request(2, "null:status=400") + request(3),
        "anthropic.jsonl": anthropic(),
        "bedrock.jsonl": bedrock(),
        "one.json": json.dumps(BODY).encode(),
        "list.json": json.dumps([BODY, BODY]).encode(),
        "tables/t.csv": b"id,text\n1,one\n2,two\n",
        "tables/t.parquet": table.read_bytes(),
        "notes/a.txt": b"note a",
        "notes/b.txt": b"note b",
        "cat.png": b"\x89PNG\x00",
        '100% "a+b" 名前 \U0001f600.png': b"odd",
        "bad.jsonl": BAD,
        "empty.jsonl": b"",
        **dict.fromkeys(ODD_NAMES, request(1)),
    }
    for name, content in contents.items():
        desk.put(name, content)
    return desk


def test_a_dropped_file_is_run_and_its_results_have_its_name(dropped):
    assert ids(dropped.result("work.jsonl")) == names(80)
    assert (dropped.drop / "work.jsonl").read_bytes() == requests(80)
    (batch,) = dropped.batches("work.jsonl")
    assert batch["endpoint"] == "/v1/chat/completions"
    assert not (dropped.results / "work.errors.jsonl").exists()


def test_requests_that_failed_are_beside_the_results(dropped):
    assert ids(dropped.result("mixed.jsonl")) == ["r1", "r3"]
    assert ids(dropped.result("mixed.errors.jsonl")) == ["r2"]


def test_lines_of_anthropic_and_of_bedrock_come_back_as_theirs(dropped):
    (line,) = lines(dropped.result("anthropic.jsonl"))
    assert (line["custom_id"], line["result"]["type"]) == ("a1", "succeeded")
    assert line["result"]["message"]["content"] == [{"type": "text", "text": "say it"}]
    (record,) = lines(dropped.result("bedrock.jsonl.out"))
    assert record["recordId"] == "b1"
    assert record["modelOutput"]["choices"][0]["message"]["content"] == "say it"


def test_json_is_one_body_or_a_list(dropped):
    answer = json.loads(dropped.result("one.json"))
    assert answer["choices"][0]["message"]["content"] == "say it"
    assert ids(dropped.result("list.json.jsonl")) == ["1", "2"]


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_rows_of_a_table_are_requests(dropped, name):
    found = lines(dropped.result(f"tables/{name}.jsonl"))
    assert [said(line) for line in found] == ["1: one", "2: two"]


def test_texts_are_answered_by_texts(dropped):
    assert dropped.result("notes/a.txt") == b"note a\n"
    assert dropped.result("notes/b.txt") == b"note b\n"
    assert len(dropped.batches("2 texts")) == 1


def test_anything_else_is_sent_as_it_is(dropped):
    assert dropped.result("cat.png.out") == b"\x89PNG\x00"
    assert dropped.result('100% "a+b" 名前 \U0001f600.png.out') == b"odd"


def test_a_bad_file_is_rejected_with_line_and_reason(dropped):
    assert dropped.reasons("bad.jsonl") == [
        (2, "invalid_json_line"),
        (3, "duplicate_custom_id"),
    ]
    wait_until((dropped.rejected / "bad.jsonl").exists, "the rejected file")
    assert (dropped.rejected / "bad.jsonl").read_bytes() == BAD
    assert not (dropped.results / "bad.jsonl").exists()
    assert dropped.reasons("empty.jsonl") == [(None, "empty_batch")]


@pytest.mark.parametrize("name", ODD_NAMES, ids=lambda name: name[:30])
def test_a_file_may_have_any_name(dropped, name):
    # What is longest gets a shorter name, as `results/` is longer than `drop/`.
    mirrored = mirror.mirrored(f"drop/{name}"[: -len(".jsonl")], mirror.RESULTS, ".jsonl")
    mirrored = mirrored.removeprefix(mirror.RESULTS)
    assert mirrored == name or name == LONGEST
    assert ids(dropped.result(mirrored)) == ["r1"]
    assert len(dropped.batches(Path(name).name)) == 1


def test_a_file_of_the_same_name_with_other_content_is_new_work(desk):
    desk.put("again.jsonl", request(1))
    desk.result("again.jsonl")

    desk.put("again.jsonl", requests(2))

    wait_until(lambda: ids(desk.result("again.jsonl")) == names(2), "the new results")
    assert len(desk.batches("again.jsonl")) == 2


def test_a_file_that_was_there_before_the_start_is_taken_once_and_no_result_is(dropped):
    for name in ("work.jsonl", "bad.jsonl"):
        wait_until(partial(_has_ended, dropped, name), f"the end of {name}")
    before = {batch["id"] for batch in dropped.batches()}
    dropped.stop()
    dropped.put("early.jsonl", requests(3))
    (dropped.results / "mine.jsonl").write_bytes(requests(1))
    (dropped.rejected / "mine.jsonl").write_bytes(requests(1))
    (dropped.bucket / "spool").mkdir(exist_ok=True)
    (dropped.bucket / "spool" / "1").write_bytes(b"of an upload that a crash cut off")

    dropped.start()

    assert ids(dropped.result("early.jsonl")) == names(3)
    dropped.put("fence.jsonl", request(1))  # files are taken in their order
    dropped.result("fence.jsonl")
    after = {batch["id"] for batch in dropped.batches()} - before
    taken = [one["metadata"]["dropped"] for one in dropped.batches() if one["id"] in after]
    assert sorted(taken) == ["early.jsonl", "fence.jsonl"]
    assert not (dropped.bucket / "spool" / "1").exists()


def _has_ended(desk: Desk, name: str) -> bool:
    return {batch["status"] for batch in desk.batches(name)} <= {"completed", "failed"}
