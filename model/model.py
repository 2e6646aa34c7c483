"""The artifact's custom handlers, found by model-hosting-container-standards in its folder."""

import sys
from pathlib import Path

from model_hosting_container_standards.common.fastapi.middleware import custom_middleware
from model_hosting_container_standards.sagemaker import (
    custom_invocation_handler,
    custom_ping_handler,
)

# On AWS this file lies in /opt/ml/model with the package beside it, and neither is installed.
sys.path.insert(0, str(Path(__file__).resolve().parent))

from backburner_model import handlers

custom_ping_handler(handlers.ping)
custom_invocation_handler(handlers.invoke)
# Since FastAPI includes routers lazily, the two above no longer replace routes that came with
# one, as vLLM's do: the first match wins. This takes the requests before they are routed.
custom_middleware("pre_post_process")(handlers.ContractMiddleware)
