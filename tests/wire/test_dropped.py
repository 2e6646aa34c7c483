"""The formats of the drop folder."""

import csv
import datetime
import io
import json
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backburner.domain.dropped import Source
from backburner.domain.errors import InvalidLine, InvalidRequest
from backburner.ports import Shape
from backburner.wire.bodies import CHAT, COMPLETIONS, EMBEDDINGS
from backburner.wire.dropped import Dropped

FORMATS = Dropped()
BODY = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def data(value: Any) -> bytes:
    return json.dumps(value).encode()


# ---------------------------------------------------------------- lines


@pytest.mark.parametrize(
    ("line", "shape"),
    [
        (
            {"custom_id": "a", "url": EMBEDDINGS, "body": BODY},
            Shape(dialect="openai", route=EMBEDDINGS, has_model=True),
        ),
        ({"custom_id": "a", "body": {}}, Shape(dialect="openai")),
        ({"custom_id": "a", "params": BODY}, Shape(dialect="anthropic", has_model=True)),
        ({"custom_id": "a", "params": {}}, Shape(dialect="anthropic")),
        ({"recordId": "1", "modelInput": BODY}, Shape(dialect="bedrock")),
        ({"modelInput": {}}, Shape(dialect="bedrock")),
    ],
)
def test_the_members_of_a_line_tell_its_format(line, shape):
    assert FORMATS.shape(data(line), may_be_body=False) == shape


@pytest.mark.parametrize(
    ("body", "route"),
    [
        ({"messages": []}, CHAT),
        ({"prompt": "p", "model": "m"}, COMPLETIONS),
        ({"input": "p"}, EMBEDDINGS),
    ],
)
def test_a_bare_body_tells_its_route(body, route):
    shape = Shape(dialect="openai", route=route, has_model="model" in body)
    assert FORMATS.shape(data(body), may_be_body=True) == shape
    with pytest.raises(InvalidLine, match="must be a line of OpenAI's") as error:
        FORMATS.shape(data(body), may_be_body=False)
    assert error.value.code == "unknown_format"


@pytest.mark.parametrize(
    "line", [{"body": {}, "params": {}}, {"params": {}, "modelInput": {}}, {"x": 1}, {}]
)
def test_a_line_that_is_ambiguous_or_of_no_format_is_refused(line):
    with pytest.raises(InvalidLine) as error:
        FORMATS.shape(data(line), may_be_body=True)
    assert error.value.code == "unknown_format"


@pytest.mark.parametrize(
    ("line", "dialect", "addressed"),
    [
        (
            {"custom_id": "a", "body": {"x": 1}},
            "openai",
            {"custom_id": "a", "body": {"x": 1, "model": "new"}},
        ),
        ({"x": 1}, "openai", {"custom_id": "7", "body": {"x": 1, "model": "new"}}),
        ({"custom_id": "a", "body": 5}, "openai", {"custom_id": "a", "body": 5}),
        (
            {"custom_id": "a", "params": {"model": "old"}},
            "anthropic",
            {"custom_id": "a", "params": {"model": "new"}},
        ),
        (
            {"recordId": "r", "modelInput": {}},
            "bedrock",
            {"recordId": "r", "modelInput": {}, "modelId": "new"},
        ),
        ({"modelInput": {}}, "bedrock", {"recordId": "7", "modelInput": {}, "modelId": "new"}),
    ],
)
def test_a_line_gets_the_model_that_is_asked_for(line, dialect, addressed):
    got = FORMATS.addressed(data(line), Shape(dialect=dialect), number=7, model="new")
    assert json.loads(got) == addressed
    assert b"\n" not in got


@pytest.mark.parametrize("line", [b"{oops", b"[1]", b"\xff"])
def test_a_line_that_can_not_be_read_stays_for_its_dialect_to_explain(line):
    assert FORMATS.addressed(line, Shape(dialect="openai"), number=1, model="m") == line


def items(text: bytes, limit: int = 100) -> list[bytes | None]:
    return list(FORMATS.items(io.BytesIO(text), item_bytes=limit))


