"""The services that run shards as jobs, emulated where the catalog has models for them.

Nothing of them is imported, and nothing started, for a stack that has none and had none.
"""

import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backburner.domain.catalog import Catalog
from backburner_local import model_server
from backburner_local.emulators.objects import DirectoryObjects
from backburner_local.options import Options

if TYPE_CHECKING:
    from backburner_local.emulators.bedrock.local_model import LocalModel
    from backburner_local.emulators.bedrock.server import BedrockEmulator
    from backburner_local.emulators.sagemaker.server import SageMakerEmulator

#: Folder of the emulated service in the data directory.
BEDROCK = "bedrock"
#: The same of transform jobs, which the emulator of SageMaker keeps.
TRANSFORM = "sagemaker/transform"

#: The model that stands for all of Bedrock's here.
STAND_IN = "mistral-tiny"


def needs_bedrock(catalog: Catalog, data_dir: Path) -> bool:
    """Whether there is a model of Bedrock's, or were one's jobs in an earlier run."""
    is_named = any(model.backend == "bedrock_batch" for model in catalog.each())
    return is_named or any((data_dir / BEDROCK / "jobs").glob("*.json"))


def drop_jobs(data_dir: Path) -> None:
    """Forget all jobs: after a power cut, nothing tells which of them are whole."""
    shutil.rmtree(data_dir / BEDROCK / "jobs", ignore_errors=True)
    shutil.rmtree(data_dir / TRANSFORM, ignore_errors=True)


def create_models(options: Options, catalog: Catalog, emulator: "SageMakerEmulator") -> None:
    """Make SageMaker's models of the catalog, of which transform jobs are run."""
    for model in catalog.each():
        if model.backend == "sagemaker_transform" and model.jobs is not None:
            model_server.check(options, model_name=model.name)
            command = model_server.command(options, model_name=model.name)
            emulator.create_model(model.jobs.model_id, command)


def start_bedrock(
    options: Options, put_event: Callable[[dict[str, Any]], object]
) -> "BedrockEmulator":
    """Start Bedrock's emulator; it goes on with the jobs of the last run."""
    from backburner_local.emulators.bedrock.knobs import Knobs
    from backburner_local.emulators.bedrock.server import BedrockEmulator

    return BedrockEmulator(
        objects=DirectoryObjects(options.data_dir / "buckets"),
        data_dir=options.data_dir / BEDROCK,
        tell=put_event,
        knobs=Knobs(**options.bedrock_knobs),
        make_model=lambda: local_model(options, options.data_dir / BEDROCK / "logs"),
    ).start()


def local_model(options: Options, log_dir: Path) -> "LocalModel":
    """What answers the records of Bedrock's jobs; call it on the event loop."""
    from backburner_local.emulators.bedrock.local_model import EngineModel, InstanceModel

    if options.engine == "openvino":
        model_server.check(options, model_name=STAND_IN)
        return InstanceModel(model_server.command(options, model_name=STAND_IN), log_dir)
    return EngineModel(base_url=options.base_url, upstream_model=options.model)


def endpoints_of(emulator: "BedrockEmulator") -> Mapping[str, str]:
    """URLs by boto3's names of the services that the emulator speaks for."""
    services: Iterable[str] = ("bedrock", "service-quotas")
    return dict.fromkeys(services, emulator.url)
