"""A whole world on AWS's adapters: moto answers in this process, and every call is recorded.

The handlers, the adapters and their composition are those that are deployed; resources, variables
and triggers come from the template. One thing is played by hand: SageMaker's model. Its endpoint
is moto's, but moto answers an invocation unlike AWS, so that a hook takes the request that botocore
would send, and the test says what comes of it (the emulator, which answers every detail, is
checked against the adapter in `tests/contract/test_backend.py`).
"""

import importlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any
from unittest.mock import patch

import botocore.session
import moto.s3.models
import moto.settings
from botocore.exceptions import ClientError

from backburner import bootstrap
from backburner.adapters.bedrock import BedrockBatch
from backburner.adapters.clients import Clients
from backburner.adapters.s3 import S3Blobs
from backburner.adapters.s3.writing import Sizes
from backburner.adapters.transform import SageMakerTransform
from backburner.domain.batch import RAW_ROUTE, Batch
from backburner.domain.catalog import Catalog, Fewer, Model
from backburner.domain.catalog import Jobs as JobSettings
from backburner.domain.delivery import Delivery
from backburner.domain.shard import Cut, Shard
from backburner.ports import Backend, Blobs, Environment, Limits, QueueName
from backburner.services import batches, keys, outbox
from backburner.settings import Settings
from backburner_local import events as aws_events
from backburner_local.adapters.clock import FixedClock
from backburner_local.adapters.messages import Message
from backburner_local.template import REGION
from tests.aws import account
from tests.aws.account import SENDER
from tests.aws.capacity import Table
from tests.aws.endpoint import Endpoint, Invocation
from tests.aws.event_sources import EventSources
from tests.aws.jobs import JOB_MODELS, STOP, Jobs, answer_stop
from tests.aws.light_moto import light_aws, light_dynamodb
from tests.aws.recorder import Recorder
from tests.aws.stack import Stack
from tests.backend import Reply, succeed
from tests.memory import MemoryReceiver
from tests.web.conftest import Answer, answer_of, form
from tests.world import CHAT, MINUTE, Context, Line, chat, jsonl

MODEL = "mistral-tiny"

#: Largest event, and answer, of one synchronous invocation (Lambda quotas).
PAYLOAD_BYTES = 6 * 1024 * 1024

#: A model that runs as transform jobs.
TRANSFORMED = "transformed"

#: A model of Bedrock whose small batches are combined.
COMBINED = "combined"

#: What moto leaves to us, by its own names.
_PLAYED = ["sagemakerruntime", "bedrock", "servicequotas"]

#: The catalog's own pool of slots.
POOL = f"sagemaker_async:{MODEL}"


