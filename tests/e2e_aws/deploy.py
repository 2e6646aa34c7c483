"""Our template on ministack: expanded, packaged, created, and completed where it falls short.

The packages are made from the source, not by `sam build`: the layer of dependencies holds wheels
for another architecture than this machine's, so it stays empty here, and ministack's virtual
environment has the packages instead.
"""

import io
import json
import re
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from backburner.bootstrap import on_aws
from backburner.ports import Environment
from backburner.settings import Settings
from tests.e2e_aws.clients import ACCOUNT, REGION, Aws
from tests.e2e_aws.ministack import ROOT
from tests.e2e_aws.servers import wait_until
from tests.template.expand import expand

STACK: Final = "backburner"
ARTIFACTS: Final = "artifacts"
SENDER: Final = "backburner@example.com"

#: Types that ministack does not know; our own emulator stands in for what they declare.
_FOREIGN = ("AWS::SageMaker::", "AWS::ApplicationAutoScaling::")

_FUNCTION = re.compile(r"\$\{(\w+)\.Arn\}/invocations$")

#: Lines of Lambda itself.
_QUIET = ("START ", "END ", "REPORT ")

#: Same bytes from the same source.
_EPOCH = (2020, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Deployment:
    """A stack that was created."""

    aws: Aws
    #: Physical id by logical id.
    resources: dict[str, str]
    outputs: dict[str, str]

    @property
    def functions(self) -> list[str]:
        """Logical ids."""
        return [name for name in self.resources if name.endswith("Function")]

    @property
    def api_url(self) -> str:
        """Base of the HTTP API. On AWS it is a host name of its own, as the output ApiUrl tells."""
        return f"{self.aws.url}/_aws/execute-api/{self.resources['Api']}/$default"

    @cached_property
    def environment(self) -> Environment:
        """The deployment's world, seen by the account's root, through the adapters of AWS."""
        variables = self.configuration("PlanFunction")["Environment"]["Variables"]
        return on_aws(Settings.from_environment(variables), self.aws.clients)

    def configuration(self, function: str) -> dict[str, Any]:
        """What Lambda knows about a function."""
        with self.aws.client("lambda") as functions:
            answer: dict[str, Any] = functions.get_function_configuration(
                FunctionName=self.resources[function]
            )
        return answer

    def invoke(self, function: str, event: dict[str, Any]) -> tuple[str | None, Any]:
        """Call a function and wait: what kind of error it ended with, and what it returned."""
        with self.aws.client("lambda") as functions:
            answer = functions.invoke(
                FunctionName=self.resources[function], Payload=json.dumps(event).encode()
            )
            return answer.get("FunctionError"), json.loads(answer["Payload"].read() or b"null")

    def log(self, function: str) -> list[str]:
        """Messages of a function; none if it never ran."""
        group = self.configuration(function)["LoggingConfig"]["LogGroup"]
        with self.aws.client("logs") as logs:
            try:
                events = logs.filter_log_events(logGroupName=group)["events"]
            except logs.exceptions.ResourceNotFoundException:
                return []
        return [event["message"].rstrip() for event in events]

    def story(self) -> str:
        """What each function logged last."""
        parts = []
        for name in self.functions:
            messages = [m for m in self.log(name) if not m.startswith(_QUIET)]
            parts += [f"---- {name}", *messages[-25:]]
        return "\n".join(parts)


def deploy(aws: Aws) -> Deployment:
    """Create the stack on that ministack."""
    template = expand(ROOT / "template.yaml")
    template["Resources"] = {
        name: resource for name, resource in template["Resources"].items() if _is_known(resource)
    }
    _widen_mail(template)
    with aws.client("s3") as s3:
        _upload(s3, template)
    with aws.client("cloudformation") as stacks:
        _create(stacks, f"{aws.url}/{ARTIFACTS}/template.json")
        deployment = _describe(stacks, aws)
    with aws.client("apigatewayv2") as apis:
        _route(apis, deployment, template)
    with aws.client("dynamodb") as tables:
        _expire(tables, deployment, template)
    return deployment


def _is_known(resource: dict[str, Any]) -> bool:
    """Whether ministack can create it: it knows no SageMaker and no alarms on metric math."""
    return not (
        resource["Type"].startswith(_FOREIGN)
        or (resource["Type"] == "AWS::CloudWatch::Alarm" and "Metrics" in resource["Properties"])
    )


def _widen_mail(node: Any) -> None:
    """Let statements about SES hold for any identity: ministack never tells which one it is."""
    if isinstance(node, dict):
        actions = node.get("Action", "")
        if str(actions if isinstance(actions, str) else actions[0]).startswith("ses:"):
            node["Resource"] = "*"
            node.pop("Condition", None)
        for value in node.values():
            _widen_mail(value)
    elif isinstance(node, list):
        for value in node:
            _widen_mail(value)


def _upload(s3: Any, template: dict[str, Any]) -> None:
    s3.create_bucket(Bucket=ARTIFACTS)
    for folder in sorted((ROOT / "functions").iterdir()):
        if folder.is_dir() and (folder / "app.py").exists():
            body = _zip(folder, "")
            s3.put_object(Bucket=ARTIFACTS, Key=f"functions/{folder.name}", Body=body)
    core = _zip(ROOT / "layers" / "core", "python/")
    s3.put_object(Bucket=ARTIFACTS, Key="layers/core", Body=core)
    for layer in ("dependencies", "parquet"):  # their packages are in the functions' environment
        body = _zip(ROOT / "layers" / layer, "python/", suffixes=())
        s3.put_object(Bucket=ARTIFACTS, Key=f"layers/{layer}", Body=body)
    s3.put_object(Bucket=ARTIFACTS, Key="template.json", Body=json.dumps(template).encode())


def _zip(folder: Path, prefix: str, suffixes: tuple[str, ...] = (".py", ".toml")) -> bytes:
    """An archive of the folder's files; links are followed, as `sam build` does."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(f"{prefix}.made", _EPOCH), b"")
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.suffix in suffixes:
                name = prefix + path.relative_to(folder).as_posix()
                archive.writestr(zipfile.ZipInfo(name, _EPOCH), path.read_bytes())
    return buffer.getvalue()


def _create(stacks: Any, template_url: str) -> None:
    parameters = {
        "SenderAddress": SENDER,
        "CreateSenderIdentity": "true",
        "ConcurrentInvocations": "2",
    }
    stacks.create_stack(
        StackName=STACK,
        TemplateURL=template_url,
        Capabilities=["CAPABILITY_IAM"],
        Parameters=[
            {"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()
        ],
    )

    def is_done() -> bool:
        (stack,) = stacks.describe_stacks(StackName=STACK)["Stacks"]
        status = stack["StackStatus"]
        if status.endswith(("FAILED", "ROLLBACK_COMPLETE")):
            raise AssertionError(f"the stack is {status}:\n{_reasons(stacks)}")
        return bool(status == "CREATE_COMPLETE")

    wait_until(is_done, "the creation of the stack")


def _reasons(stacks: Any) -> str:
    (stack,) = stacks.describe_stacks(StackName=STACK)["Stacks"]
    events = stacks.describe_stack_events(StackName=STACK)["StackEvents"]
    failed = [
        f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason')}"
        for event in events
        if event["ResourceStatus"].endswith("FAILED")
    ]
    return "\n".join([str(stack.get("StackStatusReason")), *failed])


def _describe(stacks: Any, aws: Aws) -> Deployment:
    (stack,) = stacks.describe_stacks(StackName=STACK)["Stacks"]
    found: dict[str, str] = {}
    for page in stacks.get_paginator("list_stack_resources").paginate(StackName=STACK):
        for resource in page["StackResourceSummaries"]:
            found[resource["LogicalResourceId"]] = resource["PhysicalResourceId"]
    outputs = {one["OutputKey"]: one["OutputValue"] for one in stack.get("Outputs", [])}
    return Deployment(aws=aws, resources=found, outputs=outputs)


def _route(apis: Any, deployment: Deployment, template: dict[str, Any]) -> None:
    """Create the routes of the HTTP API: ministack drops the document that declares them."""
    api = deployment.resources["Api"]
    paths = template["Resources"]["Api"]["Properties"]["Body"]["paths"]
    for path, methods in paths.items():
        for method, operation in methods.items():
            integration = operation["x-amazon-apigateway-integration"]
            found = _FUNCTION.search(integration["uri"]["Fn::Sub"])
            assert found is not None, integration
            function = deployment.resources[found[1]]
            made = apis.create_integration(
                ApiId=api,
                IntegrationType="AWS_PROXY",
                IntegrationUri=f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{function}",
                PayloadFormatVersion=integration["payloadFormatVersion"],
            )
            verb = "ANY" if method == "x-amazon-apigateway-any-method" else method.upper()
            apis.create_route(
                ApiId=api,
                RouteKey=path if path == "$default" else f"{verb} {path}",
                Target=f"integrations/{made['IntegrationId']}",
            )


def _expire(tables: Any, deployment: Deployment, template: dict[str, Any]) -> None:
    """Switch the table's time to live on, where the template does: ministack drops it."""
    for name, resource in template["Resources"].items():
        declared = resource.get("Properties", {}).get("TimeToLiveSpecification")
        if resource["Type"] == "AWS::DynamoDB::Table" and declared:
            tables.update_time_to_live(
                TableName=deployment.resources[name], TimeToLiveSpecification=declared
            )
