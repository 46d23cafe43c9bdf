"""When the stand-in calls a tool, and with what: by `tool_choice`, or because the user's words name it. It does not reason."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from .items import Item
from .script import Call

_VERBS = frozenset(
    [
        "the",
        "get",
        "set",
        "tell",
        "call",
        "make",
        "find",
        "show",
        "look",
        "send",
        "ask",
        "give",
        "fetch",
        "read",
        "write",
        "check",
        "start",
        "stop",
    ]
)
_WORD = re.compile(r"[A-Z]?[a-z]{3,}")
_CAPITALISED = re.compile(r"(?<!^)(?<![.!?] )\b[A-Z][a-z]+\b")


def called(tools: Sequence[dict[str, Any]], choice: object, asked: Item | None, words: str) -> Call | None:
    """The call that a response makes; ``None`` if it makes none.

    Args:
        tools: The functions it may call.
        choice: ``auto``, ``none``, ``required``, or an object that names one.
        asked: The item that it answers.
        words: What that item says.

    ``auto`` calls a function when a word of its name is in the user's words (``get_weather``: "weather"), and never in answer
    to a function's output.
    """
    functions = [tool for tool in tools if tool.get("type", "function") == "function"]
    if not functions or choice == "none":
        return None
    if isinstance(choice, dict):
        wanted = [tool for tool in functions if tool["name"] == choice.get("name")]
    elif choice == "required":
        wanted = [tool for tool in functions if _named(tool["name"], words)] or functions
    elif asked is None or asked.type == "function_call_output":
        return None
    else:
        wanted = [tool for tool in functions if _named(tool["name"], words)]
    return Call(wanted[0]["name"], arguments(wanted[0].get("parameters"), words)) if wanted else None


def _named(name: str, words: str) -> bool:
    said = words.lower()
    return any(part.lower() in said for part in _WORD.findall(name) if part.lower() not in _VERBS)


def arguments(schema: object, words: str) -> dict[str, Any]:
    """Arguments that fit a JSON schema: its required properties, with a name out of the user's words where a text is wanted."""
    if not isinstance(schema, dict):
        return {}
    properties = schema.get("properties") or {}
    names = iter(_CAPITALISED.findall(words))
    return {name: _value(properties.get(name) or {}, names) for name in schema.get("required") or list(properties)[:1]}


def _value(schema: Any, names: Any) -> Any:
    if not isinstance(schema, dict):
        return next(names, "something")
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    if schema.get("enum"):
        return schema["enum"][0]
    if any_of := schema.get("anyOf") or schema.get("oneOf"):
        return _value(any_of[0], names)
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    if kind == "object":
        inner = schema.get("properties") or {}
        return {name: _value(inner.get(name) or {}, names) for name in schema.get("required") or []}
    if kind == "array":
        return [_value(schema.get("items") or {}, names)] * int(schema.get("minItems") or 0)
    plain = {
        "integer": int(schema.get("minimum") or 1),
        "number": schema.get("minimum") or 1,
        "boolean": True,
        "null": None,
    }
    return plain[kind] if kind in plain else next(names, "something")


def written(call: Call) -> str:
    """The arguments as the JSON text that a call carries."""
    return json.dumps(call.arguments, ensure_ascii=False)
