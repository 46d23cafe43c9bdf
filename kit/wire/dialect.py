"""GA and beta, side by side: how each spells a thing, and what the service refuses.

One vocabulary, two spellings. The kit thinks in GA's event names and in its own few neutral words (`modality`, ``"text"``,
``"audio"``); this file turns them into what goes over the wire. Where a message is quoted, it is the service's own, byte for
byte; where a code or a sentence was never seen on a wire, the comment says *unverified*.

Sources: the official SDK's types (openai-python 3.54.0, ``types/realtime`` and ``types/beta/realtime``), the API reference
(https://platform.openai.com/docs/api-reference/realtime) and wire captures of 2024-10 to 2026-09.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import InputError, clipped

Name = Literal["ga", "beta"]

# ---------------------------------------------------------------------------------------------------- the two spellings


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one dialect spells what both can say."""

    name: Name
    assistant_text: str
    """Type of an assistant's text part in an item. (A `content_part` event says ``text`` in both dialects.)"""
    assistant_audio: str
    """Type of an assistant's audio part in an item; only the server may send one."""
    modalities: str
    """Field that asks for a modality, in a session and in a response."""
    spoken: tuple[str, ...]
    """Value of that field that asks for speech."""
    seedable: Mapping[str, tuple[str, ...]]
    """Content types that the service takes from a client, by role, in the order in which its refusal lists them."""


GA = Dialect(
    name="ga",
    assistant_text="output_text",
    assistant_audio="output_audio",
    modalities="output_modalities",
    spoken=("audio",),
    # The refusal for a user part lists two values even on models that take images (live probe, 2026-08-19).
    seedable={"system": ("input_text",), "user": ("input_text", "input_audio"), "assistant": ("output_text",)},
)
BETA = Dialect(
    name="beta",
    assistant_text="text",
    assistant_audio="audio",
    modalities="modalities",
    spoken=("text", "audio"),
    seedable={"system": ("input_text",), "user": ("input_text", "input_audio"), "assistant": ("text",)},
)
DIALECTS: dict[str, Dialect] = {"ga": GA, "beta": BETA}


def dialect(name: str | Dialect) -> Dialect:
    """The dialect of that name.

    Raises:
        InputError: For any other name.
    """
    if isinstance(name, Dialect):
        return name
    try:
        return DIALECTS[name]
    except (KeyError, TypeError):
        raise InputError(f"no dialect is called {clipped(name)}; there are 'ga' and 'beta'") from None


SERVER_EVENTS: tuple[tuple[str, str | None], ...] = (
    # GA, beta (None: beta has none)
    ("error", "error"),
    ("session.created", "session.created"),
    ("session.updated", "session.updated"),
    ("conversation.item.added", "conversation.item.created"),
    ("conversation.item.done", None),
    ("conversation.item.retrieved", "conversation.item.retrieved"),
    ("conversation.item.truncated", "conversation.item.truncated"),
    ("conversation.item.deleted", "conversation.item.deleted"),
    ("conversation.item.input_audio_transcription.delta", "conversation.item.input_audio_transcription.delta"),
    ("conversation.item.input_audio_transcription.completed", "conversation.item.input_audio_transcription.completed"),
    ("conversation.item.input_audio_transcription.failed", "conversation.item.input_audio_transcription.failed"),
    ("input_audio_buffer.committed", "input_audio_buffer.committed"),
    ("input_audio_buffer.cleared", "input_audio_buffer.cleared"),
    ("input_audio_buffer.speech_started", "input_audio_buffer.speech_started"),
    ("input_audio_buffer.speech_stopped", "input_audio_buffer.speech_stopped"),
    ("input_audio_buffer.timeout_triggered", None),
    ("response.created", "response.created"),
    ("response.done", "response.done"),
    ("response.output_item.added", "response.output_item.added"),
    ("response.output_item.done", "response.output_item.done"),
    ("response.content_part.added", "response.content_part.added"),
    ("response.content_part.done", "response.content_part.done"),
    ("response.output_text.delta", "response.text.delta"),
    ("response.output_text.done", "response.text.done"),
    ("response.output_audio_transcript.delta", "response.audio_transcript.delta"),
    ("response.output_audio_transcript.done", "response.audio_transcript.done"),
    ("response.output_audio.delta", "response.audio.delta"),
    ("response.output_audio.done", "response.audio.done"),
    ("response.function_call_arguments.delta", "response.function_call_arguments.delta"),
    ("response.function_call_arguments.done", "response.function_call_arguments.done"),
    ("rate_limits.updated", "rate_limits.updated"),
)

GA_NAME: dict[str, str] = {beta: ga for ga, beta in SERVER_EVENTS if beta is not None} | {
    ga: ga for ga, _ in SERVER_EVENTS
}
"""Any server event's name, in either spelling → GA's. Hybrids exist (Azure Voice Live sends beta names and GA's
`conversation.item.done`), so what is read never depends on a declared dialect."""

BETA_NAME: dict[str, str] = {ga: beta for ga, beta in SERVER_EVENTS if beta is not None}
"""GA's name → beta's."""

