"""The drop folder: objects put there become batches, and single requests.

| module | what it takes |
|---|---|
| `taking` | what is common to all: seen once, accepted once, rejected with the reasons |
| `lines` | files of lines, and JSON |
| `prompts` | rows of tables, and texts |
| `bodies` | anything else: bodies of raw requests |
"""

import logging
from collections.abc import Callable, Iterable, Sequence

from backburner.domain.dropped import Source, is_ignored
from backburner.domain.errors import Rejected
from backburner.domain.finding import Finding
from backburner.ports import DropFormats, Environment
from backburner.services import mirror
from backburner.services.drops import bodies, lines, prompts, taking
from backburner.services.drops.taking import Dropped, Replaced, Unfit

_logger = logging.getLogger(__name__)


def take(env: Environment, keys: Iterable[str], formats: DropFormats) -> None:
    """Make batches and requests of dropped objects, which were told of together.

    The same content under the same key is taken once, however often its event comes. But for raw
    requests the object is copied first: what is done to it later changes nothing.

    Args:
        env: the world.
        keys: of the objects; those that are not for us, gone or taken already are left out.
        formats: of what is dropped.
    """
    texts = []
    for key in dict.fromkeys(keys):  # one event may tell of an object twice
        one = None if is_ignored(key) else _load(env, key)
        if one is not None and one.source is Source.TEXT:
            texts.append(one)
        elif one is not None:
            _guarded(env, [one], lambda env, some: _take(env, some[0], formats))
    for group in prompts.together(texts):
        _guarded(env, group, lambda env, some: prompts.take_texts(env, some, formats))


def _load(env: Environment, key: str) -> Dropped | None:
    try:
        return taking.load(env, key)
    except Rejected as error:
        mirror.reject(env, key, [_finding(error)])
        _logger.warning("drop.rejected key=%s code=%s", key, error.code)
    return None


def _take(env: Environment, one: Dropped, formats: DropFormats) -> None:
    match one.source:
        case Source.LINES | Source.JSON:
            lines.take(env, one, formats)
        case Source.CSV | Source.PARQUET:
            prompts.take_rows(env, one, formats)
        case _:
            bodies.take(env, one)


def _guarded(
    env: Environment,
    some: Sequence[Dropped],
    take_some: Callable[[Environment, Sequence[Dropped]], None],
) -> None:
    """Take objects, or put them aside with the reasons."""
    try:
        take_some(env, some)
    except Replaced:
        taking.note_replaced(some[0])
    except Unfit as unfit:
        taking.reject(env, some[0], unfit.findings)
    except Rejected as error:
        for one in some:
            if taking.is_as_seen(env, one):
                taking.reject(env, one, [_finding(error)])


def _finding(error: Rejected) -> Finding:
    return Finding(code=error.code or "rejected", message=error.message, param=error.param)
