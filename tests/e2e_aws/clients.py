"""Clients of the account's root, for what the harness and the tests ask of an emulator."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import botocore.session
from botocore.config import Config

from backburner.adapters.clients import Clients

REGION: Final = "us-east-1"

#: To ministack, an access key of 12 digits is the root of that account; no secret.
ACCOUNT: Final = "123456789012"
CREDENTIALS: Final = {
    "AWS_ACCESS_KEY_ID": ACCOUNT,
    "AWS_SECRET_ACCESS_KEY": "none",
    "AWS_DEFAULT_REGION": REGION,
}


@dataclass(frozen=True, slots=True)
class Aws:
    """An AWS that somebody emulates."""

    url: str
    #: File of the certificate to trust, where it has one of its own.
    certificate: str | None = None

    @property
    def clients(self) -> Clients:
        """What the adapters take."""
        return Clients(**self._options())

    @property
    def context(self) -> ssl.SSLContext:
        """What a client of HTTP takes."""
        return ssl.create_default_context(cafile=self.certificate)

    @contextmanager
    def client(self, service: str) -> Iterator[Any]:
        """A client of any service."""
        config = Config(
            read_timeout=120, max_pool_connections=32, retries={"total_max_attempts": 1}
        )
        session = botocore.session.get_session()
        made: Any = session.create_client(service, config=config, **self._options())
        try:
            yield made
        finally:
            made.close()

    def _options(self) -> dict[str, Any]:
        return {
            "endpoint_url": self.url,
            "verify": self.certificate,
            "region_name": REGION,
            "aws_access_key_id": ACCOUNT,
            "aws_secret_access_key": "none",
        }
