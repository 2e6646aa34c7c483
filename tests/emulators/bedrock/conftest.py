"""An emulator per test; and one that all tests of a module share."""

import pytest

from tests.emulators.bedrock.stage import Stage


@pytest.fixture
def stage(tmp_path):
    stage = Stage(tmp_path)
    yield stage
    stage.stop()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """For tests that only read what they caused themselves."""
    stage = Stage(tmp_path_factory.mktemp("bedrock")).start()
    yield stage
    stage.stop()
