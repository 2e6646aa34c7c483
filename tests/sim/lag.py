"""A store whose indexes lag behind its items, as DynamoDB's do."""

from typing import Any

from backburner.ports import Clock, Index, Item, Key, Store, Write
from tests.reference import ReferenceStore


class LaggingStore:
    """Indexes show what was there when the first write of the last so many seconds came."""

    def __init__(self, store: Store, clock: Clock, *, lag_seconds: float) -> None:
        self._store = store
        self._clock = clock
        self._lag_seconds = lag_seconds
        self._written_at = float("-inf")
        #: All items as they were before that write; items are never changed, only replaced.
        self._before = ReferenceStore()

    def get(self, *keys: Key) -> list[Item | None]:
        return self._store.get(*keys)

    def query(self, partition: str, *, index: Index | None = None, **options: Any) -> list[Item]:
        store = self._before if index is not None and self._lags else self._store
        return store.query(partition, index=index, **options)

    def transact(self, *writes: Write) -> None:
        if not self._lags:
            self._written_at = self._clock.now()
            self._before.partitions = self._all()
        self._store.transact(*writes)

    @property
    def _lags(self) -> bool:
        return self._clock.now() < self._written_at + self._lag_seconds

    def _all(self) -> dict[str, dict[str, dict[str, Any]]]:
        store: Any = self._store
        while not isinstance(store, ReferenceStore):
            store = store.store
        return {partition: dict(items) for partition, items in store.partitions.items()}
