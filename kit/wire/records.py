"""What a session consists of once its events are folded: items, responses, their content parts and calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import pybase64

from .. import show
from ..errors import AudioFormatError
from .events import dict_of, int_of, text_of

Kind = Literal["audio", "text"]
if TYPE_CHECKING:
    from ..clip import Clip

    Modality = Literal["audio", "text", "mixed", "function", "empty"]
    Ended = Literal["complete", "cut", "cancelled", "broken"]
else:  # jedi 0.20.1 fails on a property that returns a Literal, and `response.<Tab>` then completes nothing in a notebook
    Modality = Ended = str

# A content part's type, in any event and either dialect → its kind (wire/README.md, Server events).
PART_KINDS: dict[str, Kind] = {"audio": "audio", "output_audio": "audio", "text": "text", "output_text": "text"}


@dataclass(slots=True, eq=False)
class Item:
    """An item of the conversation, as the server last described it.

    `text` is its words: its text parts and the transcripts of its audio parts.
    """

    # ``None`` where a server names none, or a log was cut.
    id: str | None
    data: dict[str, Any]
    transcript: str | None = None  # of a user's audio, where input transcription is on and has completed
    truncated_at_ms: int | None = None  # where a truncation cut its audio: ms from the start of the audio

    @property
    def type(self) -> str | None:
        return text_of(self.data, "type")

    @property
    def role(self) -> str | None:
        return text_of(self.data, "role")

    @property
    def status(self) -> str | None:
        return text_of(self.data, "status")

    @property
    def parts(self) -> list[dict[str, Any]]:
        """Its content parts, as they came."""
        content = self.data.get("content")
        return [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []

    @property
    def text(self) -> str:
        if self.type == "function_call":
            return f"{text_of(self.data, 'name') or ''}({text_of(self.data, 'arguments') or ''})"
        if self.type == "function_call_output":
            return text_of(self.data, "output") or ""
        texts = (text_of(part, "text") or text_of(part, "transcript") for part in self.parts)
        # Input transcription comes in events of its own: the item's parts have no words then.
        return self.transcript or " ".join(text for text in texts if text)

    @property
    def has_audio(self) -> bool:
        """Whether a part of it is sound."""
        return any((text_of(part, "type") or "").endswith("audio") for part in self.parts)

    def __repr__(self) -> str:
        types = "+".join(text_of(part, "type") or "?" for part in self.parts)
        head = f"{self.id} {self.role or self.type or 'item'}{f' [{types}]' if types else ''}"
        return f"<Item {show.one_line(head, 120)} {show.one_line(self.text)!r}>"


class Items(list[Item]):
    """Items in conversation order, as a table."""

    def _repr_html_(self) -> str:
        rows = [
            [
                str(n),
                show.esc(item.role or item.type),
                f"<code>{show.esc(', '.join(str(part.get('type')) for part in item.parts) or item.type)}</code>",
                show.esc(item.text) or ("<em>speech, not written down</em>" if item.has_audio else ""),
                show.esc(item.status or "–"),
                f"<code>{show.esc(item.id)}</code>",
            ]
            for n, item in enumerate(self)
        ]
        return show.table(rows, ["", "who", "content", "says", "status", "id"]) if rows else "no items"


@dataclass(slots=True)
class FunctionCall:
    """A function call in a response."""

    name: str | None = None
    call_id: str | None = None
    status: str | None = None
    item_id: str | None = None
    pieces: list[str] = field(default_factory=list)  # its arguments as the deltas brought them

    @property
    def arguments(self) -> str:
        """The JSON text as it arrived, not parsed."""
        if len(self.pieces) > 1:
            # When somebody reads it: deltas come by the thousand, a token each.
            self.pieces[:] = ["".join(self.pieces)]
        return self.pieces[0] if self.pieces else ""

    @arguments.setter
    def arguments(self, text: str) -> None:
        self.pieces = [text]


@dataclass(slots=True)
class ContentPart:
    """One content part of a response: its kind, its words, and for audio its bytes."""

    kind: Kind
    pieces: list[str] = field(default_factory=list)
    words: str | None = None
    """The complete text or transcript, once a ``done`` event has brought it; until then the deltas are all there is."""
    chunks: list[bytes] = field(default_factory=list)
    """The bytes of an audio part as they came; `sound` joins them, once, and is then the only chunk."""
    n_not_kept: int = 0  # bytes of audio that came and are not here: a log that keeps their hash and length only

    @property
    def text(self) -> str:
        return self.words if self.words is not None else "".join(self.pieces)

    @property
    def sound(self) -> bytes:
        """The bytes of an audio part, in one piece."""
        if len(self.chunks) > 1:
            self.chunks[:] = [b"".join(self.chunks)]
        return self.chunks[0] if self.chunks else b""

    @property
    def n_bytes(self) -> int:
        return sum(map(len, self.chunks)) + self.n_not_kept

    def fill(self, fields: Mapping[str, Any]) -> None:
        """Take what a finished part says (from a ``done`` event or a finished item)."""
        # An empty text says nothing: what the deltas brought stands.
        self.words = text_of(fields, "text" if self.kind == "text" else "transcript") or self.words
        audio = fields.get("audio")
        if self.kind == "audio" and not self.n_bytes and isinstance(audio, str) and audio:
            # Some logs repeat all of the audio here; it only counts where no delta brought it.
            try:
                self.chunks.append(pybase64.b64decode(audio, validate=True))
            except ValueError:
                return


@dataclass(slots=True, eq=False)
class Response:
    """One response: what arrived, how it ended, and when.

    Instants end in ``_at_ms`` and are on the session's clock; the durations `first_audio_ms`, `first_text_ms`,
    `first_transcript_ms` and `done_ms` count from `started_at_ms`, and are ``None`` where either end is not known.
    """

    id: str | None
    status: str | None = None
    """``in_progress``, ``completed``, ``cancelled``, ``incomplete`` or ``failed``; ``None`` if its end never came."""
    reason: str | None = None
    """Why it did not complete: ``client_cancelled``, ``turn_detected``, ``max_output_tokens``, or an error's code."""
    error: dict[str, Any] | None = None  # of a failed response: ``type``, ``code`` and ``message``, as sent
    asked: tuple[str, ...] | None = None
    """The modalities that were asked for, as the server echoes them. They never decide `modality`."""
    started_by: Literal["create", "vad"] | None = None
    """``create``: our `response.create`. ``vad``: the server's turn detection. ``None``: unknown."""
    started_at_ms: float | None = None
    """When we sent `response.create`, or received `speech_stopped` for a reply that turn detection started."""
    # A round trip and 10 to 20 ms after the request (wire/README.md, Timing).
    created_at_ms: float | None = None
    # Arrivals of the first delta of each kind, and of `response.done`.
    first_audio_at_ms: float | None = None
    first_text_at_ms: float | None = None
    first_transcript_at_ms: float | None = None
    done_at_ms: float | None = None
    usage: dict[str, Any] | None = None  # as sent; `tokens` reads it
    item_ids: list[str] = field(default_factory=list)
    index_of: dict[str, int] = field(default_factory=dict)
    """Output index by item id: `response.done` and an item's own events may count differently, or not at all."""
    conversation_id: str | None = None  # ``None`` for an out-of-band response
    metadata: dict[str, Any] | None = None
    voice: str | None = None
    event_id: str | None = None  # the id of the `response.create` that it answers
    output_format: str = "pcm16"  # of the bytes in `sound`, in the kit's words
    simulated: bool | None = None
    parts: dict[tuple[int, int, str], ContentPart] = field(default_factory=dict)
    """By (output index, content index, kind), in the order in which they came."""
    calls_by_index: dict[int, FunctionCall] = field(default_factory=dict)
    n_surplus: int = 0  # deltas that came a second time, or after its end; they are not part of it
    n_bad_audio: int = 0  # audio deltas whose base64 was cut or broken
    partial: bool = False
    """Of a log that lost lines: there may be more in it than is known. `modality` is then what was seen, ``None`` if nothing was."""

    # ------------------------------------------------------------------------------------------------ what arrived

    @property
    def modality(self) -> Modality | None:
        """What arrived, by content parts and deltas; ``None`` while nothing has and the response is not over."""
        kinds = {part.kind for part in self.parts.values()}
        if len(kinds) == 2:
            return "mixed"
        if kinds:
            return kinds.pop()
        if self.calls_by_index:
            return "function"
        # Not where a log lost lines: these may have been its parts.
        return "empty" if self.status not in (None, "in_progress") and not self.partial else None

    @property
    def outcome(self) -> str | None:
        """What it came to in the words of a ledger, whatever a deadline says; ``None`` where nothing came of it: it is being made,
        failed, or was cancelled before its first content."""
        modality = self.modality or "empty"
        has_content = modality != "empty" or self.status in ("completed", "incomplete")
        return _OUTCOMES[modality] if has_content else None

    @property
    def policy(self) -> None:
        """Its end is announced, and no deadline is known to it: nothing of it is inferred."""

    @property
    def lost_voice(self) -> bool:
        """Whether it came as text where audio was asked for."""
        return self.modality == "text" and (self.asked is None or "audio" in self.asked)

    @property
    def first_modality(self) -> Modality | None:
        """The kind of its first content part: what the user began to hear, or got in writing.

        It is decided as soon as that part is announced or brings its first delta, and stays, however the reply ends and
        whatever comes later: ``audio`` or ``text``. Without a content part it is `modality`: ``function``, ``empty``, or
        ``None`` while nothing has come.
        """
        first = next(iter(self.parts.values()), None)
        return self.modality if first is None else first.kind

    @property
    def ended(self) -> Ended | None:
        """How it ended: ``complete``; ``cut`` by its token limit; ``cancelled`` by the client or by turn detection; ``broken``
        off by a failure or by the content filter. ``None`` while it is being made, and for good if its end never came.
        """
        if self.status == "incomplete":
            return "cut" if self.reason == "max_output_tokens" else "broken"
        ends: dict[str | None, Ended] = {"completed": "complete", "cancelled": "cancelled", "failed": "broken"}
        return ends.get(self.status)

    @property
    def transcript(self) -> str:
        """The words of its audio."""
        return " ".join(part.text for part in self._of("audio") if part.text)

    @property
    def text(self) -> str:
        """What came as text. Empty for a spoken reply: its words are in `transcript`."""
        return " ".join(part.text for part in self._of("text") if part.text)

    @property
    def words(self) -> str:
        """Its words, spoken or written."""
        return " ".join(part.text for part in self.parts.values() if part.text)

    @property
    def calls(self) -> list[FunctionCall]:
        return list(self.calls_by_index.values())

    @property
    def sound(self) -> bytes:
        """The audio as it came: little-endian bytes in `output_format`."""
        sounds = [part.sound for part in self._of("audio")]
        return sounds[0] if len(sounds) == 1 else b"".join(sounds)

    @property
    def n_audio_bytes(self) -> int:
        return sum(part.n_bytes for part in self._of("audio"))

    @property
    def audio(self) -> Clip | None:
        """The audio as a `Clip` (mono int16 at 24 000 Hz); ``None`` if none came.

        Raises:
            AudioFormatError: If the session asked for a format that is not 24 kHz PCM; the bytes are in `sound`.
        """
        data = self.sound
        if len(data) < 2:
            return None
        if self.output_format != "pcm16":
            raise AudioFormatError(f"it came as {self.output_format}, not as PCM at 24 000 Hz: see response.sound")
        from ..clip import Clip  # with numpy, which a reply in text has no use for

        # A reply that was cut may end within a sample.
        return Clip.from_pcm(data[: len(data) // 2 * 2], source=f"response {self.id}", text=self.transcript)

    def _of(self, kind: Kind) -> Iterator[ContentPart]:
        return (part for part in self.parts.values() if part.kind == kind)

    # -------------------------------------------------------------------------------------------------------- times

    def _since_start(self, at_ms: float | None) -> float | None:
        return None if at_ms is None or self.started_at_ms is None else at_ms - self.started_at_ms

    @property
    def first_audio_ms(self) -> float | None:
        """From `started_at_ms` to the first audio delta."""
        return self._since_start(self.first_audio_at_ms)

    @property
    def first_text_ms(self) -> float | None:
        """From `started_at_ms` to the first delta of written text (a transcript's is `first_transcript_ms`)."""
        return self._since_start(self.first_text_at_ms)

    @property
    def first_transcript_ms(self) -> float | None:
        """From `started_at_ms` to the first delta of the transcript."""
        return self._since_start(self.first_transcript_at_ms)

    @property
    def done_ms(self) -> float | None:
        """From `started_at_ms` to `response.done`."""
        return self._since_start(self.done_at_ms)

    # ----------------------------------------------------------------------------------------------- showing itself

    def __repr__(self) -> str:
        reason = f" ({self.reason})" if self.reason else ""
        calls = f" calls {', '.join(call.name or '?' for call in self.calls)}" if self.calls else ""
        pcm = self.output_format == "pcm16" and self.n_audio_bytes  # 48,000 bytes of it are a second
        seconds = f" {self.n_audio_bytes / 48_000:.1f} s" if pcm else ""
        head = show.one_line(f"{self.modality or 'pending'}{seconds} {self.status or 'no end'}{reason}{calls}", 120)
        mark = show.origin_word(self.simulated)
        return f"<Response {head} {show.one_line(self.words)!r}{f', {mark}' if mark else ''}>"

    def _repr_html_(self) -> str:
        clip = self.audio if self.output_format == "pcm16" else None
        state = "" if self.status == "completed" else f"{self.status or 'no end seen'} {self.reason or ''}"
        durations = {"first audio": self.first_audio_ms, "first text": self.first_text_ms, "done": self.done_ms}
        facts: list[tuple[str, object]] = [(name, show.ms(v)) for name, v in durations.items() if v is not None]
        facts += [("audio", f"{clip.duration_ms / 1000:.2f} s")] if clip else []
        facts += [("", "the stand-in's own times")] if durations and self.simulated else []
        # The finding comes first: what was asked for, and what arrived.
        asked = " + ".join(show.outline(modality) for modality in self.asked or ())
        arrived = f"asked {asked} → arrived {show.badge(self.modality)}" if asked else show.badge(self.modality)
        if self.status == "in_progress":  # drawn several times a second: no player yet
            sound = f"♪ {self.n_audio_bytes / 48_000:.1f} s so far" if clip else ""
        elif clip:
            sound = show.player(clip.to_bytes())
        else:
            sound = show.no_sound() if not self.n_audio_bytes and "audio" in (self.asked or ()) else ""
        return show.card(
            f"{arrived} {show.origin(self.simulated)} {show.esc(state)}",
            f'<span style="font-size:1.1em">{show.esc(self.words)}</span>' if self.words else "",
            "".join(f"<code>{show.esc(call.name)}({show.esc(call.arguments)})</code> " for call in self.calls),
            show.esc(self.error.get("message", "")) if self.error else "",
            sound,
            show.facts(facts),
            edge=show.badge_style(self.modality)[2],
        )


# ------------------------------------------------------------------------------------------------------ a response as a row

_OUTCOMES = {"audio": "spoken", "text": "text", "mixed": "both", "function": "function", "empty": "silent"}
TIMES = ("started_at_ms", "first_audio_ms", "first_text_ms", "first_transcript_ms", "done_ms")
TOKENS = {
    # column: the object in a response's usage, and the field there (wire/README.md, Usage)
    "input_tokens": ("usage", "input_tokens"),
    "input_text_tokens": ("input_token_details", "text_tokens"),
    "input_audio_tokens": ("input_token_details", "audio_tokens"),
    "cached_tokens": ("input_token_details", "cached_tokens"),
    "cached_text_tokens": ("cached_tokens_details", "text_tokens"),
    "cached_audio_tokens": ("cached_tokens_details", "audio_tokens"),
    "output_tokens": ("usage", "output_tokens"),
    "output_text_tokens": ("output_token_details", "text_tokens"),
    "output_audio_tokens": ("output_token_details", "audio_tokens"),
    "total_tokens": ("usage", "total_tokens"),
}
# Each of these can be no more than the count that it is a part of.
_PARTS = {
    "total_tokens": ("input_tokens", "output_tokens"),
    "input_tokens": ("input_text_tokens", "input_audio_tokens"),
    "output_tokens": ("output_text_tokens", "output_audio_tokens"),
    "cached_tokens": ("cached_text_tokens", "cached_audio_tokens"),
    "input_text_tokens": ("cached_text_tokens",),
    "input_audio_tokens": ("cached_audio_tokens",),
}
COLUMNS = (
    "response_id", "asked", "modality", "status", "reason", "transcript", "text", "function_calls", "first_modality",
    "ended", "started_by", *TIMES, "n_audio_bytes", *TOKENS, "voice", "error_code", "error", "simulated",
)  # fmt: skip
"""The columns of `row`, in order."""


def row(response: Any) -> dict[str, Any]:
    """Describe a `Response`, or a `Reply` of GPT-Live, as a row of `COLUMNS`: ledger, logs, tables and bundles build on it.

    Times are milliseconds, rounded to microseconds; `started_at_ms` is on the session's clock, the others count from it.
    `modality` is all that arrived, `first_modality` what came first, `ended` how the reply ended (see `Response`).
    `asked` is a list of modalities, `function_calls` a list of objects with `name`, `arguments` (JSON text) and `status`.
    Whatever the response does not say is ``None``. Half a surrogate pair, which JSON can carry and SQLite and UTF-8 files
    cannot, becomes a question mark.
    """
    error = response.error or {}
    return {
        "response_id": _storable(response.id),
        "asked": None if response.asked is None else [_storable(word) for word in response.asked],
        "modality": response.modality,
        "status": _storable(response.status),
        "reason": _storable(response.reason),
        "transcript": _storable(response.transcript),
        "text": _storable(response.text),
        "function_calls": [
            {name: _storable(getattr(call, name)) for name in ("name", "arguments", "status")}
            for call in response.calls
        ],
        "first_modality": response.first_modality,
        "ended": response.ended,
        "started_by": response.started_by,
        **{name: None if (at := getattr(response, name)) is None else round(at, 3) for name in TIMES},
        "n_audio_bytes": response.n_audio_bytes,
        **tokens(response.usage or {}),
        "voice": _storable(response.voice),
        "error_code": _storable(text_of(error, "code") or text_of(error, "type")),
        "error": _storable(text_of(error, "message")),
        "simulated": response.simulated,
    }


def tokens(usage: Mapping[str, Any]) -> dict[str, int | None]:
    """Read the token counts of a response's usage, by column of `TOKENS`.

    A count that is missing, or is no count (see `int_of`), is ``None``: unknown, and not zero. Where parts add up to more
    than the count that they are parts of, something in this usage is wrong, so that nothing in it is known.
    """
    places = {"usage": usage} | {name: dict_of(usage, name) for name in ("input_token_details", "output_token_details")}
    places["cached_tokens_details"] = dict_of(places["input_token_details"], "cached_tokens_details")
    counts = {column: int_of(places[place], name) for column, (place, name) in TOKENS.items()}
    for column, parts in _PARTS.items():
        total = counts[column]
        if total is not None and sum(counts[part] or 0 for part in parts) > total:
            return dict.fromkeys(TOKENS)
    return counts


def _storable(text: str | None) -> str | None:
    return text if text is None or text.isascii() else text.encode("utf-8", "replace").decode()
