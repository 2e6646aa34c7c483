"""ministack: an AWS emulator that we did not write, as a process of its own.

With `AUTH=true` it enforces the roles that functions run with. What it can't do, and who makes up
for it: docs/howto/test-on-an-emulator.md.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from tests.e2e_aws.certificate import Certificate
from tests.e2e_aws.clients import ACCOUNT, CREDENTIALS, REGION, Aws
from tests.e2e_aws.servers import Server, wait_until

ROOT = Path(__file__).parents[2]

#: Its virtual environment also holds what the functions import: it runs them with its own
#: interpreter, whatever runtime and architecture they ask for.
PYTHON = ROOT / ".venv-aws" / "bin" / "python"


class Ministack:
    """One that runs."""

    def __init__(
        self, folder: Path, port: int, certificate: Certificate, environment: Mapping[str, str]
    ) -> None:
        """Start it.

        Args:
            folder: for its log, its state and the code of functions.
            port: where it must listen.
            certificate: what it shows; functions trust it.
            environment: functions inherit it too.
        """
        self.aws = Aws(f"https://127.0.0.1:{port}", str(certificate.file))
        self.server = Server(
            [str(PYTHON), "-m", "ministack"],
            environment={
                **CREDENTIALS,
                "AUTH": "true",
                "USE_SSL": "1",
                "MINISTACK_SSL_CERT": str(certificate.file),
                "MINISTACK_SSL_KEY": str(certificate.key_file),
                "AWS_CA_BUNDLE": str(certificate.file),
                "BIND_HOST": "127.0.0.1",
                "GATEWAY_PORT": str(port),
                "MINISTACK_ACCOUNT_ID": ACCOUNT,
                "MINISTACK_REGION": REGION,
                "S3_DATA_DIR": str(folder / "s3"),
                "STATE_DIR": str(folder / "state"),
                "IOT_MTLS_ENABLED": "0",
                "SFTP_ENABLED": "0",
                "LAMBDA_EXECUTOR": "local",
                **environment,
            },
            folder=folder,
            name="ministack",
        )

    def wait(self) -> None:
        """Return when it answers."""
        wait_until(self._is_ready, "ministack's readiness")

    def mails(self) -> list[dict[str, Any]]:
        """What SES was given to send."""
        answer = self._get("/_ministack/ses/messages")
        mails: list[dict[str, Any]] = answer["messages"].get(ACCOUNT, [])
        return mails

    def _is_ready(self) -> bool:
        self.server.check()
        try:
            return bool(self._get("/_ministack/health"))
        except httpx.TransportError:
            return False

    def _get(self, path: str) -> Any:
        answer = httpx.get(self.aws.url + path, verify=self.aws.context, timeout=10)
        return answer.raise_for_status().json()
