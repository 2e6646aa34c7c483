"""What runs shards."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from backburner.domain.catalog import Model
from backburner.domain.shard import Shard


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """Where the backend said that it will put what comes out."""

    output_location: str | None = None
    failure_location: str | None = None


class AttemptState(StrEnum):
    """How an attempt goes, as far as one can see."""

    #: No result yet; nobody knows more.
    UNKNOWN = "unknown"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a look at an attempt found."""

    state: AttemptState
    #: Object with the result, where it succeeded.
    result_key: str | None = None


class Backend(Protocol):
    """Runs shards."""

    def submit(self, shard: Shard, model: Model, payload: bytes | str) -> Submitted:
        """Start the shard's current attempt.

        Args:
            shard: in flight, with its attempt counted.
            model: of the catalog.
            payload: the requests as JSONL, or the key of the object that they are in.

        Raises:
            BackendThrottled: not started; try later.
            BackendRefused: will never be taken.
            BackendError: whether it was started is unknown.
        """

    def look(self, shard: Shard) -> Look:
        """See whether the attempt's result is there, although nobody told."""

    def stop(self, shard: Shard) -> None:
        """Stop the attempt if the backend can; no promise."""

    def instances(self, model: Model) -> int:
        """Instances that the model has now, running or starting.

        Raises:
            BackendError: nobody knows.
        """

    def wake(self, model: Model, wanted: int) -> None:
        """Ask for at least so many instances; a backend that scales by itself ignores it.

        Raises:
            BackendError: not now; ask again.
        """
