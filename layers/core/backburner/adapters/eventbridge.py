"""Events on an EventBridge bus, as CloudEvents.

Facts: API reference, PutEvents: it answers 200 although it took none of the entries, and says so
beside each; an entry has at most 256 KB.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec.json

from backburner.adapters.clients import Clients
from backburner.domain.errors import InvalidRequest, Undelivered
from backburner.wire.cloudevents import cloud_event

#: What rules match all our events by; the roles of the functions may send no other.
SOURCE = "backburner"

_ENTRY_BYTES = 256 * 1024

#: Errors that no later attempt mends. Throttles and failures of the service pass, and what the role
#: may not do is mended by the operator.
_REFUSED = frozenset({"InvalidArgument", "MalformedDetail"})


@dataclass(frozen=True, slots=True)
class EventBridgeEvents:
    """Events of one bus."""

    clients: Clients
    #: Name or ARN.
    bus: str

    def publish(self, event: Mapping[str, Any], attributes: Mapping[str, str]) -> None:  # noqa: ARG002 - rules match the event itself
        """Put one event.

        Raises:
            InvalidRequest: it will never be taken.
            Undelivered: not now.
        """
        detail = msgspec.json.encode(cloud_event(event))
        kind = str(event["type"])
        if len(detail) + len(SOURCE) + len(kind) > _ENTRY_BYTES:
            raise InvalidRequest(f"An event on a bus has at most {_ENTRY_BYTES} bytes.")
        entry = {
            "Source": SOURCE,
            "DetailType": kind,
            "Detail": detail.decode(),
            "EventBusName": self.bus,
        }
        answer = self.clients.events.put_events(Entries=[entry])
        if not answer["FailedEntryCount"]:
            return
        (result,) = answer["Entries"]
        code, why = result.get("ErrorCode", ""), result.get("ErrorMessage", "")
        if code in _REFUSED:
            raise InvalidRequest(f"EventBridge refused the event: {code}: {why}")
        raise Undelivered(f"EventBridge did not take the event: {code}: {why}")
