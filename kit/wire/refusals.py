"""What the service refuses, in its own words: the `error` that an item of a conversation would meet.

Where a message is quoted, it is the service's own, byte for byte; where a code or a sentence was never seen on a wire, the
comment says *unverified*. The client asks before it sends (`History`), the stand-in answers with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .dialect import Dialect

# Of an item's or a call's id; an event's may have 512 (wire/README.md, Lifetime and limits).
MAX_ID_CHARS = 32

# Any other field is an `unknown_parameter` (wire/README.md, Errors). `phase` is gpt-realtime-2's.
_ITEM_FIELDS: dict[str, tuple[str, ...]] = {
    "message": ("id", "object", "type", "status", "role", "content", "phase"),
    "function_call": ("id", "object", "type", "status", "call_id", "name", "arguments"),
    "function_call_output": ("id", "object", "type", "status", "call_id", "output"),
}
# GA's alone; what is in them is not looked at.
_MCP_TYPES = ("mcp_list_tools", "mcp_call", "mcp_approval_request", "mcp_approval_response")
# Sent for a value of the wrong kind or a missing one; each part type's own payload field.
_PAYLOAD = {"input_audio": "audio", "input_image": "image_url"} | dict.fromkeys(
    ("input_text", "text", "output_text"), "text"
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """An `error` that the service would send: ``type``, ``code``, ``message`` and ``param``, in its own words."""

    code: str | None
    message: str
    param: str | None = None
    type: str = "invalid_request_error"


def listed(values: Iterable[str]) -> str:
    """List values as the service does: ``'a' and 'b'``, ``'a', 'b', and 'c'``."""
    quoted = [f"'{value}'" for value in values]
    if len(quoted) <= 2:
        return " and ".join(quoted)
    return f"{', '.join(quoted[:-1])}, and {quoted[-1]}"


def invalid_value(value: object, supported: Iterable[str], param: str) -> Refusal:
    """The service's sentence for a value outside a list."""
    values = tuple(supported)
    advice = f"Value must be '{values[0]}'." if len(values) == 1 else f"Supported values are: {listed(values)}."
    return Refusal("invalid_value", f"Invalid value: '{value}'. {advice}", param)


def missing(param: str) -> Refusal:
    """The service's sentence for a parameter that is not there."""
    return Refusal("missing_required_parameter", f"Missing required parameter: '{param}'.", param)


def unknown_parameter(param: str) -> Refusal:
    """The service's sentence for a parameter that it does not know."""
    return Refusal("unknown_parameter", f"Unknown parameter: '{param}'.", param)


def wrong_type(param: str, expected: str, value: object) -> Refusal:
    """A value of another JSON type. The sentence is the REST API's; on this socket it is *unverified*."""
    names = {
        str: "a string",
        bool: "a boolean",
        int: "an integer",
        float: "a decimal",
        list: "an array",
        dict: "an object",
    }
    name = "null" if value is None else names.get(type(value), "another type")
    return Refusal("invalid_type", f"Invalid type for '{param}': expected {expected}, but got {name} instead.", param)


def too_long(param: str, length: int, limit: int = MAX_ID_CHARS) -> Refusal:
    """An id that is too long. The sentence was seen; the code is *unverified*."""
    return Refusal(
        "string_above_max_length",
        f"Invalid '{param}': string too long. Expected a string with maximum length {limit}, "
        f"but got a string with length {length} instead.",
        param,
    )


def refuse_item(item: object, d: Dialect, path: str = "item") -> Refusal | None:
    """Return the refusal that this item, on its own, would meet; ``None`` if the service would take it.

    Args:
        item: As it would be sent.
        path: What the service calls it in `param`: ``item``, or ``response.input[3]``.

    Refusals that need the whole conversation (a duplicate id, an output without its call) are not made here.
    """
    if not isinstance(item, dict):
        return wrong_type(path, "an object", item)
    kind = item.get("type")
    if kind is None:
        return missing(f"{path}.type")
    # Only inside the `input` of a `response.create` (wire/README.md, Item fields).
    if kind == "item_reference" and path != "item":
        return None if item.get("id") else missing(f"{path}.id")
    if kind in _MCP_TYPES and d.name == "ga":
        return None
    if not isinstance(kind, str) or kind not in _ITEM_FIELDS:
        return invalid_value(kind, _ITEM_FIELDS, f"{path}.type")  # the list of values is unverified
    for field in item:
        if field not in _ITEM_FIELDS[kind]:
            return unknown_parameter(f"{path}.{field}")
    for field in ("id", "call_id"):
        value = item.get(field)
        if value is not None and not isinstance(value, str):
            return wrong_type(f"{path}.{field}", "a string", value)
        if isinstance(value, str) and len(value) > MAX_ID_CHARS:
            return too_long(f"{path}.{field}", len(value))
    if kind == "message":
        return _refuse_message(item, d, path)
    # GA makes up a call_id for a function_call without one (unverified), so only its name and arguments are needed.
    for field in ("name", "arguments") if kind == "function_call" else ("call_id", "output"):
        if item.get(field) is None:
            return missing(f"{path}.{field}")
        if not isinstance(item[field], str):
            return wrong_type(f"{path}.{field}", "a string", item[field])
    return None


def _refuse_message(item: Mapping[str, Any], d: Dialect, path: str) -> Refusal | None:
    role = item.get("role")
    if role is None:
        return missing(f"{path}.role")
    if not isinstance(role, str) or role not in d.seedable:
        return invalid_value(role, ("system", "user", "assistant"), f"{path}.role")  # the list is unverified
    content = item.get("content")
    if content is None:
        return missing(f"{path}.content")
    if not isinstance(content, list):
        return wrong_type(f"{path}.content", "an array of objects", content)
    accepted = d.seedable[role]
    for n, part in enumerate(content):
        where = f"{path}.content[{n}]"
        if not isinstance(part, dict):
            return wrong_type(where, "an object", part)
        kind = part.get("type")
        if kind is None:
            return missing(f"{where}.type")
        # The server takes any assistant part for text (openai-agents-js #963, 2026-02).
        if d.name == "ga" and role == "assistant" and kind == "output_audio":
            if part.get("text") is None:
                return missing(f"{where}.text")
            continue
        # GA takes pictures, though its sentence does not list them (wire/README.md, Content types by role).
        if kind not in accepted and not (d.name == "ga" and role == "user" and kind == "input_image"):
            return invalid_value(kind, accepted, f"{where}.type")
        field = _PAYLOAD[kind]
        if part.get(field) is None:
            return missing(f"{where}.{field}")
        if not isinstance(part[field], str):
            return wrong_type(f"{where}.{field}", "a string", part[field])
    return None
