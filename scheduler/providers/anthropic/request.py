"""From an OpenAI chat completion request to an Anthropic messages request: pure.

What changes the answer and has no counterpart is refused, naming the field; what merely tunes it (seed, penalties,
logit_bias, store, …) is left out, as Anthropic's own OpenAI layer does. Its own fields (thinking, top_k, cache_control
on parts, tools that are not functions) go through as they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from scheduler.providers.anthropic.blocks import Untranslatable, blocks_of, text_blocks, tool_use

DEFAULT_MAX_TOKENS = 4_096
"""Anthropic requires max_tokens; every model allows this many. A resource's defaultArgs may say otherwise."""

_AS_THEY_ARE = ("top_p", "top_k", "thinking")
_CHOICES = {"auto": "auto", "none": "none", "required": "any"}


def to_messages(request: bytes, model: str, default_args: Mapping[str, bytes]) -> bytes:
    """The JSON to send. default_args: JSON bytes by name, for what the request leaves out.

    Raises Untranslatable with words for the user.
    """
    fields = _fields_of(request, default_args)
    _refuse_what_cannot_be(fields)
    system, messages = _conversation(fields.get("messages"))
    body: dict[str, Any] = {"model": model, "max_tokens": _max_tokens(fields), "messages": messages}
    if system:
        body["system"] = system
    body |= {name: fields[name] for name in _AS_THEY_ARE if fields.get(name) is not None}
    if (temperature := fields.get("temperature")) is not None:
        # OpenAI allows up to 2, Anthropic up to 1; its own OpenAI layer caps as well.
        body["temperature"] = min(temperature, 1) if isinstance(temperature, int | float) else temperature
    if (stop := fields.get("stop")) is not None:
        body["stop_sequences"] = [stop] if isinstance(stop, str) else stop
    if isinstance(user := fields.get("user"), str):
        body["metadata"] = {"user_id": user}
    body |= _tools(fields)
    body |= _output_format(fields.get("response_format"))
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _fields_of(request: bytes, default_args: Mapping[str, bytes]) -> dict[str, Any]:
    try:
        given = json.loads(request)
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise Untranslatable("The request is not a JSON object.")
    return {name: json.loads(value) for name, value in default_args.items() if name not in given} | given


def _refuse_what_cannot_be(fields: Mapping[str, Any]) -> None:
    if fields.get("n") not in (None, 1):
        raise Untranslatable("n: Anthropic gives one answer a request.")
    if fields.get("logprobs"):
        raise Untranslatable("logprobs: Anthropic does not give them.")
    if fields.get("functions") or fields.get("function_call") not in (None, "none"):
        raise Untranslatable("functions: use tools and tool_choice for Anthropic.")
    if fields.get("modalities") not in (None, ["text"]) or fields.get("audio"):
        raise Untranslatable("modalities: Anthropic answers in text only.")


def _max_tokens(fields: Mapping[str, Any]) -> Any:
    for name in ("max_completion_tokens", "max_tokens"):
        if fields.get(name) is not None:
            return fields[name]
    return DEFAULT_MAX_TOKENS


def _conversation(given: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(system blocks, messages). System messages go to the front in their order; neighbours of one role become one
    message, as Anthropic wants results of tools together."""
    if not isinstance(given, list):
        raise Untranslatable("messages must be a list.")
    system: list[dict[str, Any]] = []
    messages: list[dict[str, Any]] = []
    for index, message in enumerate(given):
        place = f"messages[{index}]"
        if not isinstance(message, dict):
            raise Untranslatable(f"{place} must be an object.")
        if message.get("role") in ("system", "developer"):
            system += text_blocks(message.get("content"), f"{place}.content")
            continue
        role, content = _turn(message, place)
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"] += content
        elif content:
            messages.append({"role": role, "content": content})
    return system, messages


def _turn(message: Mapping[str, Any], place: str) -> tuple[str, list[dict[str, Any]]]:
    content = message.get("content")
    match message.get("role"):
        case "user":
            return "user", blocks_of(content, f"{place}.content")
        case "assistant":
            if message.get("function_call"):
                raise Untranslatable(f"{place}.function_call: use tool_calls for Anthropic.")
            calls = message.get("tool_calls") or []
            if not isinstance(calls, list):
                raise Untranslatable(f"{place}.tool_calls must be a list.")
            said = blocks_of(content, f"{place}.content")
            return "assistant", said + [tool_use(c, f"{place}.tool_calls[{i}]") for i, c in enumerate(calls)]
        case "tool":
            result: dict[str, Any] = {"type": "tool_result", "tool_use_id": message.get("tool_call_id")}
            if inner := blocks_of(content, f"{place}.content"):
                result["content"] = inner
            return "user", [result]
        case role:
            raise Untranslatable(f"{place}.role: {role!r} has no counterpart at Anthropic.")


def _tools(fields: Mapping[str, Any]) -> dict[str, Any]:
    tools = fields.get("tools")
    if not tools:
        return {}
    if not isinstance(tools, list):
        raise Untranslatable("tools must be a list.")
    translated: dict[str, Any] = {"tools": [_tool(tool, f"tools[{i}]") for i, tool in enumerate(tools)]}
    choice = _tool_choice(fields.get("tool_choice"))
    if fields.get("parallel_tool_calls") is False and (choice is None or choice["type"] != "none"):
        choice = (choice or {"type": "auto"}) | {"disable_parallel_tool_use": True}
    return translated | ({"tool_choice": choice} if choice else {})


def _tool(tool: Any, place: str) -> Any:
    if not isinstance(tool, dict):
        raise Untranslatable(f"{place} must be an object.")
    if tool.get("type") != "function":
        return tool
    function = tool.get("function")
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise Untranslatable(f"{place}.function.name is required.")
    schema = function.get("parameters") or {"type": "object", "properties": {}}
    translated = {"name": function["name"], "input_schema": schema}
    if function.get("description"):
        translated["description"] = function["description"]
    if function.get("strict"):
        translated["strict"] = True
    if "cache_control" in tool:
        translated["cache_control"] = tool["cache_control"]
    return translated


def _tool_choice(choice: Any) -> dict[str, Any] | None:
    if choice is None:
        return None
    if isinstance(choice, str) and choice in _CHOICES:
        return {"type": _CHOICES[choice]}
    function = choice.get("function") if isinstance(choice, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise Untranslatable("tool_choice must be auto, none, required or a function by name.")
    return {"type": "tool", "name": function["name"]}


def _output_format(wanted: Any) -> dict[str, Any]:
    if wanted is None or wanted == {"type": "text"}:
        return {}
    form = wanted.get("json_schema") if isinstance(wanted, dict) and wanted.get("type") == "json_schema" else None
    schema = form.get("schema") if isinstance(form, dict) else None
    if not isinstance(schema, dict):
        raise Untranslatable("response_format: Anthropic knows text and json_schema with a schema.")
    return {"output_config": {"format": {"type": "json_schema", "schema": schema}}}