def test_json_is_a_list_or_one_object_and_streams_through():
    assert items(b'{"a": 1}') == [b'{"a": 1}']
    assert items(b'\xef\xbb\xbf [ {"a":\n1}, "x" ,3]\n') == [b'{"a": 1}', b'"x"', b"3"]
    assert items(b"[]") == []
    assert items(b'[{"a": "' + b"x" * 200 + b'"}, 1]') == [None, b"1"]


@pytest.mark.parametrize("text", [b"", b"{", b"[1", b"[1,]", b"[1 2]", b"[1] 2", b"{} {}", b"\xff"])
def test_broken_json_is_refused(text):
    with pytest.raises(InvalidRequest, match="The file is not valid"):
        items(text)


# ---------------------------------------------------------------- tables


def rows(source: Source, content: bytes, wanted: set[str] | None = None) -> list[Any]:
    table = FORMATS.table(source, io.BytesIO(content), cell_bytes=1000)
    return list(table.rows(set(table.columns) if wanted is None else wanted))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"a,b\n1,2\n", [{"a": "1", "b": "2"}]),
        (b"\xef\xbb\xbfa,b\r\n1,2\r\n\r\n3,4", [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]),
        (b'a,b\n"x, ""y""\nz",2\n', [{"a": 'x, "y"\nz', "b": "2"}]),
        (b"a;b\n1,5;2\n", [{"a": "1,5", "b": "2"}]),
        (b"a\tb\n1\t2\n", [{"a": "1", "b": "2"}]),
        ("a\nhäß \U0001f600\n".encode(), [{"a": "häß \U0001f600"}]),
        (b" a , b\n1,\n", [{"a": "1", "b": ""}]),
        (b"a,b\n1\n", [{"a": "1"}]),
        (b"a,b", []),
    ],
)
def test_rows_of_csv(text, found):
    assert rows(Source.CSV, text) == found


def test_a_row_with_too_many_cells_is_wrong_and_others_are_not():
    good, bad, last = rows(Source.CSV, b"a,b\n1,2\n1,2,3\n3,4\n")
    assert (good, last) == ({"a": "1", "b": "2"}, {"a": "3", "b": "4"})
    assert bad.message == "This row has 3 cells, the header 2."


@given(st.lists(st.tuples(st.text(), st.text()), min_size=1), st.sampled_from(",;\t"))
def test_whatever_is_written_as_csv_is_read_as_it_was(written, delimiter):
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([("a", "b"), *written])
    found = rows(Source.CSV, out.getvalue().encode())
    assert [(row["a"], row["b"]) for row in found] == written


@given(st.dictionaries(st.sampled_from(["a", "b c", "é"]), st.text(), min_size=3), st.text())
def test_a_prompt_holds_its_cells_and_its_braces(row, around):
    text = around.replace("{", "{{").replace("}", "}}")
    template = FORMATS.template({"prompt": f"{text}{{a}}{text}{{ b c }}{{é}}"})
    line = json.loads(template.line(row, custom_id="1", model="m", route=CHAT))
    (message,) = line["body"]["messages"]
    assert message["content"] == f"{around}{row['a']}{around}{row['b c']}{row['é']}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "no header"),
        (b"\n1,2\n", "no header"),
        (b"a,b,a\n1,2,3\n", "Two columns are called 'a'"),
        (b'a\n1\n"never ends\n2\n', "Row 2 can't be read"),
        (b'a\n1\n"x"y\n', "Row 2 can't be read"),
        (b"a\n" + b"x" * 1001 + b"\n", "Row 1 can't be read: field larger"),
        (b"a\n\xff\n", "not valid UTF-8"),
        (b"\xff\n", "not valid UTF-8"),
    ],
)
def test_broken_csv_is_refused_with_the_row(text, said):
    with pytest.raises(InvalidRequest, match=said):
        rows(Source.CSV, text)


def parquet(columns: dict[str, Any], **options: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out, **options)
    return out.getvalue()


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "zstd", "lz4", "brotli"])
def test_rows_of_parquet(compression):
    content = parquet(
        {"id": [1, 2, 3], "text": ["a", None, "ü"], "other": [b"x"] * 3},
        compression=compression,
        row_group_size=2,
    )
    found = rows(Source.PARQUET, content, {"id", "text"})
    assert found == [{"id": 1, "text": "a"}, {"id": 2, "text": None}, {"id": 3, "text": "ü"}]
    assert rows(Source.PARQUET, content, set()) == [{}] * 3


