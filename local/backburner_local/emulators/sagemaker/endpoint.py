"""What an endpoint is declared to be, in code or by CreateEndpoint's three resources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

SUCCESS_NOTIFICATION_TOPIC = "SUCCESS_NOTIFICATION_TOPIC"
ERROR_NOTIFICATION_TOPIC = "ERROR_NOTIFICATION_TOPIC"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One asynchronous endpoint with its one variant."""

    name: str
    #: How to start one instance: a command in which ``{port}`` is where it must listen.
    instance_command: Sequence[str] = ()
    variant: str = "AllTraffic"
    #: Added to the emulator's own environment.
    environment: Mapping[str, str] = field(default_factory=dict)
    initial_instance_count: int = 1
    #: None leaves it to SageMaker, that is to `Knobs.default_concurrency`.
    max_concurrent_invocations_per_instance: int | None = None
    s3_output_path: str | None = None
    s3_failure_path: str | None = None
    success_topic: str | None = None
    error_topic: str | None = None
    #: Topics whose notifications carry small responses whole.
    include_inference_response_in: Sequence[str] = ()
    #: False for an endpoint that was configured for synchronous invocations only.
    is_async: bool = True
    #: Names DescribeEndpoint tells.
    config_name: str = ""
    model_name: str = ""
    instance_type: str = "ml.g6e.2xlarge"
    image: str = ""
    #: ContainerStartupHealthCheckTimeoutInSeconds; None takes the knob.
    startup_timeout_seconds: float | None = None

    def command(self, port: int) -> list[str]:
        """The command that starts an instance on this port."""
        return [part.replace("{port}", str(port)) for part in self.instance_command]
