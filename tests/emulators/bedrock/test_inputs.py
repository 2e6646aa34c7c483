"""What fails a job before it runs: too few records, too many, too large, no records at all."""

import json
from typing import Any

import pytest

from tests.emulators.bedrock.stage import Stage, record, records


def folder(uri: str) -> dict[str, Any]:
    return {"inputDataConfig": {"s3InputDataConfig": {"s3Uri": uri}}}


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    """With the quotas that AWS gives by default."""
    stage = Stage(tmp_path_factory.mktemp("usual")).start(min_records=100)
    yield stage
    stage.stop()


@pytest.mark.parametrize(
    ("count", "message"),
    [
        (0, "Batch job contains less records (0) than the required minimum of: 100"),
        (99, "Batch job contains less records (99) than the required minimum of: 100"),
        (100, None),
        (50_001, "Input file records.jsonl contains more records (50001) than the allowed"),
    ],
)
def test_a_job_takes_a_number_of_records(usual, count, message):
    line = json.dumps(record(1)).encode() + b"\n"
    job = usual.run([line * count])
    if message is None:
        assert (job["status"], job["totalRecordCount"]) == ("Completed", 100)
        return
    assert job["status"] == "Failed"
    assert job["message"].startswith(message)
    assert job["totalRecordCount"] == 0
    assert usual.keys(job["jobArn"]) == []


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"max_records": 2}, "contains more records (3) than the allowed maximum of: 2"),
        ({"max_file_gb": 1e-8}, "is larger"),
        ({"max_job_gb": 1e-8}, "Batch job is larger"),
        (
            {"quotas": {"minimum number of records per batch inference job for mistral large 2"
                        " (24.07)": 4}},
            "required minimum of: 4",
        ),
        ({"longest_record_id": 10}, "recordId is longer than 10 characters"),
    ],
)  # fmt: skip
def test_a_job_that_breaks_a_quota_fails(stage, knobs, message):
    job = stage.start(**knobs).run(records(3))
    assert job["status"] == "Failed"
    assert message in job["message"]


def test_the_records_of_all_files_count_together(stage):
    stage.start(min_records=4, max_records=5)
    for name in ("a", "b"):
        stage.put(f"two/{name}.jsonl", records(2))
    assert stage.run(**folder("s3://bucket/two/"))["status"] == "Completed"
    stage.put("two/c.jsonl", records(2))
    job = stage.run(**folder("s3://bucket/two/"))
    assert "contains more records (6) than the allowed maximum of: 5" in job["message"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{not json}\n", "Line 2 of input file records.jsonl is no valid record"),
        (b"[1]\n", "Line 2"),
        (b'{"recordId": "A"}\n', "modelInput"),
        (b'{"recordId": 1, "modelInput": {}}\n', "recordId"),
        (b'{"recordId": "\xff", "modelInput": {}}\n', "Line 2"),
    ],
)
def test_a_line_that_is_no_record_fails_the_job(shared, line, message):
    job = shared.run([record(1), line, record(2)])
    assert job["status"] == "Failed"
    assert message in job["message"]
    assert shared.keys(job["jobArn"]) == []


def test_what_a_model_is_asked_is_not_looked_at(shared):
    job = shared.run([{"recordId": "A", "modelInput": "nonsense"}, record(1)])
    assert (job["status"], job["errorRecordCount"]) == ("Completed", 1)


def test_empty_lines_are_no_records_and_the_last_needs_no_end(shared):
    body = b"\n".join([json.dumps(record(1)).encode(), b"", json.dumps(record(2)).encode()])
    job = shared.run([body])
    assert (job["status"], job["totalRecordCount"]) == ("Completed", 2)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("s3://bucket/nothing/in.jsonl", "Failed to validate GetObject and ListBucket"),
        ("s3://nobucket/in.jsonl", "Failed to validate GetObject and ListBucket"),
        ("s3://bucket/text", "No .jsonl file was found"),
    ],
)
def test_an_input_that_is_not_there_fails_the_job(shared, uri, message):
    shared.objects.put("bucket", "text/readme.txt", b"hello")
    job = shared.run(**folder(uri))
    assert job["status"] == "Failed"
    assert message in job["message"]
    assert uri in job["message"]


# ---- folders


def test_every_file_of_a_folder_has_a_file_of_results(stage):
    stage.start()
    stage.put("many/a.jsonl", [record(1)])
    stage.put("many/deeper/a.jsonl", [record(2), record(3)])
    stage.put("many/notes.txt", [record(4)])
    arn = stage.create(**folder("s3://bucket/many"))
    assert stage.until(arn)["totalRecordCount"] == 3
    assert stage.keys(arn) == ["a.jsonl.out", "deeper/a.jsonl.out", "manifest.json.out"]
    assert len(stage.output(arn, "deeper/a.jsonl.out")) == 2


def test_results_of_nested_files_may_come_flat(stage):
    stage.start(nested_outputs="flat")
    stage.put("many/deeper/b.jsonl", [record(2)])
    arn = stage.create(**folder("s3://bucket/many/"))
    stage.until(arn)
    assert stage.keys(arn) == ["b.jsonl.out", "manifest.json.out"]


def test_the_total_of_a_job_that_ended_early_may_be_what_was_processed(stage):
    stage.start(partial_every_nth=1, partial_at=0.5, early_total="processed")
    job = stage.run(records(4))
    assert (job["totalRecordCount"], job["processedRecordCount"]) == (2, 2)
    assert stage.manifest(job["jobArn"])["totalRecordCount"] == 2
