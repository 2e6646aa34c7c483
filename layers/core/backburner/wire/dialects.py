"""All dialects, by the names that batches keep."""

from backburner.ports import Dialect
from backburner.wire.anthropic.dialect import AnthropicDialect
from backburner.wire.bedrock.dialect import BedrockDialect
from backburner.wire.openai import OpenAIDialect

DIALECTS: dict[str, Dialect] = {
    "anthropic": AnthropicDialect(),
    "bedrock": BedrockDialect(),
    "openai": OpenAIDialect(),
}
