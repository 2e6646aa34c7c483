"""A tap on the ports: counts the calls that handlers make, and lets a test act at any of them."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from typing import Any

from backburner.ports import Environment

#: Called with the number of a call, when (`before` or `after` it), and its name.
Hook = Callable[[int, str, str], None]

#: Calls that only compute are no points to crash at.
_PURE = frozenset({"uri", "key_of", "presign", "presign_upload"})


class Crash(BaseException):
    """The process died here. No `Exception`: nothing may survive it."""


class PortError(Exception):
    """A port broke, or its answer was lost."""


class Tap:
    """Counts the calls of all ports of an environment; its hook sees each."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.hook: Hook | None = None

    def environment(self, env: Environment) -> Environment:
        """The same world, tapped."""
        return replace(
            env,
            store=_Port(self, "store", env.store),
            blobs=_Port(self, "blobs", env.blobs),
            queue=_Port(self, "queue", env.queue),
            backends={name: _Port(self, "backend", one) for name, one in env.backends.items()},
            mailer=_Port(self, "mailer", env.mailer),
            events=_Port(self, "events", env.events),
            bus=None if env.bus is None else _Port(self, "bus", env.bus),
            webhooks=_Port(self, "webhooks", env.webhooks),
            metrics=_Port(self, "metrics", env.metrics),
        )

    def begin(self, name: str) -> int:
        self.calls.append(name)
        number = len(self.calls) - 1
        self._tell(number, "before", name)
        return number

    def end(self, number: int, name: str) -> None:
        self._tell(number, "after", name)

    @contextmanager
    def hooked(self, hook: Hook | None) -> Iterator[None]:
        """Count from 0, with this hook, until the block ends."""
        calls, before = self.calls, self.hook
        self.calls, self.hook = [], hook
        try:
            yield
        finally:
            self.calls, self.hook = calls, before

    def _tell(self, number: int, when: str, name: str) -> None:
        if self.hook is not None:
            self.hook(number, when, name)


def fault_at(number: int, when: str, fault: type[BaseException] = Crash) -> Hook:
    """Raise the fault before (or after) the call of that number."""

    def hook(call: int, at: str, name: str) -> None:
        if call == number and at == when:
            raise fault(f"{when} call {number}: {name}")

    return hook


@contextmanager
def crash_after(tap: Tap, name: str) -> Iterator[None]:
    """The process dies right after its first call of that name."""

    def hook(call: int, at: str, called: str) -> None:
        if called == name and at == "after":
            raise Crash(name)

    with tap.hooked(hook), suppress(Crash):
        yield
        raise AssertionError(f"{name} was never called")


def meanwhile(number: int, tap: Tap, act: Callable[[], object]) -> Hook:
    """Let someone else act, start to end, before the call of that number."""

    def hook(call: int, at: str, name: str) -> None:
        if call == number and at == "before":
            with tap.hooked(None):
                act()

    return hook


def meanwhile_at(name: str, tap: Tap, act: Callable[[], object]) -> Hook:
    """Let someone else act, start to end, before the first call of that name."""

    def hook(call: int, at: str, called: str) -> None:
        if (at, called) == ("before", name):
            tap.hook = None
            with tap.hooked(None):
                act()

    return hook


class _Port:
    """One port, tapped."""

    def __init__(self, tap: Tap, name: str, port: Any) -> None:
        self._tap = tap
        self._name = name
        self._port = port

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)
        if name in _PURE or not callable(method):
            return method
        called = f"{self._name}.{name}"

        def call(*args: Any, **kwargs: Any) -> Any:
            if called in ("blobs.read", "blobs.write"):
                return self._span(called, method(*args, **kwargs))
            number = self._tap.begin(called)
            result = method(*args, **kwargs)
            if called == "blobs.list":
                result = iter(list(result))
            self._tap.end(number, called)
            return result

        return call

    @contextmanager
    def _span(self, called: str, opened: AbstractContextManager[Any]) -> Iterator[Any]:
        number = self._tap.begin(called)
        with opened as stream:
            yield stream
        self._tap.end(number, called)
