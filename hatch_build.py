"""Put the stack's template, handlers and catalog into wheels, so that an installed copy can run."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

STACK = ("template.yaml", "functions", "events", "model/catalog.toml", "model/mistral-tiny")


class StackHook(BuildHookInterface[Any]):
    """Add the files outside the packages, for real wheels only."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "standard":  # an editable install reads the checkout instead
            for name in STACK:
                build_data["force_include"][name] = f"backburner_local/_stack/{name}"
            build_data["force_include"]["model/model.py"] = "backburner_model/model.py"
