"""Which names a file has used already."""

import random
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from backburner.domain.names import SeenNames


@given(st.lists(st.text(alphabet="abc", max_size=4)))
def test_a_name_is_known_by_the_line_that_used_it_first(names):
    seen = SeenNames(slots=2)
    first: dict[str, int] = {}
    for line, name in enumerate(names, start=1):
        assert seen.first_line(name, line) == first.setdefault(name, line)


def test_many_names_are_told_apart():
    names = [f"request-{number}" for number in range(20_000)]
    random.Random(7).shuffle(names)
    seen = SeenNames()
    assert all(seen.first_line(name, line) == line for line, name in enumerate(names, start=1))
    assert all(seen.first_line(name, 0) == line for line, name in enumerate(names, start=1))


def test_a_name_costs_no_more_than_72_bytes_however_long_it_is():
    """A dict of the same hashes and lines costs more than 100. A growing table is there twice."""
    seen = SeenNames()
    tracemalloc.start()
    try:
        for line in range(1, 20_001):
            seen.first_line(f"{line}" + "x" * 500, line)
        assert tracemalloc.get_traced_memory()[1] < 72 * 20_000
    finally:
        tracemalloc.stop()
