"""The `backburner` command."""

from importlib import import_module

import click

#: Module of each command, and its name there.
_COMMANDS = {
    "up": ("up", "up"),
    "submit": ("batches", "submit"),
    "status": ("batches", "status"),
    "results": ("batches", "results"),
    "cancel": ("batches", "cancel"),
    "pause": ("batches", "pause"),
    "resume": ("batches", "resume"),
    "retry": ("batches", "retry"),
    "watch": ("watch", "watch"),
    "explain": ("explain", "explain"),
    "keys": ("keys", "keys"),
    "mail": ("mail", "mail"),
    "webhooks": ("webhooks", "webhooks"),
    "deliveries": ("webhooks", "deliveries"),
    "redrive": ("redrive", "redrive"),
    "doctor": ("doctor", "doctor"),
    "package-model": ("package", "package_model"),
    "emulate": ("emulate", "emulate"),
}


class _Commands(click.Group):
    """Imports a command when it is called: none waits for what others need."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module, name = _COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(f"backburner_local.cli.{module}"), name)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="backburner")
def main() -> None:
    """Asynchronous LLM inference, on this machine or on AWS.

    Hand in a file of requests, go on working, and fetch the results when they are ready.
    """
