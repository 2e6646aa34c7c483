"""The catalog: models that clients may ask for, and how each is run."""

from dataclasses import dataclass, field

from backburner.domain.shard import Cut
from backburner.domain.slots import pool_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One model that clients may name."""

    name: str
    #: Backend that runs it, such as `sagemaker_async`.
    backend: str
    #: SageMaker endpoint that it is behind.
    endpoint: str
    #: Tokens of prompt and answer together; 0 where it takes only raw requests.
    context_window: int
    #: Routes that it serves.
    routes: tuple[str, ...]
    #: Shards that may be in flight at once.
    slots: int
    #: Of these, how many one instance works on at once.
    slots_per_instance: int
    max_instances: int
    cut: Cut
    #: Tokens that the chat template adds: to a prompt, and to each message.
    template_tokens: int = 16
    #: Whether its prompts may show images.
    takes_images: bool = False
    #: Bytes of the longest token of the vocabulary; bounds the prompt's tokens from below.
    longest_token_bytes: int = 16
    #: `tokenizer.json` of the model, relative to the catalog; None: never tokenise here.
    tokenizer: str | None = None
    owned_by: str = "backburner"
    created: int = 0

    @property
    def pool(self) -> str:
        return pool_id(self.backend, self.name)


@dataclass(frozen=True, slots=True)
class Catalog:
    """All models, by name."""

    models: dict[str, Model] = field(default_factory=dict)

    def get(self, name: str) -> Model | None:
        return self.models.get(name)

    def of_pool(self, pool: str) -> Model | None:
        return next((model for model in self.models.values() if model.pool == pool), None)
