"""What a large file costs the stack: memory does not grow with its lines."""

import pytest

from benchmarks import batches, stack

FEW, MANY = 20_000, 200_000
#: Of each further line are kept: which custom_id it has, and a share of its shard. A dict of the
#: custom_ids' hashes alone would need more.
BYTES_A_LINE = 96


def peak_bytes(lines: int) -> int:
    """Most memory that a stack ever held that ran so many lines; its output was whole, in order."""
    with stack.running() as running:
        path = running.data_dir / "input.jsonl"
        stack.write_requests(path, lines)
        running.warm()
        batches.run(running, path, lines)
        return running.peak_mib() << 20


@pytest.mark.long
def test_ten_times_the_lines_take_hardly_more_memory():
    few, many = peak_bytes(FEW), peak_bytes(MANY)
    assert many - few < BYTES_A_LINE * (MANY - FEW)
