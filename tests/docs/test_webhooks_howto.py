"""What the page about webhooks shows receivers to do, done with what is really sent."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backburner.domain import webhook
from backburner.domain.delivery import POLICIES, Channel

PAGE = (Path(__file__).parents[2] / "docs/howto/get-told-by-webhook.md").read_text("utf-8")
NOW = 1_790_000_000.0
BODY = '{"id":"evt_1","type":"batch.completed","data":{"id":"batch_ä"}}'.encode()


@pytest.fixture(scope="module")
def is_ours() -> Callable[..., bool]:
    """The page's function for those who have no library."""
    (code,) = re.findall(r"```python\n(import base64.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    found: Callable[..., bool] = names["is_ours"]
    return found


def secret(drawn: str) -> webhook.Secret:
    return webhook.new_secret(drawn * 24)


def test_the_page_s_check_believes_what_is_sent_and_nothing_else(is_ours, monkeypatch):
    monkeypatch.setattr("time.time", lambda: NOW)
    old, new, other = map(secret, "abc")
    sent = webhook.headers("evt_1", BODY, (new, old), now=NOW)
    assert is_ours(sent, BODY, old.value)
    assert is_ours(sent, BODY, new.value)
    assert not is_ours(sent, BODY, other.value)
    assert not is_ours(sent, BODY + b" ", new.value)
    assert not is_ours({**sent, "webhook-id": "evt_2"}, BODY, new.value)
    late = webhook.headers("evt_1", BODY, (new,), now=NOW - 301)
    assert not is_ours(late, BODY, new.value)


def test_the_page_names_every_event_type():
    assert [one for one in webhook.EVENT_TYPES if f"`{one}`" not in PAGE] == []


def test_the_page_tells_the_pauses():
    units = {"s": 1.0, "min": 60.0, "h": 3600.0}
    (told,) = re.findall(r"tried again after (.*?), each up to", PAGE, re.DOTALL)
    pauses = [float(n) * units[unit] for n, unit in re.findall(r"([0-9]+) (s|min|h)\b", told)]
    assert tuple(pauses) == POLICIES[Channel.WEBHOOK].pauses
