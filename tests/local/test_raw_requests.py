"""Raw requests through a whole stack: over HTTP to a container, and the bytes back."""

import hashlib
from collections.abc import Iterator

import httpx
import pytest

from backburner_local.options import Options
from backburner_local.stack import Stack
from tests.local.stacks import wait_until

CATALOG = """
[models.vision]
backend = "sagemaker_async"
routes = ["/v1/requests"]
"""
MEGABYTE = 1 << 20

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def http(tmp_path_factory) -> Iterator[httpx.Client]:
    """A client of a stack whose only model takes raw requests: the null engine, which echoes."""
    folder = tmp_path_factory.mktemp("stack")
    (folder / "catalog.toml").write_text(CATALOG, encoding="utf-8")
    options = Options(
        data_dir=folder / "data",
        catalog=folder / "catalog.toml",
        port=0,
        engine="null",
        minute_seconds=1.0,
        durable=False,
    )
    with Stack(options) as stack:
        key = (options.data_dir / "dev.key").read_text().strip()
        headers = {"authorization": f"Bearer {key}"}
        with httpx.Client(
            base_url=stack.url, headers=headers, timeout=60, follow_redirects=True
        ) as client:
            yield client


def result(http: httpx.Client, accepted: httpx.Response) -> httpx.Response:
    assert accepted.status_code == 202, accepted.text

    def look() -> httpx.Response | None:
        answer = http.get(accepted.headers["location"])
        return answer if answer.status_code != 202 else None

    return wait_until(look, "the answer")


def ask(http: httpx.Client, body: bytes, content_type: str = "image/png") -> httpx.Response:
    headers = {"content-type": content_type}
    return http.post("/v1/requests", params={"model": "vision"}, content=body, headers=headers)


@pytest.mark.parametrize("size", [9, 50_000, 5 * MEGABYTE], ids=["small", "object", "redirected"])
def test_bytes_come_back_as_they_went_with_their_type(http, size):
    body = (b"\x00\xff\n\r" * size)[:size]
    done = result(http, ask(http, body, "image/x-test"))
    assert done.status_code == 200
    assert done.headers["content-type"] == "image/x-test"
    assert hashlib.sha256(done.content).digest() == hashlib.sha256(body).digest()


def test_a_failure_comes_with_the_containers_status_and_words(http):
    said = []
    for _ in range(5):  # the word of a quick failure may come before it is noted where it lies
        failed = result(http, ask(http, b"null:status=422 \xff"))
        assert failed.status_code == 422
        said.append(failed.json()["error"]["message"])
    assert "The request asked for status 422." in said


def test_a_large_body_is_uploaded_and_then_started(http):
    reserved = http.post(
        "/v1/requests",
        params={"model": "vision", "upload": "true"},
        headers={"content-type": "audio/wav"},
    )
    assert reserved.status_code == 201
    steps = reserved.json()
    body = b"RIFF\x00" * MEGABYTE
    uploaded = httpx.put(steps["upload"]["url"], content=body, timeout=60)
    assert uploaded.status_code == 200
    done = result(http, http.post(steps["start"]["url"]))
    assert (done.status_code, done.headers["content-type"]) == (200, "audio/wav")
    assert done.content == body


def test_who_waits_has_it_in_one_call(http):
    headers = {"content-type": "text/plain", "prefer": "wait=20"}
    answer = http.post("/v1/requests?model=vision", content=b"now", headers=headers)
    assert (answer.status_code, answer.content) == (200, b"now")
