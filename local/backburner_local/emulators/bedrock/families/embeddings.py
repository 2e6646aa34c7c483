"""Bodies of models that embed texts."""

from __future__ import annotations

import uuid

from backburner_local.emulators.bedrock.families.answers import Answer
from backburner_local.emulators.bedrock.families.fields import BadRecord, check
from backburner_local.emulators.wire import Message

_TITAN_KINDS = {
    "inputText": "string",
    "dimensions": "integer",
    "normalize": "boolean",
    "embeddingTypes": "array",
}
_TITAN_DIMENSIONS = (1024, 512, 256)
_COHERE_KINDS = {
    "texts": "array",
    "input_type": "string",
    "truncate": "string",
    "embedding_types": "array",
}
_COHERE_DIMENSIONS = 1024
_COHERE_MOST_TEXTS = 96


def read_titan(body: Message) -> Message:
    check(body, _TITAN_KINDS, required=("inputText",))
    if body.get("dimensions", _TITAN_DIMENSIONS[0]) not in _TITAN_DIMENSIONS:
        raise BadRecord(
            f"Malformed input request: #/dimensions: {body['dimensions']} is none of"
            f" {list(_TITAN_DIMENSIONS)}."
        )
    if not body["inputText"]:
        raise BadRecord("Malformed input request: #/inputText: expected minLength: 1.")
    return {"input": body["inputText"]}


def write_titan(body: Message, answer: Answer) -> Message:
    vector = fitted(answer.vectors[0], body.get("dimensions", _TITAN_DIMENSIONS[0]))
    told: Message = {"embedding": vector, "inputTextTokenCount": answer.input_tokens}
    types = body.get("embeddingTypes") or ["float"]
    told["embeddingsByType"] = {kind: _as(kind, vector) for kind in types}
    return told


def read_cohere(body: Message) -> Message:
    check(body, _COHERE_KINDS, required=("texts", "input_type"))
    if not 1 <= len(body["texts"]) <= _COHERE_MOST_TEXTS:
        raise BadRecord("invalid request: total number of texts must be at most 96 and at least 1")
    return {"input": body["texts"]}


def write_cohere(body: Message, answer: Answer) -> Message:
    vectors = [fitted(vector, _COHERE_DIMENSIONS) for vector in answer.vectors]
    told: Message = {"id": str(uuid.uuid4()), "texts": body["texts"]}
    kinds = body.get("embedding_types")
    if kinds:
        told["response_type"] = "embeddings_by_type"
        told["embeddings"] = {kind: [_as(kind, v) for v in vectors] for kind in kinds}
    else:
        told["response_type"] = "embeddings_floats"
        told["embeddings"] = vectors
    return told


def fitted(vector: list[float], dimensions: int) -> list[float]:
    """The local model's vector, repeated or cut to the size asked for, and of length 1."""
    repeated = (vector * (dimensions // len(vector) + 1))[:dimensions]
    length = sum(number * number for number in repeated) ** 0.5 or 1.0
    return [number / length for number in repeated]


def _as(kind: str, vector: list[float]) -> list[float] | list[int]:
    if kind == "binary":
        return [int(number > 0) for number in vector]
    if kind == "int8":
        return [max(-128, min(127, round(number * 127))) for number in vector]
    return vector
