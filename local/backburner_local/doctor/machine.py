"""This machine: Python, the AWS SDK, and what deploys."""

import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from backburner_local.doctor.findings import Finding, Result

_OLDEST_PYTHON = (3, 11)
_SAM_SECONDS = 30


def check() -> Iterator[Finding]:
    yield _python()
    yield _botocore()
    yield _sam()


def _python() -> Finding:
    is_old = sys.version_info < _OLDEST_PYTHON
    advice = f"Python {'.'.join(map(str, _OLDEST_PYTHON))} or newer is needed." if is_old else ""
    result = Result.FAIL if is_old else Result.OK
    return Finding("Python", result, platform.python_version(), advice)


def _botocore() -> Finding:
    there = version("botocore")
    wanted = _least_version("botocore")
    if _numbers(there) < _numbers(wanted):
        advice = f"Calls may be missing: `pip install 'botocore>={wanted}'`."
        return Finding("botocore", Result.FAIL, there, advice)
    return Finding("botocore", Result.OK, there)


def _least_version(package: str) -> str:
    """The version of a dependency that the project asks for; `0` if it names none."""
    try:
        asked = [line for line in requires("backburner") or [] if line.startswith(f"{package}>=")]
    except PackageNotFoundError:
        return "0"
    return asked[0].removeprefix(f"{package}>=").split(";")[0].strip() if asked else "0"


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())


def _sam() -> Finding:
    """The SAM CLI: on the path, or in the virtual environment that `make` puts it in."""
    command = shutil.which("sam") or shutil.which("sam", path=str(Path(".venv-sam/bin").absolute()))
    advice = "`pip install aws-sam-cli`; it builds and deploys the stack."
    if command is None:
        return Finding("SAM CLI", Result.WARN, "not found", advice)
    try:
        answer = subprocess.run(  # noqa: S603 - a program that the operator put on their path
            [command, "--version"], capture_output=True, text=True, timeout=_SAM_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        return Finding("SAM CLI", Result.WARN, f"{command} does not run: {error}", advice)
    return Finding("SAM CLI", Result.OK, answer.stdout.strip().rsplit(" ", 1)[-1])
