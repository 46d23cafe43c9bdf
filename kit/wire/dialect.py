"""GA and beta, side by side: how each spells a thing.

One vocabulary, two spellings. The kit thinks in GA's event names and in its own few neutral words (`modality`, ``"text"``,
``"audio"``); this file turns them into what goes over the wire. What the
service refuses stands in `wire.refusals`.

Sources: the official SDK's types (openai-python 3.54.0, ``types/realtime`` and ``types/beta/realtime``), the API reference
(https://platform.openai.com/docs/api-reference/realtime) and wire captures of 2024-10 to 2026-09.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import InputError, clipped

Name = Literal["ga", "beta"]


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one dialect spells what both can say."""

    name: Name
    assistant_text: str
    """Type of an assistant's text part in an item. (A `content_part` event says ``text`` in both dialects.)"""
    assistant_audio: str  # type of an assistant's audio part in an item; only the server may send one
    modalities: str  # field that asks for a modality, in a session and in a response
    spoken: tuple[str, ...]  # value of that field that asks for speech
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
    # Audio alone is refused (wire/README.md, Session fields).
    spoken=("text", "audio"),
    seedable={"system": ("input_text",), "user": ("input_text", "input_audio"), "assistant": ("text",)},
)
DIALECTS: dict[str, Dialect] = {"ga": GA, "beta": BETA}


def dialect(name: str | Dialect) -> Dialect:
    """Return the dialect of that name."""
    if isinstance(name, Dialect):
        return name
    try:
        return DIALECTS[name]
    except (KeyError, TypeError):
        raise InputError(f"no dialect is called {clipped(name)}; there are 'ga' and 'beta'") from None


# Events of a server that both dialects call the same.
_SAME = (
    "error", "session.created", "session.updated", "conversation.item.retrieved", "conversation.item.truncated",
    "conversation.item.deleted", "conversation.item.input_audio_transcription.delta",
    "conversation.item.input_audio_transcription.completed", "conversation.item.input_audio_transcription.failed",
    "input_audio_buffer.committed", "input_audio_buffer.cleared", "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped", "response.created", "response.done", "response.output_item.added",
    "response.output_item.done", "response.content_part.added", "response.content_part.done",
    "response.function_call_arguments.delta", "response.function_call_arguments.done", "rate_limits.updated",
)  # fmt: skip
SERVER_EVENTS: tuple[tuple[str, str | None], ...] = (
    # GA, beta (None: beta has none)
    ("conversation.item.added", "conversation.item.created"),
    ("conversation.item.done", None),
    ("input_audio_buffer.timeout_triggered", None),
    ("response.output_text.delta", "response.text.delta"),
    ("response.output_text.done", "response.text.done"),
    ("response.output_audio_transcript.delta", "response.audio_transcript.delta"),
    ("response.output_audio_transcript.done", "response.audio_transcript.done"),
    ("response.output_audio.delta", "response.audio.delta"),
    ("response.output_audio.done", "response.audio.done"),
    *((name, name) for name in _SAME),
)

GA_NAME: dict[str, str] = {beta: ga for ga, beta in SERVER_EVENTS if beta is not None} | {
    ga: ga for ga, _ in SERVER_EVENTS
}
"""Any server event's name, in either spelling → GA's. Hybrids exist (Azure Voice Live sends beta names and GA's
`conversation.item.done`), so what is read never depends on a declared dialect."""

BETA_NAME: dict[str, str] = {ga: beta for ga, beta in SERVER_EVENTS if beta is not None}  # GA's name → beta's

# Headers of a handshake by which a server of the kit's says that it is none of the service's.
MARK_HEADER = "X-Stand-In"  # what it sends is simulated
REPLAY_HEADER = "X-Replay"  # what it sends was recorded

# Of audio in one `input_audio_buffer.append`, as the API reference says. Whether of sound or of its base64 it does not say.
MAX_APPEND_BYTES = 15 * 1024 * 1024

# The list that the GA server prints when it meets an unknown type, in its order (2026-09).
CLIENT_EVENTS: tuple[str, ...] = (
    "session.update", "session.close", "input_audio_buffer.append", "session.input_audio_buffer.append",
    "input_audio_buffer.commit", "input_audio_buffer.clear", "conversation.item.create",
    "conversation.item.truncate", "conversation.item.delete", "conversation.item.retrieve", "response.create",
    "response.cancel",
)  # fmt: skip


