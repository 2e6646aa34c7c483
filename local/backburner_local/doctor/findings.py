"""What is examined, and what was found."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from backburner.bootstrap import CATALOG
from backburner_local.deployed import Deployed

#: Defaults of the template's parameters.
INSTANCE_TYPE, MAX_INSTANCES = "ml.g6e.2xlarge", 2


class Result(StrEnum):
    """How a check went."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check."""

    check: str
    result: Result
    #: What was seen.
    detail: str
    #: What to do about it; empty if nothing.
    advice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """What is to be deployed; None and empty: not known, and not checked."""

    instance_type: str = ""
    max_instances: int = 0
    sender: str = ""
    #: Prefix of the model's artifact.
    model_uri: str = ""
    #: The model's container; empty: the AWS vLLM container of the Region.
    image_uri: str = ""
    #: Name of the stack, where one is deployed.
    stack: str | None = None
    #: Endpoint of that stack: its instances are in use already, and are no one else's.
    endpoint: str = ""
    #: Parameters that the stack was deployed with; None: there is none.
    parameters: Mapping[str, str] | None = None
    #: The models that are deployed.
    catalog: Path = CATALOG

    def of_stack(self, stack: Deployed) -> "Patient":
        """With what the stack was deployed with, where nothing else was asked for."""
        of = stack.parameters
        has_own = of.get("CreateEndpoint") == "true"  # else the model is none of the stack's
        own_model = stack.outputs.get("ModelLocation", "") if has_own else ""
        return replace(
            self,
            sender=self.sender or of.get("SenderAddress", ""),
            model_uri=self.model_uri or own_model,
            image_uri=self.image_uri or of.get("ModelImageUri", ""),
            instance_type=self.instance_type or of.get("InstanceType", ""),
            max_instances=self.max_instances or int(of.get("MaxInstances") or 0),
            endpoint=stack.outputs.get("EndpointName", ""),
            parameters=of,
        )

    def with_defaults(self) -> "Patient":
        """With what the template takes, where nothing was asked for."""
        return replace(
            self,
            instance_type=self.instance_type or INSTANCE_TYPE,
            max_instances=self.max_instances or MAX_INSTANCES,
        )
