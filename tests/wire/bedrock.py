"""What tests of Bedrock's formats share: bodies of OpenAI's, and Bedrock's own description."""

from functools import cache
from typing import Any

import botocore.session
from botocore.validate import ParamValidator

#: One pixel.
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5E"
    "rkJggg=="
)

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def chat(*messages: Any, **parameters: Any) -> dict[str, Any]:
    return {"model": "m", "messages": list(messages) or [user("Hi")]} | parameters


def picture(url: str = f"data:image/png;base64,{PIXEL}") -> dict[str, Any]:
    parts = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": url}},
    ]
    return {"role": "user", "content": parts}


def called(arguments: str = '{"city":"Graz"}') -> dict[str, Any]:
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "weather", "arguments": arguments},
    }
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def told(text: str = "rain") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": "call_1", "content": text}


@cache
def _converse() -> Any:
    service = botocore.session.get_session().get_service_model("bedrock-runtime")
    return service.operation_model("Converse").input_shape


def problems(model_input: dict[str, Any]) -> str:
    """What Bedrock's own description of Converse finds wrong with a `modelInput`."""
    shape = _converse()
    unknown = model_input.keys() - shape.members.keys()
    assert not unknown, unknown
    return str(ParamValidator().validate({"modelId": "m"} | model_input, shape).generate_report())
