"""Load the template's handlers, and call them as Lambda does."""

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backburner_local import names
from backburner_local.template import Function, Trigger

Handler = Callable[[dict[str, Any], Any], Any]


@dataclass(frozen=True, slots=True)
class Context:
    """What a handler is told about its invocation (Lambda's `context`)."""

    function_name: str
    timeout_seconds: int
    aws_request_id: str = field(default_factory=lambda: str(names.new()))
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:123456789012:function:local"

    def get_remaining_time_in_millis(self) -> int:
        return self.timeout_seconds * 1000


@dataclass(frozen=True, slots=True)
class LoadedFunction:
    """A function of the template, ready to be called."""

    function: Function
    handler: Handler

    @property
    def name(self) -> str:
        return self.function.name

    def triggers(self, kind: str) -> list[Trigger]:
        """Its event sources of a kind."""
        return [trigger for trigger in self.function.triggers if trigger.kind == kind]

    def __call__(self, event: dict[str, Any]) -> Any:
        return self.handler(event, Context(self.function.name, self.function.timeout_seconds))


def load(root: Path, function: Function) -> LoadedFunction:
    """Import a function's module under a name of its own, as all are called `app`."""
    module_name, _, handler_name = function.handler.partition(".")
    path = root / function.folder / f"{module_name}.py"
    name = f"functions.{path.parent.name}.{module_name}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:  # pragma: no cover - a path always has a loader
            raise ImportError(f"no module at {path}")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return LoadedFunction(function, getattr(sys.modules[name], handler_name))
