"""The template as AWS gets it: expanded by SAM, and with its intrinsic functions resolved."""

from typing import Any

from backburner_local import template
from tests.template.expand import ROOT, expanded

#: As this machine reads it, with everything that a parameter can add.
TEMPLATE = template.load(
    ROOT / "template.yaml",
    {
        "CreateEndpoint": "true",
        "SenderAddress": "sender@example.com",
        "CreateSenderIdentity": "true",
        "AlarmEmail": "alarms@example.com",
        "NotificationEmail": "events@example.com",
        "EventBus": "events",
        "ReserveConcurrency": "true",
        "RunBedrockJobs": "true",
        "RunTransformJobs": "true",
    },
)


def of_type(kind: str) -> dict[str, dict[str, Any]]:
    """Properties of the expanded resources of a type, by logical id."""
    return {
        name: resource.get("Properties", {})
        for name, resource in expanded()["Resources"].items()
        if resource["Type"] == kind
    }


def statements(role: str) -> list[dict[str, Any]]:
    """What a role of the template allows."""
    policies = TEMPLATE.of_type("AWS::IAM::Role")[role]["Policies"]
    return [one for policy in policies for one in policy["PolicyDocument"]["Statement"]]


def listed(value: Any) -> list[Any]:
    """One value or several, as policies have them, as a list."""
    return value if isinstance(value, list) else [value]
