"""The catalog: models that clients may ask for, and how each is run."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from backburner.domain.request import Instant, Usage
from backburner.domain.shard import Cut
from backburner.domain.slots import Pool, pool_id


class Preference(StrEnum):
    """Which of several backends that would end in time is taken."""

    CHEAPEST = "cheapest"
    SOONEST = "soonest"
    FIRST = "first"


class Fewer(StrEnum):
    """What becomes of fewer requests than a job takes."""

    #: They go to another backend of the model, or are refused.
    REFUSE = "refuse"
    #: They are filled up with requests for one token, which cost next to nothing.
    PAD = "pad"
    #: They wait for others of their tenant, to run as one job; it is filled up if too few come.
    COMBINE = "combine"


@dataclass(frozen=True, slots=True, kw_only=True)
class When:
    """What a batch must be like for one of a model's backends to take its requests."""

    from_lines: int = 1
    to_lines: int | None = None
    #: Shortest completion window.
    from_seconds: float = 0.0


#: Tokens of a long answer, for want of anything known: what a job's results exceed is lost, and too
#: many jobs cost little.
USUAL_ANSWER = 1024

#: Of a model's profile, before its id: those of a model share its slots.
_PROFILE = re.compile(r"(us|eu|apac|global|us-gov|jp|au|ca)\.(?=[^.]+\.)")


def base_model(model_id: str) -> str:
    """Id of the base model that an id, the id of a profile, or an ARN of either names."""
    return _PROFILE.sub("", model_id.rpartition("/")[2])


