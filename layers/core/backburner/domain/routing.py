"""Which backend runs a batch's requests for one model, and what that comes to."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from backburner.domain.catalog import Fewer, Model, Preference
from backburner.domain.progress import start_seconds
from backburner.domain.request import Instant, Usage
from backburner.domain.shard import Cut
from backburner.domain.slots import Pool, tenant_cap


@dataclass(slots=True)
class Group:
    """A batch's requests for one model."""

    #: That all of them are for; empty: any.
    route: str = ""
    lines: int = 0
    bytes: int = 0
    #: Of the prompts.
    prompt_bytes: int = 0
    #: Of the answers: the longest that requests ask for, and the model's usual one where they name
    #: none.
    answer_tokens: int = 0
    #: Requests that do not fit a place, by its pool.
    unfit: dict[str, int] = field(default_factory=dict)

    @property
    def usage(self) -> Usage:
        """Tokens, rather too many."""
        return Usage(
            input_tokens=math.ceil(self.prompt_bytes / _BYTES_A_TOKEN),
            output_tokens=self.answer_tokens,
        )

    def add(self, *, size: int, prompt_bytes: int, answer_tokens: int) -> None:
        self.lines += 1
        self.bytes += size
        self.prompt_bytes += prompt_bytes
        self.answer_tokens += answer_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One backend, as it looks for a group now. None wherever that is not known."""

    place: Model
    #: Slots that the tenant may take now, of so many that it may ever have.
    free: int
    slots: int
    shards: int
    starts_at: Instant | None
    ends_at: Instant | None
    #: In billionths of a dollar, rather too much.
    cost_nanos: int | None
    #: Why it can't take the group; None: it can.
    refusal: str | None = None
    #: Requests of the group that do not fit there: they are too long, or show images.
    unfit: int = 0
    #: Whether the account may have no job there at all.
    is_barred: bool = False
    #: How long it waits at most for others to share its job.
    waits_seconds: float = 0.0

    @property
    def note(self) -> str | None:
        """What else one should know of it."""
        if self.is_barred:
            return "the account's quota allows no job"
        minutes = math.ceil(self.waits_seconds / 60)
        return f"so few wait up to {minutes} min for others of the tenant" if minutes else None

    def is_late(self, deadline: Instant) -> bool:
        return self.is_barred or (self.ends_at is not None and self.ends_at > deadline)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The backend that a group goes to, beside those that were not taken."""

    #: None: no backend takes the group.
    taken: Option | None
    why: str
    options: tuple[Option, ...]


