"""GPT-Live on the wire: what a client may send, what a server says, and how a history is spelled for it.

GPT-Live (``/v1/live/sessions``, since 2026-09) is another protocol than Realtime, not a third dialect: the client speaks
first, the history is given once, in ``session.start``, there is no item and no response, and audio runs both ways all the
time. LIVE.md beside this file has the wire with its sources and says what is unverified.

Nothing here holds a clock, a socket or a key.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import HistoryError, InputError, clipped

Lane = Literal["commentary", "instructions", "thinking"]
LANES: tuple[Lane, ...] = ("commentary", "instructions", "thinking")
"""How context is added after the start: said aloud, obeyed, or known in silence."""

MAX_MESSAGES = 128  # of a history; 129 were refused (pydantic-ai, checked live)
MAX_PAST_TOKENS = 8_192  # of a history, rendered
MESSAGE_OVERHEAD_TOKENS = 8  # of each message, beside its text: 20 x 402 tokens passed, 20 x 422 did not
MAX_APPEND_TOKENS = 500  # of one append, in o200k_base: 500 passed, 501 did not
SESSION_S = 7_200  # `expires_at` less the start, in every recording
USD_PER_SECOND = 0.05 / 60  # while open, silence and mute included; price page of 2026-11-20
PRICED_MODELS = frozenset(["gpt-live-1", "gpt-live-1.1"])  # the models that the page gives this price for

# Of the official SDK's types, as `SERVER_EVENTS` is; the fold counts what is in neither.
CLIENT_EVENTS = frozenset((
    "session.start", "session.update", "session.close", "session.input_audio.append", "session.input_audio.mute",
    "session.input_audio.unmute", "session.instructions.append", "session.thinking.append",
    "session.commentary.append", "session.output_audio.fixture.play", "response.item.create", "response.create",
    "decision.create", "decision.item.create", "decision.item.delete", "transport.dtmf.send",
))  # fmt: skip
SERVER_EVENTS = frozenset((
    "session.started", "session.updated", "session.closed", "session.output_audio.delta",
    "session.input_transcript.delta", "session.output_transcript.delta", "session.instructions.appended",
    "session.thinking.appended", "session.commentary.appended", "session.input_audio.muted",
    "session.input_audio.unmuted", "session.output_audio.fixture.playing", "session.output_audio.fixture.played",
    "session.delegation.created", "response.event", "session.usage.updated", "error", "info", "decision.event",
    "decision.item.created", "decision.item.deleted", "session.paused", "session.resumed",
    "transport.dtmf.received", "transport.dtmf.sent", "transport.ringing", "transport.answered", "transport.failed",
))  # fmt: skip
# What no Realtime session says: by one of these a log, a client or a server is known to speak Live.
_ONLY_LIVE = frozenset({"session.start", "session.started", "session.output_audio.delta", "session.input_audio.append"})

Format = tuple[str, int]
FORMATS: dict[str, Format] = {  # the kit's word → type and rate in Hz; one format serves both directions
    "pcm16": ("audio/pcm", 24_000),
    "pcm16-16k": ("audio/pcm", 16_000),
    "g711_ulaw": ("audio/pcmu", 8_000),
    "g711_alaw": ("audio/pcma", 8_000),
}


def is_live(event_type: object) -> bool:
    """Whether an event of this type belongs to GPT-Live and to nothing else."""
    return event_type in _ONLY_LIVE


def is_live_model(model: object) -> bool:
    """Whether a model is served at ``/v1/live/sessions`` only (``/v1/realtime`` refuses it)."""
    return isinstance(model, str) and model.startswith("gpt-live")


# ------------------------------------------------------------------------------------------------------- session.start

_START_FIELDS = ["instructions", "voice", "format", "delegation", "triggers", "store", "safety_identifier", "client"]


def spell_start(
    model: str, past: Sequence[Mapping[str, Any]] = (), settings: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Spell the ``session`` object of `session.start`.

    Args:
        settings: In the kit's words: ``instructions``, ``voice`` (a name, or ``{"id": …}``), ``format`` (a key of
            `FORMATS`), ``delegation`` (``"client"``, ``"responses"`` or the whole object), ``triggers``, ``store``,
            ``safety_identifier``, ``client``.

    Raises:
        InputError: For a setting that GPT-Live does not have; the service refuses unknown fields.
    """
    words = dict(settings or {})
    unknown = sorted(set(words) - set(_START_FIELDS))
    if unknown:
        raise InputError(f"GPT-Live has no setting {clipped(unknown[0])}; there are {', '.join(_START_FIELDS)}")
    body: dict[str, Any] = {"model": model, "input": [dict(message) for message in past]}
    audio: dict[str, Any] = {}
    if "format" in words:
        name = words.pop("format")
        if name not in FORMATS:
            raise InputError(f"format must be one of {', '.join(FORMATS)}, not {clipped(name)}")
        kind, rate = FORMATS[name]
        audio["format"] = {"type": kind, "rate": rate}
    if "voice" in words:
        audio["output"] = {"voice": words.pop("voice")}
    # Short for one without further fields.
    if isinstance(words.get("delegation"), str):
        words["delegation"] = {"type": words["delegation"]}
    return body | ({"audio": audio} if audio else {}) | words