@cache
def _clients() -> tuple[Clients, Clients]:
    """The test's own, and those of the functions: the same in all worlds, as they take long."""
    session = botocore.session.get_session()
    own, theirs = (
        Clients(
            session=session,
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        for _ in range(2)
    )
    return own, theirs


def _taking_raw(env: Environment) -> Catalog:
    """The stack's own catalog, whose models take raw requests as well."""
    models = env.catalog.models.values()
    return Catalog({one.name: replace(one, routes=(*one.routes, RAW_ROUTE)) for one in models})


def _job_models() -> list[Model]:
    """Models of Bedrock, and one of transform jobs."""
    name = "Mistral Large 2 (24.07)"
    found = [
        _job_model(one, "bedrock_batch", JobSettings(model_id=model_id, quota_name=name))
        for one, model_id in JOB_MODELS.items()
    ]
    small = JobSettings(model_id="amazon.nova-lite-v1:0", least_lines=6, fewer=Fewer.COMBINE)
    found.append(_job_model(COMBINED, "bedrock_batch", small))
    jobs = JobSettings(model_id="theirs", instance_type="ml.g5.2xlarge", object_lines=2)
    return [*found, _job_model(TRANSFORMED, "sagemaker_transform", jobs)]


def _job_model(name: str, backend: str, jobs: JobSettings) -> Model:
    return Model(
        name=name,
        backend=backend,
        endpoint="",
        jobs=jobs,
        context_window=4096,
        routes=(CHAT,),
        slots=20,
        slots_per_instance=1,
        max_instances=1,
        cut=Cut(lines=4, bytes=1_000_000, tokens=1_000_000),
    )


def _on(blobs: Blobs, backends: Mapping[str, Backend]) -> dict[str, Backend]:
    """The backends, reading and writing other parts of objects."""
    kinds = (BedrockBatch, SageMakerTransform)
    return {
        name: replace(one, blobs=blobs) if isinstance(one, kinds) else one
        for name, one in backends.items()
    }


class AwsWorld:
    """An account with the stack in it; the test lets time pass and plays the model."""

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        sizes: Sizes | None = None,
        charges: bool = False,
        has_jobs: bool = False,
        **parameters: str,
    ) -> None:
        """Deploy the stack.

        Args:
            limits: the operator's; those of the code, if none are given.
            sizes: of parts of objects; S3's own, if none are given.
            charges: whether the recorder also finds out what DynamoDB charges.
            has_jobs: whether the catalog has models that run as jobs, of Bedrock and of SageMaker.
            parameters: of the template.
        """
        if has_jobs:
            parameters |= {"RunBedrockJobs": "true", "RunTransformJobs": "true"}
        self.stack = Stack(CreateEndpoint="true", SenderAddress=SENDER, **parameters)
        self.functions = self.stack.functions()
        self.clock = FixedClock()
        #: The test's own clients: not recorded.
        self.own, clients = _clients()
        account.create(self.own, self.stack)
        ((table, properties),) = self.stack.of_type("AWS::DynamoDB::Table").items()
        self.recorder = Recorder(self.own.dynamodb, Table.of(table, properties), charges=charges)
        ((self.bucket, _),) = self.stack.of_type("AWS::S3::Bucket").items()
        self.endpoint = Endpoint(self.bucket, self._read)
        self._listened: tuple[Any, ...] = (
            clients.dynamodb,
            clients.s3,
            clients.sqs,
            clients.sns,
            clients.events,
            clients.sesv2,
            clients.sagemaker,
            clients.sagemaker_runtime,
        )
        if has_jobs:
            self._listened += (clients.bedrock, clients.service_quotas)
        for client in self._listened:
            self.recorder.attach(client)
        self.jobs = Jobs(self.bucket, self._read, self._write)
        self._played: list[tuple[Any, str, Any]] = [
            (clients.sagemaker_runtime.meta.events, "before-send", self.endpoint.answer)
        ]
        if has_jobs:
            self._played += [
                (client.meta.events, "before-send", self.jobs.answer)
                for client in (clients.bedrock, clients.service_quotas)
            ]
            self._played.append((clients.sagemaker.meta.events, STOP, answer_stop))
        for events, moment, answer in self._played:
            events.register_first(moment, answer)
        # moto's indexes do not lag, and its clock does not follow ours.
        limits = limits or replace(bootstrap.AWS_LIMITS, index_lag_seconds=0.0)
        self.receiver = MemoryReceiver()
        #: Each function's environment, from its own variables.
        self.environments = {
            function.name: replace(
                bootstrap.on_aws(
                    Settings.from_environment(function.variables), clients, limits=limits
                ),
                clock=self.clock,
                webhooks=self.receiver,
            )
            for function in self.functions.values()
        }
        self.environments = {
            name: replace(env, catalog=_taking_raw(env)) for name, env in self.environments.items()
        }
        if has_jobs:
            self.environments = {
                function.name: self._with_jobs(
                    self.environments[function.name], clients, function.variables
                )
                for function in self.functions.values()
            }
        if sizes is not None:
            blobs = S3Blobs(clients, self.bucket, sizes=sizes)
            self.environments = {
                name: replace(env, blobs=blobs, backends=_on(blobs, env.backends))
                for name, env in self.environments.items()
            }
        self.env: Environment = self.environments["api"]
        self.key, _key = keys.create(self.env, "acme")
        self.queues = EventSources(self.own, self.recorder, self.functions, self.invoke)
        #: Bytes of the body of each request to the API, at least one.
        self.asked_bytes: list[int] = []

    def _with_jobs(
        self, env: Environment, clients: Clients, variables: Mapping[str, str]
    ) -> Environment:
        """The environment whose catalog also has models that run as jobs."""
        models = {**env.catalog.models, **{model.name: model for model in _job_models()}}
        role = variables["BEDROCK_ROLE_ARN"]
        backends = bootstrap.backends(
            clients, env.blobs, env.limits, clock=self.clock, role_arn=role
        )
        return replace(env, catalog=Catalog(models), backends=backends)

    def close(self) -> None:
        bootstrap.install(None)
        for client in self._listened:
            self.recorder.detach(client)
        for events, moment, answer in self._played:
            events.unregister(moment, answer)

    # ------------------------------------------------------------ functions

    def invoke(self, name: str, event: dict[str, Any]) -> Any:
        """One invocation of a function, in its own environment."""
        handler = importlib.import_module(f"functions.{name}.app").handler
        bootstrap.install(self.environments[name])
        with self.recorder.running(name):
            return handler(event, Context())

    def invoke_often(self, name: str, event: dict[str, Any]) -> None:
        """An asynchronous invocation, which Lambda repeats once if it fails."""
        try:
            self.invoke(name, event)
        except ClientError:
            self.invoke(name, event)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        query: str = "",
        content_type: str = "application/json",
        key: str | None = None,
        prefer: str = "",
    ) -> Answer:
        """One request to the HTTP API."""
        # As OpenAI's clients ask: what they may ask for again is noted.
        headers = {
            "authorization": f"Bearer {key or self.key}",
            "content-type": content_type,
            "x-stainless-retry-count": "0",
        } | ({"prefer": prefer} if prefer else {})
        event = aws_events.http(
            method=method,
            path=path,
            query=query,
            headers=headers,
            body=body,
            source_ip="127.0.0.1",
        )
        assert len(event.get("body", "")) <= PAYLOAD_BYTES, "API Gateway answers 413"
        self.asked_bytes.append(max(1, len(body)))
        answer = self.invoke("api", event)
        assert len(answer.get("body") or "") <= PAYLOAD_BYTES, "Lambda refuses such an answer"
        return answer_of(answer)

    def post(self, path: str, body: Any = None) -> Answer:
        return self.ask("POST", path, b"" if body is None else json.dumps(body).encode())

    def get(self, path: str, query: str = "") -> Answer:
        return self.ask("GET", path, query=query)

    def upload(self, lines: Iterable[Line] | bytes) -> str:
        """Upload a file through the API; returns its id."""
        data = lines if isinstance(lines, bytes) else jsonl(lines)
        body, content_type = form([("purpose", "batch"), ("file", ("in.jsonl", data))])
        answer = self.ask("POST", "/v1/files", body, content_type=content_type)
        assert answer.status == 200, answer.body
        return str(answer.json["id"])

    def submit(self, lines: int | Iterable[Line] | bytes, **options: Any) -> Batch:
        """Upload a file and submit a batch of it through the API."""
        if isinstance(lines, int):
            lines = requests(lines)
        given = {"input_file_id": self.upload(lines), "endpoint": CHAT, "completion_window": "24h"}
        answer = self.post("/v1/batches", given | options)
        assert answer.status == 200, answer.body
        return self.batch(answer.json["id"])

    def respond(self, prompt: str = "prompt of one", **options: Any) -> Batch:
        """Submit a single request through the API."""
        body = {"model": MODEL, "input": prompt, "background": True, "max_output_tokens": 16}
        answer = self.post("/v1/responses", body | options)
        assert answer.status == 200, answer.body
        return self.batch(answer.json["id"])

    def drop(self, name: str, lines: Iterable[Line] | bytes, **options: str) -> str:
        """Put an object into the drop folder; returns its key. Nobody is told yet."""
        data = lines if isinstance(lines, bytes) else jsonl(lines)
        self.own.s3.put_object(Bucket=self.bucket, Key=f"drop/{name}", Body=data, **options)  # type: ignore[arg-type]
        return f"drop/{name}"

    def notify_upload(self, *keys: str) -> None:
        """S3 tells of objects, in one event."""
        event = aws_events.s3(self.bucket, [(key, self.env.blobs.stat(key)) for key in keys])
        self.invoke("on_upload", event)

    def reap(self) -> None:
        self.invoke("reap", aws_events.schedule())

    def report_backlog(self) -> None:
        self.invoke("report_backlog", aws_events.schedule())

    def tick(self, minutes: int = 1) -> None:
        """Let minutes pass, as the schedules see them."""
        for _ in range(minutes):
            self.clock.advance(MINUTE)
            self.reap()
            self.pump()

    def pump(self, *names: str, strict: bool = True) -> None:
        """Have the event sources hand messages to functions until the queues are quiet."""
        self.queues.pump(*names, strict=strict)

    def lose(self, name: str) -> None:
        """Lose what waits for a function in its queue."""
        self.queues.lose(name)

    # ------------------------------------------------------------ the model

    @property
    def outstanding(self) -> list[Invocation]:
        """Invocations that nobody told the end of."""
        return [one for one in self.endpoint.invocations if not one.is_told]

    def answer(
        self,
        invocation: Invocation | None = None,
        reply: Reply | None = None,
        *,
        data: bytes | None = None,
        told: bool = True,
    ) -> None:
        """Write the result as the endpoint would, and tell of it unless that gets lost."""
        one = invocation or self.outstanding[0]
        if data is None:
            made = [(reply or succeed)(json.loads(line)) for line in one.body.splitlines()]
            data = jsonl(line for line in made if line is not None)
        self.own.s3.put_object(Bucket=self.bucket, Key=one.output_key, Body=data)
        one.is_told = True
        if told:
            location = f"s3://{self.bucket}/{one.output_key}"
            told_of = {"outputLocation": location, "contentType": "image/png"}
            self.tell("on_success", one, "Completed", told_of)

    def fail(
        self, invocation: Invocation | None = None, *, told: bool = True, status: int = 500
    ) -> None:
        """The invocation fails as a whole."""
        one = invocation or self.outstanding[0]
        self.own.s3.put_object(Bucket=self.bucket, Key=one.failure_key, Body=b"{}")
        one.is_told = True
        if told:
            reason = f"ClientError: Received client error ({status}) from model."
            self.tell("on_error", one, "Failed", reason=reason)

    def tell(
        self,
        function: str,
        one: Invocation,
        status: str,
        response: dict[str, str] | None = None,
        *,
        reason: str = "",
    ) -> None:
        """The endpoint's notification, as SNS hands it on."""
        topic = "SuccessTopic" if function == "on_success" else "ErrorTopic"
        message = {
            "invocationStatus": status,
            "failureReason": reason,
            "responseParameters": response or {},
            "inferenceId": str(one.ref),
            "eventName": "InferenceResult",
        }
        self.invoke(function, aws_events.sns(self.stack.arn(topic), json.dumps(message)))

    def run(self, reply: Reply | None = None) -> None:
        """Pump and answer until nothing moves, without letting time pass."""
        self.pump()
        while self.outstanding:
            self.answer(reply=reply)
            self.pump()

    def _write(self, key: str, data: bytes) -> None:
        self.own.s3.put_object(Bucket=self.bucket, Key=key, Body=data)

    def _read(self, key: str) -> bytes:
        return self.own.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()

    # ------------------------------------------------------------ looking

    def batch(self, batch: Batch | str) -> Batch:
        """The batch as it is now."""
        batch_id = batch if isinstance(batch, str) else batch.id
        found = batches.load(self.env, "acme" if isinstance(batch, str) else batch.tenant, batch_id)
        assert found is not None
        return found

    def shards(self, batch: Batch) -> list[Shard]:
        return batches.shards(self.env, batch)

    def deliveries(self, batch: Batch) -> list[Delivery]:
        return outbox.of_batch(self.env, batch.tenant, batch.id)

    def objects(self, prefix: str) -> list[str]:
        """Keys of the bucket."""
        found = self.own.s3.list_objects_v2(Bucket=self.bucket, Prefix=prefix)
        return [one["Key"] for one in found.get("Contents", [])]

    def delete_object(self, key: str) -> None:
        self.own.s3.delete_object(Bucket=self.bucket, Key=key)

    def deliver(self, batch: Batch, channel: str) -> None:
        """A message of the deliver queue, without the queue."""
        (name,) = (one.name for one in self.deliveries(batch) if one.channel == channel)
        body = {"tenant": batch.tenant, "batch_id": batch.id, "delivery": name}
        message = Message(
            id="1",
            queue=QueueName.DELIVER,
            body=json.dumps(body),
            receives=1,
            receipt="1",
            sent_at=0.0,
        )
        self.invoke("deliver", aws_events.sqs(QueueName.DELIVER, [message]))


def requests(count: int, *, prefix: str = "line") -> list[Line]:
    """Lines of a file, all for the catalog's model."""
    return [
        chat(f"{prefix}-{number}", model=MODEL, max_tokens=16) for number in range(1, count + 1)
    ]


@contextmanager
def an_aws_world(*, sizes: Sizes | None = None, **options: Any) -> Iterator[AwsWorld]:
    """An account of its own, gone afterwards."""
    least = sizes.least if sizes is not None else moto.settings.S3_UPLOAD_PART_MIN_SIZE
    with (
        light_aws(config={"core": {"passthrough": {"services": _PLAYED}}}),
        patch.object(moto.s3.models, "S3_UPLOAD_PART_MIN_SIZE", least),
        light_dynamodb(),
    ):
        world = AwsWorld(sizes=sizes, **options)
        try:
            yield world
        finally:
            world.close()
