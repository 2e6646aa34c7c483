"""The command that starts one instance of the model's server."""

import sys

from backburner.domain.errors import BackburnerError
from backburner_local.options import Options


class NoModel(BackburnerError):  # noqa: N818 - reads as a sentence where it is caught
    """The model that the engine runs is not there."""


def check(options: Options, *, model_name: str) -> None:
    """Raise NoModel, before instances that can't start are tried again and again."""
    folder = options.root / "model" / model_name
    if options.engine == "openvino" and not folder.is_dir():
        raise NoModel(f"there is no model at {folder}; `--engine null` needs none.")


def command(options: Options, *, model_name: str) -> list[str]:
    """Arguments of one instance; `{port}` stands for the port that it must listen at."""
    parts = [
        sys.executable, "-m", "backburner_model.server",
        "--host", "127.0.0.1",
        "--port", "{port}",
        "--engine", options.engine,
        "--served-model-name", model_name,
        "--die-with-parent",
    ]  # fmt: skip
    if options.engine == "openvino":
        parts += ["--model-dir", str(options.root / "model" / model_name)]
    if options.base_url is not None:
        parts += ["--base-url", options.base_url]
    return parts
