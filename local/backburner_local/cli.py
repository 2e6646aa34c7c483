"""The `backburner` command."""

import json
import logging
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click
from rich.console import Console
from rich.table import Table

from backburner.domain.errors import InvalidRequest, NotFound
from backburner.ports import Environment
from backburner.services import keys as key_service
from backburner_local import progress
from backburner_local.client import ApiError, Client, Unreachable
from backburner_local.options import DATA_DIR, DEFAULT_PORT, Options

F = TypeVar("F", bound=Callable[..., Any])

#: Exit codes; documented in docs/reference/cli.md.
OK, NOT_COMPLETED, USAGE, SOME_FAILED, UNREACHABLE, REFUSED = 0, 1, 2, 3, 4, 5

_data_dir = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=DATA_DIR,
    show_default=True,
    envvar="BACKBURNER_DATA_DIR",
    help="Folder that holds everything.",
)
_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


def _connects(command: F) -> F:
    """Give a command a client, and turn what can go wrong into exit codes."""

    @click.option(
        "--url",
        envvar="BACKBURNER_URL",
        default=f"http://127.0.0.1:{DEFAULT_PORT}",
        show_default=True,
        help="Where the gateway is.",
    )
    @click.option(
        "--key", envvar="BACKBURNER_API_KEY", help="API key; else the data folder's dev.key."
    )
    @_data_dir
    @wraps(command)
    def with_client(url: str, key: str | None, data_dir: Path, **arguments: Any) -> Any:
        try:
            with Client.connect(url, key or _dev_key(data_dir)) as client:
                return command(client, **arguments)
        except Unreachable as error:
            _fail(str(error), UNREACHABLE)
        except ApiError as error:
            _fail(str(error), REFUSED)

    return with_client  # type: ignore[return-value]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="backburner")
def main() -> None:
    """Asynchronous LLM inference, on this machine or on AWS.

    Hand in a file of requests, go on working, and fetch the results when they are ready.
    """


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=DEFAULT_PORT,
    show_default=True,
    help="Port to listen at; 0 takes a free one.",
)
@_data_dir
@click.option(
    "--engine",
    type=click.Choice(["openvino", "openai", "null"]),
    default="openvino",
    show_default=True,
    help="What answers: the model shipped with us, another server, or an echo for benchmarks.",
)
@click.option("--base-url", help="OpenAI-compatible server that answers (with --engine openai).")
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
@_as_json
def up(as_json: bool, **choices: Any) -> None:  # noqa: FBT001
    """Run the whole stack until Ctrl-C: gateway, functions, and the model's endpoint."""
    from backburner_local.stack import Stack, describe

    if choices["engine"] == "openai" and not choices["base_url"]:
        raise click.UsageError("--engine openai needs --base-url.")
    stopping = _told_to_stop()
    _log_to(choices["data_dir"])
    try:
        stack = Stack(Options(**choices)).start()
    except Exception as error:
        logging.getLogger(__name__).exception("stack.start_failed")
        _fail(f"The stack can't start: {_reason(error)}", NOT_COMPLETED)
    try:
        if as_json:
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


