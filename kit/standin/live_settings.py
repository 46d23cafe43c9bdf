"""How GPT-Live sessions of the stand-in behave, and what may be asked for in a `session.start` (kit/wire/LIVE.md)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from ..errors import InputError, clipped
from ..wire.refusals import missing, wrong_type
from .drift import Draws
from .settings import Refused, refuse
from .sound import AudioFormat


@dataclass(frozen=True, slots=True)
class SilenceRule:
    """When a session stays silent: with probability `q`, drawn once, if its history has at least `n` messages.

    ``documented`` is what one product counted in 2026-10 (lukacf/meerkat): 14 of 48 sessions with a summary and 9 to 14
    messages, 0 of 22 with at most 5. It is no law of OpenAI's.
    """

    name: str
    q: float
    n: int

    def __str__(self) -> str:
        return self.name

    def silent(self, n_messages: int, draws: Draws) -> bool:
        """Whether a session with so long a history stays silent."""
        return n_messages >= self.n and draws.uniform("live-silent") < self.q


def silence_rule(name: str) -> SilenceRule:
    """Read a rule: ``documented``, ``never``, ``always``, ``p=Q`` (any session) or ``p=Q@N`` (from N messages of history).

    Raises:
        InputError: For any other name.
    """
    plain = {"documented": (14 / 48, 9), "never": (0.0, 0), "always": (1.0, 0)}
    if name in plain:
        return SilenceRule(name, *plain[name])
    word, _, value = name.partition("=")
    number, _, least = value.partition("@")
    try:
        q, n = float(number), int(least or 0)
    except ValueError:
        q, n = -1.0, 0
    if word != "p" or not 0 <= q <= 1 or n < 0:
        raise InputError(
            f"no rule for silence is called {clipped(name)}; there are documented, never, always, p=Q and p=Q@N "
            "(0 ≤ Q ≤ 1, from N messages of history)"
        )
    return SilenceRule(name, q, n)


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """How the stand-in's Live sessions behave."""

    silence: SilenceRule = field(default_factory=lambda: silence_rule("documented"))
    # Added before every reply's first word.
    late_ms: float = 0.0
    # How fast the wall's time runs here, so that a rehearsal need not take as long as a talk; the client's runs as fast.
    pace: float = 1.0
    # Texts to say, one after the other, before the repertoire's.
    replies: tuple[str, ...] = ()
    # What the caller's turns are transcribed as, one after the other; then recorded lines are recognised.
    hears: tuple[str, ...] = ()
    # Cut the connection so long after the start, without `session.closed`.
    drops_after_s: float | None = None
    # Send errors with `code` null, as the service may.
    null_codes: bool = False
    # Words of the caller that make the voice hand its turn to the client or the backend, instead of answering itself.
    delegates: tuple[str, ...] = ()
    # Answer a history that ends with a user's message by a greeting, as one product saw it.
    greets: bool = False
    # Send `session.usage.updated` every 15 s.
    usage: bool = True

    @staticmethod
    def from_words(words: Mapping[str, Any], *, pace: float) -> LiveOptions:
        """Make options of what a user wrote; `silence` is a rule's name."""
        names = {field.name for field in fields(LiveOptions)} - {"pace"}
        for name in sorted(set(words) - names):
            raise InputError(f"live= has no {clipped(name)}; there are {', '.join(sorted(names))}")
        values = dict(words)
        if isinstance(values.get("silence"), str):
            values["silence"] = silence_rule(values["silence"])
        for name in ("replies", "hears", "delegates"):
            if name in values:
                values[name] = tuple(map(str, values[name]))
        return LiveOptions(**values, pace=pace)

    def with_values(self, values: Mapping[str, Any]) -> LiveOptions:
        """Return the options with those that one connection sets for itself (`options.options_of`)."""
        for name in sorted(set(values) - {"drift", "seed", "pace", "replies", "faults"}):
            raise InputError(
                f"a GPT-Live connection cannot set {name}; it can set drift (a rule for silence), seed, pace, replies "
                "and faults of the connection"
            )
        changes = {name: values[name] for name in ("pace", "replies") if name in values}
        if "drift" in values:
            changes["silence"] = silence_rule(values["drift"])
        if not 0 < changes.get("pace", 1) < math.inf:
            raise InputError("pace must be a factor of real time above 0: a talk needs time to go by")
        if not all(isinstance(text, str) for text in changes.get("replies", ())):
            raise InputError("replies of a GPT-Live session are texts: it calls no tools by a script")
        if "replies" in changes:
            changes["replies"] = tuple(changes["replies"])
        return replace(self, **changes)


@dataclass(slots=True)
class StoredSession:
    """What a fork may know of a session that was kept."""

    settings: dict[str, Any]
    # What it knew, in words.
    lines: list[str]


