"""A reservation's way from its link to a request that is started, or to nothing."""

from backburner.domain.upload import Reservation
from backburner.ports import Absent, Delete, Is, Key, Put, Update, Write
from backburner.services import records

_STANDS = Is("is_ending", value=False)


def create(reservation: Reservation) -> list[Write]:
    """There is room; whoever writes this counts it."""
    item = records.reservation_item(reservation)
    return [Put(_key(reservation), item, when=(Absent(),))]


def use(reservation: Reservation) -> list[Write]:
    """Its request is started: the body is the request's now."""
    return [Delete(_key(reservation), when=(_STANDS,)), _given_back(reservation)]


def end(reservation: Reservation) -> list[Write]:
    """From now on nobody can start its request, so that the body may go."""
    return [Update(_key(reservation), set={"is_ending": True}, when=(_STANDS,))]


def cleaned_up(reservation: Reservation) -> list[Write]:
    """Its body is gone."""
    exists = Is("id", reservation.id)
    return [Delete(_key(reservation), when=(exists,)), _given_back(reservation)]


def _key(reservation: Reservation) -> Key:
    return records.reservation_key(reservation.tenant, reservation.id)


def _given_back(reservation: Reservation) -> Update:
    usage = records.usage_key(reservation.tenant)
    return Update(usage, add={"stored_bytes": -reservation.size})
