"""Settings of the model container, read once from the environment."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

#: The model that the project ships, beside this package.
SHIPPED_MODEL_DIR = Path(__file__).resolve().parent.parent / "mistral-tiny"


class InvalidSettingError(ValueError):
    """A setting has a value that it cannot have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the container was told; the environment names are `BACKBURNER_<FIELD>`."""

    #: Who answers: `asgi` (the surrounding app), `openvino`, `openai` or `null`.
    engine: str = "asgi"
    #: The folder of the model; the OpenVINO form is in it or in its `openvino` folder.
    model_dir: Path = SHIPPED_MODEL_DIR
    #: The name that requests ask for; the folder's name unless set.
    served_model_name: str = ""
    #: Where the OpenAI-compatible server is (engine `openai`), with or without `/v1`.
    base_url: str = ""
    #: Sent as bearer token to that server, if set.
    api_key: str = dataclasses.field(default="", repr=False)
    #: The name that server knows the model by, if it is another one.
    upstream_model_name: str = ""
    #: `default` is the fastest that the machine offers; `f32` is reproducible.
    precision: str = "default"
    #: Requests that are handed to the engine at once, over all invocations.
    max_concurrency: int = 256
    #: Requests that the engine steps together (engine `openvino`).
    max_batch: int = 64
    #: Requests in the container, beyond which a further invocation is answered 503.
    max_waiting: int = 100_000
    #: Memory for the KV cache in GB (engine `openvino`).
    kv_cache_gb: int = 1
    #: How long requests in flight may go on after SIGTERM; SageMaker kills after 30 s.
    drain_seconds: float = 25.0
    #: Longest time the engine may take for one request.
    request_timeout_seconds: float = 3600.0
    #: What the engine `null` waits before it answers.
    null_delay_seconds: float = 0.0
    #: What a step of the engine `null` takes, beside that; above 0 it runs requests in steps, as a
    #: GPU would, each writing a token for all that run.
    null_step_seconds: float = 0.0
    #: What reading a token of a prompt adds to a step (engine `null`).
    null_prefill_seconds_per_token: float = 0.0
    #: Requests that run together (engine `null`, in steps).
    null_batch: int = 64

    def __post_init__(self) -> None:
        if self.precision not in {"default", "f32"}:
            message = f"BACKBURNER_PRECISION must be default or f32, not {self.precision!r}"
            raise InvalidSettingError(message)
        for name in ("max_concurrency", "max_batch", "max_waiting", "kv_cache_gb", "null_batch"):
            if getattr(self, name) < 1:
                message = f"BACKBURNER_{name.upper()} must be 1 or more"
                raise InvalidSettingError(message)
        for name in (
            "drain_seconds",
            "request_timeout_seconds",
            "null_delay_seconds",
            "null_step_seconds",
            "null_prefill_seconds_per_token",
        ):
            if not getattr(self, name) >= 0:
                message = f"BACKBURNER_{name.upper()} must be 0 or more"
                raise InvalidSettingError(message)

    @property
    def model_name(self) -> str:
        return self.served_model_name or self.model_dir.resolve().name

    def as_environment(self) -> dict[str, str]:
        """What another process must see to read the same settings."""
        return {
            f"BACKBURNER_{field.name.upper()}": str(getattr(self, field.name))
            for field in dataclasses.fields(self)
        }

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        read: dict[str, Any] = {}
        for field in dataclasses.fields(cls):
            name = f"BACKBURNER_{field.name.upper()}"
            text = environment.get(name, "")
            if text:
                read[field.name] = _cast(name, text, _CASTS[str(field.type)])
        return cls(**read)


_CASTS: dict[str, Callable[[str], object]] = {
    "str": str,
    "int": int,
    "float": float,
    "Path": Path,
}


def _cast(name: str, text: str, cast: Callable[[str], object]) -> object:
    try:
        return cast(text)
    except ValueError as error:
        message = f"{name} must be a number, not {text!r}"
        raise InvalidSettingError(message) from error