MAX_MESSAGES = 128
VOICES = frozenset((
    "alloy", "ash", "ballad", "beacon", "bossa", "cedar", "cinder", "coral", "delta", "echo", "gleam", "marin",
    "meridian", "quartz", "ripple", "sage", "shida", "shimmer", "stone", "tempo", "verse", "vesper", "willow",
    "nuri", "juni", "flitz", "brise", "sillage", "nira", "harema", "noeul",
))  # fmt: skip
FORMATS: dict[tuple[str, int], AudioFormat] = {
    ("audio/pcm", 24_000): "pcm16",
    ("audio/pcm", 16_000): "pcm16-16k",
    ("audio/pcmu", 8_000): "g711_ulaw",
    ("audio/pcma", 8_000): "g711_alaw",
}
# What the service repeats as it was sent, and everything that it takes.
_ECHOED = ("instructions", "store", "triggers", "safety_identifier")
_START_FIELDS = frozenset((*_ECHOED, "model", "input", "audio", "delegation", "client"))
# What the objects of a session must be before anything is read in them: the first path that is not is refused.
_SHAPES: dict[tuple[str, ...], tuple[type, str]] = {
    ("instructions",): (str, "a string"),
    ("audio",): (dict, "an object"),
    ("audio", "output"): (dict, "an object"),
    ("audio", "format"): (dict, "an object"),
    ("audio", "format", "type"): (str, "a string"),
    ("audio", "format", "rate"): (int, "an integer"),
    ("delegation",): (dict, "an object"),
    ("delegation", "type"): (str, "a string"),
    ("delegation", "responses"): (dict, "an object"),
}


def shaped(session: object) -> dict[str, Any]:
    """Return the `session` of an event, or raise what refuses it: each part is of the type that it can be."""
    session = session if isinstance(session, dict) else {}
    for path, (kind, expected) in _SHAPES.items():
        value: Any = session
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            raise Refused(wrong_type(f"session.{'.'.join(path)}", expected, value))
    return session


def start_settings(session: dict[str, Any], source: StoredSession | None) -> dict[str, Any]:
    """Return what a session is set to by the `session` of its `session.start`, or raise what refuses it; a fork inherits from
    its source."""
    for name in session:
        if name not in _START_FIELDS:
            message = f"Unknown parameter: 'session.{clipped(name, 60)[1:-1]}'."
            raise refuse("unknown_parameter", message, f"session.{name}")
    model = session.get("model")
    if source is None and not isinstance(model, str):
        raise Refused(missing("session.model"))
    if isinstance(model, str) and model.startswith("gpt-realtime"):
        message = f"Model '{clipped(model, 60)[1:-1]}' is not supported in live mode."
        raise refuse("invalid_value", message, "session.model")
    past = session.get("input") or []
    if source is not None and {"input", "model", "instructions"} & set(session):
        raise refuse("immutable_field_update", "A fork takes store, delegation and audio.format only.", "session")
    if not isinstance(past, list) or len(past) > MAX_MESSAGES:
        raise refuse("invalid_value", f"input takes at most {MAX_MESSAGES} messages.", "session.input")
    for n, message in enumerate(past):
        path = f"session.input[{n}]"
        if not isinstance(message, dict) or message.get("role") not in ("developer", "user", "assistant"):
            raise refuse("invalid_value", "role must be developer, user or assistant.", f"{path}.role")
        parts = message.get("content")
        right = ("text", "output_text") if message["role"] == "assistant" else ("input_text",)
        if not isinstance(parts, list) or len(parts) != 1 or not isinstance(parts[0], dict):
            raise refuse("invalid_value", "content takes exactly one part.", f"{path}.content")
        if parts[0].get("type", right[0]) not in right or not isinstance(parts[0].get("text"), str):
            raise refuse("invalid_value", f"Supported values are: '{right[-1]}'.", f"{path}.content[0].type")
    if len("".join(map(words_of, past)).encode()) > 8_192 * 6:  # a bound: the stand-in has no tokenizer
        raise refuse("invalid_value", "input must not exceed 8192 tokens.", "session.input")
    audio = session.get("audio") or {}
    voice, form = (audio.get("output") or {}).get("voice"), audio.get("format")
    if isinstance(voice, str) and voice not in VOICES:
        raise refuse("forbidden", "Voice session access denied")
    if form is not None and (form.get("type"), form.get("rate")) not in FORMATS:
        message = "Supported formats are audio/pcm at 24000 or 16000, audio/pcmu and audio/pcma at 8000."
        raise refuse("invalid_value", message, "session.audio.format")
    inherited = {"voice": "marin"} | (source.settings if source is not None else {})
    inherited_voice = inherited.pop("voice")
    delegation = session.get("delegation") or inherited.get("delegation") or {"type": "client"}
    if delegation.get("type") == "responses":
        backend = {"tools": [], "tool_choice": "auto"} | dict(delegation.get("responses") or {})
        delegation = dict(delegation) | {"responses": backend}
    form = form or {"type": "audio/pcm", "rate": 24_000}
    settings = inherited | {name: session[name] for name in _ECHOED if name in session}
    settings["model"] = session.get("model") or inherited.get("model")
    settings["audio"] = {"output": {"voice": voice or inherited_voice}, "format": form}
    return settings | {"delegation": delegation, "input": past}


def words_of(message: object) -> str:
    """Return the text of a message, or of anything else that claims to be one."""
    content = message.get("content") if isinstance(message, dict) else None
    parts = content if isinstance(content, list) else []
    return " ".join(part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str))
