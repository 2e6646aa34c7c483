"""What fills the slots: names, products, order numbers, amounts, dates, addresses."""

from dataclasses import asdict, dataclass
from random import Random

from training.grammar import listed, words

_MONTHS = listed("month")
_ONSETS = listed("onset")
_NUCLEI = listed("nucleus")
_CODAS = ["", "n", "r", "s", "l", "x", "nd", "th"]
_LETTERS = "ABCDEFGHJKLMNPRSTUVWXYZ"

#: Nouns that only the held-out splits draw.
UNSEEN_NOUNS = (
    *words("noun", held=True),
    *words("unseen", held=False),
    *words("unseen", held=True),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """One customer's particulars, each under the letter of its slot."""

    #: Full name.
    n: str
    #: Given name of the agent on the phone.
    g: str
    #: Product, with or without an adjective.
    p: str
    #: Order number.
    o: str
    #: Amount of money.
    a: str
    #: Date.
    d: str
    #: Email address.
    e: str
    #: Telephone number.
    t: str
    #: A topic far from the contact centre.
    x: str

    def into(self, text: str) -> str:
        """Fill the open slots of a text."""
        return text.format(**asdict(self))


def syllable(rng: Random) -> str:
    return rng.choice(_ONSETS) + rng.choice(_NUCLEI) + rng.choice(_CODAS)


def made_up(rng: Random) -> str:
    """A word that no list holds."""
    return syllable(rng) + syllable(rng) + rng.choice(["", "", "", "er", "or", "ing", "et"])


def digits(rng: Random, count: int) -> str:
    return "".join(rng.choice("0123456789") for _ in range(count))


def letters(rng: Random, count: int) -> str:
    return "".join(rng.choice(_LETTERS) for _ in range(count))


def _person(rng: Random, *, held: bool, strange: bool) -> tuple[str, str]:
    # Made-up names in training are what teaches copying instead of remembering.
    if rng.random() < (0.65 if strange else 0.25 if held else 0.5):
        return made_up(rng).capitalize(), made_up(rng).capitalize()
    return rng.choice(words("first", held=held)), rng.choice(words("last", held=held))


def _product(rng: Random, *, held: bool, strange: bool) -> str:
    made = rng.random() < (0.6 if strange else 0.15 if held else 0.5)
    noun = made_up(rng) if made else rng.choice(UNSEEN_NOUNS if held else words("noun", held=False))
    kind = rng.random()
    if kind < 0.2:
        return noun
    if kind < (0.65 if strange else 0.3) and not held:
        return f"{made_up(rng)} {noun}"
    return f"{rng.choice(words('adjective', held=held))} {noun}"


def _order(rng: Random) -> str:
    shape = rng.randrange(6)
    if shape == 0:
        return f"ORD-{digits(rng, 5)}"
    if shape == 1:
        return f"#{digits(rng, 6)}"
    if shape == 2:
        return f"{letters(rng, 2)}-{digits(rng, 4)}"
    if shape == 3:
        return f"INV-{rng.randint(2023, 2027)}-{digits(rng, 4)}"
    if shape == 4:
        return digits(rng, 8)
    return f"{letters(rng, 1)}{digits(rng, 2)}{letters(rng, 1)}-{digits(rng, 3)}"


def _amount(rng: Random) -> str:
    whole = rng.random() < 0.3
    value = str(rng.randint(3, 2500)) if whole else f"{rng.randint(3, 999)}.{digits(rng, 2)}"
    return rng.choice(["${}", "${}", "€{}", "£{}", "{} EUR", "USD {}"]).format(value)


def _date(rng: Random) -> str:
    day, month, year = rng.randint(1, 28), rng.randint(1, 12), rng.randint(2024, 2027)
    name = _MONTHS[month - 1]
    return rng.choice(
        [
            f"{day} {name} {year}",
            f"{year}-{month:02d}-{day:02d}",
            f"{name} {day}",
            f"{day} {name}",
            f"{month:02d}/{day:02d}/{year}",
        ]
    )


def _email(rng: Random, first: str, last: str) -> str:
    ready = ["example.com", "example.org", "mail.example.net", "example.co.uk"]
    domain = rng.choice([*ready, f"{made_up(rng)}.example"])
    user = rng.choice([f"{first}.{last}", f"{first[0]}{last}", f"{first}{digits(rng, 2)}"])
    return f"{user}@{domain}".lower()


def _phone(rng: Random) -> str:
    shape = rng.choice(["+1 ### 555 ####", "555-####", "+44 20 #### ####", "(###) 555-####"])
    return "".join(digits(rng, 1) if mark == "#" else mark for mark in shape)


def _topic(rng: Random, *, held: bool) -> str:
    if rng.random() < 0.4:
        return made_up(rng)
    pool = words(rng.choice(["topic", "topic", "noun"]), held=held)
    return rng.choice(pool).replace("-", " ")


def fill(rng: Random, *, held: bool, strange: bool = False) -> Fill:
    """Draw one customer.

    Args:
        rng: Source of every choice.
        held: Draw names and products that training never sees.
        strange: Make up more of them than are taken from the lists.
    """
    first, last = _person(rng, held=held, strange=strange)
    return Fill(
        n=f"{first} {last}",
        g=made_up(rng).capitalize()
        if rng.random() < 0.5
        else rng.choice(words("first", held=held)),
        p=_product(rng, held=held, strange=strange),
        o=_order(rng),
        a=_amount(rng),
        d=_date(rng),
        e=_email(rng, first, last),
        t=_phone(rng),
        x=_topic(rng, held=held),
    )
