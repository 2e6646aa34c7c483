"""An emulator alone, for anyone's boto3: ``backburner emulate``."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from backburner_local.emulators.bedrock import BedrockEmulator
from backburner_local.emulators.bedrock import Knobs as BedrockKnobs
from backburner_local.emulators.objects import DirectoryObjects, Objects, S3Objects
from backburner_local.emulators.sagemaker import Endpoint, Knobs, SageMakerEmulator
from backburner_local.stopping import StopSignals

if TYPE_CHECKING:
    from backburner_local.emulators.bedrock.events import Tell
    from backburner_local.emulators.bedrock.local_model import LocalModel
    from backburner_local.emulators.sagemaker.publisher import Publish
    from backburner_local.emulators.wire import Message

logger = logging.getLogger(__name__)


def run_sagemaker(
    *,
    port: int,
    data_dir: Path | str,
    instance_command: str,
    s3_endpoint: str | None = None,
    sns_endpoint: str | None = None,
    events_endpoint: str | None = None,
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
        events_endpoint: URL of an EventBridge; without it, events are only logged.
        images: Instance commands by the container image of CreateModel.
        endpoints: Created at start.
        knobs: Choices where AWS is undocumented or slow.
        announce: Given one line when the emulator is ready.
    """
    chosen = knobs or Knobs()
    emulator = SageMakerEmulator(
        objects=_objects(s3_endpoint, Path(data_dir), chosen.region),
        publish=_publish(sns_endpoint, chosen.region),
        put_event=_put_event(events_endpoint, chosen.region),
        data_dir=data_dir,
        knobs=chosen,
        instance_command=shlex.split(instance_command),
        images={image: shlex.split(command) for image, command in (images or {}).items()},
        endpoints=endpoints,
        port=port,
    )
    _serve(emulator, "SageMaker", announce)


def run_bedrock(
    *,
    port: int,
    data_dir: Path | str,
    make_model: Callable[[], LocalModel],
    s3_endpoint: str | None = None,
    events_endpoint: str | None = None,
    knobs: BedrockKnobs | None = None,
    announce: Callable[[str], object] = sys.stdout.write,
) -> None:
    """Serve until SIGINT or SIGTERM; call it in the main thread.

    Args:
        port: Where to listen on 127.0.0.1; 0 takes a free port.
        data_dir: Holds the jobs and the logs, and the objects where there is no S3 endpoint.
        make_model: Makes what answers the records.
        s3_endpoint: URL of an S3; without it, objects are files in ``<data_dir>/objects``.
        events_endpoint: URL of an EventBridge; without it, events are only logged.
        knobs: Choices where AWS is undocumented or slow.
        announce: Given one line when the emulator is ready.
    """
    chosen = knobs or BedrockKnobs()
    emulator = BedrockEmulator(
        objects=_objects(s3_endpoint, Path(data_dir), chosen.region),
        data_dir=data_dir,
        tell=_put_event(events_endpoint, chosen.region),
        knobs=chosen,
        make_model=make_model,
        port=port,
    )
    _serve(emulator, "Bedrock batch inference", announce)


class _Emulator(Protocol):
    """What is served."""

    url: str

    def start(self) -> object: ...

    def stop(self) -> None: ...


def _serve(emulator: _Emulator, what: str, announce: Callable[[str], object]) -> None:
    with StopSignals() as stopping:
        try:
            emulator.start()
            announce(f"{what} is emulated at {emulator.url}\n")
            sys.stdout.flush()
            stopping.wait()
        finally:
            emulator.stop()


def _objects(endpoint: str | None, data_dir: Path, region: str) -> Objects:
    if endpoint is None:
        return DirectoryObjects(data_dir / "objects")
    return S3Objects(_client("s3", endpoint, region))


def _put_event(endpoint: str | None, region: str) -> Tell:
    """Puts events to the default bus; one of AWS's own sources may be refused elsewhere."""
    if endpoint is None:
        return lambda event: logger.info("event %s", event)
    client = _client("events", endpoint, region)

    def put(event: Message) -> None:
        entry = {
            "Source": event["source"],
            "DetailType": event["detail-type"],
            "Detail": msgspec.json.encode(event["detail"]).decode(),
            "Resources": event["resources"],
        }
        failed = client.put_events(Entries=[entry])["FailedEntryCount"]
        if failed:
            raise ConnectionError("the event was not taken")

    return put


def _publish(endpoint: str | None, region: str) -> Publish:
    if endpoint is None:
        return lambda topic, message: logger.info("notification topic=%s %s", topic, message)
    client = _client("sns", endpoint, region)

    def publish(topic: str, message: str) -> None:
        client.publish(TopicArn=topic, Message=message)

    return publish


def _client(service: Any, endpoint: str, region: str) -> Any:
    """A client of another emulator: no account, so no credentials of anyone's."""
    import botocore.session  # slow to import: only when needed
    from botocore.config import Config

    return botocore.session.get_session().create_client(
        service,
        endpoint_url=endpoint,
        region_name=region,
        aws_access_key_id="emulator",
        aws_secret_access_key="emulator",  # noqa: S106
        config=Config(max_pool_connections=32, s3={"addressing_style": "path"}),
    )
