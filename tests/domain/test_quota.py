"""What a tenant may use."""

import pytest

from backburner.domain.errors import InvalidRequest
from backburner.domain.quota import Quota


@pytest.mark.parametrize("limit", ["requests_per_minute", "waiting_lines", "stored_bytes"])
def test_a_limit_below_zero_is_refused_by_name(limit):
    with pytest.raises(InvalidRequest, match=f"'{limit}' must not be negative") as caught:
        Quota(**{limit: -1})
    assert caught.value.param == limit
    assert getattr(Quota(**{limit: 0}), limit) == 0
