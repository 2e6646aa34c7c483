"""What CloudFormation makes of the template: names, addresses, variables, roles and triggers."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backburner_local.template import ACCOUNT, REGION
from tests.template.expand import expanded

_PSEUDO = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Region": REGION,
    "AWS::Partition": "aws",
    "AWS::StackName": "backburner",
    "AWS::URLSuffix": "amazonaws.com",
}

#: ARN of a resource by its type; `{}` is its name.
_ARNS = {
    "AWS::DynamoDB::Table": f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{{}}",
    "AWS::S3::Bucket": "arn:aws:s3:::{}",
    "AWS::SQS::Queue": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{{}}",
    "AWS::SNS::Topic": f"arn:aws:sns:{REGION}:{ACCOUNT}:{{}}",
    "AWS::SageMaker::Endpoint": f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:endpoint/{{}}",
    "AWS::Logs::LogGroup": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{{}}:*",
}

#: Property that names a resource, where the template gives one.
_NAMES = ("BucketName", "EndpointName", "TableName", "QueueName", "TopicName", "LogGroupName")


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """One function, as it runs."""

    #: Folder of its code under `functions/`.
    name: str
    memory_mb: int
    variables: Mapping[str, str]
    #: Of its role: the statements that the template writes.
    statements: tuple[Mapping[str, Any], ...]
    managed_policies: tuple[str, ...]
    log_group: str
    #: Name of the queue that it reads, and the most messages it is handed at once.
    queue: str | None
    batch_size: int
    #: ARN of where events go that it failed on; None: nowhere.
    dead_letters: str | None
    is_scheduled: bool


class Stack:
    """The template, deployed with these parameters; a resource is named by its logical id."""

    def __init__(self, **parameters: str) -> None:
        document = expanded()
        given = {name: p.get("Default", "") for name, p in document["Parameters"].items()}
        self._values = {**_PSEUDO, **given, **parameters}
        self._conditions: dict[str, Any] = document.get("Conditions", {})
        self.resources: dict[str, dict[str, Any]] = {
            name: resource
            for name, resource in document["Resources"].items()
            if "Condition" not in resource or self._holds(resource["Condition"])
        }

    # ------------------------------------------------------------ resources

    def of_type(self, kind: str) -> dict[str, dict[str, Any]]:
        """Properties of all resources of a type, by name."""
        return {
            self.name(logical_id): self.value(resource.get("Properties", {}))
            for logical_id, resource in self.resources.items()
            if resource["Type"] == kind
        }

    def name(self, logical_id: str) -> str:
        properties = self.resources[logical_id].get("Properties", {})
        given = next((properties[name] for name in _NAMES if name in properties), logical_id)
        return str(self.value(given))

    def arn(self, logical_id: str) -> str:
        pattern = _ARNS.get(self.resources[logical_id]["Type"], "arn:aws:other:::{}")
        return pattern.format(self.name(logical_id))

    def logical_ids(self) -> dict[str, str]:
        """Logical id of each resource by its name."""
        return {self.name(logical_id): logical_id for logical_id in self.resources}

    def functions(self) -> dict[str, Function]:
        """Every function by its name."""
        found = [self._function(*one) for one in self._of("AWS::Lambda::Function")]
        return {function.name: function for function in found}

    def _function(self, logical_id: str, properties: Mapping[str, Any]) -> Function:
        role = self.resources[properties["Role"]["Fn::GetAtt"][0]]["Properties"]
        mapping = self._about(logical_id, "AWS::Lambda::EventSourceMapping")
        queue = self.value(mapping["EventSourceArn"]).rpartition(":")[2] if mapping else None
        return Function(
            name=Path(properties["Code"]["S3Key"]).name,
            memory_mb=int(properties["MemorySize"]),
            variables={
                name: str(value)
                for name, value in self.value(properties["Environment"]["Variables"]).items()
            },
            statements=tuple(_statements(self.value(role.get("Policies", [])))),
            managed_policies=tuple(self.value(role.get("ManagedPolicyArns", []))),
            log_group=self.value(properties["LoggingConfig"]["LogGroup"]),
            queue=queue,
            batch_size=int(mapping.get("BatchSize", 1)),
            dead_letters=self._dead_letters(logical_id),
            is_scheduled=any(
                self.value(one["Target"]["Arn"]) == self.arn(logical_id)
                for _, one in self._of("AWS::Scheduler::Schedule")
            ),
        )

    def _about(self, function: str, kind: str) -> Mapping[str, Any]:
        """The one resource of a type that belongs to a function, or nothing."""
        found = (one for _, one in self._of(kind) if one["FunctionName"] == {"Ref": function})
        return next(found, {})

    def _dead_letters(self, function: str) -> str | None:
        config = self.value(self._about(function, "AWS::Lambda::EventInvokeConfig"))
        arn = config.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination")
        return str(arn) if arn is not None else None

    def _of(self, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Logical ids and properties as they are written, of one type."""
        for logical_id, resource in self.resources.items():
            if resource["Type"] == kind:
                yield logical_id, resource["Properties"]

    # ------------------------------------------------------------ intrinsic functions

    def value(self, given: Any) -> Any:
        """The given tree with every intrinsic function replaced."""
        if isinstance(given, list):
            return [one for one in map(self.value, given) if one is not _NO_VALUE]
        if not isinstance(given, dict):
            return given
        if len(given) == 1:
            ((name, argument),) = given.items()
            intrinsic = _INTRINSICS.get(name)
            if intrinsic is not None:
                return intrinsic(self, argument)
        values = {key: self.value(item) for key, item in given.items()}
        return {key: value for key, value in values.items() if value is not _NO_VALUE}

    def _ref(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return _NO_VALUE
        if name in self._values:
            return self._values[name]
        kind = self.resources[name]["Type"]
        if kind == "AWS::SQS::Queue":
            return f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{self.name(name)}"
        return self.arn(name) if kind == "AWS::SNS::Topic" else self.name(name)

    def _get_att(self, argument: Any) -> str:
        logical_id, attribute = argument if isinstance(argument, list) else argument.split(".", 1)
        return self.arn(logical_id) if attribute.endswith("Arn") else self.name(logical_id)

    def _sub(self, argument: Any) -> str:
        text, own = argument if isinstance(argument, list) else (argument, {})
        values = self.value(own)

        def replaced(match: re.Match[str]) -> str:
            name = match.group(1)
            if name in values:
                return str(values[name])
            return str(self._get_att(name) if "." in name else self._ref(name))

        return re.sub(r"\$\{([^}!]+)\}", replaced, text)

    def _join(self, argument: Any) -> str:
        separator, parts = argument
        return str(separator).join(map(str, self.value(parts)))

    def _select(self, argument: Any) -> Any:
        index, values = argument
        return self.value(values)[int(index)]

    def _split(self, argument: Any) -> list[str]:
        separator, text = argument
        return str(self.value(text)).split(separator)

    def _if(self, argument: Any) -> Any:
        condition, yes, no = argument
        return self.value(yes if self._holds(condition) else no)

    def _holds(self, condition: Any) -> bool:
        if isinstance(condition, str):
            return self._holds(self._conditions[condition])
        ((name, argument),) = condition.items()
        match name:
            case "Fn::Equals":
                first, second = self.value(argument)
                return bool(first == second)
            case "Fn::Not":
                return not self._holds(argument[0])
            case "Fn::And":
                return all(map(self._holds, argument))
            case "Fn::Or":
                return any(map(self._holds, argument))
            case "Condition":
                return self._holds(self._conditions[argument])
        raise NotImplementedError(name)


_NO_VALUE = object()
_INTRINSICS = {
    "Ref": Stack._ref,
    "Fn::GetAtt": Stack._get_att,
    "Fn::Sub": Stack._sub,
    "Fn::Join": Stack._join,
    "Fn::If": Stack._if,
    "Fn::Select": Stack._select,
    "Fn::Split": Stack._split,
}


def _statements(policies: Any) -> Iterator[Mapping[str, Any]]:
    for policy in policies:
        found = policy["PolicyDocument"]["Statement"]
        yield from found if isinstance(found, list) else [found]
