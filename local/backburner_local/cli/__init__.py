"""The `backburner` command."""

import click

from backburner_local.cli.batches import cancel, pause, results, resume, retry, status, submit
from backburner_local.cli.doctor import doctor
from backburner_local.cli.emulate import emulate
from backburner_local.cli.keys import keys
from backburner_local.cli.package import package_model
from backburner_local.cli.redrive import redrive
from backburner_local.cli.up import up


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="backburner")
def main() -> None:
    """Asynchronous LLM inference, on this machine or on AWS.

    Hand in a file of requests, go on working, and fetch the results when they are ready.
    """


for _command in (
    up,
    submit,
    status,
    results,
    cancel,
    retry,
    pause,
    resume,
    keys,
    redrive,
    doctor,
    package_model,
    emulate,
):
    main.add_command(_command)
