"""Read template.yaml: which functions there are, what triggers them, and how the endpoint scales.

An event source that is not in the template does not fire here, just as on AWS.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ACCOUNT, REGION = "123456789012", "us-east-1"

_PSEUDO = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Region": REGION,
    "AWS::Partition": "aws",
    "AWS::URLSuffix": "amazonaws.com",
    "AWS::StackName": "backburner",
}


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short intrinsic functions."""


def _intrinsic(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    name = suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
        return {name: value.split(".", 1) if suffix == "GetAtt" else value}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    return {name: loader.construct_mapping(node, deep=True)}  # type: ignore[arg-type]


_Loader.add_multi_constructor("!", _intrinsic)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """One event source of a function."""

    #: `HttpApi`, `S3`, `SNS`, `SQS` or `ScheduleV2`.
    kind: str
    properties: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """One Lambda function of the template."""

    name: str
    #: Folder of its code, relative to the template.
    folder: str
    #: Module and function, such as `app.handler`.
    handler: str
    timeout_seconds: int
    triggers: tuple[Trigger, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueConfig:
    """One SQS queue that a function reads."""

    visibility_seconds: int
    max_receives: int


@dataclass(frozen=True, slots=True)
class Template:
    """The template with its intrinsic functions resolved for this machine."""

    root: Path
    resources: Mapping[str, Mapping[str, Any]]
    functions: tuple[Function, ...] = ()
    queues: Mapping[str, QueueConfig] = field(default_factory=dict)
    #: Environment of all functions.
    variables: Mapping[str, str] = field(default_factory=dict)

    def of_type(self, kind: str) -> dict[str, Mapping[str, Any]]:
        """Properties of all resources of a type, by logical id."""
        return {
            name: resource.get("Properties", {})
            for name, resource in self.resources.items()
            if resource["Type"] == kind
        }


def load(path: Path, parameters: Mapping[str, Any] | None = None) -> Template:
    """Read a template.

    Args:
        path: of template.yaml.
        parameters: values that replace the parameters' defaults.
    """
    # The loader is a SafeLoader; it only knows a few tags more.
    document = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506
    values = {name: p.get("Default", "") for name, p in document.get("Parameters", {}).items()}
    resolver = _Resolver(values | dict(parameters or {}), document["Resources"])
    resources = {name: resolver.value(r) for name, r in document["Resources"].items()}
    defaults = resolver.value(document.get("Globals", {})).get("Function", {})
    template = Template(path.parent, resources)
    functions = tuple(
        _function(name, defaults | dict(properties))
        for name, properties in template.of_type("AWS::Serverless::Function").items()
    )
    queues = {
        name: QueueConfig(
            visibility_seconds=int(properties.get("VisibilityTimeout", 30)),
            max_receives=int(properties["RedrivePolicy"]["maxReceiveCount"]),
        )
        for name, properties in template.of_type("AWS::SQS::Queue").items()
        if "RedrivePolicy" in properties
    }
    variables = defaults.get("Environment", {}).get("Variables", {})
    return Template(path.parent, resources, functions, queues, variables)


def _function(name: str, properties: Mapping[str, Any]) -> Function:
    return Function(
        name=name.removesuffix("Function"),
        folder=properties["CodeUri"].strip("/"),
        handler=properties["Handler"],
        timeout_seconds=int(properties["Timeout"]),
        triggers=tuple(
            Trigger(kind=event["Type"], properties=event.get("Properties", {}))
            for event in properties.get("Events", {}).values()
        ),
    )


class _Resolver:
    """Resolves intrinsic functions: a resource's Ref and attributes give its logical id or ARN."""

    def __init__(self, parameters: Mapping[str, Any], resources: Mapping[str, Any]) -> None:
        self._values: dict[str, Any] = {**_PSEUDO, **parameters}
        for name, resource in resources.items():
            is_topic = resource["Type"] == "AWS::SNS::Topic"
            self._values[name] = f"arn:aws:sns:{REGION}:{ACCOUNT}:{name}" if is_topic else name
        for name, resource in resources.items():
            if resource["Type"] == "AWS::S3::Bucket":
                self._values[name] = self.value(
                    resource.get("Properties", {}).get("BucketName", name)
                )
            if resource["Type"] == "AWS::SageMaker::Endpoint":
                given = self.value(resource.get("Properties", {}).get("EndpointName", name))
                self._values[f"{name}.EndpointName"] = given

    def value(self, given: Any) -> Any:
        """The given tree with every intrinsic function replaced."""
        if isinstance(given, list):
            return [self.value(item) for item in given]
        if not isinstance(given, dict):
            return given
        if "Ref" in given:
            return self._values[given["Ref"]]
        if "Fn::GetAtt" in given:
            name, attribute = given["Fn::GetAtt"]
            return self._values.get(f"{name}.{attribute}", self._values[name])
        if "Fn::Sub" in given and isinstance(given["Fn::Sub"], str):
            return re.sub(r"\$\{([^}]+)\}", self._substitute, given["Fn::Sub"])
        return {key: self.value(item) for key, item in given.items()}

    def _substitute(self, match: re.Match[str]) -> str:
        name = match.group(1)
        value = self._values.get(name)
        return str(value if value is not None else self._values[name.split(".")[0]])
