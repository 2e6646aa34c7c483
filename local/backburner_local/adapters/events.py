"""Events in this process: whoever subscribed is called."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

#: Called with an event and its attributes.
Subscriber = Callable[[Mapping[str, Any], Mapping[str, str]], object]


@dataclass(frozen=True, slots=True, eq=False)
class _Subscription:
    subscriber: Subscriber
    #: By attribute, the values that pass; as in a filter policy of SNS, all must match.
    filter: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def takes(self, attributes: Mapping[str, str]) -> bool:
        return all(attributes.get(name) in values for name, values in self.filter.items())


class LocalEvents:
    """Calls subscribers one after the other, on the publisher's thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: Replaced, never changed: publishers go through it without the lock.
        self._subscriptions: tuple[_Subscription, ...] = ()

    def subscribe(
        self,
        subscriber: Subscriber,
        filter: Mapping[str, tuple[str, ...]] | None = None,  # noqa: A002
    ) -> Callable[[], None]:
        """Call the subscriber with each event that passes the filter; returns how to stop it."""
        subscription = _Subscription(subscriber, dict(filter or {}))
        with self._lock:
            self._subscriptions += (subscription,)
        return lambda: self._unsubscribe(subscription)

    def publish(self, event: Mapping[str, Any], attributes: Mapping[str, str]) -> None:
        """Tell all subscribers, then raise what any of them raised, so that the caller retries."""
        errors: list[Exception] = []
        for subscription in self._subscriptions:
            if subscription.takes(attributes):
                try:
                    subscription.subscriber(event, attributes)
                except Exception as exc:  # noqa: BLE001 - the others are told first
                    errors.append(exc)
        if len(errors) > 1:
            raise ExceptionGroup("Several subscribers failed.", errors)
        if errors:
            raise errors[0]

    def _unsubscribe(self, subscription: _Subscription) -> None:
        with self._lock:
            self._subscriptions = tuple(s for s in self._subscriptions if s is not subscription)
