"""The drop folder: objects with any name, and what becomes of them."""

from typing import Any

import pytest

from tests.e2e_aws.conftest import World
from tests.e2e_aws.servers import wait_until
from tests.local.stacks import lines, names, request, requests, text_of

pytestmark = pytest.mark.e2e_aws


def put(world: World, key: str, body: bytes) -> None:
    with world.aws.client("s3") as s3:
        s3.put_object(Bucket=world.bucket, Key=key, Body=body)


def get(world: World, key: str) -> bytes | None:
    with world.aws.client("s3") as s3:
        try:
            body: bytes = s3.get_object(Bucket=world.bucket, Key=key)["Body"].read()
        except s3.exceptions.NoSuchKey:
            return None
        return body


def appears(world: World, key: str) -> list[dict[str, Any]]:
    """The lines of an object that is written sooner or later."""
    return lines(wait_until(lambda: get(world, key), f"s3://{world.bucket}/{key}"))


@pytest.mark.parametrize(
    "name",
    [
        "plain.jsonl",
        "a folder/two words + more.jsonl",
        "naïve 名前 100% \U0001f600.jsonl",
        "'single' \"double\".jsonl",
    ],
)
def test_an_object_of_any_name_is_run_and_its_results_lie_beside(world, name):
    put(world, f"drop/{name}", requests(3))

    output = appears(world, f"results/{name}")

    assert [line["custom_id"] for line in output] == names(3)
    assert [text_of(line) for line in output] == ["say 1", "say 2", "say 3"]


def test_lines_that_failed_lie_in_a_file_of_their_own(world):
    put(world, "drop/mixed.jsonl", request(1) + request(2, "null:status=400"))

    (error,) = appears(world, "results/mixed.errors.jsonl")

    assert error["custom_id"] == "r2"


def test_an_object_that_cannot_be_run_is_rejected_with_the_reasons(world):
    put(world, "drop/bad.jsonl", request(1) + b"{oops\n")

    reasons = wait_until(
        lambda: get(world, "rejected/bad.jsonl.error.json"), "the reasons of the rejection"
    )

    assert b'"line": 2' in reasons
    assert get(world, "rejected/bad.jsonl") == request(1) + b"{oops\n"


def test_rows_of_a_table_are_requests_of_the_template_beside_it(world):
    put(world, "drop/tables/_template.toml", b'prompt = "say {what}"')
    put(world, "drop/tables/t.csv", b"custom_id,what\na,one\nb,two\n")

    output = appears(world, "results/tables/t.csv.jsonl")

    assert [(line["custom_id"], text_of(line)) for line in output] == [
        ("a", "say one"),
        ("b", "say two"),
    ]


def test_a_text_is_answered_by_a_text(world):
    put(world, "drop/note.txt", b"say it")

    assert wait_until(lambda: get(world, "results/note.txt"), "the answer") == b"say it\n"
