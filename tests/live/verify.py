"""Settle in a real account what AWS leaves undocumented: `python -m tests.live.verify --help`.

It buys up to two small instances for about an hour; see docs/howto/verify-on-aws.md. It has not
been run on AWS yet: only against moto and our emulator.
"""

import argparse
import signal
import sys
import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import boto3

from backburner_local.emulators.sagemaker.knobs import Knobs
from tests.live.measurements import MEASUREMENTS, Finding, Measurement
from tests.live.questions import QUESTIONS
from tests.live.report import Run, write
from tests.live.site import FREE, LIMITED, PREFIX, Site, left_over

#: Instance hours of a run: one endpoint for all of it, the other for its first part.
_HOURS = 2.0


def run(
    *,
    image: str,
    instance_type: str,
    out: Path,
    max_minutes: float,
    scale: float = 1.0,
    measurements: Sequence[Measurement] = MEASUREMENTS,
) -> tuple[Run, list[str]]:
    """Measure everything, write the report, and remove what was made, whatever happens.

    Returns:
        What was found, and what could not be removed.
    """
    site = Site(f"{PREFIX}{uuid.uuid4().hex[:6]}", scale=scale)
    _tell(f"This run is {site.name}; if it dies: python -m tests.live.verify cleanup {site.name}")
    began, findings, errors = time.monotonic(), [], {}
    try:
        _set_up(site, image, instance_type)
        for measure in measurements:
            if time.monotonic() - began > max_minutes * 60:
                errors[_name(measure)] = f"not begun: over {max_minutes:.0f} minutes"
                continue
            _tell(_name(measure))
            try:
                for finding in measure(site):
                    findings.append(finding)
                    _tell(f"  {finding.question}: {finding.value}")
            except Exception as error:  # noqa: BLE001 - the others can still be settled
                errors[_name(measure)] = f"{type(error).__name__}: {error}"
                _tell(f"  broken off: {errors[_name(measure)]}")
    finally:
        _tell("Removing everything ...")
        left = site.tear_down()
        done = _done(site, instance_type, (time.monotonic() - began) / 60, findings, errors)
        _tell(f"Report: {write(done, out, Knobs())}")
    return done, left


def _set_up(site: Site, image: str, instance_type: str) -> None:
    site.deploy()
    for kind in (LIMITED, FREE):
        site.create_endpoint(kind, image=image, instance_type=instance_type)
    _tell("Endpoints are starting ...")
    site.wait_for(LIMITED)


def _done(
    site: Site,
    instance_type: str,
    minutes: float,
    findings: Sequence[Finding],
    errors: dict[str, str],
) -> Run:
    return Run(
        name=site.name,
        date=datetime.now(UTC).date().isoformat(),
        region=site.sagemaker.meta.region_name,
        instance_type=instance_type,
        minutes=minutes,
        findings=findings,
        errors=errors,
    )


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _arguments(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Stopped."))
    if arguments.command == "questions":
        for question in QUESTIONS:
            _tell(f"{question.id}: {question.asks}\n    {question.measured_by}")
        return 0
    if arguments.command == "cleanup":
        return _clean_up([arguments.name] if arguments.name else left_over())
    if not arguments.yes_spend:
        _tell(_expected(arguments.instance_type, arguments.price_per_hour))
        _tell("Nothing was started. Say --yes-spend to go on.")
        return 2
    done, left = run(
        image=arguments.image,
        instance_type=arguments.instance_type,
        out=arguments.out,
        max_minutes=arguments.max_minutes,
    )
    return _ended(left) or (1 if done.errors else 0)


def _clean_up(names: list[str]) -> int:
    code = 0
    for name in names:
        _tell(f"Removing {name} ...")
        code |= _ended(Site(name).tear_down())
    return code


def _ended(left: list[str]) -> int:
    for what in left:
        _tell(f"STILL THERE, and perhaps paid for: {what}")
    return 3 if left else 0


def _expected(instance_type: str, price: float | None) -> str:
    region = boto3.Session().region_name
    cost = "" if price is None else f", {_HOURS * price:.2f} USD at {price} USD an hour"
    return (
        f"A run takes about an hour and at most {_HOURS:.0f} instance hours of {instance_type} in"
        f" {region}{cost}; requests, metrics and storage are cents."
    )


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.live.verify", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("questions", help="list what a run settles, and how")
    runs = commands.add_parser("run", help="measure, report, remove everything")
    runs.add_argument("--image", required=True, help="the container of tests/live in your ECR")
    runs.add_argument("--instance-type", default="ml.m5.large")
    runs.add_argument("--price-per-hour", type=float, help="for the expected cost")
    runs.add_argument("--max-minutes", type=float, default=90, help="begin nothing after that")
    runs.add_argument("--out", type=Path, default=Path("live-report"))
    runs.add_argument("--yes-spend", action="store_true", help="yes, it may cost that")
    cleans = commands.add_parser("cleanup", help="remove what runs left that died")
    cleans.add_argument("name", nargs="?", help="of one run; else all that are found")
    return parser.parse_args(argv)


def _name(measure: Measurement) -> str:
    return str(getattr(measure, "__name__", measure))


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
