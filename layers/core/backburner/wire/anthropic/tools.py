"""Anthropic's tools and the choice among them, as chat completions have them."""

from typing import Any

from backburner.wire.anthropic.fields import bad, entries, obj, text
from backburner.wire.bodies import Body

_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


def add(chat: Body, params: Body) -> None:
    """Give the chat body the tools that the parameters name; raises InvalidRequest."""
    given = entries(params, "tools")
    if given:
        chat["tools"] = [_tool(tool, f"tools.{number}") for number, tool in enumerate(given)]
    choice = obj(params, "tool_choice")
    if not choice:
        return
    if choice.get("disable_parallel_tool_use") and given:
        chat["parallel_tool_calls"] = False
    chosen = _choice(choice, {tool["function"]["name"] for tool in chat.get("tools", ())})
    if given:
        chat["tool_choice"] = chosen


def _choice(choice: Body, names: set[str]) -> Any:
    kind = choice.get("type")
    if kind not in ("auto", "none") and not names:
        raise bad("tool_choice", "needs 'tools'.")
    if kind == "tool":
        name = text(choice, "name", "tool_choice.")
        if name not in names:
            raise bad("tool_choice.name", "must be the name of one of 'tools'.")
        return {"type": "function", "function": {"name": name}}
    if kind not in _CHOICES:
        raise bad("tool_choice.type", "must be 'auto', 'any', 'tool' or 'none'.")
    return _CHOICES[kind]


def _tool(tool: Any, where: str) -> Body:
    """A tool of the client's; those that Anthropic runs itself are refused.

    Members that say how the tool is cached, found or streamed are ignored.
    """
    if not isinstance(tool, dict):
        raise bad(where, "must be an object.")
    if tool.get("type") not in (None, "custom"):
        raise bad(f"{where}.type", "must be 'custom': tools that servers run are not supported.")
    function: Body = {"name": text(tool, "name", f"{where}.")}
    if tool.get("description") is not None:
        function["description"] = text(tool, "description", f"{where}.")
    if not isinstance(tool.get("input_schema"), dict):
        raise bad(f"{where}.input_schema", "must be a JSON schema.")
    function["parameters"] = tool["input_schema"]
    if isinstance(tool.get("strict"), bool):
        function["strict"] = tool["strict"]
    return {"type": "function", "function": function}
