"""Clients that people already have, unchanged, each in an environment of its own.

What they do is in `clients/` (Python) and `node/`: written as their users would, with the base URL
and the key from the environment. `make conformance` makes the environments.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.local.stacks import MODEL, Up

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

#: Environment to what runs in it.
PYTHON = {
    "openai-1": "test_openai.py",
    "openai-3": "test_openai.py",
    "anthropic-0": "test_anthropic.py",
    "anthropic-2": "test_anthropic.py",
    "litellm": "test_litellm.py",
}
NODE = ("openai.test.mjs", "anthropic.test.mjs")

#: Longest that one client's tests may take.
PATIENCE_SECONDS = 300

pytestmark = pytest.mark.conformance


def _run(up: Up, command: list[str | Path], directory: Path) -> None:
    """Run a client's tests; what they print is shown if they fail."""
    environment = {
        **os.environ,
        "BACKBURNER_URL": up.url,
        "BACKBURNER_KEY": up.key,
        "BACKBURNER_MODEL": MODEL,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it asks the internet for prices
    }
    ran = subprocess.run(
        command,
        cwd=directory,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    print(ran.stdout)
    assert ran.returncode == 0, "the client's tests failed: see above"


@pytest.mark.parametrize("environment", PYTHON)
def test_a_python_client_works_unchanged(up, environment):
    python = ROOT / ".venv-clients" / environment / "bin" / "python"
    tests = HERE / "clients" / PYTHON[environment]
    apart = ["-c", os.devnull, "--rootdir", tests.parent, "--confcutdir", tests.parent]
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *apart, tests.name]
    _run(up, command, tests.parent)


@pytest.mark.skipif(shutil.which("npm") is None, reason="needs Node and npm")
@pytest.mark.parametrize("tests", NODE)
def test_a_node_client_works_unchanged(up, tests):
    _run(up, ["node", "--test", tests], HERE / "node")
