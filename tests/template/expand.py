"""Expand the SAM template to plain CloudFormation, which is what linters must see.

Usage: python -m tests.template.expand template.yaml > expanded.json
"""

import json
import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

from backburner_local import template

ROOT = Path(__file__).parents[2]


class _NoManagedPolicies:
    """The template uses no managed policy by name: nothing need be fetched from IAM."""

    def load(self) -> dict[str, str]:
        return {}


@cache
def expanded() -> dict[str, Any]:
    """What SAM makes of the project's template: the same for all, not to be changed."""
    return expand(ROOT / "template.yaml")


def expand(path: Path) -> dict[str, Any]:
    """The CloudFormation template that SAM makes of the file."""
    # Takes most of a second: not for those who need no template.
    from samtranslator.translator.transform import transform

    os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
    document = template.parse(path)
    for properties in (
        resource["Properties"]
        for resource in document["Resources"].values()
        if resource["Type"] in ("AWS::Serverless::Function", "AWS::Serverless::LayerVersion")
    ):  # what `sam package` puts there
        name = "CodeUri" if "CodeUri" in properties else "ContentUri"
        properties[name] = f"s3://artifacts/{properties[name].strip('/')}"
    expanded: dict[str, Any] = transform(document, {}, _NoManagedPolicies())
    return expanded


if __name__ == "__main__":
    json.dump(expand(Path(sys.argv[1])), sys.stdout, indent=1)
