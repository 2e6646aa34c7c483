"""What CreateModelInvocationJob and its kin refuse at once: shapes, patterns, bounds.

The constraints are those of AWS's service model. Two of its patterns take exponential time to
refuse a text; theirs are written here in another way, and told as AWS has them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from backburner_local.emulators.wire import ApiError, Message


@dataclass(frozen=True, slots=True)
class Text:
    """A string: its length, its pattern, the values it may have."""

    least: int = 0
    most: int | None = None
    pattern: str | None = None
    enum: tuple[str, ...] = ()
    #: An equivalent of the pattern without its cost; None: the pattern itself.
    safe_pattern: str | None = None


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number within bounds."""

    least: int
    most: int


@dataclass(frozen=True, slots=True)
class Items:
    """A list of a number of items of one kind."""

    item: Rule
    least: int = 0
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Structure:
    """Members by name."""

    members: dict[str, Rule]
    required: tuple[str, ...] = ()
    #: Whether exactly one member must be there.
    is_union: bool = False


Rule = Text | Whole | Items | Structure

_S3_URI = Text(
    1,
    1024,
    r"s3://[a-z0-9][-.a-z0-9]{1,61}[a-z0-9](?:/[-!_*'().a-z0-9A-Z]+(?:/[-!_*'().a-z0-9A-Z]+)*)?/?",
)
_OWNER = Text(pattern="[0-9]{12}")
JOB_NAME = Text(
    1,
    63,
    r"[a-zA-Z0-9]{1,63}(-*[a-zA-Z0-9\+\-\.]){0,63}",
    safe_pattern=r"[a-zA-Z0-9][a-zA-Z0-9+.-]*",
)
_TAG = Structure(
    {
        "key": Text(1, 128, r"[a-zA-Z0-9\s._:/=+@-]*"),
        "value": Text(0, 256, r"[a-zA-Z0-9\s._:/=+@-]*"),
    },
    required=("key", "value"),
)
_TAGS = Items(_TAG, 0, 200)
_MODEL_ID = (
    r"(arn:aws(-[^:]+)?:bedrock:[a-z0-9-]{1,20}:(([0-9]{12}:custom-model/[a-z0-9-]{1,63}[.]{1}"
    r"[a-z0-9-:]{1,63}/[a-z0-9]{12}$)|(:foundation-model/([a-z0-9-]{1,63}[.]{1}[a-z0-9-]{1,63}"
    r"([.]?[a-z0-9-]{1,63})([:][a-z0-9-]{1,63}){0,2})|(([0-9a-zA-Z][_-]?)+)$)|([0-9]{12}:"
    r"(inference-profile|application-inference-profile)/[a-zA-Z0-9-:.]+$)))|([a-z0-9-]{1,63}[.]{1}"
    r"[a-z0-9-]{1,63}([.]?[a-z0-9-]{1,63})([:][a-z0-9-]{1,63}){0,2})|(([0-9a-zA-Z][_-]?)+)"
)
_BUCKET_KEYS = {"s3Uri": _S3_URI, "s3BucketOwner": _OWNER}

CREATE = Structure(
    {
        "jobName": JOB_NAME,
        "roleArn": Text(0, 2048, r"arn:aws(-[^:]+)?:iam::([0-9]{12})?:role/.+"),
        "clientRequestToken": Text(
            1,
            256,
            r"[a-zA-Z0-9]{1,256}(-*[a-zA-Z0-9]){0,256}",
            safe_pattern=r"[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?",
        ),
        # A superset that is cheap to match: which names there are is looked up.
        "modelId": Text(1, 2048, _MODEL_ID, safe_pattern=r"[a-zA-Z0-9][a-zA-Z0-9:/._-]*"),
        "inputDataConfig": Structure(
            {
                "s3InputDataConfig": Structure(
                    {**_BUCKET_KEYS, "s3InputFormat": Text(enum=("JSONL",))}, required=("s3Uri",)
                )
            },
            is_union=True,
        ),
        "outputDataConfig": Structure(
            {
                "s3OutputDataConfig": Structure(
                    {
                        **_BUCKET_KEYS,
                        "s3EncryptionKeyId": Text(
                            1,
                            2048,
                            r"(arn:aws(-[^:]+)?:kms:[a-zA-Z0-9-]*:[0-9]{12}:((key/[a-zA-Z0-9-]{36})"
                            r"|(alias/[a-zA-Z0-9-_/]+)))|([a-zA-Z0-9-]{36})|(alias/[a-zA-Z0-9-_/]+)",
                        ),
                    },
                    required=("s3Uri",),
                )
            },
            is_union=True,
        ),
        "vpcConfig": Structure(
            {
                "subnetIds": Items(Text(0, 32, r"[-0-9a-zA-Z]+"), 1, 16),
                "securityGroupIds": Items(Text(0, 32, r"[-0-9a-zA-Z]+"), 1, 5),
            },
            required=("subnetIds", "securityGroupIds"),
        ),
        "timeoutDurationInHours": Whole(24, 168),
        "tags": _TAGS,
        "modelInvocationType": Text(enum=("InvokeModel", "Converse")),
    },
    required=("jobName", "roleArn", "modelId", "inputDataConfig", "outputDataConfig"),
)

