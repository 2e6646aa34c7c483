"""EventBridge: what only this adapter has to get right."""

import json

import pytest
from botocore.exceptions import ClientError
from botocore.stub import ANY, Stubber

from backburner.adapters.eventbridge import EventBridgeEvents
from backburner.domain.errors import InvalidRequest, Undelivered
from tests.contract.on_moto import moto_clients

EVENT = {
    "id": "evt_batch_1",
    "type": "batch.completed",
    "created_at": 1_750_000_000,
    "data": {"id": "batch_1", "tenant": "acme", "status": "completed"},
}


@pytest.fixture
def clients():
    with moto_clients() as clients:
        yield clients


def test_an_entry_says_whose_it_is_and_what_happened(clients):
    entries = []
    with Stubber(clients.events) as stub:
        stub.add_response("put_events", {"FailedEntryCount": 0, "Entries": [{"EventId": "1"}]})
        clients.events.meta.events.register(
            "provide-client-params.events.PutEvents",
            lambda params, **_: entries.extend(params["Entries"]),
        )
        EventBridgeEvents(clients, "mine").publish(EVENT, {})
    (entry,) = entries
    detail = json.loads(entry.pop("Detail"))
    assert entry == {
        "Source": "backburner",
        "DetailType": "batch.completed",
        "EventBusName": "mine",
    }
    assert (detail["specversion"], detail["source"]) == ("1.0", "/batches/batch_1")


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("ThrottlingException", Undelivered),
        ("InternalFailure", Undelivered),
        ("NotAuthorizedForSourceException", Undelivered),
        ("MalformedDetail", InvalidRequest),
        ("InvalidArgument", InvalidRequest),
    ],
)
def test_an_answer_of_200_may_say_that_nothing_was_taken(clients, code, error):
    refused = {"ErrorCode": code, "ErrorMessage": "No."}
    with Stubber(clients.events) as stub:
        answer = {"FailedEntryCount": 1, "Entries": [refused]}
        stub.add_response("put_events", answer, {"Entries": ANY})
        with pytest.raises(error, match=f"{code}: No."):
            EventBridgeEvents(clients, "mine").publish(EVENT, {})


def test_a_bus_that_is_not_there_is_tried_again(clients):
    """The operator may make it."""
    with pytest.raises(ClientError, match="does not exist"):
        EventBridgeEvents(clients, "none").publish(EVENT, {})


def test_an_event_that_no_bus_would_take_is_not_sent(clients):
    large = EVENT | {"data": EVENT["data"] | {"model": "x" * 256 * 1024}}  # type: ignore[operator]
    with Stubber(clients.events), pytest.raises(InvalidRequest, match="262144 bytes"):
        EventBridgeEvents(clients, "mine").publish(large, {})
