"""Read a batch's file: its lines, the requests in them, and where they are to run."""

import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import BinaryIO

from backburner.domain.batch import Batch
from backburner.domain.catalog import Model
from backburner.domain.errors import InvalidLine
from backburner.domain.names import SeenNames
from backburner.domain.request import Request
from backburner.domain.routing import Group, even_cut, jobs_in_budget, shard_count
from backburner.domain.shard import Cut, Shard
from backburner.ports import Environment
from backburner.services import retrying, routing
from backburner.services.fitting import Fitting

BOM = b"\xef\xbb\xbf"

_logger = logging.getLogger(__name__)


def numbered_lines(stream: BinaryIO, limit: int) -> Iterator[tuple[int, bytes | None]]:
    """Lines that are not blank, numbered from 1, without BOM and line end; None for one too long.

    Splits on LF alone: the other separators that Unicode knows may stand inside strings.
    """
    number = 0
    longest = limit + len(BOM) + len(b"\r\n")
    while data := stream.readline(longest + 1):
        number += 1
        if number == 1:
            data = data.removeprefix(BOM)
        if len(data) > limit and len(data.removesuffix(b"\n").removesuffix(b"\r")) > limit:
            while data and not data.endswith(b"\n"):  # what is left of it
                data = stream.readline(1 << 20)
            yield number, None
        elif line := data.strip(b"\n\r\t "):
            yield number, line


class Reader:
    """Understands the lines of a batch's file, from the first to the last."""

    def __init__(self, env: Environment, batch: Batch, *, routes: "Routes | None" = None) -> None:
        """Begin with the file.

        Args:
            env: the world.
            batch: that the file is of.
            routes: where the requests run; None: nobody knows yet.
        """
        #: Which lines of the file are meant.
        self.chosen = retrying.Chosen(env, batch)
        self._env = env
        self._route = batch.route
        self._dialect = env.dialects[batch.dialect]
        routes = routes or Routes()
        self._refused = routes.refused
        self._seen = SeenNames()
        needs_price = batch.max_cost_nanos is not None
        places = {name: place for name, (place, _) in routes.places.items()}
        self._fitting = Fitting(env, dialect=batch.dialect, needs_price=needs_price, places=places)

    def understand(self, number: int, data: bytes | None) -> tuple[Request, Model]:
        """The request of a line, and its model.

        Args:
            number: of the line.
            data: of the line; None: it is too long.

        Raises:
            InvalidLine: it can't be run.
        """
        if data is None:
            limit = self._env.limits.line_bytes
            raise InvalidLine("line_too_long", f"This line is longer than {limit} bytes.")
        request = self._dialect.parse(number, data, route=self._route)
        first = self._seen.first_line(request.custom_id, number)
        if first != number:
            raise InvalidLine(
                "duplicate_custom_id",
                f"The custom_id '{request.custom_id[:64]}' was used on line {first} already.",
                param="custom_id",
                custom_id=request.custom_id,
            )
        model = self._fitting.model_of(request)
        if why := self._refused.get(model.name):
            raise InvalidLine(
                "no_backend",
                f"The model '{model.name}' can't run these requests: {why}.",
                param=f"{self._dialect.member}.model",
                custom_id=request.custom_id,
            )
        return request, model

    def misfits(self, request: Request, model: Model) -> list[str]:
        """Pools of the model's places that the request does not fit, if there are several."""
        places = model.places if model.others else ()
        return [place.pool for place in places if not self._fitting.fits(request, place)]


@dataclass(slots=True)
class Routes:
    """Where the requests for each model run, and which are tried first."""

    #: By model, with the cut of the shards; one that is missing runs where it always does.
    places: dict[str, tuple[Model, Cut]] = field(default_factory=dict)
    #: Models whose requests no backend takes, and why.
    refused: dict[str, str] = field(default_factory=dict)
    #: Requests of the canary.
    canary_lines: int = 0
    #: Model whose first requests are the canary; None: that which comes first.
    canary_model: str | None = None

    def of(self, model: Model) -> tuple[Model, Cut]:
        return self.places.get(model.name, (model, model.cut))

    def is_canary(self, shard: Shard) -> bool:
        return self.canary_model in (None, shard.model)


def survey(env: Environment, batch: Batch, key: str) -> Routes:
    """Count the requests for each model that can run, and find the backend for them.

    The file is read only where that can make a difference.
    """
    routes = Routes(canary_lines=env.limits.canary_lines)
    if not routing.needs_survey(env):
        return routes
    groups = _groups(env, batch, key)
    taken: dict[str, Model] = {}
    for name, group in groups.items():
        choice = routing.choose(
            env,
            batch.tenant,
            env.catalog.models[name],
            group,
            accepted_at=batch.created_at,
            deadline=batch.expires_at,
        )
        if choice.taken is None:
            routes.refused[name] = choice.why
            continue
        taken[name] = choice.taken.place
        _logger.info(
            "batch.routed batch=%s model=%s pool=%s requests=%d",
            *(batch.id, name, choice.taken.place.pool, group.lines),
        )
    _choose_canary(env, routes, groups, taken)
    for name, place in taken.items():
        lines = routes.canary_lines if name == routes.canary_model else 0
        jobs = jobs_in_budget(
            place,
            groups[name],
            max_cost_nanos=batch.max_cost_nanos,
            max_tokens=batch.max_tokens,
        )
        cut = even_cut(place, groups[name], canary_lines=lines, jobs=jobs)
        routes.places[name] = (place, cut)
    return routes


def _groups(env: Environment, batch: Batch, key: str) -> dict[str, Group]:
    """The requests that can run, by model."""
    reader = Reader(env, batch)
    groups: dict[str, Group] = {}
    with env.blobs.read(key) as stream:
        for number, data in numbered_lines(stream, env.limits.line_bytes):
            if not reader.chosen.has(number):
                continue
            with suppress(InvalidLine):
                request, model = reader.understand(number, data)
                group = groups.setdefault(model.name, Group(route=request.route))
                group.add(
                    size=len(data or b""),
                    prompt_bytes=request.prompt_bytes,
                    answer_tokens=request.max_tokens or model.answer_tokens,
                )
                for pool in reader.misfits(request, model):
                    group.unfit[pool] = group.unfit.get(pool, 0) + 1
    return groups


def _choose_canary(
    env: Environment, routes: Routes, groups: dict[str, Group], taken: dict[str, Model]
) -> None:
    """An endpoint's canary is back in minutes; a job only has one before others of its model."""
    for name, place in taken.items():
        if place.jobs is None:
            routes.canary_model = name
            return
    routes.canary_lines = 0
    for name, place in taken.items():
        if place.jobs is not None and shard_count(place, groups[name]) > 1:
            routes.canary_model = name
            routes.canary_lines = max(env.limits.canary_lines, place.jobs.least_lines)
            return
