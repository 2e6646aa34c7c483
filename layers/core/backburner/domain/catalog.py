"""The catalog: models that clients may ask for, and how each is run."""

from dataclasses import dataclass, field

from backburner.domain.request import Usage
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
    #: US dollars for a million tokens that it reads, and that it writes; None: it has no price.
    input_price: float | None = None
    output_price: float | None = None
    owned_by: str = "backburner"
    created: int = 0

    @property
    def has_price(self) -> bool:
        return self.input_price is not None and self.output_price is not None

    def cost_nanos(self, usage: Usage) -> int:
        """What the tokens cost, in billionths of a dollar; 0 without a price."""
        dollars_a_million = usage.input_tokens * (self.input_price or 0.0)
        dollars_a_million += usage.output_tokens * (self.output_price or 0.0)
        return round(dollars_a_million * 1000)

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
