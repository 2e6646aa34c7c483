"""Expand the SAM template to plain CloudFormation, which is what linters must see.

Usage: python -m tests.template.expand template.yaml > expanded.json
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from samtranslator.public.translator import ManagedPolicyLoader
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse


class _NoManagedPolicies(ManagedPolicyLoader):  # type: ignore[misc]
    """The template uses no managed policy by name: nothing need be fetched from IAM."""

    def __init__(self) -> None:
        super().__init__(None)

    def load(self) -> dict[str, str]:
        return {}


def expand(path: Path) -> dict[str, Any]:
    """The CloudFormation template that SAM makes of the file."""
    os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
    document = yaml_parse(path.read_text(encoding="utf-8"))
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