# The list that the GA server prints when it meets an unknown type, in its order (2026-09).
CLIENT_EVENTS: tuple[str, ...] = (
    "session.update",
    "session.close",
    "input_audio_buffer.append",
    "session.input_audio_buffer.append",
    "input_audio_buffer.commit",
    "input_audio_buffer.clear",
    "conversation.item.create",
    "conversation.item.truncate",
    "conversation.item.delete",
    "conversation.item.retrieve",
    "response.create",
    "response.cancel",
)


# ------------------------------------------------------------------------------------------------------- how we spell it

AUDIO_FORMATS: dict[str, dict[str, Any]] = {
    # beta's word (which the kit uses), GA's object
    "pcm16": {"type": "audio/pcm", "rate": 24_000},
    "g711_ulaw": {"type": "audio/pcmu"},
    "g711_alaw": {"type": "audio/pcma"},
}

# Our word → (path in a GA session, field in a beta session); None: that dialect has no such thing.
SESSION_FIELDS: dict[str, tuple[tuple[str, ...] | None, str | None]] = {
    "instructions": (("instructions",), "instructions"),
    "modality": (("output_modalities",), "modalities"),
    "voice": (("audio", "output", "voice"), "voice"),
    "speed": (("audio", "output", "speed"), "speed"),
    "input_format": (("audio", "input", "format"), "input_audio_format"),
    "output_format": (("audio", "output", "format"), "output_audio_format"),
    "turn_detection": (("audio", "input", "turn_detection"), "turn_detection"),
    "transcription": (("audio", "input", "transcription"), "input_audio_transcription"),
    "noise_reduction": (("audio", "input", "noise_reduction"), "input_audio_noise_reduction"),
    "tools": (("tools",), "tools"),
    "tool_choice": (("tool_choice",), "tool_choice"),
    "max_output_tokens": (("max_output_tokens",), "max_response_output_tokens"),
    "temperature": (None, "temperature"),
    "truncation": (("truncation",), None),
    "prompt": (("prompt",), None),
    "reasoning": (("reasoning",), None),
    "parallel_tool_calls": (("parallel_tool_calls",), None),
    "tracing": (("tracing",), "tracing"),
    "include": (("include",), "include"),
}

RESPONSE_FIELDS: dict[str, tuple[tuple[str, ...] | None, str | None]] = {
    "modality": (("output_modalities",), "modalities"),
    "instructions": (("instructions",), "instructions"),
    "voice": (("audio", "output", "voice"), "voice"),
    "output_format": (("audio", "output", "format"), "output_audio_format"),
    "tools": (("tools",), "tools"),
    "tool_choice": (("tool_choice",), "tool_choice"),
    "max_output_tokens": (("max_output_tokens",), "max_response_output_tokens"),
    "temperature": (None, "temperature"),
    "conversation": (("conversation",), "conversation"),
    "metadata": (("metadata",), "metadata"),
    "input": (("input",), "input"),
    "prompt": (("prompt",), None),
    "reasoning": (("reasoning",), None),
    "parallel_tool_calls": (("parallel_tool_calls",), None),
}


def modalities(modality: str, d: Dialect) -> list[str]:
    """What asks for `modality` (``"audio"`` or ``"text"``). Beta cannot ask for audio alone."""
    if modality not in ("audio", "text"):
        raise InputError(f"modality must be 'audio' or 'text', not {clipped(modality)}")
    return list(d.spoken) if modality == "audio" else ["text"]


def _spell(
    settings: Mapping[str, Any], d: Dialect, fields: Mapping[str, tuple[tuple[str, ...] | None, str | None]]
) -> dict[str, Any]:
    spelled: dict[str, Any] = {}
    for word, value in settings.items():
        if word not in fields:
            raise InputError(f"no setting is called {clipped(word)}; there are {', '.join(sorted(fields))}")
        ga_path, beta_field = fields[word]
        path = ga_path if d.name == "ga" else (beta_field,) if beta_field else None
        if path is None:
            raise InputError(f"the {d.name} dialect has no {word}; leave it out or use the other dialect")
        if word == "modality":
            value = modalities(value, d)
        elif word in ("input_format", "output_format") and isinstance(value, str):
            if value not in AUDIO_FORMATS:
                raise InputError(f"{word} must be one of {', '.join(AUDIO_FORMATS)}, not {clipped(value)}")
            value = dict(AUDIO_FORMATS[value]) if d.name == "ga" else value
        here = spelled
        for step in path[:-1]:
            here = here.setdefault(step, {})
        here[path[-1]] = value
    return spelled


def spell_session(settings: Mapping[str, Any], d: Dialect) -> dict[str, Any]:
    """The `session` of a `session.update` that asks for `settings` (the words of `SESSION_FIELDS`).

    Raises:
        InputError: For a word that is none of them, or that this dialect does not have.
    """
    return ({"type": "realtime"} if d.name == "ga" else {}) | _spell(settings, d, SESSION_FIELDS)