@dataclass(frozen=True, slots=True)
class PastFinding:
    """What the service would refuse, or leave out, of a history; `index` is the item's, ``None`` for the whole."""

    index: int | None
    reason: str

    def __str__(self) -> str:
        return self.reason if self.index is None else f"item {self.index}: {self.reason}"


def spell_past(items: Iterable[Any]) -> list[dict[str, Any]]:
    """Spell a history as the messages of ``session.input``.

    A message has one text part: several are joined by line breaks. System messages become developer messages, as in
    every framework that was read; calls and their outputs become developer text, so that what a tool said is not
    mistaken for what the user said.

    Raises:
        HistoryError: For audio without a transcript, which this wire does not carry.
    """
    return [_message(n, item) for n, item in enumerate(items)]


def lint_past(items: Iterable[Any]) -> list[PastFinding]:
    """List what the service would refuse of a history, before anything is sent or paid.

    Tokens are counted by tiktoken where the extra ``live`` is installed. Elsewhere two bounds are used: no text has fewer
    tokens than words between spaces, and none has more than bytes; a history between the two passes.
    """
    findings: list[PastFinding] = []
    texts: list[str] = []
    items = list(items)
    for n, item in enumerate(items):
        try:
            texts.append(_message(n, item)["content"][0]["text"])
        except HistoryError as exc:
            # Without "item n: ", which the finding says itself.
            findings.append(PastFinding(n, str(exc).partition(": ")[2]))
        else:
            if not texts[-1].strip():
                findings.append(PastFinding(n, "it says nothing"))
    if len(items) > MAX_MESSAGES:
        findings.append(PastFinding(None, f"{len(items)} messages, and GPT-Live takes {MAX_MESSAGES}"))
    least, _ = tokens_of(texts)
    least += MESSAGE_OVERHEAD_TOKENS * len(texts)
    if least > MAX_PAST_TOKENS:
        findings.append(PastFinding(None, f"at least {least:,} tokens, and GPT-Live takes {MAX_PAST_TOKENS:,}"))
    return findings


def _message(n: int, item: Any) -> dict[str, Any]:
    # There is no system role (wire/LIVE.md, session.start).
    role = "developer" if item.type != "message" or item.role == "system" else str(item.role)
    texts = []
    if item.type == "function_call":
        fields = dict(item.fields)
        texts = [f"(the assistant called {fields.get('name')} with {fields.get('arguments')})"]
    elif item.type == "function_call_output":
        texts = [f"(the call returned: {dict(item.fields).get('output')})"]
    elif item.type != "message":
        raise HistoryError(f"item {n}: GPT-Live takes messages of text, and this is a {clipped(item.type)}")
    for part in item.parts:
        text = part.text
        if text is None and part.clip is not None:
            text = part.clip.text or None  # empty where no transcript of it is known
        if text is None:
            text = dict(part.extra).get("transcript")
        if not isinstance(text, str):
            raise HistoryError(f"item {n}: its sound has no transcript, and GPT-Live takes a history in text only")
        texts.append(text)
    # The assistant's may also be called `text` (wire/LIVE.md, session.start).
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": "message", "role": role, "content": [{"type": kind, "text": "\n".join(texts)}]}


# --------------------------------------------------------------------------------------------------------------- tokens


@functools.cache
def _encoding() -> Any:
    """OpenAI's o200k_base; ``None`` where tiktoken, or the file that it fetches once, is not there."""
    try:
        import tiktoken

        return tiktoken.get_encoding("o200k_base")
    except Exception:  # no package, no network, no cache folder: each means that tokens cannot be counted here
        return None


def tokens_of(texts: Iterable[str]) -> tuple[int, int]:
    """Count tokens: the least and the most that these texts can have; equal where a tokenizer counted them."""
    texts = list(texts)
    encoding = _encoding()
    if encoding is not None:
        # A text may say "<|endoftext|>" in so many letters, at which tiktoken would raise.
        n = sum(len(encoding.encode(text, disallowed_special=())) for text in texts)
        return n, n
    return sum(len(text.split()) for text in texts), sum(len(text.encode("utf-8", "replace")) for text in texts)


def pieces(text: str, max_tokens: int = MAX_APPEND_TOKENS) -> list[str]:
    """Cut a text at spaces into pieces that one append takes each.

    Counted by the tokenizer where there is one, else by bytes, of which no text has fewer than tokens.
    """
    result: list[str] = []
    piece = ""
    for word in text.split(" "):
        longer = f"{piece} {word}" if piece else word
        # A single word beyond the limit is left to the service's refusal: half a word would say something else.
        if piece and tokens_of([longer])[1] > max_tokens:
            result.append(piece)
            longer = word
        piece = longer
    return [*result, piece] if piece else result
