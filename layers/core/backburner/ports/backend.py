"""What runs shards."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from backburner.domain.catalog import Model
from backburner.domain.shard import AttemptRef, Shard


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """What the backend said when it took the attempt."""

    #: Where it will put what comes out.
    output_location: str | None = None
    failure_location: str | None = None
    #: Its name of the job that runs the attempt, where attempts are jobs.
    job: str | None = None


class AttemptState(StrEnum):
    """How an attempt goes, as far as one can see."""

    #: No result yet; nobody knows more.
    UNKNOWN = "unknown"
    #: There is a result, be it of a part of the lines.
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    #: The backend has no such attempt: it never started it, or has forgotten it.
    ABSENT = "absent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a look at an attempt found."""

    state: AttemptState
    #: Object with the result, in the format of shards, where it succeeded.
    result_key: str | None = None
    #: Why it failed, in words that a client may see; None: nobody said.
    reason: str | None = None
    #: Whether another attempt would fail as well.
    is_final: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What an account has for jobs of one model."""

    #: Jobs that it may have at once; None: nobody says.
    limit: int | None
    #: Of these, how many are not ours.
    others: int = 0


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
        """See whether the attempt's result is there, although nobody told.

        Of a job that ended, what it finished is made a result in the format of shards, whatever
        its state says; lines that it left are missing in it.

        Raises:
            BackendError: nobody knows now.
        """

    def stop(self, shard: Shard) -> None:
        """Stop the attempt if the backend can; no promise. What it finished can be looked at."""

    def attempt_of(self, job: str) -> AttemptRef | None:
        """The attempt that a job runs, by the backend's name of the job; None: it is not ours.

        Raises:
            BackendError: nobody knows now.
        """

    def instances(self, model: Model) -> int | None:
        """Instances that the model has now, running or starting; None: jobs bring their own.

        Raises:
            BackendError: nobody knows.
        """

    def room(self, model: Model) -> Room | None:
        """What the account has for the model's jobs; None: it has no jobs, or no limit of them.

        Raises:
            BackendError: nobody knows now.
        """

    def wake(self, model: Model, wanted: int) -> None:
        """Ask for at least so many instances; a backend that scales by itself ignores it.

        Raises:
            BackendError: not now; ask again.
        """
