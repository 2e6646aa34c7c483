"""Models that jobs may name: their ids, their names in Service Quotas, and the bodies they take."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundationModel:
    """One base model."""

    id: str
    #: As the quotas of batch inference name it; those of other features name some otherwise.
    display_name: str
    #: What bodies of InvokeModel look like; see `families`.
    family: str
    #: Whether its quotas of size are called "… for NAME (in GB)", not "… (in GB) for NAME".
    names_unit_last: bool = False


def _models(
    family: str, names: Mapping[str, str], *, unit_last: bool = False
) -> Iterable[FoundationModel]:
    return (
        FoundationModel(id=model, display_name=name, family=family, names_unit_last=unit_last)
        for model, name in names.items()
    )


#: Display names are those of Service Quotas in late 2025, but for Cohere's, which are ours.
BUILT_IN: tuple[FoundationModel, ...] = (
    *_models(
        "anthropic",
        {
            "anthropic.claude-3-haiku-20240307-v1:0": "Claude 3 Haiku",
            "anthropic.claude-3-sonnet-20240229-v1:0": "Claude 3 Sonnet",
            "anthropic.claude-3-opus-20240229-v1:0": "Claude 3 Opus",
            "anthropic.claude-3-5-haiku-20241022-v1:0": "Claude 3.5 Haiku",
            "anthropic.claude-3-5-sonnet-20240620-v1:0": "Claude 3.5 Sonnet",
            "anthropic.claude-3-5-sonnet-20241022-v2:0": "Claude 3.5 Sonnet v2",
            "anthropic.claude-3-7-sonnet-20250219-v1:0": "Claude 3.7 Sonnet",
            "anthropic.claude-sonnet-4-20250514-v1:0": "Claude Sonnet 4",
        },
    ),
    *_models(
        "nova",
        {
            "amazon.nova-micro-v1:0": "Nova Micro V1",
            "amazon.nova-lite-v1:0": "Nova Lite V1",
            "amazon.nova-pro-v1:0": "Nova Pro V1",
        },
    ),
    *_models("mistral_text", {"mistral.mistral-small-2402-v1:0": "Mistral Small"}),
    *_models("mistral_chat", {"mistral.mistral-large-2407-v1:0": "Mistral Large 2 (24.07)"}),
    *_models(
        "llama",
        {
            "meta.llama3-1-8b-instruct-v1:0": "Llama 3.1 8B Instruct",
            "meta.llama3-1-70b-instruct-v1:0": "Llama 3.1 70B Instruct",
            "meta.llama3-1-405b-instruct-v1:0": "Llama 3.1 405B Instruct",
            "meta.llama3-2-1b-instruct-v1:0": "Llama 3.2 1B Instruct",
            "meta.llama3-2-3b-instruct-v1:0": "Llama 3.2 3B Instruct",
            "meta.llama3-3-70b-instruct-v1:0": "Llama 3.3 70B Instruct",
        },
    ),
    *_models("openai", {"openai.gpt-oss-20b-1:0": "OpenAI GPT OSS 20b"}),
    *_models("openai", {"openai.gpt-oss-120b-1:0": "OpenAI GPT OSS 120b"}),
    *_models("openai", {"qwen.qwen3-32b-v1:0": "Qwen3 32B"}, unit_last=True),
    *_models(
        "titan_embedding",
        {"amazon.titan-embed-text-v2:0": "Titan Text Embeddings V2"},
        unit_last=True,
    ),
    *_models(
        "cohere_embedding",
        {
            "cohere.embed-english-v3": "Cohere Embed English",
            "cohere.embed-multilingual-v3": "Cohere Embed Multilingual",
        },
    ),
)

_PROFILE = re.compile(r"(?:us|eu|apac|global|us-gov|jp|au|ca)\.(?P<base>.+)")
_ARN = re.compile(
    r"arn:aws(?:-[^:]+)?:bedrock:[a-z0-9-]{1,20}:(?P<account>[0-9]{12})?:(?P<kind>[a-z-]+)/(?P<rest>.+)"
)


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """What a job's `modelId` means."""

    base: FoundationModel
    #: As Get and List tell it, whatever was asked for.
    arn: str
    is_custom: bool = False

    @property
    def slot_key(self) -> str:
        """Jobs with the same one share a quota."""
        return self.arn if self.is_custom else self.base.id


class ModelDirectory:
    """Finds models by all the names that a job may give."""

    def __init__(
        self,
        *,
        region: str,
        account_id: str,
        more: Iterable[FoundationModel] = (),
        application_profiles: Mapping[str, str] | None = None,
    ) -> None:
        self.models = {model.id: model for model in (*BUILT_IN, *more)}
        self._region = region
        self._account = account_id
        self._application_profiles = dict(application_profiles or {})

    def resolve(self, model_id: str) -> ResolvedModel | None:
        """The model of an id, the id of a profile, or an ARN; None: there is no such."""
        if model_id.startswith("arn:"):
            return self._of_arn(model_id)
        if model_id in self.models:
            arn = f"arn:aws:bedrock:{self._region}::foundation-model/{model_id}"
            return ResolvedModel(self.models[model_id], arn)
        base = self._of_profile(model_id)
        where = f"arn:aws:bedrock:{self._region}:{self._account}"
        return ResolvedModel(base, f"{where}:inference-profile/{model_id}") if base else None

    def known(self, model_id: str) -> ResolvedModel:
        """The same of a model that the emulator's user named; raises ValueError."""
        found = self.resolve(model_id)
        if found is None:
            raise ValueError(f"there is no model {model_id}")
        return found

    def _of_profile(self, name: str) -> FoundationModel | None:
        match = _PROFILE.fullmatch(name)
        return self.models.get(match["base"]) if match else None

    def _of_arn(self, arn: str) -> ResolvedModel | None:
        match = _ARN.fullmatch(arn)
        kind, rest = (match["kind"], match["rest"]) if match else ("", "")
        if kind == "foundation-model":
            base = self.models.get(rest)
        elif kind == "inference-profile":
            base = self._of_profile(rest)
        elif kind == "application-inference-profile":
            base = self.models.get(self._application_profiles.get(arn, ""))
        elif kind == "custom-model":
            name = rest.partition("/")[0]
            base = next((m for m in self.models.values() if name.startswith(m.id)), None)
        else:
            base = None
        return ResolvedModel(base, arn, is_custom=kind == "custom-model") if base else None
