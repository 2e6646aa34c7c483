"""What the clients' tests share. Nothing of the project can be imported here."""

import json
import os
import time

import pytest

URL = os.environ["BACKBURNER_URL"]
KEY = os.environ["BACKBURNER_KEY"]
MODEL = os.environ["BACKBURNER_MODEL"]
PATIENCE_SECONDS = 60.0


def a_line(number, **body):
    """Line of a batch file."""
    messages = [{"role": "user", "content": f"say {number}"}]
    asked = {"model": MODEL, "messages": messages, **body}
    line = {
        "custom_id": f"r{number}",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": asked,
    }
    return json.dumps(line) + "\n"


def a_file(count):
    return "".join(a_line(number) for number in range(1, count + 1)).encode()


def until(look, what="the condition"):
    """What `look` returns once that is true."""
    ends_at = time.monotonic() + PATIENCE_SECONDS
    while not (found := look()):
        assert time.monotonic() < ends_at, f"{what} did not come true"
        time.sleep(0.05)
    return found


@pytest.fixture(scope="session")
def url():
    return URL


@pytest.fixture(scope="session")
def key():
    return KEY


@pytest.fixture(scope="session")
def model():
    return MODEL
