"""`backburner package-model`: a model made ready for an endpoint."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from backburner_local.cli.common import NOT_COMPLETED, USAGE, fail, reason
from backburner_local.cli.target import profile_option, region_option, told

if TYPE_CHECKING:
    from backburner_model.packaging import Artifact, Format

_HUB = "hub:"
_LOCATION = re.compile(r"s3://([a-z0-9][a-z0-9.-]+)/(.+/)")


@click.command("package-model")
@click.argument("source")
@click.option("--to", "location", metavar="s3://BUCKET/PREFIX/", help="Upload it there.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Write it here.")
@click.option(
    "--weights",
    type=click.Choice(["hf", "mistral"]),
    help="Which copy of the weights, if there are two.  [default: hf if there is a config.json]",
)
@click.option(
    "--include", multiple=True, metavar="GLOB", help="Take these along although not needed."
)
@region_option
@profile_option
def package_model(
    source: str,
    location: str | None,
    out: Path | None,
    weights: str | None,
    include: tuple[str, ...],
    region: str | None,
    profile: str | None,
) -> None:
    """Check the model in SOURCE, add our code to it, and put it where an endpoint loads it from.

    SOURCE is a folder with safetensors, or `hub:OWNER/NAME[@REVISION]`. With --to, what has arrived
    already is not sent again, and the last line is the template's parameter.
    """
    from backburner_local import packages
    from backburner_model.packaging import UnfitModel, artifact_of

    if (location is None) == (out is None):
        fail("Give either --to or --out.", USAGE)
    if location is not None and _LOCATION.fullmatch(location) is None:
        fail("--to is s3://BUCKET/PREFIX/, with a slash at its end.", USAGE)
    try:
        is_hub = source.startswith(_HUB)
        folder = packages.from_hub(source.removeprefix(_HUB)) if is_hub else Path(source)
        artifact = artifact_of(folder, weights=cast("Format | None", weights), include=include)
        click.echo(
            f"{len(artifact.entries)} files, {artifact.size:,} bytes, weights: {artifact.format}"
        )
        for name in artifact.left_out:
            click.echo(f"left out       {name}")
        if any(entry.name == "requirements.txt" for entry in artifact.entries):
            click.echo("The container will install requirements.txt whenever an instance starts.")
        if out is not None:
            packages.write_folder(artifact, out, tell=click.echo)
            return
        with told():
            _upload(artifact, str(location), region, profile)
    except UnfitModel as error:
        fail(str(error), USAGE)
    except OSError as error:
        fail(f"The model can't be read or written: {reason(error)}", NOT_COMPLETED)


def _upload(artifact: "Artifact", location: str, region: str | None, profile: str | None) -> None:
    from backburner.adapters.s3 import S3Blobs
    from backburner_local import deployed, packages

    bucket, _, prefix = location.removeprefix("s3://").partition("/")
    account = deployed.Account.connect(region=region, profile=profile)
    with deployed.explained():
        blobs = S3Blobs(account.clients, bucket)
        sent = packages.upload(artifact, blobs, prefix, tell=click.echo)
    click.echo(f"{sent:,} bytes were sent; all of the model is there.")
    click.echo(f"ModelS3Uri={location}")
