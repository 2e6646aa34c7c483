"""Batches over HTTP."""

from tests.web.conftest import requests


def test_a_batch_goes_from_upload_to_results(world, acme):
    batch = acme.batch(requests(5))
    assert batch["status"] == "validating"
    world.work()
    assert acme.get(f"/v1/batches/{batch['id']}").json["status"] == "in_progress"
    while world.backend.held:
        world.answer()
        world.work()
    done = acme.get(f"/v1/batches/{batch['id']}").json
    assert done["status"] == "completed"
    assert done["request_counts"] == {"total": 5, "completed": 5, "failed": 0}
    content = acme.get(f"/v1/files/{done['output_file_id']}/content")
    assert [line["custom_id"] for line in content.lines] == [f"r-{n}" for n in range(1, 6)]
    assert content.headers["x-incomplete"] == "false"
    assert content.headers["x-last-line"] == "5"
