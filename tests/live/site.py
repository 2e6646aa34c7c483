"""The resources of one run: a stack, endpoints beside it, and what is heard from them."""

import json
import time
from collections import defaultdict
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import ClientError

#: Everything that a run makes is named so; `cleanup` finds it by that.
PREFIX = "backburner-live-"
VARIANT = "AllTraffic"
TAGS = [{"Key": "project", "Value": "backburner-live"}]
#: Endpoints of a run: one that takes one call at a time, and one that leaves it to SageMaker.
LIMITED, FREE = "limited", "free"
#: An endpoint configuration that is only asked for.
POOLS = "pools"

_RESOURCES = Path(__file__).with_name("resources.yaml")
#: Seconds that starting, changing or deleting an endpoint may take.
_ENDPOINT_SECONDS = 1800


class Site:
    """One run's resources; `tear_down` removes them, however far `deploy` got."""

    def __init__(self, name: str, *, scale: float = 1.0) -> None:
        """Name the run.

        Args:
            name: Begins with PREFIX.
            scale: Real seconds for each second of a pause; below 1 only with an emulator.
        """
        self.name, self.scale = name, scale
        session = boto3.Session()
        self.sagemaker: Any = session.client("sagemaker")
        self.runtime: Any = session.client("sagemaker-runtime")
        self.cloudwatch: Any = session.client("cloudwatch")
        self.s3: Any = session.client("s3")
        self.sqs: Any = session.client("sqs")
        self.stacks: Any = session.client("cloudformation")
        self.out: dict[str, str] = {}
        self.notices: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.test_notices = 0

    # ---- time

    def pause(self, seconds: float) -> None:
        time.sleep(seconds * self.scale)

    def now(self) -> float:
        """Seconds, as long as those of `pause`."""
        return time.time() / self.scale

    # ---- resources

    def deploy(self) -> None:
        self.stacks.create_stack(
            StackName=self.name,
            TemplateBody=_RESOURCES.read_text(),
            Capabilities=["CAPABILITY_IAM"],
            Tags=TAGS,
        )
        self.stacks.get_waiter("stack_create_complete").wait(
            StackName=self.name, WaiterConfig={"Delay": max(1, 5 * self.scale)}
        )
        (stack,) = self.stacks.describe_stacks(StackName=self.name)["Stacks"]
        self.out = {one["OutputKey"]: one["OutputValue"] for one in stack["Outputs"]}
        self.pause(20)  # until all of IAM knows the role

    def create_endpoint(self, kind: str, *, image: str, instance_type: str) -> None:
        """Begin to start an endpoint; `wait_for` waits until it is there."""
        name = self.endpoint(kind)
        self.sagemaker.create_model(
            ModelName=name,
            ExecutionRoleArn=self.out["RoleArn"],
            PrimaryContainer={"Image": image},
            Tags=TAGS,
        )
        client = {"MaxConcurrentInvocationsPerInstance": 1} if kind == LIMITED else None
        variant = {"InitialInstanceCount": 1, "InstanceType": instance_type}
        self.create_config(name, variant, client)
        self.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name, Tags=TAGS)

    def create_config(
        self, name: str, variant: dict[str, Any], client: dict[str, int] | None = None
    ) -> None:
        kind = name.rpartition("-")[2]
        model = self.endpoint(LIMITED if kind == POOLS else kind)
        topics = ["SUCCESS_NOTIFICATION_TOPIC", "ERROR_NOTIFICATION_TOPIC"]
        asynchronous: dict[str, Any] = {
            "OutputConfig": {
                "S3OutputPath": self.output_path,
                "S3FailurePath": f"s3://{self.out['Bucket']}/failed",
                "NotificationConfig": {
                    "SuccessTopic": self.out["SuccessTopic"],
                    "ErrorTopic": self.out["ErrorTopic"],
                    "IncludeInferenceResponseIn": topics,
                },
            }
        }
        if client:
            asynchronous["ClientConfig"] = client
        self.sagemaker.create_endpoint_config(
            EndpointConfigName=name,
            ProductionVariants=[{"VariantName": VARIANT, "ModelName": model, **variant}],
            AsyncInferenceConfig=asynchronous,
            Tags=TAGS,
        )

    @property
    def output_path(self) -> str:
        return f"s3://{self.out['Bucket']}/out"

    def endpoint(self, kind: str) -> str:
        return f"{self.name}-{kind}"

    def wait_for(self, kind: str, instances: int | None = None) -> float:
        """Wait until the endpoint is in service with so many instances; returns the seconds."""
        began = self.now()
        while self.now() - began < _ENDPOINT_SECONDS:
            told = self.sagemaker.describe_endpoint(EndpointName=self.endpoint(kind))
            variants = told.get("ProductionVariants") or [{}]  # not told while it is made
            count = variants[0].get("CurrentInstanceCount", 0)
            if told["EndpointStatus"] == "InService" and instances in (None, count):
                return self.now() - began
            if told["EndpointStatus"] == "Failed":
                raise RuntimeError(told.get("FailureReason", "The endpoint failed."))
            self.pause(5)
        raise TimeoutError(f"{kind} is not in service after {_ENDPOINT_SECONDS} s.")

    def scale_to(self, kind: str, instances: int) -> float:
        self.sagemaker.update_endpoint_weights_and_capacities(
            EndpointName=self.endpoint(kind),
            DesiredWeightsAndCapacities=[
                {"VariantName": VARIANT, "DesiredInstanceCount": instances}
            ],
        )
        return self.wait_for(kind, instances)

    # ---- calls

    def invoke(self, kind: str, asked: dict[str, Any], **members: Any) -> dict[str, Any]:
        if "sleep" in asked:
            asked = {**asked, "sleep": asked["sleep"] * self.scale}
        answer: dict[str, Any] = self.runtime.invoke_endpoint_async(
            EndpointName=self.endpoint(kind),
            ContentType="application/json",
            Body=json.dumps(asked).encode(),
            **members,
        )
        return answer

    def listen(self, inference_id: str, seconds: float, *, count: int = 1) -> list[dict[str, Any]]:
        """Notifications of an invocation, once there are so many or the time is over."""
        began = self.now()
        while len(self.notices[inference_id]) < count and self.now() - began < seconds:
            self._receive()
            self.pause(1)
        return self.notices[inference_id]

    def _receive(self) -> None:
        url = self.out["QueueUrl"]
        while found := self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get(
            "Messages"
        ):
            for message in found:
                notice = json.loads(json.loads(message["Body"])["Message"])
                if notice.get("eventName") == "TestNotification":
                    self.test_notices += 1
                else:
                    self.notices[notice.get("inferenceId", "")].append(notice)
                self.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])

    def hear(self, seconds: float) -> int:
        """Listen for a while; returns the TestNotifications so far."""
        self.listen("nobody's", seconds)
        return self.test_notices

    def read(self, location: str) -> bytes | None:
        """An object by its location, or None."""
        bucket, _, key = location.removeprefix("s3://").partition("/")
        try:
            body: bytes = self.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        except ClientError:
            return None
        return body

    def metric(self, kind: str, name: str, *, since: float, until: float) -> list[float]:
        """A metric's largest value of each minute between two times of `now`."""
        points = self.cloudwatch.get_metric_statistics(
            Namespace="AWS/SageMaker",
            MetricName=name,
            Dimensions=[{"Name": "EndpointName", "Value": self.endpoint(kind)}],
            StartTime=datetime.fromtimestamp(since * self.scale, UTC),
            EndTime=datetime.fromtimestamp(until * self.scale, UTC),
            Period=60,
            Statistics=["Maximum"],
        )["Datapoints"]
        return [point["Maximum"] for point in points]

    # ---- the end

    def tear_down(self) -> list[str]:
        """Remove everything; returns what could not be removed, and why."""
        left = []
        for kind in (LIMITED, FREE, POOLS):
            name = self.endpoint(kind)
            for remove in (self._delete_endpoint, self._delete_config, self._delete_model):
                try:
                    remove(name)
                except (ClientError, TimeoutError) as error:
                    if not is_missing(error):
                        left.append(f"{remove.__name__[8:]} {name}: {error}")
        try:
            self._delete_stack()
        except Exception as error:  # noqa: BLE001 - whatever it is, it must be told
            left.append(f"stack {self.name}: {error}")
        return left

    def _delete_endpoint(self, name: str) -> None:
        began = self.now()
        while self._status(name) in {"Creating", "Updating"}:
            if self.now() - began > _ENDPOINT_SECONDS:
                raise TimeoutError(f"still {self._status(name)}")
            self.pause(10)
        if self._status(name) is None:
            return
        if self._status(name) != "Deleting":
            self.sagemaker.delete_endpoint(EndpointName=name)
        while self._status(name) is not None:
            if self.now() - began > _ENDPOINT_SECONDS:
                raise TimeoutError("it is not gone yet")
            self.pause(5)

    def _status(self, name: str) -> str | None:
        """None: there is no such endpoint."""
        try:
            return str(self.sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"])
        except ClientError as error:
            if is_missing(error):
                return None
            raise

    def _delete_config(self, name: str) -> None:
        self.sagemaker.delete_endpoint_config(EndpointConfigName=name)

    def _delete_model(self, name: str) -> None:
        self.sagemaker.delete_model(ModelName=name)

    def _delete_stack(self) -> None:
        bucket = self.out.get("Bucket") or self._bucket()
        if bucket:
            for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
                for one in page.get("Contents", []):
                    self.s3.delete_object(Bucket=bucket, Key=one["Key"])
        self.stacks.delete_stack(StackName=self.name)
        self.stacks.get_waiter("stack_delete_complete").wait(
            StackName=self.name, WaiterConfig={"Delay": max(1, 5 * self.scale)}
        )

    def _bucket(self) -> str | None:
        with suppress(ClientError):
            found = self.stacks.describe_stack_resource(
                StackName=self.name, LogicalResourceId="Bucket"
            )
            return str(found["StackResourceDetail"]["PhysicalResourceId"])
        return None


def is_missing(error: Exception) -> bool:
    """Whether SageMaker says that there is no such thing."""
    return "Could not find" in str(error)


def left_over() -> list[str]:
    """Names of runs that were never torn down."""
    pages = boto3.Session().client("cloudformation").get_paginator("describe_stacks").paginate()
    return [
        stack["StackName"]
        for page in pages
        for stack in page["Stacks"]
        if stack["StackName"].startswith(PREFIX) and stack["StackStatus"] != "DELETE_COMPLETE"
    ]
