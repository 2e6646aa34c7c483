"""Jobs on the disk: AWS never forgets one, and what was finished is not run again."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from backburner_local.emulators.sagemaker.transform.job import Job


class KeptJobs:
    """A folder with two files a job: the job, and the keys of the objects that it finished."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self) -> list[Job]:
        """All that there are, oldest first."""
        if not self._folder.is_dir():
            return []
        jobs = [self._read(path) for path in self._folder.glob("*.json")]
        return sorted(jobs, key=lambda job: job.created_at)

    def save(self, job: Job) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        partial = self._folder / f".{job.name}.{os.getpid()}"
        partial.write_bytes(msgspec.json.encode(job.to_json()))
        partial.replace(self._folder / f"{job.name}.json")

    def remove(self, job: Job) -> None:
        for ending in ("json", "finished"):
            (self._folder / f"{job.name}.{ending}").unlink(missing_ok=True)

    def finish(self, job: Job, key: str) -> None:
        """Note that the output of an object is there."""
        with (self._folder / f"{job.name}.finished").open("ab") as file:
            file.write(msgspec.json.encode(key) + b"\n")

    def _read(self, path: Path) -> Job:
        job = Job.from_json(msgspec.json.decode(path.read_bytes()))
        finished = path.with_suffix(".finished")
        if finished.is_file():
            lines = finished.read_bytes().split(b"\n")
            job.finished = [msgspec.json.decode(line) for line in lines[:-1]]
        return job
