"""One session as a picture: who spoke when, what the server heard, and what came back, on one line of time.

The picture is SVG, made here of numbers; the words in it are escaped. It stands on a light and on a dark page.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from .. import show
from ..wire.events import Event
from ..wire.records import Response

_LEFT, _WIDTH, _LANE, _TOP = 118, 960, 26, 26  # px
_BYTES_PER_MS = 48  # PCM at 24 000 Hz, 16 bits
_MAX_MARKS = 4_000  # of one kind in one lane: more are one block anyway


class Session(Protocol):
    """What a timeline is made of: a live session, or one of a log."""

    @property
    def events(self) -> Iterable[Event]: ...
    @property
    def responses(self) -> Sequence[Response]: ...
    @property
    def simulated(self) -> bool | None: ...


@dataclass(frozen=True, slots=True)
class Mark:
    """A span in a lane (or an instant, where it ends as it begins); ms since the session was opened."""

    lane: str
    start_ms: float
    end_ms: float
    colour: str
    says: str
    label: str = ""


class Timeline:
    """``timeline(session)``: see there.

    Attributes:
        marks: What is drawn, in ms since the session was opened.
        lanes: From top to bottom.
        end_ms: Where the line of time ends.
    """

    def __init__(self, marks: Sequence[Mark], simulated: bool | None, note: str = "") -> None:
        self.marks = tuple(marks)
        self.simulated = simulated
        self.note = note
        used = {mark.lane for mark in self.marks}
        self.lanes = [lane for lane in _LANES if lane in used]
        self.end_ms = max((mark.end_ms for mark in self.marks), default=0.0)

    def __repr__(self) -> str:
        mark = show.origin_word(self.simulated)
        return f"<Timeline {self.end_ms / 1000:.1f} s, {len(self.marks)} marks in {len(self.lanes)} lanes{f', {mark}' if mark else ''}>"

    def _repr_html_(self) -> str:
        return self.svg()

    def svg(self, *, standalone: bool = False) -> str:
        """The picture.

        Args:
            standalone: For a file of its own, on white; else in the colours of the page that it stands in.
        """
        height = _TOP + _LANE * max(1, len(self.lanes)) + 40
        mark = show.origin_word(self.simulated)
        head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" font-family="system-ui,sans-serif" font-size="12"'
        style = (
            f' width="{_WIDTH}" height="{height}" color="#222"'
            if standalone
            else ' style="max-width:100%;color:var(--jp-ui-font-color1,currentColor)"'
        )
        parts = [f"{head}{style}>", f"<title>{show.esc(repr(self).strip('<>'))}</title>"]
        if standalone:
            parts.append(f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>')
        parts += self._axis(height - 34)
        for n, lane in enumerate(self.lanes):
            y = _TOP + n * _LANE
            parts.append(f'<text x="{_LEFT - 8}" y="{y + 17}" text-anchor="end" fill="currentColor">{lane}</text>')
            parts.append(
                f'<line x1="{_LEFT}" x2="{_WIDTH - 10}" y1="{y + _LANE - 2}" y2="{y + _LANE - 2}" stroke="currentColor" opacity=".15"/>'
            )
            parts += [self._drawn(each, y) for each in self.marks if each.lane == lane]
        small = " · ".join(filter(None, ["time since the session was opened", self.note, mark]))
        parts.append(f'<text x="{_LEFT}" y="{height - 4}" fill="currentColor" opacity=".75">{show.esc(small)}</text>')
        return "".join(parts) + "</svg>"

    def _x(self, at_ms: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - 10) * at_ms / max(self.end_ms, 1.0)

    def _axis(self, y: float) -> list[str]:
        step = _nice(self.end_ms / 8)
        parts = []
        for n in range(int(self.end_ms / step) + 1):
            x = self._x(n * step)
            label = f"{n * step:g} ms" if self.end_ms < 3_000 else f"{n * step / 1000:g} s"
            parts.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 6}" y2="{y}" stroke="currentColor" opacity=".18"/>'
            )
            parts.append(
                f'<text x="{x:.1f}" y="{y + 14}" text-anchor="middle" fill="currentColor" opacity=".75">{label}</text>'
            )
        return parts

    def _drawn(self, mark: Mark, y: float) -> str:
        x, width = self._x(mark.start_ms), self._x(mark.end_ms) - self._x(mark.start_ms)
        title = f"<title>{show.esc(mark.says, 300)}</title>"
        if mark.end_ms == mark.start_ms:
            return f'<rect x="{x - 0.75:.1f}" y="{y + 5}" width="1.5" height="{_LANE - 10}" fill="{mark.colour}">{title}</rect>'
        box = f'<rect x="{x:.1f}" y="{y + 4}" width="{max(width, 1.5):.1f}" height="{_LANE - 9}" rx="2" fill="{mark.colour}">{title}</rect>'
        room = int((width - 8) / 6.2)
        if not mark.label or room < 2:
            return box
        label = show.one_line(mark.label, room)
        return f'{box}<text x="{x + 4:.1f}" y="{y + 17}" fill="#fff" pointer-events="none">{show.esc(label)}</text>'


_LANES = ("user speaks", "we send", "response", "text deltas", "transcript", "audio arrives", "audio lasts", "errors")
_USER, _SENT = "#56707f", "#8a6d3b"
_KINDS = {
    "response.output_text.delta": "text deltas",
    "response.output_audio_transcript.delta": "transcript",
    "response.output_audio.delta": "audio arrives",
}


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
            marks.append(_spoken(speech, at_ms, _number(event.data.get("audio_end_ms"))))
            speech = None
        elif event.type == "error":
            told = event.data.get("error")
            says = str(told.get("message") if isinstance(told, dict) else told)
            marks.append(Mark("errors", at_ms, at_ms, show.COLOURS["failed"], f"error at {at_ms:.0f} ms: {says}"))
        elif event.direction == "client":
            if event.type != "input_audio_buffer.append":
                marks.append(Mark("we send", at_ms, at_ms, _SENT, f"{event.type} at {at_ms:.0f} ms"))
        elif lane := _KINDS.get(event.type):
            counts[lane] = counts.get(lane, 0) + 1
            if counts[lane] <= _MAX_MARKS:
                colour = show.COLOURS["text" if lane == "text deltas" else "audio"]
                says = f"{event.n_audio_bytes:,} bytes" if event.n_audio_bytes else str(event.data.get("delta"))
                marks.append(Mark(lane, at_ms, at_ms, colour, f"{at_ms:.0f} ms: {says}"))
    for response in session.responses:
        marks += _response_marks(response)
    note = f"{n_untimed:,} events without a time are left out" if n_untimed else ""
    return Timeline(marks, session.simulated, note)


def _spoken(began: tuple[float, float] | None, at_ms: float, end_ms: float) -> Mark:
    """From what the server says of its own clock: how long, counted back from when it told us of the end."""
    if began is None:
        return Mark("user speaks", at_ms, at_ms, _USER, f"speech stopped, told at {at_ms:.0f} ms")
    heard_ms, start_ms = began
    length_ms = end_ms - start_ms if not math.isnan(end_ms - start_ms) else at_ms - heard_ms
    start = max(0.0, min(heard_ms, at_ms - max(0.0, length_ms)))
    return Mark("user speaks", start, at_ms, _USER, f"speech, {length_ms:.0f} ms as the server heard it", "speech")


def _response_marks(response: Response) -> Iterable[Mark]:
    start = response.started_at_ms if response.started_at_ms is not None else response.created_at_ms
    if start is None:
        return
    start = max(0.0, start)
    known: list[float | None] = [response.done_at_ms, response.first_audio_at_ms, response.first_text_at_ms, start]
    end = max(at for at in known if at is not None)
    word = "failed" if response.status == "failed" else response.modality or "pending"
    how = " ".join(filter(None, (response.status or "no end", response.reason)))
    says = f"{response.id}: {word}, {how}, {end - start:.0f} ms. {response.words}"
    label = f"{show.SIGNS.get(word, '…')} {word}{'' if response.status == 'completed' else f', {how}'}"
    yield Mark("response", start, end, show.COLOURS.get(word, "#7F7F7F"), says, label)
    if response.first_audio_at_ms is not None and response.output_format == "pcm16" and response.n_audio_bytes:
        length_ms = response.n_audio_bytes / _BYTES_PER_MS
        said = f"{length_ms / 1000:.1f} s of audio, if played as it arrived"
        at = response.first_audio_at_ms
        yield Mark(
            "audio lasts",
            at,
            at + length_ms,
            show.COLOURS["audio"],
            said,
            response.transcript or f"{length_ms / 1000:.1f} s",
        )


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def _nice(step: float) -> float:
    """A round number at least this large: 1, 2 or 5 times a power of ten."""
    if step <= 0 or not math.isfinite(step):
        return 1.0
    power = 10 ** math.floor(math.log10(step))
    return next(float(n * power) for n in (1, 2, 5, 10) if n * power >= step)
