"""One stack in this process, shared by the tests of a module: only one can be installed."""

from collections.abc import Iterator

import pytest

from backburner_local.client import Client
from backburner_local.options import Options
from backburner_local.stack import Stack


@pytest.fixture(scope="module")
def stack(tmp_path_factory) -> Iterator[Stack]:
    options = Options(
        data_dir=tmp_path_factory.mktemp("stack") / "data",
        port=0,
        engine="null",
        minute_seconds=1.0,
        durable=False,
    )
    with Stack(options) as running:
        yield running


@pytest.fixture(scope="module")
def dev_key(stack):
    return (stack.options.data_dir / "dev.key").read_text().strip()


@pytest.fixture
def client(stack, dev_key) -> Iterator[Client]:
    """A client with the development key."""
    with Client.connect(stack.url, dev_key) as connected:
        yield connected
