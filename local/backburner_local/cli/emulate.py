"""`backburner emulate`: an AWS service alone."""

import shlex
from pathlib import Path
from typing import Any

import click

from backburner.domain.errors import BackburnerError
from backburner_local.cli.common import NOT_COMPLETED, fail, log_to, reason
from backburner_local.options import DATA_DIR, Options


@click.group()
def emulate() -> None:
    """Run an emulator of an AWS service alone, for anyone's boto3 tests."""


@emulate.command("sagemaker")
@click.option("--port", default=8788, show_default=True, help="Port to listen at; 0: a free one.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=DATA_DIR / "emulate-sagemaker",
    show_default=True,
    help="Folder of its queue, its logs, and of objects where there is no S3 endpoint.",
)
@click.option("--instance-command", help="Command that starts one instance; {port} is its port.")
@click.option("--s3-endpoint", metavar="URL", help="S3 that objects are read from and written to.")
@click.option("--sns-endpoint", metavar="URL", help="SNS that notifications are published to.")
@click.option("--events-endpoint", metavar="URL", help="EventBridge that events are put to.")
@click.option("--minute-seconds", default=60.0, show_default=True, help="Length of a minute.")
@click.option(
    "--provisioning-seconds", default=0.0, show_default=True, help="Time until an instance starts."
)
def emulate_sagemaker(
    port: int,
    data_dir: Path,
    instance_command: str | None,
    s3_endpoint: str | None,
    sns_endpoint: str | None,
    events_endpoint: str | None,
    minute_seconds: float,
    provisioning_seconds: float,
) -> None:
    """SageMaker: asynchronous inference with its scaling and alarms, and batch transform."""
    from backburner_local import model_server
    from backburner_local.emulators.sagemaker.knobs import Knobs
    from backburner_local.emulators.standalone import run_sagemaker

    log_to(data_dir)
    default = shlex.join(model_server.command(Options(), model_name="mistral-tiny"))
    run_sagemaker(
        port=port,
        data_dir=data_dir,
        instance_command=instance_command or default,
        s3_endpoint=s3_endpoint,
        sns_endpoint=sns_endpoint,
        events_endpoint=events_endpoint,
        knobs=Knobs(minute_seconds=minute_seconds, provisioning_delay_seconds=provisioning_seconds),
    )


@emulate.command("bedrock")
@click.option("--port", default=8789, show_default=True, help="Port to listen at; 0: a free one.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=DATA_DIR / "emulate-bedrock",
    show_default=True,
    help="Folder of its jobs, its logs, and of objects where there is no S3 endpoint.",
)
@click.option("--s3-endpoint", metavar="URL", help="S3 that objects are read from and written to.")
@click.option("--events-endpoint", metavar="URL", help="EventBridge that events are put to.")
@click.option(
    "--engine",
    type=click.Choice(["openvino", "openai", "null"]),
    default="null",
    show_default=True,
    help="What answers: the model shipped with us, another server, or an echo.",
)
@click.option("--base-url", help="OpenAI-compatible server that answers (with --engine openai).")
@click.option("--model", help="Name of that server's model (with --base-url).")
@click.option(
    "--realistic",
    is_flag=True,
    help="States last as long as on AWS: minutes; time_scale makes them shorter.",
)
@click.option(
    "--knob",
    "knobs",
    metavar="NAME=VALUE",
    multiple=True,
    help="A choice or a fault, such as fail_records_percent=5; see its module knobs.py.",
)
def emulate_bedrock(
    port: int,
    data_dir: Path,
    s3_endpoint: str | None,
    events_endpoint: str | None,
    realistic: bool,  # noqa: FBT001
    knobs: tuple[str, ...],
    **choices: Any,
) -> None:
    """Amazon Bedrock batch inference, with its quotas."""
    from backburner_local import job_services
    from backburner_local.emulators import knob_values
    from backburner_local.emulators.bedrock.knobs import Knobs
    from backburner_local.emulators.standalone import run_bedrock

    if choices["engine"] == "openai" and not choices["base_url"]:
        raise click.UsageError("--engine openai needs --base-url.")
    try:
        values = knob_values.parse(knobs, Knobs)
    except knob_values.BadKnob as error:
        raise click.UsageError(str(error)) from error
    log_to(data_dir)
    options = Options(**choices)
    try:
        run_bedrock(
            port=port,
            data_dir=data_dir,
            s3_endpoint=s3_endpoint,
            events_endpoint=events_endpoint,
            knobs=Knobs.realistic(**values) if realistic else Knobs(**values),
            make_model=lambda: job_services.local_model(options, data_dir / "logs"),
        )
    except (BackburnerError, OSError, RuntimeError, ValueError) as error:
        fail(f"The emulator can't start: {reason(error)}", NOT_COMPLETED)