#: Time that a job has to end in, once it took as long as it may.
JOB_MARGIN_SECONDS = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Jobs:
    """What is special about a model whose shards run as jobs: one shard a job."""

    #: The backend's name of the model: Bedrock's id of the model or of its inference profile, the
    #: name of a SageMaker model.
    model_id: str
    #: Fewest requests that a job takes, and what becomes of fewer.
    least_lines: int = 1
    fewer: Fewer = Fewer.REFUSE
    #: How long these wait for others, at most, where they are combined.
    combine_seconds: float = 3600.0
    #: Longest that a job may take; the backend ends it then. Jobs have sat in Bedrock's queue for
    #: a day (reference page `bedrock.md` §1.6).
    timeout_seconds: float = 3 * 86400.0
    #: Jobs that the account may have at once, as long as nobody has asked it (reference page
    #: `bedrock.md` §6).
    usual_slots: int = 20
    #: What one takes as a rule, as long as none was measured.
    expected_seconds: float = 6 * 3600.0
    #: Body that a Bedrock model is asked with: `converse`, or its own, such as `anthropic`.
    format: str = "converse"
    #: Name that Service Quotas gives the model in names of its quotas; None: its limits are the
    #: catalog's.
    quota_name: str | None = None
    #: Of a transform job.
    instance_type: str | None = None
    instance_count: int = 1
    #: Requests in one object of a transform job: what one failure of the container loses.
    object_lines: int = 100

    @property
    def taken_lines(self) -> int:
        """Fewest requests that a job is made of, be it filled up."""
        return self.least_lines if self.fewer is Fewer.REFUSE else 1

    @property
    def base_model(self) -> str:
        """What the account's limit of jobs counts: a model, whichever of its profiles they use."""
        return base_model(self.model_id)

    @property
    def usual_seconds(self) -> float:
        """Time that a job is given before a deadline."""
        return self.expected_seconds + JOB_MARGIN_SECONDS

    @property
    def lease_seconds(self) -> float:
        """Time after which a job can't be running any more."""
        return self.timeout_seconds + JOB_MARGIN_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One model that clients may name, on one backend."""

    name: str
    #: Backend that runs it, such as `sagemaker_async`.
    backend: str
    #: SageMaker endpoint that it is behind; empty where its shards run as jobs.
    endpoint: str
    #: How its shards run as jobs; None: an endpoint takes them.
    jobs: Jobs | None = None
    #: The same model on other backends, which a batch's requests may go to instead.
    others: tuple["Model", ...] = ()
    #: Which batches' requests it takes, and which of several backends is taken.
    when: When = When()
    prefer: Preference = Preference.CHEAPEST
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
    #: Tokens of an answer whose request names no limit.
    answer_tokens: int = USUAL_ANSWER
    #: Whether its prompts may show images.
    takes_images: bool = False
    #: Bytes of the longest token of the vocabulary; bounds the prompt's tokens from below.
    longest_token_bytes: int = 16
    #: `tokenizer.json` of the model, relative to the catalog; None: never tokenise here.
    tokenizer: str | None = None
    #: US dollars for a million tokens that it reads, and that it writes; None: it has no price.
    input_price: float | None = None
    output_price: float | None = None
    #: How dropped rows and texts become prompts that have no template of their own; None: see
    #: `services/drops`.
    template: Mapping[str, Any] | None = None
    owned_by: str = "backburner"
    created: int = 0

    @property
    def has_jobs(self) -> bool:
        """Whether its shards run as jobs."""
        return self.jobs is not None

    @property
    def has_price(self) -> bool:
        return self.input_price is not None and self.output_price is not None

    def cost_nanos(self, usage: Usage) -> int:
        """What the tokens cost, in billionths of a dollar; 0 without a price."""
        dollars_a_million = usage.input_tokens * (self.input_price or 0.0)
        dollars_a_million += usage.output_tokens * (self.output_price or 0.0)
        return round(dollars_a_million * 1000)

    def slots_now(self, pool: Pool, now: Instant) -> int:
        """Slots that its pool has, as it was a moment ago: never more than the catalog's.

        Where the account's limit is known, those that it leaves; what a refusal taught counts for
        a while.
        """
        if self.jobs is None:
            return self.slots
        most = min(self.slots, self.jobs.usual_slots)
        if pool.limit is not None:
            most = min(self.slots, pool.limit - pool.others)
        if pool.learnt is not None and now < pool.learnt_until:
            most = min(most, pool.learnt)
        return max(0, most)

    @property
    def pool(self) -> str:
        """Pool of its slots: what the account limits is the jobs of a backend's model."""
        return pool_id(self.backend, self.jobs.base_model if self.jobs is not None else self.name)

    @property
    def places(self) -> tuple["Model", ...]:
        """The model on each of its backends, the first one first."""
        return (self, *self.others)

    @property
    def direct(self) -> "Model | None":
        """The model where it takes a request for itself, without a job."""
        return next((place for place in self.places if not place.has_jobs), None)

    def at(self, pool: str) -> "Model":
        """The model on the backend that the pool is of; on its first one, if on none of it."""
        return next((place for place in self.places if place.pool == pool), self)


@dataclass(frozen=True, slots=True)
class Catalog:
    """All models, by name."""

    models: dict[str, Model] = field(default_factory=dict)
    #: Endpoint of the deployment, which its alarms are about, be there a model behind it or not;
    #: empty: it has none.
    own_endpoint: str = ""

    @property
    def has_idle_endpoint(self) -> bool:
        """Whether no model is behind the deployment's endpoint."""
        behind = any(model.endpoint == self.own_endpoint for model in self.each())
        return bool(self.own_endpoint) and not behind

    def get(self, name: str) -> Model | None:
        return self.models.get(name)

    def running(self, name: str, pool: str) -> Model | None:
        """The model as it runs in one of its pools."""
        model = self.models.get(name)
        return model.at(pool) if model is not None else None

    def of_pool(self, pool: str) -> Model | None:
        """A model whose slots are of the pool."""
        return next((model for model in self.each() if model.pool == pool), None)

    def each(self) -> Iterator[Model]:
        """Every model on every backend; of those with one pool, the first."""
        seen: set[str] = set()
        for model in self.models.values():
            for place in model.places:
                if place.pool not in seen:
                    seen.add(place.pool)
                    yield place
