"""Modules that take long to import, and that starting and asking must not wait for."""

import re
import subprocess
import sys

import pytest

_IMPORTED = re.compile(r"^import time:[ 0-9]+\|[ 0-9]+\| +([^\s.]+)", re.MULTILINE)

#: Needed by instances, by engines, by tests, or by no more than one command.
NEVER = {
    "boto3",
    "fastapi",
    "huggingface_hub",
    "jinja2",
    "model_hosting_container_standards",
    "moto",
    "numpy",
    "openai",
    "openvino",
    "openvino_genai",
    "pydantic",
    "starlette",
    "tokenizers",
    "torch",
    "transformers",
    "uvicorn",
}
COMMAND = [sys.executable, "-X", "importtime", "-m", "backburner_local.cli"]
COMMANDS = [
    pytest.param(["up", "--port", "0", "--engine", "null"], NEVER | {"httpx", "rich"}, id="up"),
    pytest.param(["up", "--port", "0"], NEVER | {"httpx", "rich"}, id="up, with the shipped model"),
    pytest.param(
        ["status", "--key", "k", "--url", "http://127.0.0.1:9"],
        # httpx imports rich, for a command of its own.
        NEVER | {"aiohttp", "botocore", "cbor2", "watchfiles", "yaml"},
        id="status",
    ),
]


@pytest.mark.parametrize(("arguments", "banned"), COMMANDS)
def test_a_command_does_not_wait_for_what_others_need(tmp_path, arguments, banned):
    imports = tmp_path / "imports.txt"
    with (
        imports.open("w") as stderr,
        subprocess.Popen(
            [*COMMAND, *arguments, "--data-dir", str(tmp_path / "data")],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        if arguments[0] == "up":
            assert "ready" in process.stdout.readline()
            process.terminate()
        process.wait(60)
    found = set(_IMPORTED.findall(imports.read_text()))
    assert {"backburner_local", "click"} <= found
    assert found & banned == set()
