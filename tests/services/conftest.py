"""A world for each test, judged by the oracle's standing rules when it ends."""

import pytest

from tests import oracle
from tests.world import a_world, a_world_in_memory


@pytest.fixture
def world():
    with a_world_in_memory() as world:
        yield world
        oracle.check_step(world)


@pytest.fixture
def world_on_disk():
    with a_world() as world:
        yield world
        oracle.check_step(world)
