"""The one place that decides which world the handlers live in."""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

from backburner.adapters.clients import Clients
from backburner.adapters.dynamodb import DynamoStore
from backburner.adapters.emf import EmfMetrics
from backburner.adapters.s3 import S3Blobs
from backburner.adapters.sagemaker import SageMakerAsync
from backburner.adapters.ses import SesMailer
from backburner.adapters.sns import SnsEvents
from backburner.adapters.sqs import SqsQueue
from backburner.adapters.system import SystemClock, SystemIds
from backburner.adapters.webhook import HttpsWebhooks
from backburner.ports import Backend, Blobs, Clock, Environment, Events, Limits, QueueName
from backburner.settings import Settings
from backburner.wire import catalog
from backburner.wire.dialects import DIALECTS
from backburner.wire.shard import JsonlShards

#: The catalog; in a checkout, a link to that of the model.
CATALOG = Path(__file__).parent / "catalog.toml"

#: A revoked key is dead within a minute on all containers, and few requests look theirs up. The
#: global indexes of DynamoDB follow the table within a fraction of a second as a rule (developer
#: guide, "Using Global Secondary Indexes"). A function takes 6 MB, in which a body stands as base64
#: or as JSON text (Lambda quotas, "Invocation payload"): what is over never comes here. A body of
#: requests that is near it is refused with a word of advice, before others refuse it bare.
AWS_LIMITS = Limits(
    key_cache_seconds=30.0,
    index_lag_seconds=1.0,
    part_bytes=4_500_000,
    body_bytes=4_500_000,
    sends_at_once=8,
    asks_instances=False,
)

_installed: list[Environment] = []


def install(env: Environment | None) -> None:
    """Have the handlers of this process work on the given world; None: on AWS."""
    _installed[:] = [env] if env is not None else []


def environment() -> Environment:
    """The world that the handlers work on: the installed one, or AWS.

    Raises:
        MissingSetting: none is installed, and this is no function of the template.
    """
    return _installed[0] if _installed else _on_aws()


def on_aws(settings: Settings, clients: Clients, *, limits: Limits = AWS_LIMITS) -> Environment:
    """The environment that a deployment's settings name."""
    limits = replace(limits, quota=settings.quota, link_seconds=settings.link_days * 86400.0)
    blobs = S3Blobs(clients, settings.bucket_name)
    own = catalog.OwnEndpoint(
        name=settings.endpoint_name,
        max_instances=settings.max_instances,
        concurrent_invocations=settings.concurrent_invocations,
    )
    models = catalog.parse(CATALOG.read_text(encoding="utf-8"), own)
    clock = SystemClock()
    return Environment(
        store=DynamoStore(clients, settings.table_name),
        blobs=blobs,
        queue=SqsQueue(
            clients,
            {
                QueueName.PLAN: settings.plan_queue_url,
                QueueName.DISPATCH: settings.dispatch_queue_url,
                QueueName.FINALIZE: settings.finalize_queue_url,
                QueueName.DELIVER: settings.deliver_queue_url,
            },
        ),
        backends=backends(clients, blobs, limits, clock=clock, role_arn=settings.bedrock_role_arn),
        mailer=SesMailer(clients, settings.sender_address, settings.mail_configuration_set),
        events=SnsEvents(clients, settings.events_topic_arn),
        bus=_bus(settings, clients),
        webhooks=HttpsWebhooks(),
        metrics=EmfMetrics(),
        clock=clock,
        ids=SystemIds(),
        catalog=models,
        dialects=DIALECTS,
        shards=JsonlShards(),
        limits=limits,
        public_url=settings.public_url,
        drop_tenant=settings.drop_tenant,
    )


def backends(
    clients: Clients, blobs: Blobs, limits: Limits, *, clock: Clock, role_arn: str
) -> Mapping[str, Backend]:
    """The backends by name, whatever the catalog names: jobs of a model that left it run on.

    Args:
        clients: of the account.
        blobs: the bucket.
        limits: the operator's.
        clock: tells how long jobs take.
        role_arn: that Bedrock's jobs run in.
    """

    def bedrock_batch() -> Backend:
        from backburner.adapters.bedrock import BedrockBatch

        return BedrockBatch(clients, blobs, role_arn, limits)

    def sagemaker_transform() -> Backend:
        from backburner.adapters.transform import SageMakerTransform

        return SageMakerTransform(clients, blobs, clock)

    def sagemaker_async() -> Backend:
        return SageMakerAsync(clients, blobs, limits)

    return _Backends(sagemaker_async, sagemaker_transform, bedrock_batch)


class _Backends(Mapping[str, Backend]):
    """Backends that are made, and imported, when they are first needed: few stacks need several."""

    def __init__(self, *makers: Callable[[], Backend]) -> None:
        self._makers = {maker.__name__: cache(maker) for maker in makers}

    def __getitem__(self, name: str) -> Backend:
        return self._makers[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


def _bus(settings: Settings, clients: Clients) -> Events | None:
    if not settings.event_bus:
        return None
    from backburner.adapters.eventbridge import EventBridgeEvents  # not for those who have none

    return EventBridgeEvents(clients, settings.event_bus)


@cache
def _on_aws() -> Environment:
    """Made once for each container: its clients are worth keeping."""
    return on_aws(Settings.from_environment(os.environ), Clients())
