"""SageMaker asynchronous inference on one machine, that boto3 cannot tell from AWS."""

from backburner_local.emulators.sagemaker.endpoint import Endpoint
from backburner_local.emulators.sagemaker.knobs import Knobs
from backburner_local.emulators.sagemaker.server import SageMakerEmulator

__all__ = ["Endpoint", "Knobs", "SageMakerEmulator"]
