"""Which custom_ids a file has used, and where, in 12 bytes and a free slot for each."""

from array import array

_SLOTS = 1 << 12


class SeenNames:
    """Knows names by their 64-bit hashes: the names, or a dict, would fill the memory.

    Of a million names, two share a hash once in thirty million files. Hashes stand in a table at
    the first free slot from their own on; at most half of the slots are taken.
    """

    def __init__(self, slots: int = _SLOTS) -> None:
        """Start empty.

        Args:
            slots: to begin with; a power of two.
        """
        self._count = 0
        self._make(slots)

    def first_line(self, name: str, line: int) -> int:
        """The line that used the name first: this one, from 1, if none did before."""
        digest = hash(name) or 1
        hashes, mask = self._hashes, self._mask
        slot = digest & mask
        while (found := hashes[slot]) != digest:
            if not found:
                hashes[slot] = digest
                self._lines[slot] = line
                self._count += 1
                if 2 * self._count > mask:
                    self._grow()
                return line
            slot = (slot + 1) & mask
        return self._lines[slot]

    def _make(self, slots: int) -> None:
        #: 0 is a free slot.
        self._hashes = array("q", [0]) * slots
        self._lines = array("I", [0]) * slots
        self._mask = slots - 1

    def _grow(self) -> None:
        before = zip(self._hashes, self._lines, strict=True)
        self._make(2 * (self._mask + 1))
        hashes, lines, mask = self._hashes, self._lines, self._mask
        for digest, line in before:
            if digest:
                slot = digest & mask
                while hashes[slot]:
                    slot = (slot + 1) & mask
                hashes[slot] = digest
                lines[slot] = line
