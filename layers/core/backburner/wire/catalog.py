"""The catalog as a TOML file: `model/catalog.toml`."""

import tomllib
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, TypeVar

from backburner.domain.batch import RAW_ROUTE, window_seconds
from backburner.domain.catalog import (
    USUAL_ANSWER,
    Catalog,
    Fewer,
    Jobs,
    Model,
    Preference,
    When,
)
from backburner.domain.errors import InvalidRequest
from backburner.domain.shard import Cut
from backburner.wire.bodies import CHAT, EMBEDDINGS

C = TypeVar("C", bound=StrEnum)

_REQUIRED = ("backend", "routes")

#: Backends whose shards run as jobs.
JOB_BACKENDS = frozenset({"bedrock_batch", "sagemaker_transform"})

#: Lines, bytes and tokens of a shard. One that is a job fits into a function's memory, with its
#: result; more requests become several jobs.
_CUT = (500, 4_000_000, 2_000_000)
_JOB_CUT = (20_000, 32_000_000, 1_000_000_000)

#: More jobs than any account may have at once: what it may have is asked, and the catalog's
#: `slots` only make it less.
_JOBS = 1000

#: Bodies that a model on Bedrock can be asked with: those of wire/bedrock/formats.py, which few
#: functions import.
BEDROCK_FORMATS = frozenset(
    {
        "anthropic",
        "cohere",
        "converse",
        "llama",
        "mistral_chat",
        "mistral_text",
        "nova",
        "titan",
    }
)

#: Those of them that make embeddings; the others chat.
_EMBEDDING_FORMATS = frozenset({"cohere", "titan"})

#: Requests of one job for embeddings: each answer has some thousand numbers, of 20 bytes each.
_EMBEDDING_LINES = 2_000

#: Seconds that a job of Bedrock may be given (reference page `bedrock.md` §1.1).
_BEDROCK_SECONDS = (86_400, 7 * 86_400)

#: Fewest requests of a job (the same).
_LEAST_LINES = {"bedrock_batch": 100}


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnEndpoint:
    """The endpoint of this deployment: of every model that the catalog gives none of its own."""

    name: str
    max_instances: int
    #: Shards that one instance works on at once: MaxConcurrentInvocationsPerInstance.
    concurrent_invocations: int


def parse(text: str, own: OwnEndpoint) -> Catalog:
    """Read a catalog; raises InvalidRequest that names the model and the setting."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidRequest(f"The catalog is not valid TOML: {error}") from error
    models = {name: _model(name, entry, own) for name, entry in document.get("models", {}).items()}
    if not models:
        raise InvalidRequest("The catalog names no models.")
    return Catalog(_aligned(models), own_endpoint=own.name)


def _aligned(models: dict[str, Model]) -> dict[str, Model]:
    """The models, where those whose jobs share a pool agree on its slots and on its quota."""
    slots: dict[str, int] = {}
    quotas: dict[str, tuple[str, str]] = {}
    for model in models.values():
        for place in model.places:
            slots[place.pool] = min(place.slots, slots.get(place.pool, place.slots))
            name = place.jobs.quota_name if place.jobs is not None else None
            if name is None:
                continue
            other, known = quotas.setdefault(place.pool, (model.name, name))
            if known != name:
                raise InvalidRequest(
                    f"Models '{other}' and '{model.name}' of the catalog are one to the account, "
                    "and have two 'jobs.quota_name'."
                )

    def alike(place: Model) -> Model:
        jobs = place.jobs
        if jobs is not None and place.pool in quotas:
            jobs = replace(jobs, quota_name=quotas[place.pool][1])
        others = tuple(alike(other) for other in place.others)
        return replace(place, jobs=jobs, slots=slots[place.pool], others=others)

    return {name: alike(model) for name, model in models.items()}


def _model(name: str, entry: dict[str, Any], own: OwnEndpoint) -> Model:
    """A model with all its backends: each has the model's settings, but for its own."""
    backends = entry.get("backends", [{}])
    shared = {setting: value for setting, value in entry.items() if setting != "backends"}
    if not backends:
        raise InvalidRequest(f"Model '{name}' of the catalog has no backends.")
    first, *others = (_place(name, shared | one, own) for one in backends)
    model = replace(first, others=tuple(others))
    pools = [place.pool for place in model.places]
    if len(set(pools)) < len(pools):
        raise InvalidRequest(f"Model '{name}' of the catalog has two backends of one pool.")
    return model


