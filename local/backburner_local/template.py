"""Read template.yaml: which functions there are, what triggers them, and how the endpoint scales.

An event source that is not in the template does not fire here, just as on AWS.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

ACCOUNT, REGION = "123456789012", "us-east-1"

#: What a property that is left out refers to.
_NO_VALUE = object()

_PSEUDO = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Region": REGION,
    "AWS::Partition": "aws",
    "AWS::URLSuffix": "amazonaws.com",
    "AWS::StackName": "backburner",
    "AWS::NoValue": _NO_VALUE,
}


#: The one in C is nine times as fast; PyYAML may have been built without it.
_SafeLoader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_SafeLoader):  # type: ignore[valid-type, misc]
    """YAML with CloudFormation's short intrinsic functions."""


def _intrinsic(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
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

    #: `HttpApi`, `S3`, `SNS`, `SQS`, `ScheduleV2` or `EventBridgeRule`.
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


def parse(path: Path) -> dict[str, Any]:
    """The document as it is written, with the short intrinsic functions in their full form."""
    return _parse(path.read_text(encoding="utf-8"))


def _parse(text: str) -> dict[str, Any]:
    # The loader is a SafeLoader; it only knows a few tags more.
    document: dict[str, Any] = yaml.load(text, _Loader)  # noqa: S506
    return document


#: For those who change nothing in it: a stack reads it for each of its endpoints.
_parse_once = lru_cache(maxsize=4)(_parse)


def load(path: Path, parameters: Mapping[str, Any] | None = None) -> Template:
    """Read a template.

    Args:
        path: of template.yaml.
        parameters: values that replace the parameters' defaults.
    """
    document = _parse_once(path.read_text(encoding="utf-8"))
    resolver = _Resolver(document, parameters or {})
    resources = resolver.resources()
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

    def __init__(self, document: Mapping[str, Any], parameters: Mapping[str, Any]) -> None:
        self._resources: Mapping[str, Any] = document["Resources"]
        self._conditions: Mapping[str, Any] = document.get("Conditions", {})
        self._mappings: Mapping[str, Any] = document.get("Mappings", {})
        defaults = {n: p.get("Default", "") for n, p in document.get("Parameters", {}).items()}
        self._values: dict[str, Any] = {**_PSEUDO, **defaults, **parameters}
        self._functions: dict[str, Callable[[Any], Any]] = {
            "Ref": lambda name: self._values[name],
            "Fn::GetAtt": self._attribute,
            "Fn::Sub": self._sub,
            "Fn::If": self._if,
            "Fn::FindInMap": self._find_in_map,
            "Fn::Select": lambda given: self.value(given[1])[int(self.value(given[0]))],
            "Fn::Split": lambda given: self.value(given[1]).split(given[0]),
        }
        self._name_resources()

    def resources(self) -> dict[str, Any]:
        """The resources that there are, resolved."""
        return {
            name: self.value(resource)
            for name, resource in self._resources.items()
            if "Condition" not in resource or self._holds(resource["Condition"])
        }

    def value(self, given: Any) -> Any:
        """The given tree with every intrinsic function replaced."""
        if isinstance(given, list):
            return [item for item in map(self.value, given) if item is not _NO_VALUE]
        if not isinstance(given, dict):
            return given
        if len(given) == 1:
            ((name, argument),) = given.items()
            if name in self._functions:
                return self._functions[name](argument)
        resolved = ((key, self.value(item)) for key, item in given.items())
        return {key: item for key, item in resolved if item is not _NO_VALUE}

    def _name_resources(self) -> None:
        for name, resource in self._resources.items():
            is_topic = resource["Type"] == "AWS::SNS::Topic"
            self._values[name] = f"arn:aws:sns:{REGION}:{ACCOUNT}:{name}" if is_topic else name
        for name, resource in self._resources.items():
            properties = resource.get("Properties", {})
            if resource["Type"] == "AWS::S3::Bucket":
                self._values[name] = self.value(properties.get("BucketName", name))
            if resource["Type"] == "AWS::SageMaker::Endpoint":
                given = self.value(properties.get("EndpointName", name))
                self._values[f"{name}.EndpointName"] = given

    def _attribute(self, given: list[str]) -> Any:
        name, attribute = given
        return self._values.get(f"{name}.{attribute}", self._values[name])

    def _sub(self, given: str | list[Any]) -> str:
        text, values = given if isinstance(given, list) else (given, {})
        return re.sub(
            r"\$\{([^}]+)\}",
            lambda match: str(
                self.value(values[match[1]]) if match[1] in values else self._named(match[1])
            ),
            text,
        )

    def _named(self, name: str) -> Any:
        value = self._values.get(name)
        return value if value is not None else self._values[name.split(".")[0]]

    def _if(self, given: list[Any]) -> Any:
        condition, yes, no = given
        return self.value(yes if self._holds(condition) else no)

    def _find_in_map(self, given: list[Any]) -> Any:
        name, first, second = map(self.value, given)
        return self._mappings[name][first][second]

    def _holds(self, condition: Any) -> bool:
        """Whether a condition, or the one of that name, is true."""
        if isinstance(condition, str):
            return self._holds(self._conditions[condition])
        ((name, argument),) = condition.items()
        if name == "Condition":
            return self._holds(argument)
        if name == "Fn::Equals":
            left, right = map(self.value, argument)
            return str(left) == str(right)
        held = [self._holds(one) for one in argument]
        if name == "Fn::Not":
            return not held[0]
        return {"Fn::And": all, "Fn::Or": any}[name](held)
