"""A delivery that is over, and is asked for again."""

import pytest
from msgspec.structs import replace

from backburner.domain.delivery import Channel, DeliveryStatus
from backburner.domain.errors import Conflict
from backburner.ports import Put, Update
from backburner.services import records, transitions
from tests.domain.values import a_delivery
from tests.reference import ReferenceStore

OVER = a_delivery(
    channel=Channel.EMAIL,
    target_id="0a",
    target="ada@example.com",
    status=DeliveryStatus.DEAD,
    attempts=16,
    created_at=1.0,
    tried_since=1.0,
    due_at=2.0,
    not_before=99.0,
    last_error="No.",
    digest_id="digest_1",
)


def a_store(**changes: object) -> ReferenceStore:
    store = ReferenceStore()
    store.transact(Put(records.key_of(OVER), records.delivery_item(OVER)))
    store.transact(Update(records.key_of(OVER), set=changes))
    return store


def test_what_is_made_again_begins_anew_with_the_same_event():
    store = a_store()
    store.transact(*transitions.replay(OVER, now=50.0, due_at=60.0))
    (item,) = store.get(records.key_of(OVER))
    assert item is not None
    assert records.to_delivery(item) == replace(
        OVER,
        status=DeliveryStatus.PENDING,
        attempts=0,
        tried_since=50.0,
        due_at=60.0,
        not_before=0.0,
        digest_id=None,
    )


@pytest.mark.parametrize("meanwhile", [{"status": "pending"}, {"attempts": 17}])
def test_of_two_who_ask_at_once_one_has_it_made(meanwhile):
    with pytest.raises(Conflict):
        a_store(**meanwhile).transact(*transitions.replay(OVER, now=50.0, due_at=60.0))
