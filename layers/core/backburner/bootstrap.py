"""The one place that decides which world the handlers live in."""

from backburner.domain.errors import BackburnerError
from backburner.ports import Environment

_installed: list[Environment] = []


class NoEnvironment(BackburnerError):  # noqa: N818 - reads as a sentence where it is caught
    """No environment is installed: on one machine, start the stack with `backburner up`."""


def install(env: Environment | None) -> None:
    """Have the handlers of this process work on the given world; None: on none."""
    _installed[:] = [env] if env is not None else []


def environment() -> Environment:
    """The world that the handlers work on; raises NoEnvironment."""
    if not _installed:
        raise NoEnvironment
    return _installed[0]
