"""One session, or two, on a line of time: who spoke when, what the server heard, and what came back."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from .. import show
from ..errors import InputError
from ..wire.events import Event, loudness
from ..wire.live_conversation import Ask, Reply, ReplyPolicy
from ..wire.records import Response
from .style import BODY, SMALL, canvas, figure, foreign, grid, sized, svg, words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BYTES_PER_MS = 48  # PCM at 24 000 Hz, 16 bits
_MAX_MARKS = 4_000  # of one kind in one lane: more are one block anyway
_MAX_TITLED = 300  # instants of one lane that are drawn one by one, each with its words; more are one shape


class Session(Protocol):
    """What a timeline is made of: a live session, or one of a log."""

    @property
    def events(self) -> Iterable[Event]: ...
    @property
    def responses(self) -> Sequence[Response | Reply]: ...
    @property
    def asks(self) -> Sequence[Ask]: ...
    @property
    def simulated(self) -> bool | None: ...


@dataclass(frozen=True, slots=True)
class Mark:
    """A span in a lane (or an instant, where it ends as it begins); ms since the session was opened."""

    lane: str  # one of `_LANES`
    start_ms: float
    end_ms: float
    colour: str
    says: str  # to a pointer that rests on it
    label: str = ""  # written on it, as far as it fits


class Timeline:
    """``timeline(session)``: see there.

    Attributes:
        marks: What is drawn, in ms since the session was opened.
        lanes: From top to bottom.
        end_ms: Where the line of time ends.
        note: What is left out of the picture, said under it.
    """

    def __init__(self, marks: Sequence[Mark], simulated: bool | None, note: str = "") -> None:
        self.marks, self.simulated, self.note = tuple(marks), simulated, note
        used = {mark.lane for mark in self.marks}
        self.lanes = [lane for lane in _LANES if lane in used]
        self.end_ms = max((mark.end_ms for mark in self.marks), default=0.0)

    def __repr__(self) -> str:
        mark = show.origin_word(self.simulated)
        size = f"{self.end_ms / 1000:.1f} s, {len(self.marks)} marks in {len(self.lanes)} lanes"
        return f"<Timeline {size}{f', {mark}' if mark else ''}>"

    def _repr_html_(self) -> str:
        return f'<div style="overflow-x:auto">{sized(self.svg())}</div>'

    def draw(self, ax: Axes | Figure | None = None, style: str = "light") -> Axes:
        """Draw it on axes, or on an empty figure."""
        from matplotlib.patches import Rectangle

        look, ax = canvas(style, ax, 0.9 + 0.32 * max(1, len(self.lanes)))
        # Under three seconds the ticks would all be fractions.
        seconds = self.end_ms >= 3_000
        scale = 1000.0 if seconds else 1.0
        for row, lane in enumerate(self.lanes):
            marks = [(n, mark) for n, mark in enumerate(self.marks) if mark.lane == lane]
            instants = [mark for _, mark in marks if mark.end_ms == mark.start_ms]
            # Thousands of shapes with a title each would make a page crawl.
            if len(instants) > _MAX_TITLED:
                starts = [mark.start_ms / scale for mark in instants]
                ax.vlines(starts, row - 0.3, row + 0.3, color=instants[0].colour, linewidth=1)
                marks = [(n, mark) for n, mark in marks if mark.end_ms > mark.start_ms]
            for n, mark in marks:
                length_ms = mark.end_ms - mark.start_ms
                # An instant is as wide as can still be seen.
                x, width = mark.start_ms / scale, max(length_ms, 0.0015 * self.end_ms) / scale
                ax.add_patch(Rectangle((x, row - 0.33), width, 0.66, color=mark.colour, linewidth=0, gid=f"mark-{n}"))
                room = int(62 * length_ms / max(self.end_ms, 1.0))  # characters that fit the span
                if mark.label and room >= 2:
                    # Not the page's own white, which `svg` makes the theme's.
                    label = f" {foreign(show.one_line(mark.label, room))}"
                    ax.text(x, row, label, color="#fffffe", va="center", fontsize=BODY - 2)
        ax.set(ylim=(max(1, len(self.lanes)) - 0.5, -0.5), xlim=(0, max(self.end_ms, 1.0) / scale))
        ax.set_yticks(range(len(self.lanes)), self.lanes)
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
        grid(ax, look, "x")
        unit = f"time since the session was opened ({'s' if seconds else 'ms'})"
        ax.set_xlabel(" · ".join(filter(None, (unit, self.note, show.origin_word(self.simulated)))), fontsize=SMALL)
        return ax

    def svg(self, *, standalone: bool = False) -> str:
        """Return the picture as SVG, each mark with its words for a pointer that rests on it.

        Args:
            standalone: For a file of its own, on white; else in the colours of the page that it stands in.
        """
        alt = " · ".join(filter(None, (repr(self).strip("<>"), self.note)))
        ax = self.draw(figure())
        text = svg(ax, themed=False if standalone else "notebook", alt=alt, prefix="timeline-")
        # Matplotlib writes the gid as a group's id: `<g id="timeline-mark-17">`.
        text = re.sub(
            r'<g id="timeline-mark-(\d+)">',
            lambda match: f"{match[0]}<title>{show.esc(self.marks[int(match[1])].says, 300)}</title>",
            text,
        )
        # The first `>` is the end of the svg's own tag: its title is that of the whole picture.
        return text.replace(">", f"><title>{show.esc(alt)}</title>", 1)


# From top to bottom; a lane without marks is not drawn.
_LANES = ("user speaks", "we send", "response", "text deltas", "transcript", "audio arrives", "audio lasts", "errors")
_USER, _SENT = "#56707f", "#8a6d3b"
_KINDS = {
    "response.output_text.delta": "text deltas",
    "response.output_audio_transcript.delta": "transcript",
    "response.output_audio.delta": "audio arrives",
    "session.output_transcript.delta": "transcript",
    "session.output_audio.delta": "audio arrives",
}
# Dozens of a client's a second would hide everything else that was sent.
_FED = ("input_audio_buffer.append", "session.input_audio.append")


def timeline(session: Session) -> Timeline:
    """One session as a picture: the user's speech as the server heard it, what we sent, each response from request to end in the
    colour of its modality, the deltas as they came, and how long their audio lasts when it is played as it arrives.

    A session whose log has no times has no picture, and the timeline says so.
    """
    marks: list[Mark] = []
    counts: dict[str, int] = {}
    speech: tuple[float, float] | None = None  # when we heard of it, and the server's own time of it
    n_untimed = 0
    for event in session.events:
        if math.isnan(event.at_ms):
            n_untimed += 1
            continue
        at_ms = max(0.0, event.at_ms)
        if event.type == "input_audio_buffer.speech_started":
            speech = (at_ms, _number(event.data.get("audio_start_ms")))
        elif event.type == "input_audio_buffer.speech_stopped":
            start_ms, says, label = at_ms, f"speech stopped, told at {at_ms:.0f} ms", ""
            if speech is not None:
                heard_ms, began_ms = speech
                # The server's clock counts audio that it was sent, ours the time: the length is the server's, the end is when
                # we heard of it.
                length_ms = _number(event.data.get("audio_end_ms")) - began_ms
                length_ms = at_ms - heard_ms if math.isnan(length_ms) else length_ms
                # Not later than when we heard of its beginning, and not before the session.
                start_ms = max(0.0, min(heard_ms, at_ms - max(0.0, length_ms)))
                says, label = f"speech, {length_ms:.0f} ms as the server heard it", "speech"
            marks.append(Mark("user speaks", start_ms, at_ms, _USER, says, label))
            speech = None
        elif event.type == "error":
            error = event.data.get("error")
            says = str(error.get("message") if isinstance(error, dict) else error)
            marks.append(Mark("errors", at_ms, at_ms, show.COLOURS["failed"], f"error at {at_ms:.0f} ms: {says}"))
        elif event.direction == "client":
            if event.type not in _FED:
                marks.append(Mark("we send", at_ms, at_ms, _SENT, f"{event.type} at {at_ms:.0f} ms"))
        elif lane := _KINDS.get(event.type):
            peak = loudness(event.data.get("delta"))
            if peak is not None and peak <= ReplyPolicy().voiced_floor:
                continue  # GPT-Live's track, in which nobody speaks
            counts[lane] = counts.get(lane, 0) + 1
            if counts[lane] <= _MAX_MARKS:
                colour = show.COLOURS["text" if lane == "text deltas" else "audio"]
                says = f"{event.n_audio_bytes:,} bytes" if event.n_audio_bytes else str(event.data.get("delta"))
                marks.append(Mark(lane, at_ms, at_ms, colour, f"{at_ms:.0f} ms: {says}"))
    for ask in session.asks:
        began_ms = ask.at_ms if ask.began_at_ms is None else ask.began_at_ms
        says = f"asked by {ask.by}, until {ask.at_ms:.0f} ms"
        marks.append(Mark("user speaks", began_ms, ask.at_ms, _USER, says, "speech"))
    for response in session.responses:
        marks += _response_marks(response)
    note = f"{n_untimed:,} events without a time are left out" if n_untimed else ""
    return Timeline(marks, session.simulated, note)


def _response_marks(response: Response | Reply) -> Iterable[Mark]:
    start = response.started_at_ms if response.started_at_ms is not None else response.created_at_ms
    if start is None:
        return
    start = max(0.0, start)
    # A response without an end (the log stops, the line broke) lasts until the last that is known of it.
    instants: list[float | None] = [response.done_at_ms, response.first_audio_at_ms, response.first_text_at_ms, start]
    end = max(at for at in instants if at is not None)
    word = "failed" if response.status == "failed" else response.modality or "pending"
    # What is inferred has an outcome and no end of its own.
    status = response.status if response.policy is None else response.outcome
    how = " ".join(filter(None, (status or "no end", response.reason)))
    says = f"{response.id}: {word}, {how}, {end - start:.0f} ms. {response.words}"
    label = f"{show.SIGNS.get(word, '…')} {word}{'' if status in ('completed', 'spoken') else f', {how}'}"
    yield Mark("response", start, end, show.COLOURS.get(word, "#7F7F7F"), says, label)
    if response.first_audio_at_ms is not None and response.output_format == "pcm16" and response.n_audio_bytes:
        at, length_ms = response.first_audio_at_ms, response.n_audio_bytes / _BYTES_PER_MS
        length = f"{length_ms / 1000:.1f} s"
        says, label = f"{length} of audio, if played as it arrived", response.transcript or length
        yield Mark("audio lasts", at, at + length_ms, show.COLOURS["audio"], says, label)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


# --------------------------------------------------------------------------------------------- two sessions on one clock


def pair(
    control: Session,
    session: Session,
    *,
    names: tuple[str, str] = ("", ""),
    response: int = -1,
    style: str = "light",
    ax: Axes | Figure | None = None,
    title: str | None = None,
) -> Axes:
    """Draw the same question in two sessions on one clock: a voice as its wave, at the pace of the ear; text as silent words.

    Time is seconds since the reply was asked for. Audio lasts as long as it plays from its first byte on, whenever the bytes came;
    text stands where it began to arrive.

    Args:
        control, session: Live sessions, or those of logs (their audio is then a block of its length, if the log has no sound).
        names: What each is called; by default how many replies of the assistant it was given before.
        response: Which response of each, as an index: the last by default.
        style, ax, title: See `kit.plots`.

    Raises:
        InputError: If a session has no such response.
    """
    import pandas as pd
    from matplotlib.colors import to_rgb

    look, ax = canvas(style, ax, 5.0)
    replies, origins = [], []
    until = 4.0
    for source in (control, session):
        try:
            reply = source.responses[response]
        except IndexError:
            n = len(source.responses)
            raise InputError(f"the session has no response {response}; it has {n}") from None
        # Audio comes faster than it plays: what counts is when the ear is done.
        played_ms = (reply.first_audio_ms or 0.0) + reply.n_audio_bytes / _BYTES_PER_MS
        until = max(until, played_ms / 1000, 0.0 if reply.n_audio_bytes else (reply.done_ms or 0.0) / 1000)
        replies.append(reply)
        # A live session is drawn while it is open, today.
        wall_time = getattr(source, "wall_time", lambda _: datetime.now(UTC).isoformat())
        day, endpoint = (wall_time(0.0) or "")[:10] or None, "standin" if source.simulated else None
        origins.append((source.simulated, endpoint, getattr(source, "model", None), day))
    for row, (source, reply, name) in enumerate(zip((control, session), replies, names, strict=True)):
        # The control above, the session under it, with room for words between them.
        middle = 1.0 - 2.8 * row
        modality = reply.modality or "empty"
        colour = show.COLOURS.get(modality, look.muted)
        heading = foreign(name) if name else _given_before(source, reply)
        size = f"{reply.n_audio_bytes / 1e3:,.0f} kB" if reply.n_audio_bytes else "0 bytes"
        result = f"{show.SIGNS.get(modality, '')} {modality}, {size} of audio"
        # Words need more contrast than a wave: darker on white, and on black three parts in ten of the ink.
        mixed = 0.7 * np.array(to_rgb(colour)) + 0.3 * np.array(to_rgb(look.ink))
        ink: Any = mixed if look.name == "dark" else show.badge_style(modality)[2]
        bold: dict[str, Any] = {"fontweight": "bold", "va": "bottom"}
        ax.text(0, middle + 0.95, heading, fontsize=BODY + 1, color=look.ink, **bold)
        ax.text(until, middle + 0.95, result, fontsize=SMALL, color=ink, ha="right", gid="words", **bold)
        ax.hlines(middle, 0, until, color=look.muted, linewidth=0.8)
        if reply.n_audio_bytes:
            _wave(ax, reply, middle, colour)
        start_s = ((reply.first_audio_ms if reply.n_audio_bytes else reply.first_text_ms) or 0.0) / 1000
        # As many characters as fit from where the words begin to the right edge.
        lines = textwrap.wrap(show.one_line(reply.words, 400), max(12, int(66 * (until - start_s) / until)))
        lines_shown = [*lines[:2], *(["…"] if len(lines) > 2 else [])] if reply.n_audio_bytes else lines[:5]
        words_y, words_size = (middle - 0.78, SMALL) if reply.n_audio_bytes else (middle - 0.1, SMALL + 1)
        ax.text(start_s, words_y, foreign("\n".join(lines_shown), 500), fontsize=words_size,
                color=look.muted if reply.n_audio_bytes else ink, va="top", linespacing=1.2, gid="words")  # fmt: skip
    ax.set(xlim=(0, until), ylim=(-3.1, 2.35), yticks=[], xlabel="seconds since the reply was asked for")
    ax.xaxis.label.set_fontsize(BODY)
    ax.spines["left"].set_visible(False)
    origin = pd.DataFrame(origins, columns=["simulated", "endpoint", "model", "day"], dtype=object)
    words(ax, look, origin, title=title or "The same question, asked twice", n="one reply of each",
          subtitle="Audio is drawn as long as it plays; text makes no sound")  # fmt: skip
    return ax


def _wave(ax: Axes, reply: Response | Reply, middle: float, colour: str) -> None:
    """Draw the loudness of the audio, or a block of its length where the sound itself was not kept."""
    start_s, length_s = (reply.first_audio_ms or 0.0) / 1000, reply.n_audio_bytes / _BYTES_PER_MS / 1000
    clip = reply.audio
    if clip is None:
        envelope = np.full(2, 0.5)
    else:
        # The loudest sample of each of 600 pieces: a pixel or two of the picture.
        edges = np.linspace(0, clip.n_samples, min(600, clip.n_samples) + 1).astype(int)[:-1]
        envelope = np.maximum.reduceat(np.abs(clip.pcm.astype(np.int32)), edges) / 32_768
        # A quiet voice is drawn as large as a loud one; noise below −26 dBFS is not blown up.
        envelope = 0.75 * envelope / max(envelope.max(), 0.05)
    x = np.linspace(start_s, start_s + length_s, len(envelope))
    ax.fill_between(x, middle - envelope, middle + envelope, color=colour, linewidth=0, gid="wave")


def _given_before(session: Session, reply: Response | Reply) -> str:
    """Name a session by how many replies of the assistant it had been given, or had made, before this one."""
    items = list(getattr(session, "items", ()))
    ids = set(getattr(reply, "item_ids", ()))
    # A reply that left no item comes after all of them.
    place = next((at for at, item in enumerate(items) if item.id in ids), len(items))
    n = sum(item.role == "assistant" for item in items[:place])
    if reply.policy is not None:  # of GPT-Live, which has no items
        earlier = session.responses[: session.responses.index(reply)]
        n = (getattr(session, "n_seeded", None) or 0) + sum(other.n_audio_bytes > 0 for other in earlier)
    return f"after {show.counted(n, 'earlier reply', 'earlier replies')}" if n else "no earlier reply"
