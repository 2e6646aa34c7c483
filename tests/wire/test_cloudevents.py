"""Events as CloudEvents 1.0."""

import pytest

from backburner.wire.cloudevents import cloud_event


def an_event(about: str = "batch_1") -> dict[str, object]:
    return {
        "id": f"evt_{about}",
        "object": "event",
        "type": "batch.completed",
        "created_at": 1_750_000_000,
        "data": {"id": about, "status": "completed", "tenant": "acme"},
    }


def test_it_has_the_attributes_of_the_specification():
    assert cloud_event(an_event()) == {
        "specversion": "1.0",
        "id": "evt_batch_1",
        "source": "/batches/batch_1",
        "type": "batch.completed",
        "time": "2025-06-15T15:06:40Z",
        "datacontenttype": "application/json",
        "data": {"id": "batch_1", "status": "completed", "tenant": "acme"},
    }


@pytest.mark.parametrize(
    ("about", "source"),
    [
        ("msgbatch_1", "/messages/batches/msgbatch_1"),
        ("resp_1", "/responses/resp_1"),
        ("request_1", "/requests/request_1"),
    ],
)
def test_its_source_is_where_the_thing_is(about, source):
    assert cloud_event(an_event(about))["source"] == source
