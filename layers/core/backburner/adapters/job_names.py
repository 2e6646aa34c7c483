"""Names of the jobs that run shards, and of their results: all of them say whose attempt it is."""

import hashlib

from backburner.domain.shard import AttemptRef

#: Prefix of the names of our jobs, which the rules of EventBridge listen to.
JOB_PREFIX = "backburner-"


def attempt_name(ref: AttemptRef) -> str:
    """Of an attempt among those of its batch."""
    return f"{ref.shard_id}-a{ref.attempt}"


def result_key(ref: AttemptRef) -> str:
    """The attempt's result, in the format of shards."""
    return f"async/output/{ref.tenant}/{ref.batch_id}/{attempt_name(ref)}.jsonl"


def job_name(location: str) -> str:
    """Name of the job; the same for one attempt of one deployment.

    Args:
        location: of the attempt's result, which no other attempt anywhere has.
    """
    return JOB_PREFIX + token(location)[:40]


def token(location: str) -> str:
    """What tells Bedrock a repeated call from a second job; made of the same."""
    return hashlib.sha256(location.encode()).hexdigest()
