"""A stack on AWS, as its operator reaches it from another machine: by its name."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import botocore.session
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)

from backburner import bootstrap
from backburner.adapters.clients import Clients
from backburner.domain.errors import BackburnerError
from backburner.ports import Environment, QueueName
from backburner.settings import Settings

#: Outputs of the template that the settings are made of.
OUTPUTS = {
    "bucket_name": "BucketName",
    "table_name": "TableName",
    "events_topic_arn": "EventsTopicArn",
    "endpoint_name": "EndpointName",
    "plan_queue_url": "PlanQueueUrl",
    "dispatch_queue_url": "DispatchQueueUrl",
    "finalize_queue_url": "FinalizeQueueUrl",
    "deliver_queue_url": "DeliverQueueUrl",
}
URL_OUTPUT = "ApiUrl"

#: Parameters of the template that settings are made of, too.
_PARAMETERS = {"sender_address": "SenderAddress", "drop_tenant": "DropTenant"}
_NUMBERS = {"max_instances": "MaxInstances", "concurrent_invocations": "ConcurrentInvocations"}

_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})
_UNKNOWN_KEY = frozenset(
    {
        "InvalidClientTokenId",
        "UnrecognizedClientException",
        "SignatureDoesNotMatch",
        "InvalidAccessKeyId",
        "AuthFailure",
    }
)
_DENIED = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "AuthorizationError",
        "AuthorizationErrorException",
        "UnauthorizedOperation",
        "NotAuthorized",
        "403",
    }
)

#: As most services word it: `User: … is not authorized to perform: sqs:SendMessage on resource: …`.
_ACTION = re.compile(r"not authorized to perform:? [`']?([a-zA-Z0-9-]+:[a-zA-Z]+)")


class NotReachable(BackburnerError):  # noqa: N818 - reads as a sentence where it is caught
    """AWS, or the stack, can't be worked with; the message says what to do about it."""


class Denied(NotReachable):
    """The credentials may not do this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An account and Region, with credentials that were found, though not tried."""

    clients: Clients
    region: str

    @classmethod
    def connect(cls, *, region: str | None = None, profile: str | None = None) -> Self:
        """Find credentials and the Region as the AWS CLI does.

        Asking for an instance's role, the last resort, takes botocore two seconds where there is
        none; it is done once, here.

        Raises:
            NotReachable: there are no credentials, or no Region is chosen.
        """
        session = botocore.session.Session(profile=profile)
        with explained():
            found = session.get_credentials()
            # botocore itself does not look at AWS_REGION, which the AWS CLI prefers.
            chosen = region or os.environ.get("AWS_REGION") or session.get_config_variable("region")
        if found is None:
            raise NotReachable(
                "There are no AWS credentials. Sign in with `aws login` or `aws sso login`,"
                " set AWS_PROFILE or AWS_ACCESS_KEY_ID, or give --profile."
            )
        if not chosen:
            raise NotReachable("No Region is chosen: give --region, or set AWS_REGION.")
        return cls(clients=Clients(session=session, region_name=chosen), region=chosen)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """A stack of ours, as CloudFormation describes it."""

    name: str
    status: str
    outputs: Mapping[str, str]
    parameters: Mapping[str, str]

    @property
    def missing(self) -> list[str]:
        """Outputs that it should have and has not."""
        return sorted(({*OUTPUTS.values(), URL_OUTPUT}) - set(self.outputs))

    def settings(self) -> Settings:
        """The settings that its functions have; raises NotReachable if outputs are missing."""
        if self.missing:
            raise NotReachable(
                f"The stack {self.name} ({self.status}) has no output {', '.join(self.missing)}:"
                " it is not Backburner's, is not complete, or is older than this command."
            )
        texts = {field: self.outputs[name] for field, name in OUTPUTS.items()}
        texts |= {f: self.parameters[name] for f, name in _PARAMETERS.items() if self._has(name)}
        numbers = {f: int(self.parameters[name]) for f, name in _NUMBERS.items() if self._has(name)}
        url = self.parameters.get("PublicUrl") or self.outputs[URL_OUTPUT]
        url = url.rstrip("/").removesuffix("/v1")
        values: dict[str, Any] = {**texts, **numbers, "public_url": url}
        return Settings(**values)

    def _has(self, parameter: str) -> bool:
        return bool(self.parameters.get(parameter))

    def queue_url(self, queue: QueueName) -> str:
        return self.outputs[OUTPUTS[f"{queue}_queue_url"]]


def find(account: Account, name: str) -> Deployed:
    """The stack of that name; raises NotReachable, which names others that could be meant."""
    with explained():
        try:
            answer = account.clients.other("cloudformation").describe_stacks(StackName=name)
        except ClientError as error:
            if "does not exist" not in error.response["Error"].get("Message", ""):
                raise
            raise NotReachable(_no_such_stack(account, name)) from error
    return _deployed(answer["Stacks"][0])


def environment(account: Account, name: str) -> Environment:
    """The environment that the stack's functions live in."""
    return bootstrap.on_aws(find(account, name).settings(), account.clients)


def _deployed(stack: Mapping[str, Any]) -> Deployed:
    return Deployed(
        name=stack["StackName"],
        status=stack["StackStatus"],
        outputs={o["OutputKey"]: o["OutputValue"] for o in stack.get("Outputs", [])},
        parameters={
            p["ParameterKey"]: p.get("ParameterValue", "") for p in stack.get("Parameters", [])
        },
    )


def _no_such_stack(account: Account, name: str) -> str:
    sentence = f"There is no stack {name} in {account.region}."
    try:
        pages = account.clients.other("cloudformation").get_paginator("describe_stacks").paginate()
        stacks = [_deployed(stack) for page in pages for stack in page["Stacks"]]
    except (ClientError, BotoCoreError):  # who may not list stacks is told less
        return f"{sentence} Give its name with --stack, its Region with --region."
    ours = sorted(stack.name for stack in stacks if not stack.missing)
    if ours:
        return f"{sentence} Stacks of ours there: {', '.join(ours)}."
    return f"{sentence} None of ours is there: is it in another --region, or another account?"


@contextmanager
def explained() -> Iterator[None]:
    """Turn what AWS and botocore raise into sentences that say what to do."""
    try:
        yield
    except ClientError as error:
        raise _of_answer(error) from error
    except (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError) as error:
        raise NotReachable(f"The AWS credentials are not usable: {error}") from error
    except (SSOError, TokenRetrievalError) as error:
        raise NotReachable(f"The sign-in has ended; sign in again. ({error})") from error
    except ProfileNotFound as error:
        raise NotReachable(f"{error}; `aws configure list-profiles` shows all.") from error
    except BotoCoreError as error:
        raise NotReachable(f"AWS could not be asked: {error}") from error


def _of_answer(error: ClientError) -> NotReachable:
    about = error.response.get("Error", {})
    code, message = str(about.get("Code", "")), str(about.get("Message", ""))
    if code in _EXPIRED:
        return NotReachable("The AWS credentials have expired; sign in again.")
    if code in _UNKNOWN_KEY:
        return NotReachable(f"AWS does not accept the credentials ({code}); sign in again.")
    if code in _DENIED:
        named = _ACTION.search(message)
        action = named[1] if named else error.operation_name
        return Denied(f"The credentials may not do {action}; ask for that permission.")
    return NotReachable(f"AWS refused {error.operation_name}: {message or code}")
