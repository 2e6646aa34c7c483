"""Settings of the functions, from the environment, read once."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any

from backburner.domain.errors import BackburnerError
from backburner.domain.quota import DEFAULT_QUOTA, Quota

GIGABYTE = 1 << 30


class MissingSetting(BackburnerError):  # noqa: N818 - reads as a sentence where it is caught
    """A variable that the functions need is not set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the template tells each function. Field names are the variables' names in lower case."""

    #: Bucket of files, shard inputs and results.
    bucket_name: str
    #: Table of batches, shards, slots, deliveries and keys.
    table_name: str
    plan_queue_url: str
    dispatch_queue_url: str
    finalize_queue_url: str
    deliver_queue_url: str
    #: Topic that events are published on.
    events_topic_arn: str
    #: Name or ARN of the EventBridge bus that gets the same events; empty: none does.
    event_bus: str = ""
    #: Endpoint of the models that the catalog gives none of their own.
    endpoint_name: str
    #: Most instances of that endpoint.
    max_instances: int = 1
    #: Shards that one instance of it works on at once.
    concurrent_invocations: int = 1
    #: Role that Bedrock's batch jobs run in; empty: none are run.
    bedrock_role_arn: str = ""
    #: Address that mails come from; empty: none are sent.
    sender_address: str = ""
    #: Configuration set of SES that mails are sent with; empty: none.
    mail_configuration_set: str = ""
    #: Days that links in mails open files; 0: mails have none.
    link_days: int = 7
    #: Where users reach the API, for links; no slash at the end.
    public_url: str = ""
    #: Tenant that files of the drop folder belong to.
    drop_tenant: str = "default"
    #: What a tenant may use whose key says nothing else; 0: as much as it likes.
    requests_per_minute: int = DEFAULT_QUOTA.requests_per_minute
    waiting_lines: int = DEFAULT_QUOTA.waiting_lines
    stored_gigabytes: int = DEFAULT_QUOTA.stored_bytes // GIGABYTE

    @property
    def quota(self) -> Quota:
        return Quota(
            requests_per_minute=self.requests_per_minute,
            waiting_lines=self.waiting_lines,
            stored_bytes=self.stored_gigabytes * GIGABYTE,
        )

    @classmethod
    def from_environment(cls, variables: Mapping[str, str]) -> "Settings":
        """Read the variables; raises MissingSetting that names the one."""
        values: dict[str, Any] = {}
        for field in fields(cls):
            name = field.name.upper()
            given = variables.get(name, "")
            if given:
                values[field.name] = _number(name, given) if field.type is int else given
            elif field.default is MISSING:
                raise MissingSetting(
                    f"The variable {name} is not set. On AWS the template sets it; on one machine "
                    "`backburner up` runs the functions."
                )
        values["public_url"] = values.get("public_url", "").rstrip("/")
        return cls(**values)


def _number(name: str, given: str) -> int:
    if not given.isascii() or not given.isdigit():
        raise MissingSetting(f"The variable {name} is not a number.")
    return int(given)
