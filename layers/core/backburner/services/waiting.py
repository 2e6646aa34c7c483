"""Wait for the end of a request, for as long as an HTTP call may last."""

from backburner.domain.batch import Batch
from backburner.ports import Environment
from backburner.services import batches

#: Pauses between two looks: each is longer than the one before. What a look costs on AWS is little
#: beside the time of the function that waits; a result is seen late by half of its age at most.
_FIRST_SECONDS, _GROWTH, _LONGEST_SECONDS = 0.05, 1.5, 2.0


def until_ended(env: Environment, batch: Batch, *, seconds: float) -> Batch:
    """The batch as it is when it has ended, or when the time is over.

    Does not wait where too many wait already, or where the process ends.
    """
    ends_at = env.clock.now() + seconds
    pause = _FIRST_SECONDS
    if batch.is_terminal or seconds <= 0 or not env.waiters.acquire(blocking=False):
        return batch
    try:
        while not batch.is_terminal and (left := ends_at - env.clock.now()) > 0:
            if not env.clock.sleep(min(pause, left)):
                break
            pause = min(pause * _GROWTH, _LONGEST_SECONDS)
            batch = batches.find(env, batch.tenant, batch.id, kind=batch.kind)
    finally:
        env.waiters.release()
    return batch
