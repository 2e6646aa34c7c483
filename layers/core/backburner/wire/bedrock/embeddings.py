"""Bodies of embeddings: Amazon Titan's and Cohere's.

Facts: reference page `bedrock.md` §2.2; user guide, "Cohere Embed v3" and "v4": 96 texts at most,
and no count of tokens in the answer.
"""

from typing import Any

from backburner.wire.bedrock import answers
from backburner.wire.bedrock.fields import (
    OddAnswer,
    bad,
    count,
    obj,
    refuse_others,
    tokens,
    unsupported,
)
from backburner.wire.bodies import Body

_HINTS = frozenset({"model", "user"})
_NEUTRAL = {"encoding_format": ("float",)}

#: Texts that Cohere takes at once.
MOST_TEXTS = 96


def ask_titan(body: Body) -> Body:
    """The `modelInput` of Amazon Titan Text Embeddings, which takes one text; or InvalidRequest."""
    refuse_others(body, known=_HINTS | {"input", "dimensions", "normalize"}, neutral=_NEUTRAL)
    texts = _texts(body.get("input"))
    if len(texts) > 1:
        raise unsupported("input", "must be one text for this model: a request for each.")
    given: Body = {"inputText": texts[0]}
    if (dimensions := count(body, "dimensions")) is not None:
        given["dimensions"] = dimensions
    if body.get("normalize") is not None:
        given["normalize"] = bool(body["normalize"])
    return given


def answer_titan(output: Body) -> Body:
    """The embedding in a `modelOutput`; raises OddAnswer."""
    vector = output.get("embedding") or obj(output.get("embeddingsByType")).get("float")
    return answers.embeddings([vector], read=tokens(output.get("inputTextTokenCount")))


def ask_cohere(body: Body) -> Body:
    """The `modelInput` of Cohere Embed; raises InvalidRequest."""
    known = _HINTS | {"input", "dimensions", "input_type", "truncate"}
    refuse_others(body, known=known, neutral=_NEUTRAL)
    texts = _texts(body.get("input"))
    if len(texts) > MOST_TEXTS:
        raise bad("input", f"must be {MOST_TEXTS} texts at most.")
    given: Body = {
        "texts": texts,
        "input_type": body.get("input_type") or "search_document",
        "embedding_types": ["float"],
    }
    if (dimensions := count(body, "dimensions")) is not None:
        given["output_dimension"] = dimensions
    if body.get("truncate") is not None:
        given["truncate"] = body["truncate"]
    return given


def answer_cohere(output: Body) -> Body:
    """The embeddings in a `modelOutput`; raises OddAnswer."""
    found: Any = output.get("embeddings")
    if isinstance(found, dict):
        found = found.get("float")
    if not isinstance(found, list):
        raise OddAnswer
    return answers.embeddings(found, read=None)


def _texts(given: Any) -> list[str]:
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts or not all(isinstance(one, str) for one in texts):
        raise unsupported("input", "must be a text or a list of texts for this model.")
    return texts
