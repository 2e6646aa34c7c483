"""Keys of the Store: how long they may be, and the runs of sort keys that queries read."""

from dataclasses import dataclass

#: Most bytes of a partition key and of a sort key: DynamoDB's limits (developer guide, "Limits").
MAX_PARTITION_BYTES = 2048
MAX_SORT_BYTES = 1024


def is_key(partition: object, sort: object) -> bool:
    """Whether both are texts that a key may have."""
    return _is_text(partition, MAX_PARTITION_BYTES) and _is_text(sort, MAX_SORT_BYTES)


def _is_text(value: object, limit: int) -> bool:
    if not isinstance(value, str):
        return False
    return 0 < len(value if value.isascii() else value.encode()) <= limit


def check_key(partition: object, sort: object) -> None:
    """Raise ValueError unless both are texts that a key may have."""
    if not is_key(partition, sort):
        shown = f"{str(partition)[:100]!r}, {str(sort)[:100]!r}"
        raise ValueError(
            f"A key of {shown}: it has a text of 1 to {MAX_PARTITION_BYTES} bytes, "
            f"and one of 1 to {MAX_SORT_BYTES} bytes."
        )


def check_entry(partition: object, sort: object) -> None:
    """Raise ValueError unless each attribute of an index is a key's, or None: it is not there."""
    if partition is not None or sort is not None:
        check_key("-" if partition is None else partition, "-" if sort is None else sort)


@dataclass(frozen=True, slots=True)
class Span:
    """A run of sort keys, bytewise."""

    low: str
    #: None: up to the last one.
    high: str | None
    has_low: bool
    has_high: bool

    @classmethod
    def of(cls, prefix: str, after: str | None, up_to: str | None, *, newest_first: bool) -> "Span":
        """The span that all three allow; they are those of `Store.query`."""
        lows = [(prefix, True)]
        highs = [(beyond(prefix), False)]
        if after is not None:
            (highs if newest_first else lows).append((after, False))
        if up_to is not None:
            (lows if newest_first else highs).append((up_to, True))
        # Of two bounds at one key, the one without the key is the narrower.
        low, has_low = max(lows, key=lambda bound: (bound[0], not bound[1]))
        bounds = [(key, has) for key, has in highs if key is not None]
        high, has_high = min(bounds, default=(None, False))
        return cls(low, high, has_low, has_high)

    @property
    def is_empty(self) -> bool:
        """Whether no sort key can be in it; each has a character at least."""
        if self.high is None:
            return False
        return self.high == "" or (self.low >= self.high and self.high not in self)

    def __contains__(self, sort: str) -> bool:
        if sort < self.low or (sort == self.low and not self.has_low):
            return False
        if self.high is None or sort < self.high:
            return True
        return sort == self.high and self.has_high


def beyond(prefix: str) -> str | None:
    """The least text greater than all that start with the prefix; None: there is none."""
    for end in range(len(prefix), 0, -1):
        code = ord(prefix[end - 1]) + 1
        if code <= 0x10FFFF:
            # Surrogates are no characters: in UTF-8, U+E000 comes right after U+D7FF.
            return prefix[: end - 1] + chr(0xE000 if code == 0xD800 else code)
    return None
