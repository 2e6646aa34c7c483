"""`backburner emulate`: an AWS service alone."""

import shlex
from pathlib import Path

import click

from backburner_local.cli.common import log_to
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
    minute_seconds: float,
    provisioning_seconds: float,
) -> None:
    """SageMaker asynchronous inference, with Application Auto Scaling and CloudWatch alarms."""
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
        knobs=Knobs(minute_seconds=minute_seconds, provisioning_delay_seconds=provisioning_seconds),
    )
