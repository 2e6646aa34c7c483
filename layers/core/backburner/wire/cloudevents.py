"""Events as CloudEvents 1.0 (github.com/cloudevents/spec, "JSON Event Format")."""

from collections.abc import Mapping
from typing import Any

from backburner.wire.objects import rfc3339

#: Where things of a kind are, by what their ids begin with; all others are batches.
_PLACES = {"msgbatch": "/messages/batches", "resp": "/responses", "request": "/requests"}


def cloud_event(event: Mapping[str, Any]) -> dict[str, Any]:
    """The event, with its attributes as the specification names them."""
    about = str(event["data"]["id"])
    place = _PLACES.get(about.partition("_")[0], "/batches")
    return {
        "specversion": "1.0",
        "id": event["id"],
        "source": f"{place}/{about}",
        "type": event["type"],
        "time": rfc3339(event["created_at"]),
        "datacontenttype": "application/json",
        "data": event["data"],
    }
