"""What a client asks for, by the unmodified `openai` package."""

from typing import TYPE_CHECKING, Any, Final

from tests.e2e_aws.servers import wait_until
from tests.late import Late
from tests.local.stacks import CHAT, lines

if TYPE_CHECKING:
    import openai
else:
    openai = Late("openai")

ENDED: Final = ("completed", "failed", "expired", "cancelled")


def submit(ai: "openai.OpenAI", content: bytes, **options: Any) -> str:
    file = ai.files.create(file=("in.jsonl", content), purpose="batch")
    made = ai.batches.create(
        input_file_id=file.id, endpoint=CHAT, completion_window="24h", **options
    )
    return made.id


def finished(ai: "openai.OpenAI", batch_id: str) -> Any:
    """The batch once it has ended."""
    wait_until(lambda: ai.batches.retrieve(batch_id).status in ENDED, "the end of the batch")
    return ai.batches.retrieve(batch_id)


def read(ai: "openai.OpenAI", file_id: str) -> list[dict[str, Any]]:
    return lines(ai.files.content(file_id).read())
