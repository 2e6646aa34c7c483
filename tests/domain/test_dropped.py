"""What keys of dropped objects say."""

import pytest

from backburner.domain.dropped import Asked, Source, asked, is_ignored, source_of
from backburner.domain.errors import InvalidRequest

MODELS = ["mistral", "mistral/large", "qwen-2.5"]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("a.jsonl", Source.LINES),
        ("A.JSONL", Source.LINES),
        ("two.dots.json", Source.JSON),
        ("a.csv", Source.CSV),
        ("a.parquet", Source.PARQUET),
        ("a.txt", Source.TEXT),
        ("notes.md", Source.TEXT),
        ("cat.png", Source.RAW),
        ("Makefile", Source.RAW),
        ("jsonl", Source.RAW),
    ],
)
def test_the_ending_of_a_name_says_what_the_object_holds(name, source):
    assert source_of(f"drop/team/{name}") is source


@pytest.mark.parametrize(
    "key",
    [
        "results/a.jsonl",
        "drop/",
        "drop/folder/",
        "drop/.hidden.jsonl",
        "drop/a.jsonl.part",
        "drop/a.jsonl.tmp",
        "drop/a.jsonl~",
        "drop/_template.toml",
        "drop/mistral/_template.toml",
    ],
)
def test_what_is_coming_hidden_or_no_object_is_not_taken(key):
    assert is_ignored(key)
    assert not is_ignored("drop/a.jsonl")


@pytest.mark.parametrize(
    ("path", "options"),
    [
        ("a.jsonl", {}),
        ("other/a.jsonl", {}),
        ("mistral.jsonl", {}),
        ("mistral/a.jsonl", {"model": "mistral"}),
        ("mistral/deep/a.jsonl", {"model": "mistral"}),
        ("mistral/large/a.jsonl", {"model": "mistral/large"}),
        ("a,model=qwen-2.5.jsonl", {"model": "qwen-2.5"}),
        ("mistral/a,model=qwen-2.5.csv", {"model": "qwen-2.5"}),
        (
            "a,window=2h,priority=3,name=big run.csv",
            {"window": "2h", "priority": 3, "name": "big run"},
        ),
        ("a, window=2h.csv", {"window": "2h"}),
        ("Smith, John.txt", {}),
        ("Smith, John,window=2h.txt", {"window": "2h"}),
        ("a,name=x=1.csv", {"name": "x=1"}),
        ("x=1.csv", {}),
        ("a,model=.jsonl", {"model": ""}),
    ],
)
def test_folder_and_name_say_what_is_asked_for(path, options):
    assert asked(f"drop/{path}", MODELS) == Asked(**options)


@pytest.mark.parametrize(
    ("name", "param", "said"),
    [
        ("a,modle=x.jsonl", "modle", "'modle' of the file's name is not known"),
        ("a,model=x,model=y.jsonl", "model", "'model' of the file's name is there twice"),
        ("a,priority=high.jsonl", "priority", "'priority' must be an integer"),
        ("a,priority=-1.jsonl", "priority", "'priority' must be an integer"),
        ("a,priority=².jsonl", "priority", "'priority' must be an integer"),
        (f"a,{'x' * 99}=1.jsonl", "x" * 64, f"'{'x' * 64}' of the file's name is not known"),
    ],
)
def test_options_that_make_no_sense_are_named(name, param, said):
    with pytest.raises(InvalidRequest, match=said) as caught:
        asked(f"drop/{name}", MODELS)
    assert caught.value.param == param
