"""Large files over a real socket, with the unmodified `openai` package, in and out."""

import hashlib
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backburner.ports import Limits
from tests.late import Late
from tests.local.stacks import CHAT, Up, lines, names, request, wait_until

if TYPE_CHECKING:
    import openai
else:
    openai = Late("openai")

LINES = 100_000
PART_BYTES = 4 << 20

pytestmark = pytest.mark.long


@pytest.fixture
def up(tmp_path):
    with Up(tmp_path / "data", "--max-instances", "2") as up:
        yield up


def connect(up: Up) -> "openai.OpenAI":
    return openai.OpenAI(base_url=f"{up.url}/v1", api_key=up.key)


def upload(ai: "openai.OpenAI", path: Path) -> str:
    done = ai.uploads.upload_file_chunked(
        file=path, mime_type="application/jsonl", purpose="batch", part_size=PART_BYTES
    )
    assert done.file is not None
    return done.file.id


class Reader(threading.Thread):
    """Reads a file while it is written, page by page."""

    def __init__(self, up: Up, file_id: str, limit: int) -> None:
        super().__init__()
        self._up, self._file_id, self._limit = up, file_id, limit
        self.digest = hashlib.sha256()
        self.pages = 0
        self.last_line = 0

    def run(self) -> None:
        with connect(self._up) as ai:
            while True:
                page = ai.files.with_raw_response.content(
                    self._file_id, extra_query={"offset": self.last_line, "limit": self._limit}
                )
                self.digest.update(page.content)
                self.pages += 1
                self.last_line = int(page.headers["x-last-line"])
                if page.headers["x-incomplete"] == "false":
                    return
                if not page.content:
                    time.sleep(0.2)


def test_five_who_read_a_batch_of_100_000_while_it_runs_see_each_line_once(up, tmp_path):
    path = tmp_path / "in.jsonl"
    with path.open("wb") as stream:
        for number in range(1, LINES + 1):
            stream.write(request(number, "null:status=400" if number % 100 == 0 else None))
    with connect(up) as ai:
        batch = ai.batches.create(
            input_file_id=upload(ai, path), endpoint=CHAT, completion_window="24h"
        )
        wait_until(lambda: ai.batches.retrieve(batch.id).output_file_id, "the output file", 300)
        output = ai.batches.retrieve(batch.id).output_file_id
        assert output is not None
        readers = [Reader(up, output, limit) for limit in (1000, 3000, 10_000, 30_000, LINES)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(timeout=1500)
            assert not reader.is_alive()
        ended = ai.batches.retrieve(batch.id)
        assert ended.status == "completed"
        final = ai.files.content(output).read()
    print(f"{[reader.pages for reader in readers]} pages")
    good = [name for name in names(LINES) if int(name[1:]) % 100]
    assert [line["custom_id"] for line in lines(final)] == good
    assert {reader.last_line for reader in readers} == {len(good)}
    assert {reader.digest.digest() for reader in readers} == {hashlib.sha256(final).digest()}
    assert min(reader.pages for reader in readers) > 1


def test_the_largest_file_comes_in_small_parts(up, tmp_path):
    path = tmp_path / "large.jsonl"
    line = request(1, "x" * 900)
    size = Limits().file_bytes
    with path.open("wb") as stream:
        while stream.tell() + len(line) <= size:
            stream.write(line)
    began = time.monotonic()
    with connect(up) as ai:
        file = ai.files.retrieve(upload(ai, path))
        print(f"{file.bytes} bytes in {time.monotonic() - began:.1f} s")
        assert file.bytes == path.stat().st_size
        found = hashlib.sha256()
        with ai.files.with_streaming_response.content(file.id) as answer:
            for data in answer.iter_bytes(1 << 20):
                found.update(data)
    with path.open("rb") as stream:
        assert found.digest() == hashlib.file_digest(stream, "sha256").digest()
