"""How many jobs of a model the account may have at once, and how many of them are not ours.

Facts: reference page `bedrock.md` §1.3 and §6. Quotas know a model by its display name only, and a
name is part of another's: it has to be the whole one. A list of jobs takes one status at a time,
and no model.
"""

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from backburner.adapters.clients import Clients
from backburner.domain.catalog import Jobs, base_model
from backburner.domain.errors import BackendError
from backburner.ports import Blobs, Room

#: States of a job that holds a slot; whether one does that is being stopped is documented nowhere.
_ACTIVE = ("Submitted", "Validating", "Scheduled", "InProgress", "Stopping")

_QUOTA = "Sum of in-progress and submitted batch inference jobs using a {} model for {}"

#: Models are asked for one after another: what runs is listed once for all of them.
_LISTED_SECONDS = 20.0

#: An account has more than a thousand quotas of Bedrock, which change by the day at most.
_KNOWN_SECONDS = 3600.0

_logger = logging.getLogger(__name__)


def quotas_of_jobs(name: str) -> tuple[str, str]:
    """What a quota of jobs may be called, by the model's name in it."""
    return _QUOTA.format("base", name), _QUOTA.format("custom", name)


@dataclass(slots=True)
class Rooms:
    """Asks for the room of models, and remembers their quotas for a while."""

    clients: Clients
    blobs: Blobs
    #: Slots by the quota's name in lower case, and until when they are believed.
    _quotas: dict[str, int] = field(default_factory=dict)
    _known_until: float = 0.0
    #: Base models of jobs of others that hold a slot, and until when they are believed.
    _others: list[str] = field(default_factory=list)
    _listed_until: float = 0.0

    def of(self, jobs: Jobs) -> Room:
        """What the account has for the model's jobs; raises BackendError."""
        if time.monotonic() >= self._listed_until:
            try:
                self._others = [_base_of(job) for job in self._active() if not self._is_ours(job)]
            except (ClientError, BotoCoreError) as error:
                raise BackendError("Bedrock does not list its jobs.") from error
            self._listed_until = time.monotonic() + _LISTED_SECONDS
        others = self._others.count(jobs.base_model)
        return Room(limit=self._limit(jobs.quota_name), others=others)

    def _active(self) -> Iterator[Mapping[str, Any]]:
        pages = self.clients.bedrock.get_paginator("list_model_invocation_jobs")
        for status in _ACTIVE:
            for page in pages.paginate(statusEquals=status):
                yield from page.get("invocationJobSummaries", ())

    def _is_ours(self, job: Mapping[str, Any]) -> bool:
        """Whether the job's input is in our bucket."""
        source = job.get("inputDataConfig", {}).get("s3InputDataConfig", {}).get("s3Uri", "")
        return self.blobs.key_of(source) is not None

    def _limit(self, quota_name: str | None) -> int | None:
        """Slots that Service Quotas grants; None: it has no such quota, or does not tell."""
        if quota_name is None:
            return None
        if time.monotonic() >= self._known_until:
            self._ask_quotas()
        wanted = (name.casefold() for name in quotas_of_jobs(quota_name))
        limit = next((self._quotas[name] for name in wanted if name in self._quotas), None)
        if limit is None and self._quotas:
            _logger.warning(
                "quotas.unknown name=%s hint=see jobs.quota_name of the catalog", quota_name
            )
        return limit

    def _ask_quotas(self) -> None:
        try:
            pages = self.clients.service_quotas.get_paginator("list_service_quotas")
            self._quotas = {
                quota["QuotaName"].casefold(): int(quota["Value"])
                for page in pages.paginate(ServiceCode="bedrock")
                for quota in page.get("Quotas", ())
            }
        except (ClientError, BotoCoreError):
            _logger.warning("quotas.not_told service=bedrock")
        self._known_until = time.monotonic() + _KNOWN_SECONDS


def _base_of(job: Mapping[str, Any]) -> str:
    return base_model(job.get("modelId", ""))
