"""A shard: a run of requests of one batch for one model, dispatched as one unit."""

from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

from backburner.domain.request import Instant, Request


class ShardStatus(StrEnum):
    """Where a shard stands."""

    #: In its pool's queue, by deadline.
    WAITING = "waiting"
    #: Out of the queue: its batch is paused.
    PAUSED = "paused"
    #: At the backend, with a slot and a lease.
    IN_FLIGHT = "in_flight"
    #: Its result is in; lines to retry went into a new shard.
    DONE = "done"
    #: Never to run: its batch was stopped.
    DROPPED = "dropped"


OPEN = frozenset({ShardStatus.WAITING, ShardStatus.PAUSED, ShardStatus.IN_FLIGHT})

#: The piece that is the planned shard itself.
WHOLE = 1
#: Three hexadecimal digits, as the name of an attempt has to fit SageMaker's InferenceId: enough
#: for the single lines of a shard of 2048.
LAST_PIECE = 0xFFF


class Shard(msgspec.Struct, frozen=True, kw_only=True):
    """What is queued, leased, retried and billed.

    A Struct, as batches are, and as often read and copied.
    """

    tenant: str
    batch_id: str
    #: Unique in its batch: `00003`, and `00003-2` for the retry of what its second attempt left;
    #: `00003-5p` and `00003-5p2` the same of its fifth piece.
    id: str
    status: ShardStatus = ShardStatus.WAITING
    model: str
    #: Pool of slots that it needs one of.
    pool: str
    #: Least and greatest number of its lines, which need not be all between.
    first_line: int
    last_line: int
    line_count: int
    #: Bytes of its requests, and their tokens as its cut estimates them; 0: nobody counted.
    size: int = 0
    tokens: int = 0
    #: Object that its requests are in, or the requests themselves where they are small.
    input_key: str | None = None
    input_inline: bytes | None = None
    #: How often it was claimed, since it is the piece that it is; 0 before the first.
    attempt: int = 0
    #: Which piece of the planned shard it is: 1 is the whole, and 2n and 2n + 1 are n's halves.
    piece: int = 1
    #: When its lines last failed, or were lost; None: they never were tried.
    failed_at: Instant | None = None
    #: Whether other lines of it have ended: then a status that a line gets is its own.
    is_rest: bool = False
    created_at: Instant
    deadline: Instant
    priority: int = 0
    #: Whether it shares no slot: a bundle that it was in was refused.
    is_alone: bool = False
    #: Whether its batch has a budget, and counts what is in flight.
    is_budgeted: bool = False
    #: Not claimed before this instant.
    not_before: Instant = 0.0
    #: When reap looks whether the result is there although no word came.
    look_at: Instant | None = None
    #: When the attempt is given up.
    lease_ends_at: Instant | None = None
    claimed_at: Instant | None = None
    #: Where the backend said that it will put the result, and the failure.
    output_location: str | None = None
    failure_location: str | None = None
    #: The backend's name of the job that runs the attempt, where attempts are jobs.
    job: str | None = None
    #: Bundle that it travels in, which has the slot, and what the backend said; None: its own way.
    bundle: str | None = None
    #: Final outcomes of its lines: an object, or inline where they are small.
    result_key: str | None = None
    result_inline: bytes | None = None
    #: How many of these are successes, and how many failures; None: it has none yet.
    succeeded: int | None = None
    failed: int | None = None
    #: Of a raw request, which is sent as it is: what its content is; None: these are no raw ones.
    content_type: str | None = None
    #: What its client would like to have back, and what else its model's server is told.
    accept: str | None = None
    custom_attributes: str | None = None
    #: Object with the answer to a raw request, and what that is, as far as anyone told.
    answer_key: str | None = None
    answer_type: str | None = None
    #: As its batch's.
    ttl: int | None = None

    @property
    def ref(self) -> "AttemptRef":
        return AttemptRef(
            tenant=self.tenant, batch_id=self.batch_id, shard_id=self.id, attempt=self.attempt
        )

    @property
    def is_raw(self) -> bool:
        """Whether it is one request whose bytes are passed on as they are."""
        return self.content_type is not None

    @property
    def is_open(self) -> bool:
        return self.status in OPEN

    @property
    def ended_lines(self) -> int:
        """Lines with a final outcome in it: those of a shard that is done, but for its retries."""
        return (self.succeeded or 0) + (self.failed or 0)

    @property
    def has_slot(self) -> bool:
        """Whether it holds a slot itself."""
        return self.status is ShardStatus.IN_FLIGHT and self.bundle is None

    def waiting(self) -> "Shard":
        """The shard as it is when it waits again."""
        return msgspec.structs.replace(
            self,
            status=ShardStatus.WAITING,
            claimed_at=None,
            look_at=None,
            lease_ends_at=None,
            job=None,
            bundle=None,
        )


