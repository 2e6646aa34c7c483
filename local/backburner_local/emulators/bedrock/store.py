"""The jobs on disk: one file each, replaced whole, so that a kill of this process loses none."""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from backburner_local.emulators.bedrock.job import Job

logger = logging.getLogger(__name__)

_decode = msgspec.json.Decoder(Job).decode


class JobStore:
    """Files in a folder; a power cut may lose the last ones."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def save(self, job: Job) -> None:
        partial = self._folder / f"{job.id}.partial"
        partial.write_bytes(msgspec.json.encode(job))
        partial.replace(self._folder / f"{job.id}.json")
        if job.is_over:
            self.spool(job.id).unlink(missing_ok=True)

    def remove(self, job: Job) -> None:
        (self._folder / f"{job.id}.json").unlink(missing_ok=True)

    def load(self) -> list[Job]:
        """All jobs, oldest first."""
        jobs: list[Job] = []
        for path in self._folder.glob("*.json"):
            try:
                jobs.append(_decode(path.read_bytes()))
            except msgspec.DecodeError as error:
                logger.warning("job.unreadable file=%s error=%s", path.name, error)
        return sorted(jobs, key=lambda job: (job.submitted_at, job.id))

    def spool(self, job_id: str) -> Path:
        """File of the records that a job which runs has processed."""
        return self._folder / f"{job_id}.spool"
