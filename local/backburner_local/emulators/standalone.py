"""The SageMaker emulator alone, for anyone's boto3: ``backburner emulate sagemaker``."""

from __future__ import annotations

import logging
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backburner_local.emulators.objects import DirectoryObjects, Objects, S3Objects
from backburner_local.emulators.sagemaker import Endpoint, Knobs, SageMakerEmulator

if TYPE_CHECKING:
    from backburner_local.emulators.sagemaker.publisher import Publish

logger = logging.getLogger(__name__)


def run_sagemaker(
    *,
    port: int,
    data_dir: Path | str,
    instance_command: str,
    s3_endpoint: str | None = None,
    sns_endpoint: str | None = None,
    images: Mapping[str, str] | None = None,
    endpoints: tuple[Endpoint, ...] = (),
    knobs: Knobs | None = None,
    announce: Callable[[str], object] = sys.stdout.write,
) -> None:
    """Serve until SIGINT or SIGTERM; call it in the main thread.

    Args:
        port: Where to listen on 127.0.0.1; 0 takes a free port.
        data_dir: Holds the queue and the logs, and the objects where there is no S3 endpoint.
        instance_command: A shell-like command that starts one instance, with ``{port}``.
        s3_endpoint: URL of an S3; without it, objects are files in ``<data_dir>/objects``.
        sns_endpoint: URL of an SNS; without it, notifications are only logged.
        images: Instance commands by the container image of CreateModel.
        endpoints: Created at start.
        knobs: Choices where AWS is undocumented or slow.
        announce: Given one line when the emulator is ready.
    """
    chosen = knobs or Knobs()
    stopping = threading.Event()
    previous = {
        number: signal.signal(number, lambda *_: stopping.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    emulator = SageMakerEmulator(
        objects=_objects(s3_endpoint, Path(data_dir), chosen),
        publish=_publish(sns_endpoint, chosen),
        data_dir=data_dir,
        knobs=chosen,
        instance_command=shlex.split(instance_command),
        images={image: shlex.split(command) for image, command in (images or {}).items()},
        endpoints=endpoints,
        port=port,
    )
    try:
        with emulator:
            announce(f"SageMaker asynchronous inference is emulated at {emulator.url}\n")
            sys.stdout.flush()
            stopping.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _objects(endpoint: str | None, data_dir: Path, knobs: Knobs) -> Objects:
    if endpoint is None:
        return DirectoryObjects(data_dir / "objects")
    return S3Objects(_client("s3", endpoint, knobs))


def _publish(endpoint: str | None, knobs: Knobs) -> Publish:
    if endpoint is None:
        return lambda topic, message: logger.info("notification topic=%s %s", topic, message)
    client = _client("sns", endpoint, knobs)

    def publish(topic: str, message: str) -> None:
        client.publish(TopicArn=topic, Message=message)

    return publish


def _client(service: Any, endpoint: str, knobs: Knobs) -> Any:
    """A client of another emulator: no account, so no credentials of anyone's."""
    import botocore.session  # slow to import: only when needed
    from botocore.config import Config

    return botocore.session.get_session().create_client(
        service,
        endpoint_url=endpoint,
        region_name=knobs.region,
        aws_access_key_id="emulator",
        aws_secret_access_key="emulator",  # noqa: S106
        config=Config(max_pool_connections=32, s3={"addressing_style": "path"}),
    )
