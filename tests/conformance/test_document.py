"""The API answers as its document says, to what a program makes of the document alone.

`make fuzz` asks a hundred times as much of each route.
"""

import pytest

from tests.conformance.fuzz import CATALOG, fuzz
from tests.local.stacks import Up

pytestmark = pytest.mark.conformance


def test_requests_made_from_the_document_are_answered_as_it_says(tmp_path, tally):
    with Up(tmp_path / "data", "--catalog", str(CATALOG)) as up:
        count = fuzz(up, tmp_path, examples=1, seed=1)
    tally("requests made from the API's document", count)
    assert count > 1500
