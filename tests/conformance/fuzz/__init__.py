"""Requests that Schemathesis makes of the API's own document, sent to a stack over a socket.

Most of them are wrong on purpose. It fails what is answered with 5xx, or with a status, header or
body that the document does not have, and what the document forbids and the API takes.
"""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any, Final

from backburner_local.client import Client
from tests.local.stacks import CHAT, Up, wait_until

HERE = Path(__file__).parent
PROGRAM = HERE.parents[2] / ".venv-clients" / "schemathesis" / "bin" / "schemathesis"
CATALOG: Final = HERE / "catalog.toml"
MODEL: Final = "anything"

#: Of each kind that there are before it begins: it deletes them, too.
THINGS = 12
#: How often a name is that of something that is there.
_KNOWN = 0.6

_GENERATED = re.compile(r"(\d+) generated")


def fuzz(up: Up, directory: Path, *, examples: int, seed: int) -> int:
    """Send them, and return how many; fails if one is not answered as it should be.

    Args:
        up: a stack with the catalog from here.
        directory: for what it writes.
        examples: most requests of a kind to one route, beside those for the document's corners.
        seed: what they come from.
    """
    config = directory / "schemathesis.toml"
    config.write_text(_config(_things(up.client)))
    ran = subprocess.run(
        [
            PROGRAM, "--config-file", config, "run", f"{up.url}/openapi.json",
            "--max-examples", str(examples), "--seed", str(seed),
        ],
        cwd=directory,
        env={**os.environ, "BACKBURNER_KEY": up.key},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip
    print(ran.stdout)
    assert ran.returncode == 0, "some were not answered as they should be: see above"
    found = _GENERATED.search(ran.stdout)
    assert found is not None, "it does not tell how many there were"
    return int(found[1])


def _things(client: Client) -> dict[str, list[str]]:
    """Ids by the parameter or field that names them."""
    made: dict[str, list[str]] = {"body.model": [MODEL], "query.model": [MODEL]}
    for number in range(THINGS):
        for name, thing in _some(client, number):
            made.setdefault(name, []).append(thing)
    last = made["path.batch_id"][-2]  # the last but one; the last is a batch of messages
    wait_until(lambda: client.batch(last)["status"] == "completed", "the batch")
    return made


def _some(client: Client, number: int) -> list[tuple[str, str]]:
    """One thing of each kind."""
    chat = {"model": MODEL, "messages": [{"role": "user", "content": f"say {number}"}]}
    line = {"custom_id": f"r{number}", "method": "POST", "url": CHAT, "body": chat}
    file = _made(
        client,
        "/v1/files",
        files={"file": ("in.jsonl", json.dumps(line).encode() + b"\n")},
        data={"purpose": "batch"},
    )
    batch = {"input_file_id": file, "endpoint": CHAT, "completion_window": "24h"}
    message = {"custom_id": "one", "params": {**chat, "max_tokens": 5}}
    upload = {"bytes": 4, "filename": "a", "mime_type": "text/plain", "purpose": "batch"}
    background = {"model": MODEL, "input": f"say {number}", "background": True}
    return [
        ("path.file_id", file),
        ("body.input_file_id", file),
        ("path.batch_id", _made(client, "/v1/batches", json=batch)),
        ("path.batch_id", _made(client, "/v1/messages/batches", json={"requests": [message]})),
        ("path.upload_id", _made(client, "/v1/uploads", json=upload)),
        ("path.response_id", _made(client, "/v1/responses", json=background)),
        ("path.request_id", _made(client, CHAT, json=chat, headers={"Prefer": "respond-async"})),
    ]


def _made(client: Client, path: str, **body: Any) -> str:
    answer = client.http.post(path, **body)
    assert answer.is_success, answer.text
    name: str = answer.json()["id"]
    return name


def _config(things: dict[str, list[str]]) -> str:
    """What is always said, and what is there."""
    lines = [(HERE / "schemathesis.toml").read_text(), "[parameters]"]
    lines.append('"header.Prefer" = "wait=0"')  # waiting for models would take hours
    for name in things:
        lines.append(f'"{name}" = {{ dictionary = "{name}", probability = {_KNOWN} }}')
    for name, values in things.items():
        lines += [f'[dictionaries."{name}"]', f"values = {json.dumps(values)}"]
    return "\n".join(lines) + "\n"
