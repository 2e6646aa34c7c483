"""One stack in a process of its own, for clients in environments of their own."""

from collections.abc import Iterator

import pytest

from tests.local.stacks import Up

#: Collected in the clients' environments, which know nothing of this project.
collect_ignore = ["clients"]


@pytest.fixture(scope="session")
def up(tmp_path_factory) -> Iterator[Up]:
    with Up(tmp_path_factory.mktemp("conformance") / "data", "--local-webhooks") as running:
        yield running
