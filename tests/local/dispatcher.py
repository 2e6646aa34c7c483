"""A dispatcher in a process of its own: `python -m tests.local.dispatcher FOLDER CATALOG URL`."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from backburner.adapters.bedrock import BedrockBatch
from backburner.adapters.clients import Clients
from backburner.ports import Environment, QueueName
from backburner.services import dispatch
from backburner_local.options import Options
from backburner_local.stack import declaration
from backburner_local.template import REGION
from backburner_local.world import LocalWorld

ROLE = "arn:aws:iam::123456789012:role/jobs"


@contextmanager
def opened(folder: Path, catalog: Path, url: str) -> Iterator[LocalWorld]:
    """The world of a data folder whose jobs run at an emulator of Bedrock."""
    options = Options(data_dir=folder, catalog=catalog, durable=False)
    world = LocalWorld.open(options, declaration(options))
    clients = Clients(
        region_name=REGION,
        endpoint_url=url,
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    bedrock = BedrockBatch(clients, world.blobs, ROLE)
    try:
        yield replace(world, env=replace(world.env, backends={"bedrock_batch": bedrock}))
    finally:
        world.close()


def work(env: Environment, world: LocalWorld) -> None:
    """What the function's event source does, until the parent closes our standard input."""
    queue = world.queue
    while True:
        messages = queue.receive(QueueName.DISPATCH, 1, 60.0)
        for message in messages:
            dispatch.dispatch(env, json.loads(message.body)["pool"])
        queue.forget(messages)
        if not messages:
            time.sleep(0.02)


def main() -> None:
    folder, catalog, url = sys.argv[1:]
    with opened(Path(folder), Path(catalog), url) as world:
        world.env.backends["bedrock_batch"].attempt_of("abcdefghijkl")  # its client takes long
        print("ready", flush=True)
        work(world.env, world)


if __name__ == "__main__":
    main()
