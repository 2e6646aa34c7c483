"""A paraphrase grammar: phrase files, `[a|b]` alternatives, small noise, and a held-out fifth.

A phrase file holds sections (`# name`) of one template a line. `[a|b|]` is a free choice, `{p}` a
slot that is filled later. Every fifth line of a section never reaches training: the split
`phrasings` draws from those lines alone. Files named `more_...` hold further lines, which a sample
uses only when it is told to be wide: training keeps them for its later part.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from random import Random

PHRASES = Path(__file__).parent / "phrases"

#: Phrase files that a `more_...` file widens.
WIDER = ("issues", "tones", "instructions")

#: One template in this many is held out of training, one word in HELD_WORD.
HELD_LINE = 5
HELD_WORD = 4

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_SPACES = re.compile(r" {2,}")
_BEFORE_STOP = re.compile(r" +([.,?!:])")
_WORD = re.compile(r"(?<![{\w])[A-Za-z]{4,}(?![}\w])")
_SHORT_FORMS = {
    "I am ": "I'm ",
    "I would ": "I'd ",
    "I will ": "I'll ",
    "It is ": "It's ",
    "it is ": "it's ",
    "do not ": "don't ",
    "does not ": "doesn't ",
    "did not ": "didn't ",
    "has not ": "hasn't ",
    "have not ": "haven't ",
    "is not ": "isn't ",
    "was not ": "wasn't ",
    "cannot ": "can't ",
    "will not ": "won't ",
}


@cache
def sections(name: str) -> Mapping[str, Sequence[str]]:
    """Read `phrases/<name>.txt` into its sections."""
    found: dict[str, list[str]] = {}
    for line in (PHRASES / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            lines = found.setdefault(line[2:].strip(), [])
        elif line.strip():
            lines.append(line.strip())
    return found


@cache
def templates(name: str, section: str, *, held: bool, wide: bool) -> Sequence[str]:
    """The templates of one section that training sees, or the held-out rest."""
    last = HELD_LINE - 1
    sources = [name, f"more_{name}"] if wide and name in WIDER else [name]
    return tuple(
        line
        for source in sources
        for i, line in enumerate(sections(source).get(section, ()))
        if (i % HELD_LINE == last) == held
    )


def listed(section: str) -> Sequence[str]:
    """All words of one list."""
    return " ".join(sections("words")[section]).split()


@cache
def words(section: str, *, held: bool) -> Sequence[str]:
    """The words of one list that training sees, or the held-out rest."""
    last = HELD_WORD - 1
    return tuple(word for i, word in enumerate(listed(section)) if (i % HELD_WORD == last) == held)


def expand(rng: Random, template: str) -> str:
    """Settle every alternative of a template; slots stay."""
    while _CHOICE.search(template):
        template = _CHOICE.sub(lambda found: rng.choice(found[1].split("|")), template)
    return _BEFORE_STOP.sub(r"\1", _SPACES.sub(" ", template)).strip()


def misspell(rng: Random, text: str) -> str:
    """Swap, drop or double one letter inside one word that is no slot."""
    found = list(_WORD.finditer(text))
    if not found:
        return text
    word = rng.choice(found)
    at = rng.randrange(word.start() + 1, word.end() - 1)
    middle = rng.choice([text[at + 1] + text[at], text[at + 1], text[at] + text[at] + text[at + 1]])
    return text[:at] + middle + text[at + 2 :]


def shorten(text: str) -> str:
    """Write `I am` as `I'm`, `do not` as `don't` and so on."""
    for long, short in _SHORT_FORMS.items():
        text = text.replace(long, short)
    return text


class Voice:
    """One writer's habits: which phrases, and how carelessly they are typed."""

    def __init__(self, rng: Random, *, held: bool, wide: bool, careful: bool = False) -> None:
        """Draw the habits.

        Args:
            rng: Source of every choice.
            held: Draw from the held-out templates instead of those that training sees.
            wide: Draw from the `more_...` files too.
            careful: No misspellings and no odd casing.
        """
        self._rng = rng
        self._held = held
        self._wide = wide
        self._short = rng.random() < 0.4
        self._lower = not careful and rng.random() < 0.12
        self._unstopped = not careful and rng.random() < 0.1
        self._typos = 0.0 if careful else rng.choice([0.0, 0.0, 0.05, 0.15])

    def say(self, name: str, section: str) -> str:
        """One phrase of a section, slots still open."""
        pool = templates(name, section, held=self._held, wide=self._wide)
        text = expand(self._rng, self._rng.choice(pool))
        if self._short:
            text = shorten(text)
        if self._lower:
            text = text.lower()
        if self._unstopped and text.endswith("."):
            text = text[:-1]
        if self._rng.random() < self._typos:
            text = misspell(self._rng, text)
        return text
