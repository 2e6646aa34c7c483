"""Blobs on S3, as moto answers for it."""

import hashlib
import hmac
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from threading import Lock
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qsl, quote, urlsplit

import requests
from moto.core.botocore_stubber import BotocoreStubber

from backburner.adapters.s3 import S3Blobs
from backburner.ports import Blobs
from tests.contract.on_moto import moto_clients

BUCKET = "backburner-test"
#: What `moto_clients` signs with.
SECRET = "test"


@contextmanager
def s3_blobs() -> Iterator[Blobs]:
    with moto_clients() as clients, one_at_a_time():
        clients.s3.create_bucket(Bucket=BUCKET)
        yield S3Blobs(clients, BUCKET)
        left = clients.s3.list_multipart_uploads(Bucket=BUCKET)
        assert "Uploads" not in left, "something was left behind"


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Calls come to moto one by one: it takes an object apart that is replaced while it is read."""
    answer, lock = BotocoreStubber.process_request, Lock()

    def in_turn(stubber: BotocoreStubber, request: Any) -> Any:
        with lock:
            return answer(stubber, request)

    with patch.object(BotocoreStubber, "process_request", in_turn):
        yield


def open_url(url: str) -> bytes | None:
    """What a stranger gets. moto checks no signatures, so this does before it asks."""
    if not is_signed(url):
        return None
    answer = requests.get(url, timeout=5)
    return answer.content if answer.status_code == requests.codes.ok else None


def put_url(url: str, data: bytes) -> bool:
    """Whether a stranger's object is taken."""
    if not is_signed(url, method="PUT"):
        return False
    return requests.put(url, data=data, timeout=5).status_code == requests.codes.ok


def is_signed(url: str, *, now: datetime | None = None, method: str = "GET") -> bool:
    """Whether S3 would open the URL now (API reference, "Authenticating requests: query")."""
    split = urlsplit(url)
    query = dict(parse_qsl(split.query, keep_blank_values=True))
    signature = query.pop("X-Amz-Signature", "")
    if not signature or query["X-Amz-SignedHeaders"] != "host":
        return False
    signed_at = query["X-Amz-Date"]
    scope = query["X-Amz-Credential"].partition("/")[2]
    pairs = sorted((quote(name, safe=""), quote(value, safe="")) for name, value in query.items())
    text = "&".join(f"{name}={value}" for name, value in pairs)
    asked = f"{method}\n{split.path}\n{text}\nhost:{split.netloc}\n\nhost\nUNSIGNED-PAYLOAD"
    digest = hashlib.sha256(asked.encode()).hexdigest()
    key = f"AWS4{SECRET}".encode()
    for piece in (*scope.split("/"), f"AWS4-HMAC-SHA256\n{signed_at}\n{scope}\n{digest}"):
        key = hmac.digest(key, piece.encode(), "sha256")
    since = datetime.strptime(signed_at, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    age = ((now or datetime.now(UTC)) - since).total_seconds()
    return hmac.compare_digest(key.hex(), signature) and 0 <= age <= int(query["X-Amz-Expires"])