def _place(name: str, entry: dict[str, Any], own: OwnEndpoint) -> Model:
    for setting in _REQUIRED:
        if setting not in entry:
            raise InvalidRequest(f"Model '{name}' of the catalog lacks '{setting}'.")
    if "context_window" not in entry and list(entry["routes"]) != [RAW_ROUTE]:
        raise InvalidRequest(f"Model '{name}' of the catalog lacks 'context_window'.")
    shard, price = entry.get("shard", {}), entry.get("price", {})
    if price and not price.keys() >= {"input", "output"}:
        raise InvalidRequest(f"The price of model '{name}' of the catalog lacks a part.")
    jobs = _jobs(name, entry)
    instances = int(entry.get("max_instances", own.max_instances))
    per_instance = int(entry.get("slots_per_instance", own.concurrent_invocations))
    lines, size, tokens = _JOB_CUT if jobs is not None else _CUT
    if jobs is not None and jobs.format in _EMBEDDING_FORMATS:
        lines = _EMBEDDING_LINES
    return Model(
        name=name,
        backend=entry["backend"],
        endpoint=entry.get("endpoint", own.name) if jobs is None else "",
        jobs=jobs,
        context_window=int(entry.get("context_window", 0)),
        routes=tuple(entry["routes"]),
        when=_when(name, entry.get("when", {})),
        prefer=_choice(Preference, name, "prefer", entry.get("prefer", "cheapest")),
        slots=int(entry.get("slots", instances * per_instance if jobs is None else _JOBS)),
        slots_per_instance=per_instance,
        max_instances=instances,
        cut=Cut(
            lines=int(shard.get("lines", lines)),
            bytes=int(shard.get("bytes", size)),
            tokens=int(shard.get("tokens", tokens)),
        ),
        answer_tokens=_answer_tokens(name, entry),
        takes_images=bool(entry.get("images", False)),
        template_tokens=int(entry.get("template_tokens", 16)),
        longest_token_bytes=int(entry.get("longest_token_bytes", 16)),
        tokenizer=entry.get("tokenizer"),
        input_price=float(price["input"]) if price else None,
        output_price=float(price["output"]) if price else None,
        template=_template(name, entry.get("template")),
        owned_by=entry.get("owned_by", "backburner"),
        created=int(entry.get("created", 0)),
    )


def _answer_tokens(name: str, entry: dict[str, Any]) -> int:
    """Tokens of a usual answer: no more than there can be."""
    given = entry.get("answer_tokens", USUAL_ANSWER)
    if type(given) is not int or given < 1:
        raise InvalidRequest(
            f"'answer_tokens' of model '{name}' of the catalog must be a whole number from 1."
        )
    return min(given, int(entry.get("context_window", given)))


def _jobs(name: str, entry: dict[str, Any]) -> Jobs | None:
    backend = entry["backend"]
    if backend not in JOB_BACKENDS:
        return None
    jobs = entry.get("jobs", {})
    if not jobs.get("model_id"):
        raise InvalidRequest(f"Model '{name}' of the catalog lacks 'jobs.model_id'.")
    if unknown := sorted(jobs.keys() - Jobs.__dataclass_fields__.keys()):
        raise InvalidRequest(f"Model '{name}' of the catalog has an unknown 'jobs.{unknown[0]}'.")
    least = {"least_lines": _LEAST_LINES.get(backend, 1)}
    made = Jobs(
        **least | jobs | {"fewer": _choice(Fewer, name, "jobs.fewer", jobs.get("fewer", "refuse"))}
    )
    if backend == "bedrock_batch":
        _check_bedrock(name, made, entry["routes"])
    return made


def _check_bedrock(name: str, jobs: Jobs, routes: list[str]) -> None:
    """Refuse settings with which no job would ever run."""
    if jobs.format not in BEDROCK_FORMATS:
        formats = ", ".join(sorted(BEDROCK_FORMATS))
        raise InvalidRequest(
            f"'jobs.format' of model '{name}' of the catalog is none of {formats}."
        )
    route = EMBEDDINGS if jobs.format in _EMBEDDING_FORMATS else CHAT
    if route not in routes:
        raise InvalidRequest(
            f"Model '{name}' of the catalog needs the route '{route}' for its 'jobs.format', "
            f"'{jobs.format}'."
        )
    least, most = _BEDROCK_SECONDS
    if not least <= jobs.timeout_seconds <= most:
        raise InvalidRequest(
            f"'jobs.timeout_seconds' of model '{name}' of the catalog must be from {least} to "
            f"{most}."
        )


def _when(name: str, when: dict[str, Any]) -> When:
    if unknown := sorted(when.keys() - {"from_lines", "to_lines", "from_window"}):
        raise InvalidRequest(f"Model '{name}' of the catalog has an unknown 'when.{unknown[0]}'.")
    most, window = when.get("to_lines"), when.get("from_window")
    try:
        seconds = window_seconds(window) if window is not None else 0.0
    except InvalidRequest as error:
        raise InvalidRequest(
            f"'when.from_window' of model '{name}' of the catalog: {error.message}"
        ) from error
    return When(
        from_lines=int(when.get("from_lines", 1)),
        to_lines=int(most) if most is not None else None,
        from_seconds=seconds,
    )


def _choice(kind: type[C], name: str, setting: str, given: Any) -> C:
    """One of the words that the setting knows."""
    try:
        return kind(given)
    except ValueError:
        known = ", ".join(kind)
        raise InvalidRequest(
            f"'{setting}' of model '{name}' of the catalog must be one of {known}."
        ) from None


def _template(name: str, given: Any) -> dict[str, Any] | None:
    """A template for prompts: a table, or the prompt alone."""
    if given is None or isinstance(given, dict):
        return given
    if isinstance(given, str):
        return {"prompt": given}
    raise InvalidRequest(f"The template of model '{name}' of the catalog must be text or a table.")
