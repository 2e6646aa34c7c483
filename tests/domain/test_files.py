"""Where the lines of a file begin."""

import pytest

from backburner.domain.file import FilePurpose, LineStarts, StoredFile


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 129, 1000])
@pytest.mark.parametrize("together", [1, 3, 100, 1000])
def test_a_line_is_found_from_a_place_near_it(count, together):
    lines = [b"x" * (n % 7) + b"\n" for n in range(count)]
    noted = LineStarts()
    for begin in range(0, count, together):
        some = lines[begin : begin + together]
        if begin // together % 2 == 0:
            noted.add_lines(b"".join(some), len(some))
        else:
            for line in some:
                noted.add(len(line))
    data = b"".join(lines)
    assert (noted.size, noted.line_count) == (len(data), count)
    assert len(noted.starts) <= 64
    file = StoredFile(
        tenant="acme",
        id="file_1",
        filename="out.jsonl",
        purpose=FilePurpose.BATCH_OUTPUT,
        size=len(data),
        created_at=0.0,
        line_starts=tuple(noted.starts),
        line_stride=noted.stride,
    )
    for number in range(count + 1):
        start, skip = file.place_of(number)
        rest = data[start:].split(b"\n")[skip:]
        assert b"\n".join(rest) == b"".join(lines[number:])
        assert skip <= max(noted.stride, 2 * count // 64 + 1)
