"""The budget of a batch: what it may cost, and whether more of it may be started."""

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from backburner.domain.errors import InvalidRequest

NANOS = 1_000_000_000
MAX_COST_USD, MAX_TOKENS = 1_000_000, 10**15


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """What a batch has used of its limits, and for how many requests."""

    #: Used and limit, of each thing that is limited.
    limited: tuple[tuple[int, int], ...]
    #: Requests that ran to their end.
    ended_lines: int
    running_lines: int


def is_used_up(spending: Spending) -> bool:
    return any(used >= limit for used, limit in spending.limited)


def has_room(spending: Spending, lines: int) -> bool:
    """Whether so many requests more may be started.

    They and those in flight are taken to use as much each as those that ended did. One shard may
    always run alone until the budget is used up: so it is overshot by no more than a shard, or by
    what is in flight if that turns out dearer than what came before.
    """
    if is_used_up(spending):
        return False
    if not spending.limited or spending.running_lines == 0:
        return True
    if spending.ended_lines == 0:
        return False
    share = (spending.running_lines + lines) / spending.ended_lines
    return all(used + used * share <= limit for used, limit in spending.limited)


def checked_cost(given: Any) -> int | None:
    """A limit in US dollars, number or text, as billionths; raises InvalidRequest."""
    if given is None:
        return None
    try:
        dollars = Decimal(str(given)) if type(given) in (int, float, str) else Decimal(0)
    except InvalidOperation:
        dollars = Decimal(0)
    if not dollars.is_finite() or not 0 < dollars <= MAX_COST_USD or dollars * NANOS < 1:
        raise InvalidRequest(
            f"'x_max_cost_usd' must be a number above 0 and up to {MAX_COST_USD}.",
            param="x_max_cost_usd",
        )
    return int(dollars * NANOS)


def checked_tokens(given: Any) -> int | None:
    """A limit in tokens, number or text; raises InvalidRequest."""
    if given is None:
        return None
    is_text = type(given) is str and given.isascii() and given.isdigit() and len(given) < 17
    number = int(given) if is_text else given
    if type(number) is not int or not 0 < number <= MAX_TOKENS:
        raise InvalidRequest(
            f"'x_max_tokens' must be an integer from 1 to {MAX_TOKENS}.", param="x_max_tokens"
        )
    return number