def spell_response(settings: Mapping[str, Any], d: Dialect) -> dict[str, Any]:
    """The `response` of a `response.create` that asks for `settings` (the words of `RESPONSE_FIELDS`)."""
    return _spell(settings, d, RESPONSE_FIELDS)


def spell_part(kind: str, role: str, d: Dialect) -> str:
    """The content type for neutral ``"text"`` or ``"audio"`` said by `role`; any other kind is passed through as it is."""
    if role == "assistant":
        return {"text": d.assistant_text, "audio": d.assistant_audio}.get(kind, kind)
    return {"text": "input_text", "audio": "input_audio", "image": "input_image"}.get(kind, kind)


# ------------------------------------------------------------------------------------------------ what the service refuses

MAX_ID_CHARS = 32
MAX_APPEND_BYTES = 15 * 1024 * 1024

_ITEM_FIELDS: dict[str, tuple[str, ...]] = {
    "message": ("id", "object", "type", "status", "role", "content", "phase"),
    "function_call": ("id", "object", "type", "status", "call_id", "name", "arguments"),
    "function_call_output": ("id", "object", "type", "status", "call_id", "output"),
}
_MCP_TYPES = ("mcp_list_tools", "mcp_call", "mcp_approval_request", "mcp_approval_response")
# Sent for a value of the wrong kind or a missing one; each part type's own payload field.
_PAYLOAD = {
    "input_text": "text",
    "text": "text",
    "output_text": "text",
    "input_audio": "audio",
    "input_image": "image_url",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """An `error` that the service would send: ``type``, ``code``, ``message`` and ``param``, in its own words."""

    code: str | None
    message: str
    param: str | None = None
    type: str = "invalid_request_error"


def listed(values: Iterable[str]) -> str:
    """Values as the service lists them: ``'a' and 'b'``, ``'a', 'b', and 'c'``."""
    quoted = [f"'{value}'" for value in values]
    if len(quoted) <= 2:
        return " and ".join(quoted)
    return f"{', '.join(quoted[:-1])}, and {quoted[-1]}"


def invalid_value(value: object, supported: Iterable[str], param: str) -> Refusal:
    """The service's sentence for a value outside a list."""
    values = tuple(supported)
    rest = f"Value must be '{values[0]}'." if len(values) == 1 else f"Supported values are: {listed(values)}."
    return Refusal("invalid_value", f"Invalid value: '{value}'. {rest}", param)


def missing(param: str) -> Refusal:
    """The service's sentence for a parameter that is not there."""
    return Refusal("missing_required_parameter", f"Missing required parameter: '{param}'.", param)


def unknown_parameter(param: str) -> Refusal:
    """The service's sentence for a parameter that it does not know."""
    return Refusal("unknown_parameter", f"Unknown parameter: '{param}'.", param)


def wrong_type(param: str, expected: str, value: object) -> Refusal:
    """A value of another JSON type. The sentence is the REST API's; on this socket it is *unverified*."""
    got = {
        str: "a string",
        bool: "a boolean",
        int: "an integer",
        float: "a decimal",
        list: "an array",
        dict: "an object",
    }
    what = "null" if value is None else got.get(type(value), "another type")
    return Refusal("invalid_type", f"Invalid type for '{param}': expected {expected}, but got {what} instead.", param)


def too_long(param: str, length: int, limit: int = MAX_ID_CHARS) -> Refusal:
    """An id that is too long. The sentence was seen; the code is *unverified*."""
    return Refusal(
        "string_above_max_length",
        f"Invalid '{param}': string too long. Expected a string with maximum length {limit}, "
        f"but got a string with length {length} instead.",
        param,
    )


def refuse_item(item: object, d: Dialect, path: str = "item") -> Refusal | None:
    """What the service would say to this item, on its own; ``None`` if it would take it.

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
    for field in ("call_id", "name", "arguments") if kind == "function_call" else ("call_id", "output"):
        if item.get(field) is None:
            # GA makes up a call_id for a function_call without one (unverified), so only its name and arguments are needed.
            if kind == "function_call" and field == "call_id":
                continue
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
    for n, part in enumerate(content):
        refusal = _refuse_part(part, role, d, f"{path}.content[{n}]")
        if refusal:
            return refusal
    return None


def _refuse_part(part: object, role: str, d: Dialect, path: str) -> Refusal | None:
    if not isinstance(part, dict):
        return wrong_type(path, "an object", part)
    kind = part.get("type")
    if kind is None:
        return missing(f"{path}.type")
    accepted = d.seedable[role]
    if d.name == "ga" and role == "assistant" and kind == "output_audio":
        # The server takes any assistant part for text (openai-agents-js #963, 2026-02).
        return missing(f"{path}.text") if part.get("text") is None else None
    if kind not in accepted and not (d.name == "ga" and role == "user" and kind == "input_image"):
        return invalid_value(kind, accepted, f"{path}.type")
    field = _PAYLOAD[kind]
    if part.get(field) is None:
        return missing(f"{path}.{field}")
    if not isinstance(part[field], str):
        return wrong_type(f"{path}.{field}", "a string", part[field])
    return None
