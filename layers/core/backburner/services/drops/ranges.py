"""Read an object here and there, as a file that can seek."""

import io
from collections import OrderedDict
from typing import TYPE_CHECKING

from backburner.ports import Blobs, BlobStat

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

#: Bytes that are read at once, and how many such blocks are held: readers of tables go to and fro
#: between columns.
BLOCK_BYTES, BLOCKS = 4 << 20, 8


class Ranges(io.RawIOBase):
    """An object as a file; reads whole blocks, and holds the last ones."""

    def __init__(
        self, blobs: Blobs, stat: BlobStat, *, block_bytes: int = BLOCK_BYTES, blocks: int = BLOCKS
    ) -> None:
        super().__init__()
        self._block_bytes, self._blocks = block_bytes, blocks
        self._blobs, self._stat = blobs, stat
        self._position = 0
        self._held: OrderedDict[int, bytes] = OrderedDict()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        starts = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._stat.size}
        self._position = max(0, starts[whence] + offset)
        return self._position

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        view = memoryview(buffer).cast("B")
        number, at = divmod(self._position, self._block_bytes)
        data = self._block(number)[at : at + len(view)] if len(view) else b""
        view[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _block(self, number: int) -> bytes:
        start = number * self._block_bytes
        if start >= self._stat.size:
            return b""
        if number not in self._held:
            length = min(self._block_bytes, self._stat.size - start)
            self._held[number] = self._blobs.get(self._stat.key, start=start, length=length)
            if len(self._held) > self._blocks:
                self._held.popitem(last=False)
        self._held.move_to_end(number)
        return self._held[number]