@main.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--watch", is_flag=True, help="Stay, and show the progress.")
@click.option(
    "--endpoint", default="/v1/chat/completions", show_default=True, help="Route of the requests."
)
@click.option("--window", default="24h", show_default=True, help="Time it may take: 15m to 7d.")
@click.option("--skip-invalid", is_flag=True, help="Run the good lines of a file with bad ones.")
@click.option("--priority", type=click.IntRange(0, 9), default=0, help="Higher runs first.")
@click.option("--notify", metavar="EMAIL", help="Address that is told when the batch ends.")
@_as_json
@_connects
def submit(
    client: Client,
    file: Path,
    watch: bool,  # noqa: FBT001
    endpoint: str,
    window: str,
    skip_invalid: bool,  # noqa: FBT001
    priority: int,
    notify: str | None,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Upload FILE (JSON lines) and run it as a batch."""
    uploaded = client.upload(file)
    fields: dict[str, Any] = {
        "input_file_id": uploaded["id"],
        "endpoint": endpoint,
        "completion_window": window,
        "metadata": {"filename": file.name[:512]} | ({"notify_email": notify} if notify else {}),
    }
    if skip_invalid:
        fields["x_on_invalid"] = "skip"
    if priority:
        fields["priority"] = priority
    batch = client.create_batch(**fields)
    if watch:
        console = Console(stderr=True)
        if not as_json:
            console.print(f"{batch['id']}  {file.name}")
        batch = progress.show(client.watch(batch["id"]), console)
    _print_batch(batch, as_json=as_json)
    sys.exit(_exit_code(batch) if watch else OK)


@main.command()
@click.argument("batch_id", required=False)
@click.option("--watch", is_flag=True, help="Stay until the batch has ended.")
@_as_json
@_connects
def status(client: Client, batch_id: str | None, watch: bool, as_json: bool) -> None:  # noqa: FBT001
    """Show one batch, or the latest batches."""
    if batch_id is None:
        _print_batches(client.batches(), as_json=as_json)
        return
    batch = client.batch(batch_id)
    if watch:
        batch = progress.show(client.watch(batch_id), Console(stderr=True))
    _print_batch(batch, as_json=as_json)
    sys.exit(_exit_code(batch))


@main.command()
@click.argument("batch_id")
@click.option("--errors", is_flag=True, help="The requests that failed, instead of the answers.")
@click.option(
    "--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="File to write to."
)
@_connects
def results(client: Client, batch_id: str, errors: bool, output: Path | None) -> None:  # noqa: FBT001
    """Write a batch's results, in input order; of a running batch, those that are in."""
    batch = client.batch(batch_id)
    file_id = batch["error_file_id" if errors else "output_file_id"]
    if file_id is None:
        _fail(f"{batch_id} is {batch['status']} and has no such results.", NOT_COMPLETED)
    if output is None:
        for chunk in client.content(file_id):
            sys.stdout.buffer.write(chunk)
        sys.stdout.flush()
        return
    part = output.with_name(output.name + ".part")
    with part.open("wb") as stream:
        for chunk in client.content(file_id):
            stream.write(chunk)
    part.replace(output)


@main.command()
@click.argument("batch_id")
@_as_json
@_connects
def cancel(client: Client, batch_id: str, as_json: bool) -> None:  # noqa: FBT001
    """Stop a batch; what has finished is kept."""
    _print_batch(client.cancel(batch_id), as_json=as_json)


@main.group()
def keys() -> None:
    """Make, list and revoke API keys; each belongs to a tenant."""


@keys.command("create")
@click.argument("tenant")
@_data_dir
@_as_json
def create_key(tenant: str, data_dir: Path, as_json: bool) -> None:  # noqa: FBT001
    """Make a key for TENANT and print it; it can't be shown again."""
    with _store(data_dir) as env:
        try:
            secret, _ = key_service.create(env, tenant)
        except InvalidRequest as error:
            _fail(error.message, USAGE)
    click.echo(json.dumps({"tenant": tenant, "key": secret}) if as_json else secret)


@keys.command("list")
@_data_dir
@_as_json
def list_keys(data_dir: Path, as_json: bool) -> None:  # noqa: FBT001
    """Show which keys there are, by their first characters."""
    with _store(data_dir) as env:
        found = key_service.all_keys(env)
    if as_json:
        click.echo(json.dumps([{"key": k.hint, "tenant": k.tenant} for k in found]))
        return
    table = Table("key", "tenant", "made", box=None, header_style="bold")
    for key in found:
        made = datetime.fromtimestamp(key.created_at, UTC).isoformat(timespec="seconds")
        table.add_row(f"{key.hint}…", key.tenant, made)
    Console().print(table)


@keys.command("revoke")
@click.argument("start")
@_data_dir
def revoke_key(start: str, data_dir: Path) -> None:
    """Revoke the key that begins with START."""
    with _store(data_dir) as env:
        try:
            key = key_service.revoke(env, start)
        except NotFound as error:
            _fail(error.message, USAGE)
    click.echo(f"Revoked {key.hint}… of {key.tenant}.")


@main.group()
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

    _log_to(data_dir)
    default = shlex.join(model_server.command(Options(), model_name="mistral-tiny"))
    run_sagemaker(
        port=port,
        data_dir=data_dir,
        instance_command=instance_command or default,
        s3_endpoint=s3_endpoint,
        sns_endpoint=sns_endpoint,
        knobs=Knobs(minute_seconds=minute_seconds, provisioning_delay_seconds=provisioning_seconds),
    )


@contextmanager
def _store(data_dir: Path) -> Iterator[Environment]:
    """The store of a data folder, whether a stack runs on it or not."""
    from backburner_local.stack import stored

    if not (data_dir / "dev.key").exists():
        _fail(f"{data_dir} holds no stack; start one with `backburner up`.", USAGE)
    with stored(data_dir) as env:
        yield env


def _print_batch(batch: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(batch))
        return
    counts = batch["request_counts"]
    click.echo(
        f"{batch['id']}  {batch['status']}  {counts['completed']} completed,"
        f" {counts['failed']} failed, {counts['total']} in all"
    )
    errors = (batch.get("errors") or {}).get("data", [])
    for error in errors[:20]:
        where = f"line {error['line']}: " if error.get("line") else ""
        click.echo(f"  {where}{error['message']} ({error['code']})", err=True)
    if len(errors) > 20:
        click.echo(f"  … and {len(errors) - 20} more", err=True)


def _print_batches(batches: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(batches))
        return
    table = Table("batch", "status", "done", "failed", "all", box=None, header_style="bold")
    for batch in batches:
        counts = batch["request_counts"]
        values = (counts["completed"], counts["failed"], counts["total"])
        table.add_row(batch["id"], batch["status"], *map(str, values))
    Console().print(table)


def _exit_code(batch: dict[str, Any]) -> int:
    if batch["status"] in ("failed", "expired", "cancelled"):
        return NOT_COMPLETED
    is_partial = batch["status"] == "completed" and batch["request_counts"]["failed"]
    return SOME_FAILED if is_partial else OK


def _dev_key(data_dir: Path) -> str:
    path = data_dir / "dev.key"
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        _fail(f"No API key: give --key, or start a stack that makes {path}.", USAGE)


def _told_to_stop() -> threading.Event:
    """Set by Ctrl-C and SIGTERM; a second Ctrl-C ends everything at once, as a crash would."""
    stopping = threading.Event()

    def stop(number: int, _: object) -> None:
        if stopping.is_set() and number == signal.SIGINT:
            os._exit(NOT_COMPLETED)
        stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    return stopping


def _log_to(data_dir: Path) -> None:
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        _fail(f"The data folder can't be made: {_reason(error)}", NOT_COMPLETED)
    logging.basicConfig(
        filename=data_dir / "backburner.log",
        level=os.environ.get("BACKBURNER_LOG_LEVEL", "INFO"),
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    logging.getLogger("botocore").setLevel(logging.WARNING)


def _reason(error: Exception) -> str:
    if not isinstance(error, OSError):
        return str(error)
    return (error.strerror or str(error)) + (f": {error.filename}" if error.filename else "")


def _fail(message: str, code: int) -> NoReturn:
    click.echo(message, err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
