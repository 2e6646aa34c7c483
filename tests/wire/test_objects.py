"""OpenAI's objects."""

import pytest
from msgspec.structs import replace

from backburner.domain.batch import Batch, BatchStatus, StopReason
from backburner.domain.file import FilePurpose, StoredFile
from backburner.domain.finding import Finding
from backburner.wire import objects

BATCH = Batch(
    tenant="acme",
    id="batch_1",
    status=BatchStatus.IN_PROGRESS,
    route="/v1/chat/completions",
    input_file_id="file_1",
    completion_window="24h",
    created_at=1000.9,
    expires_at=2000.9,
    in_progress_at=1001.5,
    total=3,
    completed=1,
    failed=1,
    input_tokens=10,
    output_tokens=5,
)


def test_a_batch_has_every_key_and_whole_seconds():
    shown = objects.batch_object(BATCH)
    assert shown == {
        "id": "batch_1",
        "object": "batch",
        "endpoint": "/v1/chat/completions",
        "model": None,
        "errors": None,
        "input_file_id": "file_1",
        "completion_window": "24h",
        "status": "in_progress",
        "output_file_id": None,
        "error_file_id": None,
        "created_at": 1000,
        "in_progress_at": 1001,
        "expires_at": 2000,
        "finalizing_at": None,
        "completed_at": None,
        "failed_at": None,
        "expired_at": None,
        "cancelling_at": None,
        "cancelled_at": None,
        "request_counts": {"total": 3, "completed": 1, "failed": 1},
        "usage": {
            "input_tokens": 10,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 5,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 15,
        },
        "metadata": None,
        "x_on_invalid": "fail",
        "x_priority": 0,
        "x_skipped": 0,
        "x_paused": False,
        "x_callback_url": None,
        "x_state": "in_progress",
        "x_max_cost_usd": None,
        "x_max_tokens": None,
        "x_incomplete_reason": None,
        "x_progress": None,
        "x_retry_of": None,
        "x_retried_by": None,
        "x_merged_file_id": None,
    }


@pytest.mark.parametrize(
    ("status", "stopping", "shown"),
    [
        (BatchStatus.FINALIZING, None, "finalizing"),
        (BatchStatus.FINALIZING, StopReason.CANCELLED, "cancelling"),
        (BatchStatus.FINALIZING, StopReason.EXPIRED, "finalizing"),
        (BatchStatus.CANCELLED, StopReason.CANCELLED, "cancelled"),
    ],
)
def test_a_cancelled_batch_is_cancelling_until_its_files_are_written(status, stopping, shown):
    batch = replace(BATCH, status=status, stopping=stopping)
    assert objects.batch_object(batch)["status"] == shown


def test_findings_are_the_errors_of_a_batch():
    finding = Finding(code="invalid_json_line", message="No.", line=7)
    shown = objects.batch_object(BATCH, [finding])["errors"]
    assert shown == {
        "object": "list",
        "data": [{"code": "invalid_json_line", "message": "No.", "param": None, "line": 7}],
    }


@pytest.mark.parametrize(
    ("purpose", "sample_type"),
    [(FilePurpose.BATCH, "batch_request"), (FilePurpose.BATCH_OUTPUT, "batch_result")],
)
def test_a_file_is_processed_from_the_start(purpose, sample_type):
    file = StoredFile(
        tenant="acme", id="file_1", filename="in.jsonl", purpose=purpose, size=7, created_at=1.5
    )
    shown = objects.file_object(file)
    assert (shown["status"], shown["purpose"]) == ("processed", str(purpose))
    assert (shown["sample_type"], shown["bytes"]) == (sample_type, 7)
    assert (shown["created_at"], shown["expires_at"]) == (1, None)


def test_the_file_of_a_running_batch_says_that_it_is_incomplete():
    shown = objects.running_file_object(BATCH, "file-1-output", "output")
    assert (shown["bytes"], shown["x_incomplete"]) == (0, True)
    assert shown["filename"] == "batch_1_output.jsonl"


def test_a_page_names_its_ends():
    page = objects.page_object([{"id": "a"}, {"id": "b"}], has_more=True)
    assert (page["first_id"], page["last_id"], page["has_more"]) == ("a", "b", True)


def test_an_empty_page_still_says_that_there_is_no_more():
    page = objects.page_object([], has_more=False)
    assert page == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }
