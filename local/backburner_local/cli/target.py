"""What a command of the operator works on: a data folder, or a stack on AWS."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from backburner.ports import Environment
from backburner_local.cli.common import UNREACHABLE, USAGE, data_dir_option, fail

if TYPE_CHECKING:
    from backburner_local.deployed import Account

F = TypeVar("F", bound=Callable[..., Any])

region_option = click.option("--region", help="Region of the stack; default: the profile's.")
profile_option = click.option("--profile", help="Profile of the AWS credentials.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where the operator pointed at."""

    data_dir: Path
    #: Name of a deployed stack; None: the stack of the data folder.
    stack: str | None
    region: str | None
    profile: str | None

    @contextmanager
    def environment(self) -> Iterator[Environment]:
        """The environment there; it need not run."""
        if self.stack is None:
            with self._on_this_machine() as env:
                yield env
            return
        from backburner_local import deployed

        with told(), deployed.explained():
            yield deployed.environment(self.account(), self.stack)

    def account(self) -> "Account":
        """The account of the stack; raises NotReachable."""
        from backburner_local.deployed import Account

        return Account.connect(region=self.region, profile=self.profile)

    @contextmanager
    def _on_this_machine(self) -> Iterator[Environment]:
        from backburner_local.stack import stored

        if self.region or self.profile:
            raise click.UsageError("--region and --profile need --stack.")
        if not (self.data_dir / "backburner.sqlite").exists():
            fail(
                f"{self.data_dir} holds no stack; start one with `backburner up`,"
                " or name one on AWS with --stack.",
                USAGE,
            )
        with stored(self.data_dir) as env:
            yield env


@contextmanager
def told() -> Iterator[None]:
    """Say why AWS can't be worked with, and exit."""
    from backburner_local.deployed import NotReachable

    try:
        yield
    except NotReachable as error:
        fail(error.message, UNREACHABLE)


def on_target(command: F) -> F:
    """Give a command its target."""

    @click.option("--stack", metavar="NAME", help="Work on this stack on AWS instead.")
    @region_option
    @profile_option
    @data_dir_option
    @wraps(command)
    def with_target(
        data_dir: Path,
        stack: str | None,
        region: str | None,
        profile: str | None,
        **arguments: Any,
    ) -> Any:
        target = Target(data_dir=data_dir, stack=stack, region=region, profile=profile)
        return command(target, **arguments)

    return with_target  # type: ignore[return-value]
