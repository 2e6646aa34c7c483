"""The formats in which models on Bedrock are asked: `jobs.format` of the catalog."""

from collections.abc import Callable
from dataclasses import dataclass

from backburner.wire.bedrock import anthropic, converse, embeddings, prompts
from backburner.wire.bodies import CHAT, EMBEDDINGS, Body


@dataclass(frozen=True, slots=True)
class Format:
    """One way to ask a model, and to read its answers."""

    #: Route of the bodies that it translates.
    route: str
    #: An OpenAI body as `modelInput`; raises InvalidRequest.
    ask: Callable[[Body], Body]
    #: `modelOutput` as an OpenAI body, but for what names it; raises OddAnswer.
    answer: Callable[[Body], Body]
    #: `modelInvocationType` of the job.
    invocation: str = "InvokeModel"


FORMATS: dict[str, Format] = {
    "converse": Format(CHAT, converse.ask, converse.answer, "Converse"),
    "anthropic": Format(CHAT, anthropic.ask, anthropic.answer),
    "nova": Format(CHAT, converse.ask_nova, converse.answer),
    "mistral_text": Format(CHAT, prompts.ask_mistral_text, prompts.answer_mistral_text),
    "mistral_chat": Format(CHAT, prompts.ask_mistral_chat, prompts.answer_mistral_chat),
    "llama": Format(CHAT, prompts.ask_llama, prompts.answer_llama),
    "titan": Format(EMBEDDINGS, embeddings.ask_titan, embeddings.answer_titan),
    "cohere": Format(EMBEDDINGS, embeddings.ask_cohere, embeddings.answer_cohere),
}
