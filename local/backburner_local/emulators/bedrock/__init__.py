"""Amazon Bedrock batch inference on one machine, that boto3 cannot tell from AWS."""

from backburner_local.emulators.bedrock.knobs import Knobs
from backburner_local.emulators.bedrock.server import BedrockEmulator

__all__ = ["BedrockEmulator", "Knobs"]
