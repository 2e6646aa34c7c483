"""The command line's client: what it asks, and what it makes of odd answers."""

import json
from collections.abc import Callable, Iterator

import httpx
import pytest

from backburner_local.client import ApiError, Client, Unreachable

Answer = Callable[[httpx.Request], httpx.Response]


@pytest.fixture
def connect() -> Iterator[Callable[[Answer], Client]]:
    """Clients of a gateway that the test plays."""
    made: list[httpx.Client] = []

    def connect(answer: Answer) -> Client:
        made.append(httpx.Client(base_url="http://gateway", transport=httpx.MockTransport(answer)))
        return Client(made[-1])

    yield connect
    for one in made:
        one.close()


def test_content_of_a_running_batch_is_fetched_on_until_nothing_is_left(connect):
    parts = {None: (b"1\n2\n", 2), "2": (b"3\n", 3), "3": (b"", 3)}

    def answer(request: httpx.Request) -> httpx.Response:
        content, last = parts[request.url.params.get("offset")]
        headers = {"x-incomplete": "true", "x-last-line": str(last)}
        return httpx.Response(200, content=content, headers=headers)

    assert b"".join(connect(answer).content("file-1")) == b"1\n2\n3\n"


def test_content_that_is_complete_is_fetched_once(connect):
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(200, content=b"1\n", headers={"x-incomplete": "false"})

    assert b"".join(connect(answer).content("file-1")) == b"1\n"
    assert asked == ["http://gateway/v1/files/file-1/content"]


def test_an_id_stays_one_piece_of_the_path(connect):
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(404, json={"error": {"message": request.url.raw_path.decode()}})

    with pytest.raises(ApiError, match=r"^/v1/batches/a%2Fb%3Fc$"):
        connect(answer).batch("a/b?c")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b'{"error": {"message": "No."}}', "No."), (b"oops", "oops"), (b"[]", r"\[\]"), (b"", "Bad")],
)
def test_an_error_is_told_whatever_its_shape(connect, content, message):
    client = connect(lambda _: httpx.Response(502, content=content))
    with pytest.raises(ApiError, match=f"^{message}"):
        client.batch("b")
    with pytest.raises(ApiError, match=f"^{message}"):
        list(client.content("f"))


def test_another_server_at_the_address_is_told_of(connect):
    client = connect(lambda _: httpx.Response(200, text="<html>Hello</html>"))
    with pytest.raises(Unreachable, match="no Backburner"):
        client.batches()


def test_a_connection_that_breaks_is_told_of(connect):
    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(Unreachable, match=r"http://gateway.*: refused"):
        connect(answer).batches()


@pytest.mark.parametrize("key", ["ключ", "two\nlines"])
def test_what_can_be_no_key_is_refused_before_anything_is_sent(key):
    with pytest.raises(ApiError, match="not valid"):
        Client.connect("http://127.0.0.1:1", key)


@pytest.mark.parametrize("url", ["http://host:1", "http://host:1/", "http://host:1/v1"])
def test_the_url_may_be_that_of_the_gateway_or_of_its_api(url):
    with Client.connect(url, "bb-key") as client:
        assert str(client.http.base_url) == "http://host:1"


def test_a_large_file_goes_in_parts_that_the_gateway_takes(connect, tmp_path):
    path = tmp_path / "big.jsonl"
    path.write_bytes(b"x" * 4_000_001)
    sizes: list[int] = []
    ends = [503, 200]

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/uploads":
            assert json.loads(request.content)["bytes"] == 4_000_001
            return httpx.Response(200, json={"id": "upload_1", "x_part_bytes": 3_000_000})
        if request.url.path.endswith("/parts"):
            sizes.append(request.content.count(b"x" * 1000) * 1000)
            return httpx.Response(200, json={"id": f"part_{len(sizes)}"})
        assert json.loads(request.content) == {"part_ids": ["part_1", "part_2"]}
        return httpx.Response(ends.pop(0), json={"file": {"id": "file_1"}})

    assert connect(answer).upload(path) == {"id": "file_1"}
    assert sizes == [3_000_000, 1_000_000]
    assert ends == []
