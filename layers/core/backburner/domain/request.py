"""A request (one line, one prompt) and its outcome."""

import msgspec

#: Seconds since the epoch, UTC. Every name that ends in `_at` holds one.
Instant = float


class Request(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One line of a batch on its way through a model; (batch, line) is its identity.

    A batch makes a million of these and of the two below: a Struct is made in a fifth of a
    dataclass's time, and the garbage collector need not look at it, as it can't be in a cycle.
    """

    #: Number of the line in the input file, from 1.
    line: int
    #: The client's own name for the request, unique in its batch.
    custom_id: str
    #: Name of the model, as the catalog knows it.
    model: str
    #: OpenAI route that the body is for, such as `/v1/chat/completions`.
    route: str
    #: The body as the client wrote it: JSON, one object.
    body: bytes
    #: Bytes of text that the model will read; bounds the prompt's tokens from above.
    prompt_bytes: int = 0
    #: Messages of the prompt; each costs the chat template some tokens.
    message_count: int = 1
    #: The longest answer the client asked for, in tokens; 0 if it named none.
    max_tokens: int = 0
    #: Whether the model has to be one that sees; where a dialect does not tell, its server does.
    has_images: bool = False


class Usage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Tokens that were read and written, as the model reports them."""

    input_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
        )


class Outcome(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What became of one request.

    Either an answer of the model's server (`status_code` and `body`), or the reason why there is
    none (`code` and `message`).
    """

    line: int
    custom_id: str
    #: HTTP status of the model's answer; 0 where no answer came.
    status_code: int = 0
    #: The model's answer: JSON. Empty where no answer came.
    body: bytes = b""
    #: Why there is no answer, such as `batch_expired`; None where there is one.
    code: str | None = None
    message: str | None = None
    usage: Usage = Usage()

    @property
    def is_success(self) -> bool:
        return 200 <= self.status_code < 300

    @property
    def is_retryable(self) -> bool:
        """Whether another attempt may fare better: throttled, broken, timed out, or missing."""
        if self.status_code:
            return self.status_code in (408, 409, 425, 429) or self.status_code >= 500
        return self.code in RETRYABLE_CODES


#: Reasons without an answer that another attempt may cure.
RETRYABLE_CODES = frozenset({"missing_result", "invalid_result", "backend_failed", "attempt_lost"})