class AttemptRef(msgspec.Struct, frozen=True, kw_only=True):
    """Names one attempt of one shard; travels with it through the backend and back."""

    tenant: str
    batch_id: str
    shard_id: str
    attempt: int

    def __str__(self) -> str:
        return f"{self.tenant}/{self.batch_id}/{self.shard_id}/{self.attempt}"

    @classmethod
    def parse(cls, text: str) -> "AttemptRef | None":
        """The attempt that the text names, or None: it is not one of ours."""
        parts = text.split("/")
        if len(parts) != 4 or not (parts[3].isascii() and parts[3].isdigit()):
            return None
        return cls(tenant=parts[0], batch_id=parts[1], shard_id=parts[2], attempt=int(parts[3]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Largest shard of a model; the first limit that is reached ends the shard."""

    lines: int
    bytes: int
    #: Tokens, estimated from above: bytes of the prompt plus the longest answer.
    tokens: int
    #: No limit ends a shard of fewer lines, which its backend would not take.
    least_lines: int = 1


@dataclass(slots=True)
class ShardDraft:
    """Requests gathered for one shard while a file is read."""

    model: str
    cut: Cut
    #: The requests as they will travel, each with its newline.
    lines: list[bytes] = field(default_factory=list)
    first_line: int = 0
    last_line: int = 0
    size: int = 0
    tokens: int = 0

    @property
    def line_count(self) -> int:
        return len(self.lines)

    def add(self, request: Request, line: bytes) -> bool:
        """Take the request in, if it still fits; an empty draft takes anything."""
        lines, cut = self.lines, self.cut
        size = self.size + len(line)
        tokens = self.tokens + request.prompt_bytes + request.max_tokens
        if len(lines) >= cut.least_lines and (
            len(lines) >= cut.lines or size > cut.bytes or tokens > cut.tokens
        ):
            return False
        lines.append(line)
        self.first_line = self.first_line or request.line
        self.last_line = request.line
        self.size = size
        self.tokens = tokens
        return True


def shard_id(number: int) -> str:
    """Id of the number-th planned shard."""
    return f"{number:05d}"


def retry_id(shard: Shard) -> str:
    """Id of the shard with the lines that the shard's current attempt left unfinished."""
    if shard.piece == WHOLE:
        return f"{root_id(shard)}-{shard.attempt}"
    return f"{piece_id(shard, shard.piece)}{shard.attempt}"


def piece_id(shard: Shard, piece: int) -> str:
    """Id of a piece of the planned shard that the shard came from."""
    return f"{root_id(shard)}-{piece:x}p"


def root_id(shard: Shard) -> str:
    """Id of the planned shard that the shard is, or is a piece or a retry of."""
    return shard.id.partition("-")[0]


#: Deadlines count as one within this part of the window: no two batches have the very same, so
#: that priorities would never matter.
_DEADLINES_A_WINDOW = 24


def queue_position(shard: Shard) -> str:
    """Sort key in the pool's queue: about the deadline, then priority, then age, then id.

    Pieces, which most often are of what failed, come after all else of their batch. One may end the
    server that runs it: so the rest of the batch is done by then, and what was only beside such a
    one, or on a server that ended by chance, is not tried with it again and again.
    """
    place = shard.id if shard.piece == WHOLE else f"~{shard.id}"
    return f"{queue_class(shard)}/{int(shard.created_at * 1000):015d}/{shard.batch_id}/{place}"


def queue_class(shard: Shard) -> str:
    """What its sort key begins with: shards that are equally urgent have the same."""
    grain = max(1, round(shard.deadline - shard.created_at) // _DEADLINES_A_WINDOW)
    about = int(shard.deadline) // grain * grain
    return f"{about * 1000:015d}/{9 - shard.priority:d}"
