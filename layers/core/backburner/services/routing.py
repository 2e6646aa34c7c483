"""Find the backend for a batch's requests for one model, as its pools stand now."""

from backburner.domain import routing
from backburner.domain.catalog import Model
from backburner.domain.request import Instant
from backburner.domain.routing import Choice, Group, Share
from backburner.ports import Environment
from backburner.services import records


def needs_survey(env: Environment) -> bool:
    """Whether a batch's requests must be counted before they are cut into shards."""
    return any(model.others or model.has_jobs for model in env.catalog.models.values())


def choose(
    env: Environment,
    tenant: str,
    model: Model,
    group: Group,
    *,
    accepted_at: Instant,
    deadline: Instant,
) -> Choice:
    """The backend for the group.

    Args:
        env: the world.
        tenant: whose batch it is.
        model: that the requests name.
        group: the requests.
        accepted_at: when their batch was accepted.
        deadline: of the batch.
    """
    now, places = env.clock.now(), model.places
    items = env.store.get(
        *(records.pool_key(place.pool) for place in places),
        *(records.share_key(tenant, place.pool) for place in places),
    )
    pools, shares = items[: len(places)], items[len(places) :]
    options = [
        routing.option(
            place,
            group,
            records.to_pool(pool, place.pool),
            window=deadline - accepted_at,
            now=now,
            share=Share(held=int((share or {}).get("in_flight", 0)), most=env.limits.tenant_share),
        )
        for place, pool, share in zip(places, pools, shares, strict=True)
    ]
    return routing.choose(options, deadline=deadline, prefer=model.prefer)


def place_of_rest(env: Environment, name: str, pool: str, lines: int) -> Model | None:
    """Where so few lines that are tried again run, if their own backend takes no job so small."""
    model = env.catalog.get(name)
    if model is None:
        return None
    own = model.at(pool)
    if routing.takes(own, lines):
        return own
    able = (place for place in model.places if routing.takes(place, lines))
    return next((place for place in able if set(own.routes) <= set(place.routes)), own)
