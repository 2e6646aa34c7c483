"""What IAM asks of a call, and what a function's statements allow.

Actions and resources: Service Authorization Reference, per service; what stands beside a call says
where its own page of the API reference adds to that.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import translate
from typing import Any

from backburner_local.template import ACCOUNT, REGION
from tests.aws.recorder import Call, written
from tests.aws.stack import Function


@dataclass(frozen=True, slots=True)
class Need:
    """One permission that a call needs."""

    action: str
    resource: str
    #: Keys of the request that conditions may ask for, with their values.
    context: tuple[tuple[str, str], ...] = ()


# ---------------------------------------------------------------- what a call needs


def needs(call: Call) -> list[Need]:
    """Every permission that the call needs."""
    return list(_NEEDS[call.service](call))


def _dynamodb(call: Call) -> Iterator[Need]:
    given = call.parameters
    if call.operation in ("BatchGetItem", "TransactGetItems"):
        names = given.get("RequestItems") or {
            one["Get"]["TableName"] for one in given["TransactItems"]
        }
        # A transaction is allowed by the actions of its parts (developer guide, "Using IAM with
        # DynamoDB transactions").
        action = "BatchGetItem" if call.operation == "BatchGetItem" else "GetItem"
        for name in names:
            yield Need(f"dynamodb:{action}", _table(name))
        return
    if call.operation == "TransactWriteItems":
        for kind, one in written(call):
            suffix = "" if kind == "ConditionCheck" else "Item"
            name = "ConditionCheckItem" if not suffix else f"{kind}{suffix}"
            yield Need(f"dynamodb:{name}", _table(one["TableName"]))
        return
    index = f"/index/{given['IndexName']}" if "IndexName" in given else ""
    yield Need(f"dynamodb:{call.operation}", _table(given["TableName"]) + index)


def _table(name: str) -> str:
    return f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{name}"


_S3_ACTIONS = {
    "GetObject": "GetObject",
    "HeadObject": "GetObject",
    "PutObject": "PutObject",
    "CopyObject": "PutObject",
    "CreateMultipartUpload": "PutObject",
    "UploadPart": "PutObject",
    "UploadPartCopy": "PutObject",
    "CompleteMultipartUpload": "PutObject",
    "AbortMultipartUpload": "AbortMultipartUpload",
    "DeleteObject": "DeleteObject",
}


def _s3(call: Call) -> Iterator[Need]:
    given = call.parameters
    bucket = f"arn:aws:s3:::{given['Bucket']}"
    if call.operation in ("ListObjectsV2", "ListObjects"):
        yield Need("s3:ListBucket", bucket, (("s3:prefix", given.get("Prefix", "")),))
        return
    if call.operation == "DeleteObjects":
        for one in given["Delete"]["Objects"]:
            yield Need("s3:DeleteObject", f"{bucket}/{one['Key']}")
        return
    yield Need(f"s3:{_S3_ACTIONS[call.operation]}", f"{bucket}/{given['Key']}")
    if "CopySource" in given:
        yield Need("s3:GetObject", _source(given["CopySource"]))
    if call.status == 404 and call.operation in ("GetObject", "HeadObject", "CopyObject"):
        # Without it S3 answers 403 for an object that is not there (API reference, GetObject and
        # HeadObject, "Permissions"). The request has no prefix that a condition could ask for.
        yield Need("s3:ListBucket", bucket)


def _source(given: Any) -> str:
    if isinstance(given, str):
        return f"arn:aws:s3:::{given.lstrip('/')}"
    return f"arn:aws:s3:::{given['Bucket']}/{given['Key']}"


def _sqs(call: Call) -> Iterator[Need]:
    name = call.parameters["QueueUrl"].rpartition("/")[2]
    yield Need(
        f"sqs:{call.operation.removesuffix('Batch')}", f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"
    )


def _sns(call: Call) -> Iterator[Need]:
    yield Need(f"sns:{call.operation}", call.parameters["TopicArn"])


def _events(call: Call) -> Iterator[Need]:
    for entry in call.parameters["Entries"]:
        bus = f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/{entry['EventBusName']}"
        yield Need("events:PutEvents", bus, (("events:source", entry["Source"]),))


def _ses(call: Call) -> Iterator[Need]:
    # The operation is SendEmail, but for raw messages a refusal names the action that version 1 of
    # the API had for them; AWS's CDK grants both.
    address = re.sub(r"^.*<(.*)>$", r"\1", call.parameters["FromEmailAddress"])
    actions = ["SendEmail"] + (["SendRawEmail"] if "Raw" in call.parameters["Content"] else [])
    used = call.parameters.get("ConfigurationSetName")
    for action in actions:
        if used is not None:
            resource = f"arn:aws:ses:{REGION}:{ACCOUNT}:configuration-set/{used}"
            yield Need(f"ses:{action}", resource, (("ses:FromAddress", address),))
        # Asked for is whichever is verified, which no template knows.
        for identity in (address, address.rpartition("@")[2]):
            resource = f"arn:aws:ses:{REGION}:{ACCOUNT}:identity/{identity}"
            yield Need(f"ses:{action}", resource, (("ses:FromAddress", address),))


def _sagemaker(call: Call) -> Iterator[Need]:
    if "TransformJobName" in call.parameters:
        job = f"transform-job/{call.parameters['TransformJobName']}"
        # Whoever creates something with tags adds them (developer guide, "Amazon SageMaker API
        # Permissions").
        for action in (call.operation, *(["AddTags"] if call.parameters.get("Tags") else [])):
            yield Need(f"sagemaker:{action}", f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:{job}")
        return
    name = call.parameters["EndpointName"]
    yield Need(
        f"sagemaker:{call.operation}", f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:endpoint/{name}"
    )


def _bedrock(call: Call) -> Iterator[Need]:
    """They use models, profiles and jobs (user guide, "Prerequisites for batch inference")."""
    given, action = call.parameters, f"bedrock:{call.operation}"
    if call.operation == "ListModelInvocationJobs":
        yield Need(action, "*")
    elif "jobIdentifier" in given:
        yield Need(action, given["jobIdentifier"])
    else:
        own = f"arn:aws:bedrock:{REGION}:{ACCOUNT}"
        for name in (action, "bedrock:TagResource"):
            yield Need(name, f"{own}:model-invocation-job/any")
        model = given["modelId"]
        base = model.partition(".")[2] if model.startswith("us.") else model
        if base != model:
            yield Need(action, f"{own}:inference-profile/{model}")
        is_arn = model.startswith("arn:")
        yield Need(
            action, model if is_arn else f"arn:aws:bedrock:{REGION}::foundation-model/{base}"
        )
        passed = (("iam:PassedToService", "bedrock.amazonaws.com"),)
        yield Need("iam:PassRole", given["roleArn"], passed)


def _service_quotas(call: Call) -> Iterator[Need]:
    yield Need(f"servicequotas:{call.operation}", "*")


_NEEDS: dict[str, Callable[[Call], Iterator[Need]]] = {
    "dynamodb": _dynamodb,
    "s3": _s3,
    "sqs": _sqs,
    "sns": _sns,
    "eventbridge": _events,
    "sesv2": _ses,
    "sagemaker": _sagemaker,
    "sagemaker-runtime": _sagemaker,
    "bedrock": _bedrock,
    "service-quotas": _service_quotas,
}


def services_need(function: Function) -> list[Need]:
    """What Lambda does in the function's name: it logs, reads the queue, keeps what failed."""
    group = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{function.log_group}:log-stream:one"
    found = [Need(f"logs:{action}", group) for action in ("CreateLogStream", "PutLogEvents")]
    if function.queue is not None:
        # Lambda developer guide, "Creating and configuring an Amazon SQS event source mapping".
        queue = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{function.queue}"
        actions = ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes")
        found += [Need(f"sqs:{action}", queue) for action in actions]
    if function.dead_letters is not None:
        found.append(Need("sqs:SendMessage", function.dead_letters))
    return found