# --------------------------------------------------------------------------------------- settings, spelled and read back

AUDIO_FORMATS: dict[str, dict[str, Any]] = {
    # beta's word (which the kit uses), GA's object
    "pcm16": {"type": "audio/pcm", "rate": 24_000},
    "g711_ulaw": {"type": "audio/pcmu"},
    "g711_alaw": {"type": "audio/pcma"},
}

# The kit's word → (path in a GA session, field in a beta session); None: that dialect has no such setting.
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

# By word, where a session or a response may have it: GA's place first, then beta's, where that is another.
_PATHS: dict[str, list[tuple[str, ...]]] = {
    word: list(dict.fromkeys(path for path in (ga_path, beta_field and (beta_field,)) if path))
    for word, (ga_path, beta_field) in SESSION_FIELDS.items()
}

# What one response may have of its own: some settings of the session, and three that only a response has.
RESPONSE_FIELDS: dict[str, tuple[tuple[str, ...] | None, str | None]] = {
    word: SESSION_FIELDS[word]
    for word in (
        "modality", "instructions", "voice", "output_format", "tools", "tool_choice", "max_output_tokens", "temperature",
        "prompt", "reasoning", "parallel_tool_calls",
    )
} | {word: ((word,), word) for word in ("conversation", "metadata", "input")}  # fmt: skip


def modalities(modality: str, d: Dialect) -> list[str]:
    """Return the value that asks for `modality` (``"audio"`` or ``"text"``). Beta cannot ask for audio alone."""
    if modality not in ("audio", "text"):
        raise InputError(f"modality must be 'audio' or 'text', not {clipped(modality)}")
    return list(d.spoken) if modality == "audio" else ["text"]


def _spell(
    settings: Mapping[str, Any], d: Dialect, fields: Mapping[str, tuple[tuple[str, ...] | None, str | None]]
) -> dict[str, Any]:
    result: dict[str, Any] = {}
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
            # A copy: a caller that changes its event must not change the table.
            value = dict(AUDIO_FORMATS[value]) if d.name == "ga" else value
        target = result  # GA nests its settings (`audio.output.voice`); a path of beta's has one step
        for name in path[:-1]:
            target = target.setdefault(name, {})
        target[path[-1]] = value
    return result


def spell_session(settings: Mapping[str, Any], d: Dialect) -> dict[str, Any]:
    """Spell the `session` of a `session.update` that asks for `settings` (the words of `SESSION_FIELDS`)."""
    return ({"type": "realtime"} if d.name == "ga" else {}) | _spell(settings, d, SESSION_FIELDS)


def spell_response(settings: Mapping[str, Any], d: Dialect) -> dict[str, Any]:
    """Spell the `response` of a `response.create` that asks for `settings` (the words of `RESPONSE_FIELDS`)."""
    return _spell(settings, d, RESPONSE_FIELDS)


def read_session(session: Mapping[str, Any], word: str) -> Any:
    """Read a setting back from a session object, or from a response object; the inverse of `spell_session`.

    Both spellings are looked at, GA's first, so the dialect need not be known.

    Returns:
        The value as the server wrote it, but ``"pcm16"``, ``"g711_ulaw"``, ``"g711_alaw"`` (or another format's own name)
        for a format; ``None`` where the session does not say, or says null.
    """
    for path in _PATHS[word]:
        value: Any = session
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        if value is not None:
            return _format_word(value) if word in ("input_format", "output_format") else value
    return None


def _format_word(value: object) -> str | None:
    """Return beta's word for an audio format in either spelling."""
    if isinstance(value, str):
        return value
    if not isinstance(value, dict):
        return None
    for name, spec in AUDIO_FORMATS.items():
        # xAI takes other rates than 24,000: they are not the kit's pcm16.
        if spec["type"] == value.get("type") and value.get("rate") in (None, spec.get("rate")):
            return name
    if not isinstance(value.get("type"), str):
        return None
    return " ".join(str(value[key]) for key in ("type", "rate") if isinstance(value.get(key), str | int))


def spell_part(kind: str, role: str, d: Dialect) -> str:
    """Return the content type for the kit's ``"text"`` or ``"audio"`` in a `role`'s message; other kinds pass through."""
    if role == "assistant":
        return {"text": d.assistant_text, "audio": d.assistant_audio}.get(kind, kind)
    return {"text": "input_text", "audio": "input_audio", "image": "input_image"}.get(kind, kind)
