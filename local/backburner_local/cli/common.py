"""What the commands share: options, exit codes, connecting, failing."""

import logging
import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from backburner_local.options import DATA_DIR, DEFAULT_PORT

F = TypeVar("F", bound=Callable[..., Any])

#: Exit codes; documented in docs/reference/cli.md.
OK, NOT_COMPLETED, USAGE, SOME_FAILED, UNREACHABLE, REFUSED = 0, 1, 2, 3, 4, 5

data_dir_option = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=DATA_DIR,
    show_default=True,
    envvar="BACKBURNER_DATA_DIR",
    help="Folder that holds everything.",
)
as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


def connects(command: F) -> F:
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
    @data_dir_option
    @wraps(command)
    def with_client(url: str, key: str | None, data_dir: Path, **arguments: Any) -> Any:
        from backburner_local.client import ApiError, Client, Unreachable  # slow to import

        try:
            with Client.connect(url, key or _dev_key(data_dir)) as client:
                return command(client, **arguments)
        except Unreachable as error:
            fail(str(error), UNREACHABLE)
        except ApiError as error:
            fail(str(error), REFUSED)

    return with_client  # type: ignore[return-value]


def _dev_key(data_dir: Path) -> str:
    path = data_dir / "dev.key"
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        fail(f"No API key: give --key, or start a stack that makes {path}.", USAGE)


def log_to(data_dir: Path) -> None:
    """Log into the data folder, which is made if need be."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        logging.basicConfig(
            filename=data_dir / "backburner.log",
            level=os.environ.get("BACKBURNER_LOG_LEVEL", "INFO"),
            format="%(asctime)s %(levelname)s %(name)s %(message)s",
        )
    except OSError as error:
        fail(f"The data folder can't be written: {reason(error)}", NOT_COMPLETED)
    logging.getLogger("botocore").setLevel(logging.WARNING)


def reason(error: Exception) -> str:
    """Why, in words fit for one line."""
    if not isinstance(error, OSError):
        return str(error)
    return (error.strerror or str(error)) + (f": {error.filename}" if error.filename else "")


def fail(message: str, code: int) -> NoReturn:
    """Say why on standard error, and exit."""
    click.echo(message, err=True)
    sys.exit(code)