@pytest.mark.parametrize(
    "content", [b"", b"no parquet", b"PAR1", parquet({"a": [1]})[:-20], parquet({}), b"PAR1" * 9]
)
def test_a_broken_parquet_file_is_refused(content):
    with pytest.raises(InvalidRequest, match=r"no Parquet file|no header"):
        rows(Source.PARQUET, content)


def test_a_parquet_file_with_a_byte_changed_is_refused_or_read():
    content = parquet({"a": ["one", "two"], "b": [1.5, None], "c": [["x"], []]})
    for at in range(0, len(content), 5):
        with suppress(InvalidRequest):
            rows(Source.PARQUET, content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :])


# ---------------------------------------------------------------- templates


def filled(template: str, row: dict[str, Any], route: str = CHAT) -> Any:
    read = FORMATS.template(template.encode())
    line = json.loads(read.line(row, custom_id="1", model="m", route=route))
    assert (line["custom_id"], line["url"], line["body"].pop("model")) == ("1", route, "m")
    return line["body"]


def test_a_template_makes_the_body_of_a_row():
    template = """
        system = "You know {area}."
        prompt = "{{json}} of { first name }: {text}"
        max_tokens = 8
        temperature = 0.5
        response_format = {type = "json_object"}
    """
    row = {"area": "tea", "first name": "Ada", "text": "{not filled}", "unused": 1}
    assert filled(template, row) == {
        "messages": [
            {"role": "system", "content": "You know tea."},
            {"role": "user", "content": "{json} of Ada: {not filled}"},
        ],
        "max_tokens": 8,
        "temperature": 0.5,
        "response_format": {"type": "json_object"},
    }
    assert FORMATS.template(template.encode()).columns == {"area", "first name", "text"}


@pytest.mark.parametrize(
    ("route", "body"),
    [(COMPLETIONS, {"prompt": "s\n\nx"}), (EMBEDDINGS, {"input": "s\n\nx"})],
)
def test_a_template_serves_other_routes_as_well(route, body):
    assert filled('prompt = "{a}"\nsystem = "s"', {"a": "x"}, route) == body


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("x", "x"),
        (None, ""),
        (True, "true"),
        (False, "false"),
        (7, "7"),
        (1.5, "1.5"),
        (Decimal("1.20"), "1.20"),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        (datetime.datetime(2026, 1, 2, 3, 4, tzinfo=datetime.UTC), "2026-01-02T03:04:00+00:00"),
        (b"bytes", "bytes"),
        (["a", 1], '["a",1]'),
        ({"a": None}, '{"a":null}'),
    ],
)
def test_cells_of_all_kinds_are_text(value, text):
    (message,) = filled('prompt = "{a}"', {"a": value})["messages"]
    assert message["content"] == text


def test_a_cell_that_is_missing_or_no_text_is_named():
    template = FORMATS.template(b'prompt = "{a}"')
    for row, code in (({}, "missing_column"), ({"a": b"\xff"}, "invalid_cell")):
        with pytest.raises(InvalidLine) as error:
            template.line(row, custom_id="1", model="m", route=CHAT)
        assert (error.value.code, error.value.param) == (code, "a")


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("prompt = ", "not valid TOML"),
        ("\xff", "not valid TOML"),
        ("system = 'x'", "'prompt' of the template is missing"),
        ("prompt = ''", "'prompt' of the template is missing"),
        ("prompt = 5", "'prompt' of the template must be a text"),
        ("prompt = 'x'\nsystem = []", "'system' of the template must be a text"),
        ("prompt = 'x'\nmodel = 1", "'model' of the template must be a text"),
        ("prompt = 'x'\nmessages = []", "'messages' of the template can't be set"),
        ("prompt = 'x {a'", "has a '{' alone: write '{{'"),
        ("prompt = 'x a}'", "has a '}' alone"),
        ("prompt = 'x'\nsystem = '{a{b}}'", "'system' of the template has a '{' alone"),
    ],
)
def test_a_template_that_is_wrong_says_where(template, said):
    with pytest.raises(InvalidRequest, match=said):
        FORMATS.template(template.encode("latin-1"))
