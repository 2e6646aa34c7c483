"""Events on an SNS topic, with attributes that subscriptions can filter by."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec.json

from backburner.adapters.clients import Clients


@dataclass(frozen=True, slots=True)
class SnsEvents:
    """Events of one topic."""

    clients: Clients
    topic_arn: str

    def publish(self, event: Mapping[str, Any], attributes: Mapping[str, str]) -> None:
        self.clients.sns.publish(
            TopicArn=self.topic_arn,
            Message=msgspec.json.encode(event).decode(),
            MessageAttributes={
                name: {"DataType": "String", "StringValue": value}
                for name, value in attributes.items()
                if value  # SNS refuses empty ones (API reference, MessageAttributeValue)
            },
        )
