"""`backburner up`: run the stack."""

import gc
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backburner_local.cli.common import (
    NOT_COMPLETED,
    as_json_option,
    data_dir_option,
    fail,
    log_to,
    reason,
)
from backburner_local.cli.mail_options import mail_options, with_mail
from backburner_local.options import DEFAULT_PORT, Options
from backburner_local.stopping import StopSignals

if TYPE_CHECKING:
    from backburner_local.stack import Stack


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=DEFAULT_PORT,
    show_default=True,
    help="Port to listen at; 0 takes a free one.",
)
@data_dir_option
@click.option(
    "--engine",
    type=click.Choice(["openvino", "openai", "null"]),
    default="openvino",
    show_default=True,
    help="What answers: the model shipped with us, another server, or an echo for benchmarks.",
)
@click.option("--base-url", help="OpenAI-compatible server that answers (with --engine openai).")
@click.option("--model", help="Name of that server's model (with --base-url).")
@click.option(
    "--context-window",
    type=click.IntRange(1),
    default=8192,
    show_default=True,
    help="Tokens of prompt and answer that it takes (with --model).",
)
@click.option(
    "--catalog",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Models that clients may ask for; default: the one that comes with the project.",
)
@click.option(
    "--max-instances",
    type=click.IntRange(1),
    default=2,
    show_default=True,
    help="Most instances at once.",
)
@click.option(
    "--idle-minutes",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    help="Minutes without work until none is left.",
)
@click.option(
    "--minute-seconds",
    type=click.FloatRange(0.1),
    default=60.0,
    show_default=True,
    help="Length of a minute, for demos.",
)
@click.option(
    "--provisioning-seconds",
    default=0.0,
    show_default=True,
    help="Time until an instance is there, for demos.",
)
@click.option(
    "--public-url",
    metavar="URL",
    envvar="BACKBURNER_PUBLIC_URL",
    help="Where users reach the gateway, for links; default: the address it listens at.",
)
@click.option(
    "--local-webhooks",
    is_flag=True,
    help="Let webhooks go to this machine, and without TLS, for development.",
)
@mail_options
@click.option(
    "--bedrock-knob",
    "bedrock_knobs",
    metavar="NAME=VALUE",
    multiple=True,
    help="Of the emulated Bedrock, for demos: such as fail_records_percent=5.",
)
@as_json_option
def up(as_json: bool, **choices: Any) -> None:  # noqa: FBT001
    """Run the whole stack until Ctrl-C: gateway, functions, and the model's endpoint."""
    if choices["engine"] == "openai" and not choices["base_url"]:
        raise click.UsageError("--engine openai needs --base-url.")
    choices = with_mail(choices)
    if choices["bedrock_knobs"]:
        choices["bedrock_knobs"] = _bedrock_knobs(choices["bedrock_knobs"])
    else:
        choices["bedrock_knobs"] = {}
    stopping = StopSignals(on_second_interrupt=_end_as_a_crash_would)
    log_to(choices["data_dir"])
    try:
        stack = _started(Options(**choices))
    except Exception as error:
        logging.getLogger(__name__).exception("stack.start_failed")
        fail(f"The stack can't start: {reason(error)}", NOT_COMPLETED)
    try:
        if as_json:
            from backburner_local.stack import describe

            click.echo(describe(stack))
        else:
            click.echo(
                f"Backburner is ready at {stack.url}/v1"
                f" (key in {stack.options.data_dir / 'dev.key'},"
                f" drop folder {stack.options.data_dir / 'drop'})"
            )
        stopping.wait()
        click.echo("Stopping: finishing what runs. Ctrl-C again ends it at once.", err=True)
    finally:
        stack.stop()


def _started(options: Options) -> "Stack":
    """The stack, running. What its start makes stays: a tenth of the time went into sifting it.

    Later too there is little in circles: it is looked for after more new objects than usual.
    """
    gc.disable()
    try:
        from backburner_local.stack import Stack

        return Stack(options).start()
    finally:
        gc.freeze()
        gc.set_threshold(20_000)
        gc.enable()


def _bedrock_knobs(given: tuple[str, ...]) -> dict[str, Any]:
    from backburner_local.emulators import knob_values
    from backburner_local.emulators.bedrock.knobs import Knobs

    try:
        return knob_values.parse(given, Knobs)
    except knob_values.BadKnob as error:
        raise click.UsageError(str(error)) from error


def _end_as_a_crash_would() -> None:
    os._exit(NOT_COMPLETED)
