"""`backburner redrive`: dead letters go back to their queue."""

import json
from collections.abc import Iterable, Mapping

import click

from backburner.ports import QueueName
from backburner_local.cli.common import as_json_option
from backburner_local.cli.target import Target, on_target, told

_ALL = "all"


@click.command()
@click.argument("queue", type=click.Choice([*(name.value for name in QueueName), _ALL]))
@on_target
@as_json_option
def redrive(target: Target, queue: str, as_json: bool) -> None:  # noqa: FBT001
    """Let the dead letters of QUEUE be received afresh, once what killed them is mended."""
    names = tuple(QueueName) if queue == _ALL else (QueueName(queue),)
    moved = _on_this_machine(target, names) if target.stack is None else _on_aws(target, names)
    if as_json:
        click.echo(json.dumps(moved))
        return
    about = "" if target.stack is None else "about "
    for name, number in moved.items():
        some = f"{about}{number} dead letter{'s' if number != 1 else ''} back to the queue"
        click.echo(f"{name:<9} {some if number else 'no dead letters'}")


def _on_this_machine(target: Target, names: Iterable[QueueName]) -> Mapping[str, int]:
    from backburner_local import dead_letters

    with target.environment() as env:
        return {name: dead_letters.redrive_local(env.queue, name) for name in names}


def _on_aws(target: Target, names: Iterable[QueueName]) -> Mapping[str, int]:
    from backburner_local import dead_letters, deployed

    with told():
        account = target.account()
        stack = deployed.find(account, target.stack or "")
        return {name: dead_letters.redrive_deployed(account, stack, name) for name in names}
