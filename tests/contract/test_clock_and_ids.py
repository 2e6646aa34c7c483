"""What every Clock and Ids promises."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from backburner.adapters.system import SystemIds
from backburner_local.adapters.clock import FixedClock, SequentialIds


def test_time_is_in_seconds_since_the_epoch_and_does_not_go_back(clock):
    first, second = clock.now(), clock.now()
    assert isinstance(first, float)
    assert 1_700_000_000 < first <= second < 5_000_000_000


def test_time_passes_while_one_sleeps(clock):
    before = clock.now()
    assert clock.sleep(0.02)
    assert clock.now() >= before + 0.02


def test_an_id_is_its_kind_and_20_characters(ids):
    assert re.fullmatch(r"batch_[0-9a-hjkmnp-tv-z]{20}", ids.new("batch"))


def test_ids_sort_by_age(ids):
    made = [ids.new("req") for _ in range(2000)]
    assert made == sorted(set(made))


def test_no_id_is_made_twice(ids):
    with ThreadPoolExecutor(8) as pool:
        made = [
            i
            for part in pool.map(lambda _: [ids.new("x") for _ in range(500)], range(8))
            for i in part
        ]
    assert len(set(made)) == 4000


def test_a_secret_has_at_least_192_bits(ids):
    secrets = {ids.secret() for _ in range(100)}
    assert len(secrets) == 100
    assert all(len(secret) >= 32 and secret.isascii() for secret in secrets)


def test_random_numbers_are_from_0_up_to_1(ids):
    numbers = [ids.random() for _ in range(1000)]
    assert all(0 <= number < 1 for number in numbers)
    assert 0.4 < sum(numbers) / 1000 < 0.6


# ---------------------------------------------------------------- this machine's


def test_a_fixed_clock_goes_on_only_when_told():
    clock = FixedClock(1000.0)
    assert clock.now() == clock.now() == 1000.0
    assert clock.advance(0.5) == clock.now() == 1000.5


def test_ids_still_grow_when_the_clock_is_set_back():
    clock = FixedClock()
    ids = SystemIds(clock)
    before = [ids.new("x") for _ in range(3)]
    clock.advance(-3600)
    assert before < [ids.new("x")]
    clock.advance(7200)
    assert ids.new("x")[:12] > before[-1][:12]


def test_ids_of_one_millisecond_are_not_numbered_through():
    ids = SystemIds(FixedClock())
    first, second = (int(ids.new("x")[2:], 36) for _ in range(2))
    assert second - first > 1


@pytest.mark.parametrize(
    "make", [lambda ids: ids.new("x"), lambda i: i.secret(), lambda i: i.random()]
)
def test_sequential_ids_are_the_same_in_every_run(make):
    one, two = SequentialIds(), SequentialIds()
    assert [make(one) for _ in range(3)] == [make(two) for _ in range(3)]
