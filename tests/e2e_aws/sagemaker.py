"""Our emulator of SageMaker as a process of its own: ``sagemaker.py FOLDER URL CERTIFICATE``.

ministack has no SageMaker. This one reads and writes ministack's objects and publishes to its
topics, as the account's root: what the endpoint's role may do is not judged here.
"""

import signal
import sys
import threading
from pathlib import Path
from typing import Final

from backburner_local.emulators.objects import S3Objects
from backburner_local.emulators.sagemaker import Knobs, SageMakerEmulator
from tests.e2e_aws.clients import ACCOUNT, CREDENTIALS, REGION, Aws
from tests.e2e_aws.servers import Server, wait_until

ENDPOINT: Final = "backburner-mistral"
_MODEL_SERVER = Path(__file__).with_name("model_server.py")
_ROOT = Path(__file__).parents[2]


class SageMaker:
    """One that runs."""

    def __init__(self, folder: Path, aws: Aws) -> None:
        self._data_dir = folder / "endpoints"
        self.server = Server(
            [
                sys.executable, "-m", "tests.e2e_aws.sagemaker",
                str(self._data_dir), aws.url, str(aws.certificate),
            ],
            environment={**CREDENTIALS, "PYTHONPATH": str(_ROOT)},
            folder=folder,
            name="sagemaker",
        )  # fmt: skip

    def url(self) -> str:
        """Where it listens, once it does."""

        def announced() -> str:
            self.server.check()
            file = self._data_dir / "url"
            return file.read_text() if file.exists() else ""

        return wait_until(announced, "the start of the SageMaker emulator")

    def tail(self) -> str:
        """What it and the instances logged last."""
        logs = sorted(self._data_dir.rglob("*.log"))
        return "\n".join([self.server.tail(), *(log.read_text()[-1000:] for log in logs[-3:])])

    def create_endpoint(self, *, bucket: str, success_topic: str, error_topic: str) -> None:
        """What the template creates with CreateEndpoint; return when an instance is in service."""
        with Aws(self.url()).client("sagemaker") as sagemaker:
            sagemaker.create_model(
                ModelName="model",
                ExecutionRoleArn=f"arn:aws:iam::{ACCOUNT}:role/model",
                PrimaryContainer={"Image": "image"},
            )
            sagemaker.create_endpoint_config(
                EndpointConfigName="config",
                ProductionVariants=[
                    {
                        "VariantName": "AllTraffic",
                        "ModelName": "model",
                        "InstanceType": "ml.g6e.2xlarge",
                        "InitialInstanceCount": 1,
                    }
                ],
                AsyncInferenceConfig={
                    "ClientConfig": {"MaxConcurrentInvocationsPerInstance": 4},
                    "OutputConfig": {
                        "S3OutputPath": f"s3://{bucket}/async/output/",
                        "S3FailurePath": f"s3://{bucket}/async/failure/",
                        "NotificationConfig": {
                            "SuccessTopic": success_topic,
                            "ErrorTopic": error_topic,
                        },
                    },
                },
            )
            sagemaker.create_endpoint(EndpointName=ENDPOINT, EndpointConfigName="config")

            def is_in_service() -> bool:
                self.server.check()
                endpoint = sagemaker.describe_endpoint(EndpointName=ENDPOINT)
                return bool(endpoint["EndpointStatus"] == "InService")

            wait_until(is_in_service, "the endpoint's service")


def main(data_dir: Path, aws: Aws) -> None:
    """Serve until SIGTERM; the URL is in the file `url`."""
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    with aws.client("s3") as s3, aws.client("sns") as sns:

        def publish(topic: str, message: str) -> None:
            sns.publish(TopicArn=topic, Message=message)

        emulator = SageMakerEmulator(
            objects=S3Objects(s3),
            publish=publish,
            data_dir=data_dir,
            knobs=Knobs(region=REGION, account_id=ACCOUNT, publish_backoff_seconds=1.0),
            instance_command=[sys.executable, str(_MODEL_SERVER), "{port}"],
        )
        with emulator:
            (data_dir / "url.new").write_text(emulator.url)
            (data_dir / "url.new").rename(data_dir / "url")
            stopping.wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Aws(sys.argv[2], sys.argv[3]))
