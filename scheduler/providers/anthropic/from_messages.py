"""From an Anthropic messages request to an OpenAI chat completion request: pure. What to_messages turns back.

What changes the answer and has no counterpart is refused, naming the field. Fields that only Anthropic knows (top_k,
thinking, cache_control on blocks) go through as they are: its own connections take them, others ignore or refuse them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from scheduler.providers.anthropic.blocks import Untranslatable

_AS_THEY_ARE = ("temperature", "top_p", "top_k", "thinking", "service_tier")
_KNOWN = frozenset(
    {
        *("model", "max_tokens", "messages", "system", "stop_sequences", "metadata", "tools", "tool_choice", "stream"),
        *_AS_THEY_ARE,
    }
)
_CHOICES = {"auto": "auto", "none": "none", "any": "required"}


def to_chat(params: Mapping[str, Any]) -> dict[str, Any]:
    """The chat completion request that a messages request asks for. Raises Untranslatable with words for the user,
    beginning with the field."""
    for name in params:
        if name not in _KNOWN:
            raise Untranslatable(f"{name[:64]}: this field is not supported here.")
    if params.get("stream"):
        raise Untranslatable("stream: a batch does not stream.")
    model, most = params.get("model"), params.get("max_tokens")
    if not isinstance(model, str) or not model:
        raise Untranslatable("model: Field required" if model is None else "model: must be a string.")
    if type(most) is not int or most < 1:
        raise Untranslatable("max_tokens: Field required" if most is None else "max_tokens: must be a number above 0.")
    chat: dict[str, Any] = {"model": model, "max_tokens": most, "messages": _conversation(params)}
    chat |= {name: params[name] for name in _AS_THEY_ARE if params.get(name) is not None}
    if (stop := params.get("stop_sequences")) is not None:
        chat["stop"] = stop
    if isinstance(metadata := params.get("metadata"), dict) and isinstance(metadata.get("user_id"), str):
        chat["user"] = metadata["user_id"]
    return chat | _tools(params)


def _conversation(params: Mapping[str, Any]) -> list[dict[str, Any]]:
    given = params.get("messages")
    if not isinstance(given, list) or not given:
        raise Untranslatable("messages: Field required" if given is None else "messages: must be a list of messages.")
    messages: list[dict[str, Any]] = []
    if (system := params.get("system")) is not None:
        messages.append({"role": "system", "content": _texts(system, "system")})
    for index, message in enumerate(given):
        place = f"messages.{index}"
        if not isinstance(message, dict):
            raise Untranslatable(f"{place}: must be an object.")
        match message.get("role"):
            case "user":
                messages += _user(message.get("content"), f"{place}.content")
            case "assistant":
                messages.append(_assistant(message.get("content"), f"{place}.content"))
            case "system":
                messages.append({"role": "system", "content": _texts(message.get("content"), f"{place}.content")})
            case _:
                raise Untranslatable(f"{place}.role: must be user or assistant.")
    return messages


def _blocks(content: Any, place: str) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if not isinstance(content, list) or not all(isinstance(block, dict) for block in content):
        raise Untranslatable(f"{place}: must be a string or a list of blocks.")
    return content


def _texts(content: Any, place: str) -> str | list[dict[str, Any]]:
    """System prompts and results of tools: text."""
    if isinstance(content, str):
        return content
    blocks = _blocks(content, place)
    return [_text(block, f"{place}.{index}") for index, block in enumerate(blocks)]


def _text(block: Mapping[str, Any], place: str) -> dict[str, Any]:
    if block.get("type") != "text" or not isinstance(block.get("text"), str):
        raise Untranslatable(f"{place}: must be a text block.")
    return _marked({"type": "text", "text": block["text"]}, block)


def _marked(part: dict[str, Any], block: Mapping[str, Any]) -> dict[str, Any]:
    return part | ({"cache_control": block["cache_control"]} if "cache_control" in block else {})


def _user(content: Any, place: str) -> list[dict[str, Any]]:
    """Results of tools are messages of their own, and come first, as Anthropic wants them."""
    results: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    for index, block in enumerate(_blocks(content, place)):
        where = f"{place}.{index}"
        if block.get("type") == "tool_result":
            said = block.get("content")
            told = "" if said is None else _texts(said, f"{where}.content")
            results.append({"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": told})
        else:
            parts.append(_part(block, where))
    if len(parts) == 1 and parts[0].keys() == {"type", "text"}:
        return [*results, {"role": "user", "content": parts[0]["text"]}]
    return [*results, {"role": "user", "content": parts}] if parts else results


def _part(block: Mapping[str, Any], place: str) -> dict[str, Any]:
    match block.get("type"):
        case "text":
            return _text(block, place)
        case "image":
            return _marked({"type": "image_url", "image_url": {"url": _source(block, place)}}, block)
        case "document":
            title = block.get("title")
            file = {"file_data": _source(block, place), "filename": title if isinstance(title, str) else "document"}
            return _marked({"type": "file", "file": file}, block)
        case kind:
            raise Untranslatable(f"{place}.type: {kind!r} is not supported here.")


def _source(block: Mapping[str, Any], place: str) -> str:
    source = block.get("source")
    match source:
        case {"type": "base64", "media_type": str(kind), "data": str(data)}:
            return f"data:{kind};base64,{data}"
        case {"type": "url", "url": str(url)} if block.get("type") == "image":
            return url
        case _:
            raise Untranslatable(f"{place}.source: must be base64 data, or the URL of an image.")


def _assistant(content: Any, place: str) -> dict[str, Any]:
    texts: list[str] = []
    calls: list[dict[str, Any]] = []
    for index, block in enumerate(_blocks(content, place)):
        match block.get("type"):
            case "text":
                texts.append(str(_text(block, f"{place}.{index}")["text"]))
            case "tool_use":
                arguments = json.dumps(block.get("input") or {}, ensure_ascii=False)
                function = {"name": block.get("name"), "arguments": arguments}
                calls.append({"id": block.get("id"), "type": "function", "function": function})
            case "thinking" | "redacted_thinking":
                continue  # what was thought before is no part of a chat completion
            case kind:
                raise Untranslatable(f"{place}.{index}.type: {kind!r} is not supported here.")
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts) if texts or not calls else None}
    return message | ({"tool_calls": calls} if calls else {})


def _tools(params: Mapping[str, Any]) -> dict[str, Any]:
    tools = params.get("tools")
    if tools is None:
        return {}
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise Untranslatable("tools: must be a list of objects.")
    found: dict[str, Any] = {"tools": [_tool(tool, index) for index, tool in enumerate(tools)]}
    choice = params.get("tool_choice")
    if choice is None:
        return found
    match choice:
        case {"type": "tool", "name": str(name)}:
            found["tool_choice"] = {"type": "function", "function": {"name": name}}
        case {"type": str(kind)} if kind in _CHOICES:
            found["tool_choice"] = _CHOICES[kind]
        case _:
            raise Untranslatable("tool_choice: must have a type of auto, any, none or tool.")
    if choice.get("disable_parallel_tool_use"):
        found["parallel_tool_calls"] = False
    return found


def _tool(tool: Mapping[str, Any], index: int) -> dict[str, Any]:
    if tool.get("type", "custom") != "custom":
        raise Untranslatable(f"tools.{index}.type: tools that run at Anthropic are not supported here.")
    if not isinstance(tool.get("name"), str):
        raise Untranslatable(f"tools.{index}.name: Field required")
    function = {"name": tool["name"], "parameters": tool.get("input_schema") or {"type": "object"}}
    if isinstance(about := tool.get("description"), str):
        function["description"] = about
    return {"type": "function", "function": function}
