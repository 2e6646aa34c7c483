"""The catalog as a TOML file: `model/catalog.toml`."""

import tomllib
from dataclasses import dataclass
from typing import Any

from backburner.domain.batch import RAW_ROUTE
from backburner.domain.catalog import Catalog, Model
from backburner.domain.errors import InvalidRequest
from backburner.domain.shard import Cut

_REQUIRED = ("backend", "routes")


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
    return Catalog(models)


def _model(name: str, entry: dict[str, Any], own: OwnEndpoint) -> Model:
    for setting in _REQUIRED:
        if setting not in entry:
            raise InvalidRequest(f"Model '{name}' of the catalog lacks '{setting}'.")
    if "context_window" not in entry and list(entry["routes"]) != [RAW_ROUTE]:
        raise InvalidRequest(f"Model '{name}' of the catalog lacks 'context_window'.")
    shard, price = entry.get("shard", {}), entry.get("price", {})
    if price and not price.keys() >= {"input", "output"}:
        raise InvalidRequest(f"The price of model '{name}' of the catalog lacks a part.")
    instances = int(entry.get("max_instances", own.max_instances))
    per_instance = int(entry.get("slots_per_instance", own.concurrent_invocations))
    return Model(
        name=name,
        backend=entry["backend"],
        endpoint=entry.get("endpoint", own.name),
        context_window=int(entry.get("context_window", 0)),
        routes=tuple(entry["routes"]),
        slots=int(entry.get("slots", instances * per_instance)),
        slots_per_instance=per_instance,
        max_instances=instances,
        cut=Cut(
            lines=int(shard.get("lines", 500)),
            bytes=int(shard.get("bytes", 4_000_000)),
            tokens=int(shard.get("tokens", 2_000_000)),
        ),
        takes_images=bool(entry.get("images", False)),
        template_tokens=int(entry.get("template_tokens", 16)),
        longest_token_bytes=int(entry.get("longest_token_bytes", 16)),
        tokenizer=entry.get("tokenizer"),
        input_price=float(price["input"]) if price else None,
        output_price=float(price["output"]) if price else None,
        owned_by=entry.get("owned_by", "backburner"),
        created=int(entry.get("created", 0)),
    )
