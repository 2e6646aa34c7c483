"""A finding: why an input file, or a line of it, was not accepted."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong with an input file."""

    #: OpenAI's batch error code.
    code: str
    message: str
    #: Number of the line, from 1; None where the whole file is meant.
    line: int | None = None
    param: str | None = None
