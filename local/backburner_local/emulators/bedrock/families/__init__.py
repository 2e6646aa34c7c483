"""What models are asked in a job, and what they answer, by the family of the model.

Each family turns a `modelInput` into a request of OpenAI's API, which the local model takes, and
its answer into a `modelOutput`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from backburner_local.emulators.bedrock.families import (
    anthropic,
    converse,
    embeddings,
    llama,
    mistral,
    nova,
    openai,
)
from backburner_local.emulators.bedrock.families.answers import CHAT, EMBEDDINGS, Answer
from backburner_local.emulators.bedrock.families.fields import BadRecord
from backburner_local.emulators.wire import Message

__all__ = ["FAMILIES", "Answer", "BadRecord", "Family", "family_of"]


@dataclass(frozen=True, slots=True)
class Family:
    """How the bodies of some models are read and written."""

    #: Route of OpenAI's API that the local model is asked at.
    route: str
    #: A request of that route; raises BadRecord.
    read: Callable[[Message], Message]
    #: The `modelOutput` of what was asked and answered.
    write: Callable[[Message, Answer], Message]


FAMILIES: dict[str, Family] = {
    "converse": Family(CHAT, converse.read, converse.write),
    "anthropic": Family(CHAT, anthropic.read, anthropic.write),
    "nova": Family(CHAT, nova.read, nova.write),
    "mistral_text": Family(CHAT, mistral.read_text, mistral.write_text),
    "mistral_chat": Family(CHAT, mistral.read_chat, mistral.write_chat),
    "llama": Family(CHAT, llama.read, llama.write),
    "openai": Family(CHAT, openai.read, openai.write),
    "titan_embedding": Family(EMBEDDINGS, embeddings.read_titan, embeddings.write_titan),
    "cohere_embedding": Family(EMBEDDINGS, embeddings.read_cohere, embeddings.write_cohere),
}


def family_of(name: str, *, is_converse: bool) -> Family:
    """How the bodies of a job look whose model is of a family.

    Raises:
        BadRecord: such models can't be asked so.
    """
    if not is_converse:
        return FAMILIES[name]
    if FAMILIES[name].route == EMBEDDINGS:
        raise BadRecord("This action doesn't support the model that you provided.")
    return FAMILIES["converse"]
