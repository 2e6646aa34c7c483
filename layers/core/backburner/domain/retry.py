"""Whether, when and with which lines a shard is tried again."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from backburner.domain.request import Outcome
from backburner.domain.shard import LAST_PIECE, WHOLE, Shard
from backburner.domain.slots import Pool


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often a line is tried, and how long the pauses are."""

    #: Attempts after which a line fails for good.
    max_attempts: int = 3
    #: Attempts of a line that was found by halving and whose server died with it each time: so may
    #: it have with another that runs beside it, which is as alone by then.
    max_isolated_attempts: int = 6
    #: Pause after the first attempt; doubles with each.
    base_seconds: float = 5.0
    max_seconds: float = 300.0
    #: Shards of one pool that are halved while nothing of the pool succeeds.
    max_probes: int = 8

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


def most_attempts(shard: Shard, outcomes: Iterable[Outcome], *, policy: RetryPolicy) -> int:
    """Attempts after which the shard's lines fail for good."""
    is_isolated = shard.piece != WHOLE and shard.line_count == 1
    if is_isolated and all(outcome.code == "backend_failed" for outcome in outcomes):
        return policy.max_isolated_attempts
    return policy.max_attempts


def sort_outcomes(outcomes: Iterable[Outcome], *, is_last: bool) -> Sorted:
    """Part outcomes into those that stand and those whose lines are tried again."""
    final: list[Outcome] = []
    retry: list[Outcome] = []
    for outcome in outcomes:
        (final if is_last or not outcome.is_retryable else retry).append(outcome)
    return Sorted(final=tuple(final), retry=tuple(retry))


class Fate(StrEnum):
    """What becomes of a shard of whose lines none has ended."""

    #: Its lines are tried again, together.
    REPEAT = "repeat"
    #: Its halves are tried, each for itself: one line may have spoiled it for all.
    HALVE = "halve"
    #: Its lines fail.
    FAIL = "fail"


def has_failed_as_a_whole(shard: Shard, outcomes: Iterable[Outcome]) -> bool:
    """Whether no line of an attempt has ended: the fault may be that of a single one.

    Not where the server gave lines a status that it had given to these lines alone before.
    """
    return all(
        outcome.is_retryable and not (shard.is_rest and outcome.status_code) for outcome in outcomes
    )


def is_well(shard: Shard, pool: Pool) -> bool:
    """Whether requests have succeeded since the shard's failed: it is not the endpoint's fault."""
    return shard.failed_at is not None and pool.succeeded_at > shard.failed_at


def fate(shard: Shard, pool: Pool, *, policy: RetryPolicy) -> Fate:
    """What to do with a shard whose attempt failed as a whole.

    The first time it may have been the instance's fault. From then on it is halved, down to the
    one line that is to blame: with n lines, in about 2 log2(n) attempts. Where nothing succeeds
    between its failures, the endpoint is rather down than well, and more shards would only mean
    more failures: then all the pool's shards together are halved `max_probes` times at most.
    """
    is_first = shard.piece == WHOLE and shard.attempt <= 1
    has_halves = shard.line_count > 1 and 2 * shard.piece < LAST_PIECE
    if has_halves and not is_first and (is_well(shard, pool) or pool.probes < policy.max_probes):
        return Fate.HALVE
    return Fate.REPEAT if shard.attempt < policy.max_attempts else Fate.FAIL
