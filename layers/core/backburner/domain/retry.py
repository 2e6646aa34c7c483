"""Whether, when and with which lines a shard is tried again."""

from collections.abc import Iterable
from dataclasses import dataclass

from backburner.domain.request import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often a line is tried, and how long the pauses are."""

    #: Attempts after which a line fails for good.
    max_attempts: int = 3
    #: Pause after the first attempt; doubles with each.
    base_seconds: float = 5.0
    max_seconds: float = 300.0

    def pause_seconds(self, attempt: int, jitter: float) -> float:
        """Seconds to wait after the given attempt.

        Args:
            attempt: the attempt that failed, from 1.
            jitter: a random number from 0 to 1; half of the pause is spread by it, so that shards
                that failed together do not come back together.
        """
        whole = min(self.max_seconds, self.base_seconds * 2.0 ** (attempt - 1))
        return float(whole * (0.5 + 0.5 * jitter))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sorted:
    """Outcomes of an attempt, parted by what happens next."""

    final: tuple[Outcome, ...]
    retry: tuple[Outcome, ...]


def sort_outcomes(outcomes: Iterable[Outcome], *, attempt: int, policy: RetryPolicy) -> Sorted:
    """Part outcomes into those that stand and those whose lines are tried again."""
    is_last = attempt >= policy.max_attempts
    final: list[Outcome] = []
    retry: list[Outcome] = []
    for outcome in outcomes:
        (final if is_last or not outcome.is_retryable else retry).append(outcome)
    return Sorted(final=tuple(final), retry=tuple(retry))
