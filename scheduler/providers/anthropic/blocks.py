"""Parts of OpenAI chat messages as Anthropic's content blocks: pure."""

from __future__ import annotations

import json
import re
from typing import Any

_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+);base64,(.*)", re.DOTALL)


class Untranslatable(ValueError):
    """The request asks for what Anthropic has no counterpart of; the text is for the user and names the field."""


def blocks_of(content: Any, place: str) -> list[dict[str, Any]]:
    """Blocks of a message's content: a text, a list of parts, or nothing. Empty texts, which Anthropic refuses, are
    left out."""
    if content is None or content == "":
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if not isinstance(content, list):
        raise Untranslatable(f"{place} must be a string or a list of parts.")
    found = [_block(part, f"{place}[{index}]") for index, part in enumerate(content)]
    return [block for block in found if block.get("text") != ""]


def text_blocks(content: Any, place: str) -> list[dict[str, Any]]:
    """The same for system messages, which are text only."""
    blocks = blocks_of(content, place)
    if any(block["type"] != "text" for block in blocks):
        raise Untranslatable(f"{place}: system messages are text only.")
    return blocks


def tool_use(call: Any, place: str) -> dict[str, Any]:
    """The block of one of an assistant's tool calls."""
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        raise Untranslatable(f"{place}.function is required.")
    arguments = function.get("arguments") or "{}"
    try:
        given = json.loads(arguments) if isinstance(arguments, str) else arguments
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise Untranslatable(f"{place}.function.arguments must be a JSON object.")
    return {"type": "tool_use", "id": call.get("id"), "name": function.get("name"), "input": given}


def _block(part: Any, place: str) -> dict[str, Any]:
    if not isinstance(part, dict):
        raise Untranslatable(f"{place} must be an object.")
    match part.get("type"):
        case "text" | "refusal" as kind:
            text = part.get("text" if kind == "text" else "refusal")
            if not isinstance(text, str):
                raise Untranslatable(f"{place}.{kind} must be a string.")
            block: dict[str, Any] = {"type": "text", "text": text}
        case "image_url":
            block = {"type": "image", "source": _image(part.get("image_url"), f"{place}.image_url")}
        case "file":
            block = _document(part.get("file"), f"{place}.file")
        case kind:
            raise Untranslatable(f"{place}: Anthropic takes no parts of type {kind!r}.")
    if "cache_control" in part:
        block["cache_control"] = part["cache_control"]
    return block


def _image(given: Any, place: str) -> dict[str, Any]:
    url = given.get("url") if isinstance(given, dict) else given
    if not isinstance(url, str):
        raise Untranslatable(f"{place}.url must be a string.")
    if url.startswith("data:"):
        return _base64(url, place)
    return {"type": "url", "url": url}


def _document(given: Any, place: str) -> dict[str, Any]:
    data = given.get("file_data") if isinstance(given, dict) else None
    if not isinstance(data, str):
        raise Untranslatable(f"{place}.file_data: Anthropic needs the file itself, as a data URL.")
    block: dict[str, Any] = {"type": "document", "source": _base64(data, f"{place}.file_data")}
    if isinstance(name := given.get("filename"), str):
        block["title"] = name
    return block


def _base64(url: str, place: str) -> dict[str, Any]:
    match = _DATA_URL.fullmatch(url)
    if match is None:
        raise Untranslatable(f"{place}: a data URL must be data:TYPE;base64,….")
    return {"type": "base64", "media_type": match[1], "data": match[2]}
