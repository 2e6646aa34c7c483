"""Low-level clients of AWS: each made when it is first needed, and once."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import botocore
import botocore.session
from botocore import UNSIGNED
from botocore.config import Config

from backburner.adapters.system import SystemClock
from backburner.ports import Clock

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker import SageMakerClient
    from mypy_boto3_sagemaker_runtime import SageMakerRuntimeClient
    from mypy_boto3_service_quotas import ServiceQuotasClient
    from mypy_boto3_sesv2 import SESV2Client
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient

#: Seconds until a connection, or the next byte of an answer, is given up. A function that waits
#: longer for one call loses the time to do anything about it.
_CONNECT_SECONDS, _READ_SECONDS = 3, 20

#: The same for services that answer sooner: the tries of a call to the first two have to fit into
#: the 29 seconds of the API, those to the third into the minute of the metric. A job of Bedrock's
#: is created within the minute of a function that first writes its input.
_OWN_READ_SECONDS = {"dynamodb": 5, "sqs": 5, "sagemaker": 10, "bedrock": 10}

#: Tries of one call. An invocation is never repeated blindly: it has no token that would tell the
#: repeat from a second invocation, and both would be paid for.
_TRIES = {"sagemaker-runtime": 1}
_USUAL_TRIES = 4

#: Seconds after which a connection that nobody used may be dead without having been closed: a
#: function's container is frozen between two events. Other clients find out, and try again.
IDLE_SECONDS = 5.0

#: What only one service's client is told. Left to itself, botocore signs URLs of S3 for a global
#: host that may redirect to the Region's own, and for some Regions in a form of old.
#: An invocation's parameters are built in one place, of checked parts: to check them again costs a
#: fifth of the call.
_OWN_OPTIONS: dict[str, dict[str, Any]] = {
    "s3": {
        "signature_version": "s3v4",
        "s3": {"addressing_style": "virtual", "us_east_1_regional_endpoint": "regional"},
    },
    "sagemaker-runtime": {"parameter_validation": False},
}

#: Said to be the caller. botocore's own text is put together anew for each call, of twenty parts
#: that never change: a fifth of what a call costs.
_USER_AGENT = f"Backburner Botocore/{botocore.__version__}"

#: Connections that each client keeps open: more than there are threads.
_CONNECTIONS = 50


class Clients:
    """Clients of one account and Region, safe to share between threads.

    They are botocore's own: boto3 only adds resources and transfer managers, which nobody here
    uses, and half as much again to a cold start.
    """

    def __init__(
        self,
        *,
        session: Any = None,
        clock: Clock | None = None,
        is_signed: bool = True,
        endpoints: Mapping[str, str] | None = None,
        **options: Any,
    ) -> None:
        """Say how clients are made.

        Args:
            session: botocore's, for a profile of the operator's; None: a new one.
            clock: tells how long connections idled; None: the machine's.
            is_signed: whether requests are signed; an emulator may not ask for it.
            endpoints: URLs of services that are elsewhere than the others; read when the service's
                client is made.
            options: for botocore's `create_client`: `region_name`, `endpoint_url`, credentials.
                Without any, the environment decides, as usual.
        """
        self._options = options
        self._endpoints = endpoints if endpoints is not None else {}
        self._signing = {} if is_signed else {"signature_version": UNSIGNED}
        self._made: dict[str, Any] = {}
        self._session: Any = session
        #: A session must not make clients in two threads at once.
        self._making = threading.Lock()
        self._clock = clock or SystemClock()
        #: Invocations that are being made, and when the last one ended.
        self._invoking, self._invoked_at = 0, 0.0

    @property
    def dynamodb(self) -> "DynamoDBClient":
        return cast("DynamoDBClient", self._client("dynamodb"))

    @property
    def s3(self) -> "S3Client":
        return cast("S3Client", self._client("s3"))

    @property
    def sqs(self) -> "SQSClient":
        return cast("SQSClient", self._client("sqs"))

    @property
    def sns(self) -> "SNSClient":
        return cast("SNSClient", self._client("sns"))

    @property
    def events(self) -> Any:
        """EventBridge's; of its calls only one is made."""
        return self._client("events")

    @property
    def sesv2(self) -> "SESV2Client":
        return cast("SESV2Client", self._client("sesv2"))

    @property
    def sagemaker(self) -> "SageMakerClient":
        return cast("SageMakerClient", self._client("sagemaker"))

    @property
    def sagemaker_runtime(self) -> "SageMakerRuntimeClient":
        return cast("SageMakerRuntimeClient", self._client("sagemaker-runtime"))

    @property
    def bedrock(self) -> Any:
        """Bedrock's control plane, which only stacks that run its jobs call."""
        return self._client("bedrock")

    @property
    def service_quotas(self) -> "ServiceQuotasClient":
        return cast("ServiceQuotasClient", self._client("service-quotas"))

    @contextmanager
    def invoking(self) -> Iterator["SageMakerRuntimeClient"]:
        """The client for one invocation, which is tried once: over no connection that idled."""
        client = self.sagemaker_runtime
        with self._making:
            idled = self._clock.now() - self._invoked_at
            if not self._invoking and not 0 <= idled <= IDLE_SECONDS:
                client.close()  # it opens new connections
            self._invoking += 1
        try:
            yield client
        finally:
            with self._making:
                self._invoking -= 1
                self._invoked_at = self._clock.now()

    def other(self, service: str) -> Any:
        """A client of a service that only the operator's commands call."""
        return self._client(service)

    def _client(self, service: str) -> Any:
        found = self._made.get(service)
        return found if found is not None else self._make(service)

    def _make(self, service: str) -> Any:
        with self._making:
            if service not in self._made:
                self._session = self._session or botocore.session.get_session()
                config = Config(
                    connect_timeout=_CONNECT_SECONDS,
                    read_timeout=_OWN_READ_SECONDS.get(service, _READ_SECONDS),
                    retries={
                        "mode": "standard",
                        "total_max_attempts": _TRIES.get(service, _USUAL_TRIES),
                    },
                    max_pool_connections=_CONNECTIONS,
                    user_agent=_USER_AGENT,
                    **_OWN_OPTIONS.get(service, {}) | self._signing,
                )
                options = dict(self._options)
                if service in self._endpoints:
                    options["endpoint_url"] = self._endpoints[service]
                self._made[service] = self._session.create_client(service, config=config, **options)
            return self._made[service]
