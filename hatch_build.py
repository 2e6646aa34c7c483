"""Put the stack's template, handlers and catalog into wheels, so that an installed copy can run."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class StackHook(BuildHookInterface[Any]):
    """Add the files outside the packages, for real wheels only."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "standard":  # an editable install reads the checkout instead
            for name in ("template.yaml", "functions", "model/catalog.toml", "model/model.py", "model/mistral-tiny"):
                build_data["force_include"][name] = f"backburner_local/_stack/{name}"
