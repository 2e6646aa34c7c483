"""What each change makes of an upload or of a reservation, and who comes second to it."""

from dataclasses import replace

import pytest

from backburner.domain.errors import Conflict
from backburner.domain.file import FilePurpose, StoredFile
from backburner.domain.upload import Reservation, Upload, UploadStatus
from backburner.ports import Put, Update, Write
from backburner.services import records
from backburner.services.transitions import reservation, upload
from tests.reference import ReferenceStore

PENDING = Upload(
    tenant="acme",
    id="upload_1",
    size=10,
    filename="in.jsonl",
    purpose=FilePurpose.BATCH,
    mimetype="application/jsonl",
    created_at=0.0,
    expires_at=3600.0,
    file_id="file_1",
    received=4,
)
FILE = StoredFile(
    tenant="acme",
    id="file_1",
    filename="in.jsonl",
    purpose=FilePurpose.BATCH,
    size=10,
    created_at=0.0,
)
ROOM = Reservation(tenant="acme", id="req_1", size=100, expires_at=86400.0)
UPLOAD = records.upload_key("acme", "upload_1")
RESERVATION = records.reservation_key("acme", "req_1")
USAGE = records.usage_key("acme")


def a_store(*puts: Put) -> ReferenceStore:
    store = ReferenceStore()
    store.transact(*puts, Put(USAGE, {"stored_bytes": 500}))
    return store


def with_upload(**changes: object) -> ReferenceStore:
    store = a_store(Put(UPLOAD, records.upload_item(PENDING)))
    store.transact(Update(UPLOAD, set=changes))
    return store


def with_room(**changes: object) -> ReferenceStore:
    store = a_store(Put(RESERVATION, records.reservation_item(ROOM)))
    store.transact(Update(RESERVATION, set=changes))
    return store


def stored(store: ReferenceStore) -> Upload:
    (item,) = store.get(UPLOAD)
    assert item is not None
    return records.to_upload(item)


def complete() -> list[Write]:
    return upload.complete(PENDING, FILE, parts_digest="0a")


def receive() -> list[Write]:
    return upload.receive(PENDING, 3, below=7)


def close() -> list[Write]:
    return upload.close(PENDING, UploadStatus.CANCELLED)


def test_an_upload_is_made_once():
    store = a_store()
    store.transact(*upload.create(PENDING))
    assert stored(store) == PENDING
    with pytest.raises(Conflict):
        store.transact(*upload.create(PENDING))


@pytest.mark.parametrize(
    ("change", "changes"),
    [
        (receive, {"received": 7}),
        (close, {"status": UploadStatus.CANCELLED}),
        (complete, {"status": UploadStatus.COMPLETED, "parts_digest": "0a"}),
    ],
)
def test_a_pending_upload_takes_parts_is_closed_or_becomes_its_file(change, changes):
    store = with_upload()
    store.transact(*change())
    assert stored(store) == replace(PENDING, **changes)
    (file,) = store.get(records.file_key("acme", "file_1"))
    is_whole = change is complete
    assert (records.to_file(file) if file is not None else None) == (FILE if is_whole else None)
    assert store.get(USAGE) == [{"stored_bytes": 510 if is_whole else 500}]


@pytest.mark.parametrize("change", [receive, close, complete])
@pytest.mark.parametrize("status", ["completed", "cancelled", "expired"])
def test_an_upload_that_is_over_changes_no_more(change, status):
    store = with_upload(status=status)
    with pytest.raises(Conflict):
        store.transact(*change())


def test_no_part_is_taken_once_as_much_came_as_may():
    with pytest.raises(Conflict):
        with_upload(received=7).transact(*receive())


def test_a_file_is_not_made_over_another():
    store = with_upload()
    store.transact(Put(records.file_key("acme", "file_1"), {"id": "file_1"}))
    with pytest.raises(Conflict):
        store.transact(*complete())


def test_an_upload_of_which_nothing_is_left_is_due_no_more_unless_it_is_gone():
    store = with_upload(due_key="due", due_sort="1", status="expired")
    store.transact(*upload.cleaned_up(PENDING))
    (item,) = store.get(UPLOAD)
    assert item is not None
    assert item.keys().isdisjoint({"due_key", "due_sort"})
    with pytest.raises(Conflict):
        a_store().transact(*upload.cleaned_up(PENDING))


# ---------------------------------------------------------------- reservations


def test_room_is_kept_once_and_counted_by_who_keeps_it():
    store = a_store()
    store.transact(*reservation.create(ROOM))
    (item,) = store.get(RESERVATION)
    assert item is not None
    assert records.to_reservation(item) == ROOM
    assert store.get(USAGE) == [{"stored_bytes": 500}]
    with pytest.raises(Conflict):
        store.transact(*reservation.create(ROOM))


@pytest.mark.parametrize(
    ("change", "is_ending"),
    [(reservation.use, False), (reservation.cleaned_up, False), (reservation.cleaned_up, True)],
)
def test_room_that_is_needed_no_more_is_given_back(change, is_ending):
    store = with_room(is_ending=is_ending)
    store.transact(*change(ROOM))
    assert store.get(RESERVATION, USAGE) == [None, {"stored_bytes": 400}]
    with pytest.raises(Conflict):
        store.transact(*change(ROOM))
    assert store.get(USAGE) == [{"stored_bytes": 400}]


def test_whose_room_is_ending_can_not_be_started_nor_ended_twice():
    store = with_room()
    store.transact(*reservation.end(ROOM))
    (item,) = store.get(RESERVATION)
    assert item is not None
    assert records.to_reservation(item) == replace(ROOM, is_ending=True)
    for change in (reservation.use, reservation.end):
        with pytest.raises(Conflict):
            store.transact(*change(ROOM))