# ---------------------------------------------------------------- what statements allow


@dataclass(frozen=True, slots=True)
class Grant:
    """One action on one resource pattern, of one statement."""

    action: str
    resource: str
    conditions: tuple[tuple[str, str, tuple[str, ...]], ...] = ()

    def covers(self, need: Need) -> bool:
        return (
            _matches(self.action.lower(), need.action.lower())
            and _matches(self.resource, need.resource)
            and all(_holds(*condition, dict(need.context)) for condition in self.conditions)
        )

    def __str__(self) -> str:
        return f"{self.action} on {self.resource}"


def grants(statements: Iterable[Mapping[str, Any]]) -> list[Grant]:
    """Each pair of an action and a resource that the statements allow."""
    found = []
    for statement in statements:
        assert statement["Effect"] == "Allow", "only what is allowed is written down"
        conditions = tuple(
            (operator, key, tuple(_listed(values)))
            for operator, keys in statement.get("Condition", {}).items()
            for key, values in keys.items()
        )
        found += [
            Grant(action, resource, conditions)
            for action in _listed(statement["Action"])
            for resource in _listed(statement["Resource"])
        ]
    return found


def _listed(given: Any) -> list[str]:
    return list(given) if isinstance(given, list) else [given]


def _matches(pattern: str, text: str) -> bool:
    # IAM knows `*` and `?` only; brackets stand for themselves.
    return re.fullmatch(translate(pattern.replace("[", "[[]")), text) is not None


