"""AWS in this process: moto answers what botocore asks."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from backburner.adapters.clients import Clients
from tests.aws.light_moto import light_aws


@contextmanager
def moto_clients() -> Iterator[Clients]:
    """Clients of an empty account."""
    with light_aws():
        yield _clients()


@cache
def _clients() -> Clients:
    """Made once: that takes longer than most tests. Whoever hooks into clients makes their own."""
    return Clients(region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test")
