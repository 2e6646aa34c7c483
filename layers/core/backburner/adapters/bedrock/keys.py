"""Names of a job and of its objects: all of them say whose attempt it is.

The objects lie below the batch's own prefix, and go with the batch: they hold prompts. Tenants,
batches and shards have names that fit Bedrock's patterns (reference page `bedrock.md` §1.1) as they
are; names of jobs and tokens, which are shorter, are made of a digest.
"""

import hashlib
import re
from dataclasses import dataclass

from backburner.domain.shard import AttemptRef

_INPUT = re.compile(r"batches/([^/]+)/([^/]+)/jobs/bedrock/in/([a-z_]+)/([^/]+)-a([0-9]+)\.jsonl")

#: Prefix of the names of our jobs, which the rule of EventBridge listens to.
JOB_PREFIX = "backburner-"


@dataclass(frozen=True, slots=True)
class Place:
    """Where the objects of an attempt are."""

    ref: AttemptRef
    #: Format that the model is asked in: it has to be known when the answers are read.
    format: str

    @classmethod
    def parse(cls, key: str | None) -> "Place | None":
        """The attempt whose input has this key; None: it is not one of ours."""
        match = _INPUT.fullmatch(key or "")
        if match is None:
            return None
        tenant, batch_id, asked_in, shard_id, attempt = match.groups()
        ref = AttemptRef(tenant=tenant, batch_id=batch_id, shard_id=shard_id, attempt=int(attempt))
        return cls(ref, asked_in)

    @property
    def input_key(self) -> str:
        """The one file that the job reads."""
        return f"{self._folder}in/{self.format}/{_attempt(self.ref)}.jsonl"

    @property
    def refused_key(self) -> str:
        """Outcomes of requests that were not sent."""
        return f"{self._folder}refused/{_attempt(self.ref)}.jsonl"

    @property
    def output_prefix(self) -> str:
        """What jobs write below, each in a folder of its own id."""
        return f"{self._folder}out/"

    @property
    def _folder(self) -> str:
        return f"batches/{self.ref.tenant}/{self.ref.batch_id}/jobs/bedrock/"


def result_key(ref: AttemptRef) -> str:
    """The attempt's result, in the format of shards."""
    return f"async/output/{ref.tenant}/{ref.batch_id}/{_attempt(ref)}.jsonl"


def job_name(location: str) -> str:
    """Name of the job; the same for one attempt of one deployment.

    Args:
        location: of the attempt's result, which no other attempt anywhere has.
    """
    return JOB_PREFIX + token(location)[:40]


def token(location: str) -> str:
    """What tells Bedrock a repeated call from a second job; made of the same."""
    return hashlib.sha256(location.encode()).hexdigest()


def _attempt(ref: AttemptRef) -> str:
    return f"{ref.shard_id}-a{ref.attempt}"