def _holds(operator: str, key: str, values: tuple[str, ...], context: Mapping[str, str]) -> bool:
    """Whether a condition holds; one on a key that the request does not have never does."""
    if key not in context:
        return False
    match operator:
        case "StringEquals":
            return context[key] in values
        case "StringLike":
            return any(_matches(value, context[key]) for value in values)
    raise NotImplementedError(operator)


# ---------------------------------------------------------------- both together


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a function's statements and its calls agree."""

    function: str
    #: Needed and not allowed, with the name of a call.
    missing: Mapping[Need, str]
    #: Allowed and never needed.
    superfluous: tuple[Grant, ...]
    #: Logical ids of the template by the names of resources, to write both down.
    names: Mapping[str, str]

    def __bool__(self) -> bool:
        return not self.missing and not self.superfluous

    def __str__(self) -> str:
        """As statements for the template, and what to take out of it."""
        lines = [f"functions/{self.function}: its statements and its calls differ."]
        wanted = {
            (need.action, pattern(need.resource)): call for need, call in self.missing.items()
        }
        for (action, resource), call in sorted(wanted.items()):
            statement = (
                f"{{Effect: Allow, Action: {action}, Resource: {written_as(resource, self.names)}}}"
            )
            lines.append(f"  missing: - {statement} # {call}")
        lines += [
            f"  superfluous: {grant.action} on {written_as(grant.resource, self.names)}"
            for grant in self.superfluous
        ]
        return "\n".join(lines)


def judge(function: Function, calls: Iterable[Call], names: Mapping[str, str]) -> Verdict:
    """Compare what a function may do with what it, and Lambda in its name, does."""
    allowed = grants(function.statements)
    needed = dict.fromkeys(services_need(function), "Lambda")
    needed |= {need: call.name for call in calls for need in needs(call)}
    missing: dict[Need, str] = {}
    used: set[Grant] = set()
    for need, name in needed.items():
        covering = [grant for grant in allowed if grant.covers(need)]
        used.update(covering)
        if not covering:
            missing[need] = name
    superfluous = tuple(grant for grant in allowed if grant not in used)
    return Verdict(function.name, missing, superfluous, names)


def pattern(resource: str) -> str:
    """The resource, or all objects beside one under its first folder."""
    bucket, slash, key = resource.partition("/")
    if not bucket.startswith("arn:aws:s3:::") or not slash:
        return resource
    folders = key.split("/")
    depth = 2 if folders[0] == "async" else 1
    return f"{bucket}/{'/'.join(folders[:depth])}/*"


def written_as(resource: str, names: Mapping[str, str]) -> str:
    """The resource as the template writes it, by the logical ids of names."""
    service = resource.split(":")[2] if resource != "*" else ""
    name = resource.rpartition(":")[2]
    match service:
        case "dynamodb":
            table, slash, index = name.removeprefix("table/").partition("/")
            known = names.get(table, table)
            return f'!Sub "${{{known}.Arn}}/{index}"' if slash else f"!GetAtt {known}.Arn"
        case "sqs":
            return f"!GetAtt {names.get(name, name)}.Arn"
        case "sns":
            return f"!Ref {names.get(name, name)}"
        case "s3":
            bucket, slash, keys = name.partition("/")
            known = names.get(bucket, bucket)
            return f"!Sub ${{{known}.Arn}}/{keys}" if slash else f"!GetAtt {known}.Arn"
        case "sagemaker":
            return f"!Sub {_anywhere(resource).rpartition('/')[0]}/${{EndpointName}}"
    return f"!Sub {_anywhere(resource)}"


def _anywhere(resource: str) -> str:
    text = resource.replace("arn:aws:", "arn:${AWS::Partition}:")
    return text.replace(f"{REGION}:{ACCOUNT}", "${AWS::Region}:${AWS::AccountId}")