_STATUSES = (
    *("Submitted", "InProgress", "Completed", "Failed", "Stopping", "Stopped"),
    *("PartiallyCompleted", "Expired", "Validating", "Scheduled"),
)
LIST = Structure(
    {
        "submitTimeAfter": Text(),
        "submitTimeBefore": Text(),
        "statusEquals": Text(enum=_STATUSES),
        "nameContains": JOB_NAME,
        "maxResults": Whole(1, 1000),
        "nextToken": Text(1, 2048, r"\S*"),
        "sortBy": Text(enum=("CreationTime",)),
        "sortOrder": Text(enum=("Ascending", "Descending")),
    }
)
_RESOURCE = Text(20, 1011)
TAG = Structure({"resourceARN": _RESOURCE, "tags": _TAGS}, required=("resourceARN", "tags"))
UNTAG = Structure(
    {"resourceARN": _RESOURCE, "tagKeys": Items(_TAG.members["key"], 0, 200)},
    required=("resourceARN", "tagKeys"),
)
LIST_TAGS = Structure({"resourceARN": _RESOURCE}, required=("resourceARN",))


def check(rule: Structure, request: Message) -> None:
    """Refuse a request that breaks a rule, telling everything that it breaks.

    Raises:
        ApiError: a ValidationException in the words of other services; Bedrock's own are not known.
    """
    told = list(_broken(rule, request, ""))
    if told:
        count = f"{len(told)} validation error{'s' if len(told) > 1 else ''} detected"
        raise ApiError("ValidationException", f"{count}: {'; '.join(told)}")


def _broken(rule: Rule, value: Any, path: str) -> Iterator[str]:
    yield from _CHECKS[type(rule)](rule, value, path)


def _broken_text(rule: Text, value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, str):
        yield _told(value, path, "Member must be a string")
        return
    yield from _broken_length(rule.least, rule.most, value, len(value), path)
    if rule.enum and value not in rule.enum:
        known = f"[{', '.join(rule.enum)}]"
        yield _told(value, path, f"Member must satisfy enum value set: {known}")
    pattern = rule.safe_pattern or rule.pattern
    if pattern and re.fullmatch(pattern, value) is None:
        words = f"Member must satisfy regular expression pattern: {rule.pattern}"
        yield _told(value, path, words)


def _broken_whole(rule: Whole, value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, int) or isinstance(value, bool):
        yield _told(value, path, "Member must be an integer")
    elif value < rule.least:
        yield _told(value, path, f"Member must have value greater than or equal to {rule.least}")
    elif value > rule.most:
        yield _told(value, path, f"Member must have value less than or equal to {rule.most}")


def _broken_items(rule: Items, value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, list):
        yield _told(value, path, "Member must be a list")
        return
    yield from _broken_length(rule.least, rule.most, value, len(value), path)
    for number, item in enumerate(value, start=1):
        yield from _broken(rule.item, item, f"{path}.{number}.member")


def _broken_structure(rule: Structure, value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield _told(value, path, "Member must be an object")
        return
    inside = f"{path}." if path else ""
    given = {name: item for name, item in value.items() if item is not None}
    for name in rule.required:
        if name not in given:
            yield _told(None, inside + name, "Member must not be null")
    if rule.is_union and sum(name in rule.members for name in given) != 1:
        yield _told(value, path, "Exactly one member must be set")
    for name, item in given.items():
        if name in rule.members:  # AWS leaves unknown ones aside
            yield from _broken(rule.members[name], item, inside + name)


def _broken_length(
    least: int, most: int | None, value: Any, length: int, path: str
) -> Iterator[str]:
    if length < least:
        yield _told(value, path, f"Member must have length greater than or equal to {least}")
    if most is not None and length > most:
        yield _told(value, path, f"Member must have length less than or equal to {most}")


def _told(value: Any, path: str, words: str) -> str:
    shown = "null" if value is None else f"'{value}'"
    return f"Value {shown} at '{path}' failed to satisfy constraint: {words}"


_CHECKS: dict[type, Callable[[Any, Any, str], Iterator[str]]] = {
    Text: _broken_text,
    Whole: _broken_whole,
    Items: _broken_items,
    Structure: _broken_structure,
}