#: Bytes of English text that make one token, about.
_BYTES_A_TOKEN = 4
#: Requests that a budget leaves in one job, at least.
_BUDGET_LINES = 100
#: Bytes of answers that fit into a job's result (Limits.result_bytes), beside what is around them.
_ANSWER_BYTES = 48 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What one tenant has of a pool."""

    #: Slots that it holds.
    held: int = 0
    #: Part of the pool's slots that it may hold.
    most: float = 1.0


def option(
    place: Model,
    group: Group,
    pool: Pool,
    *,
    window: float,
    now: Instant,
    share: Share = Share(),
) -> Option:
    """What the place offers to the group.

    Args:
        place: a model on one backend.
        group: the requests.
        pool: of the place.
        window: seconds until the batch's deadline, as its client set them.
        now: the instant to plan from.
        share: of the pool, that the batch's tenant has.
    """
    shards, slots = shard_count(place, group), place.slots_now(pool, now)
    own = min(slots, tenant_cap(capacity=slots, share=share.most))
    starts, ends = _span(place, group, pool, shards=shards, slots=slots, now=now)
    wait = _wait_for_others(place, group, window)
    return Option(
        place=place,
        free=max(0, min(slots - pool.in_flight, own - share.held)),
        slots=own,
        shards=shards,
        starts_at=now + wait + starts if starts is not None else None,
        ends_at=now + wait + ends if ends is not None else None,
        cost_nanos=place.cost_nanos(group.usage) if place.has_price else None,
        refusal=_refusal(place, group, window),
        unfit=group.unfit.get(place.pool, 0),
        is_barred=place.has_jobs and pool.is_barred,
        waits_seconds=wait,
    )


def choose(options: Sequence[Option], *, deadline: Instant, prefer: Preference) -> Choice:
    """Decide by the catalog's rule.

    Of the backends that take the group, those that all of its requests fit, or most of them; of
    these, those that end it in time, as far as one knows; of these the cheapest, the soonest or the
    first. Where no two costs can be compared, the first.
    """
    able = [one for one in options if one.refusal is None]
    if not able:
        why = options[0].refusal or "" if len(options) == 1 else "no backend takes it"
        return Choice(taken=None, why=why, options=tuple(options))
    least = min(one.unfit for one in able)
    fitting = [one for one in able if one.unfit == least]
    if len(fitting) == 1:
        why = _why_only(options, able, least)
        return Choice(taken=fitting[0], why=why, options=tuple(options))
    in_time = [one for one in fitting if not one.is_late(deadline)]
    if not in_time:
        taken = min(fitting, key=lambda one: one.ends_at or math.inf)
        return Choice(
            taken=taken, why="late on every backend, the least on this", options=tuple(options)
        )
    taken, why = _preferred(in_time, prefer)
    return Choice(taken=taken, why=why, options=tuple(options))


def _why_only(options: Sequence[Option], able: Sequence[Option], unfit: int) -> str:
    """Why there is no choice."""
    if len(able) > 1:
        return (
            "the backend that fits most of it" if unfit else "the only backend that fits all of it"
        )
    return "the only backend" if len(options) == 1 else "the only backend that takes it"


def _preferred(in_time: Sequence[Option], prefer: Preference) -> tuple[Option, str]:
    first = in_time[0]
    if len(in_time) == 1:
        return first, "the only backend that ends in time"
    if prefer is Preference.CHEAPEST and all(one.cost_nanos is not None for one in in_time):
        return min(in_time, key=lambda one: one.cost_nanos or 0), "the cheapest that ends in time"
    if prefer is Preference.SOONEST and all(one.ends_at is not None for one in in_time):
        return min(in_time, key=lambda one: one.ends_at or 0.0), "the soonest"
    return first, "the catalog's first that ends in time"


def _refusal(place: Model, group: Group, window: float) -> str | None:
    if group.route and group.route not in place.routes:
        return f"does not serve {group.route}"
    least = max(_least_lines(place), place.when.from_lines)
    if group.lines < least:
        return f"takes at least {least} requests, not {group.lines}"
    if place.when.to_lines is not None and group.lines > place.when.to_lines:
        return f"takes at most {place.when.to_lines} requests, not {group.lines}"
    if window < place.when.from_seconds:
        return f"takes windows of at least {place.when.from_seconds / 3600:g} h"
    return None


def takes(place: Model, lines: int) -> bool:
    """Whether so few requests are not too few for one shard there."""
    return lines >= _least_lines(place)


def _least_lines(place: Model) -> int:
    return place.jobs.taken_lines if place.jobs is not None else 1


def shard_count(place: Model, group: Group) -> int:
    """Shards that the group is cut into, at least."""
    return _shard_count(place, group, group.lines)


def _shard_count(place: Model, group: Group, lines: int) -> int:
    """The same for so many of its lines."""
    cut, share = place.cut, lines / max(1, group.lines)
    counts = [lines / cut.lines, group.bytes * share / cut.bytes]
    if place.jobs is not None:
        counts.append(group.answer_tokens * share * _BYTES_A_TOKEN / _ANSWER_BYTES)
    return max(1, *map(math.ceil, counts))


def jobs_in_budget(
    place: Model, group: Group, *, max_cost_nanos: int | None, max_tokens: int | None
) -> int:
    """Jobs that the group must be cut into, so that one alone stays within its batch's budget.

    A budget is overshot by what is in flight: a job of all requests would know no budget.
    """
    used = group.usage.input_tokens + group.usage.output_tokens
    limited = ((place.cost_nanos(group.usage), max_cost_nanos), (used, max_tokens))
    wanted = max([1, *(math.ceil(use / limit) for use, limit in limited if limit)])
    return min(wanted, math.ceil(group.lines / _BUDGET_LINES))


def even_cut(place: Model, group: Group, *, canary_lines: int = 0, jobs: int = 1) -> Cut:
    """The place's cut, with the lines spread evenly over jobs: no tail is left over.

    Sizes differ by less than there are jobs, unless the bytes end a job before (reference page
    `bedrock.md` §10.1).

    Args:
        place: that the group goes to.
        group: the requests.
        canary_lines: of them, that have a job of their own before.
        jobs: least number of these.
    """
    cut = place.cut
    if place.jobs is None:
        return cut
    rest = group.lines - canary_lines
    lines = max(1, math.ceil(rest / max(jobs, _shard_count(place, group, rest))))
    return replace(cut, lines=lines, least_lines=_least_lines(place))


def _span(
    place: Model, group: Group, pool: Pool, *, shards: int, slots: int, now: Instant
) -> tuple[float | None, float | None]:
    """Seconds until the group's first request runs, and until its last has ended."""
    if place.jobs is not None:
        return _span_of_jobs(place, pool, shards=shards, slots=slots)
    start = start_seconds(pool, now)
    if start is None or pool.ended_lines <= 0 or pool.busy_seconds <= 0:
        return start, None
    rate = pool.ended_lines / pool.busy_seconds * max(1, slots)
    return start + pool.waiting_lines / rate, start + (pool.backlog + group.lines) / rate


def _wait_for_others(place: Model, group: Group, window: float) -> float:
    """Seconds that so small a group waits for others to share its job, at most."""
    jobs = place.jobs
    if jobs is None or jobs.fewer is not Fewer.COMBINE or group.lines >= jobs.least_lines:
        return 0.0
    return max(0.0, min(jobs.combine_seconds, window - jobs.usual_seconds))


def _span_of_jobs(
    place: Model, pool: Pool, *, shards: int, slots: int
) -> tuple[float | None, float | None]:
    """Jobs run in waves, as many at once as there are slots."""
    if place.jobs is None or slots <= 0:
        return None, None
    seconds = place.jobs.expected_seconds
    if pool.ended_jobs:
        seconds = pool.job_seconds / pool.ended_jobs
    ahead = pool.in_flight + math.ceil(pool.waiting_lines / place.cut.lines)
    return ahead // slots * seconds, math.ceil((ahead + shards) / slots) * seconds
