"""Names of a job and of its objects: all of them say whose attempt it is.

The objects lie below the batch's own prefix, and go with the batch: they hold prompts. Tenants,
batches and shards have names that fit Bedrock's patterns (reference page `bedrock.md` §1.1) as they
are.
"""

import re
from dataclasses import dataclass

from backburner.adapters.job_names import attempt_name
from backburner.domain.shard import AttemptRef

_INPUT = re.compile(r"batches/([^/]+)/([^/]+)/jobs/bedrock/in/([a-z_]+)/([^/]+)-a([0-9]+)\.jsonl")


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
        return f"{self._folder}in/{self.format}/{attempt_name(self.ref)}.jsonl"

    @property
    def refused_key(self) -> str:
        """Outcomes of requests that were not sent."""
        return f"{self._folder}refused/{attempt_name(self.ref)}.jsonl"

    @property
    def output_prefix(self) -> str:
        """What jobs write below, each in a folder of its own id."""
        return f"{self._folder}out/"

    @property
    def _folder(self) -> str:
        return f"batches/{self.ref.tenant}/{self.ref.batch_id}/jobs/bedrock/"
