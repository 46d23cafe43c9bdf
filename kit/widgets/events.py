"""Every event of a session or a log, to look through: filter, open, hear, and jump from a response to its events."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import os
import weakref
from typing import Any, ClassVar

import msgspec
import traitlets

from .. import show
from ..errors import InputError, KitError, clipped
from ..eventlog import Log, LoggedSession, read_log
from ..session import Session
from ..wire.event_list import EventList, gist
from ..wire.events import Event, dict_of, text_of
from ..wire.records import Response
from .page import Content, PageWidget, read

_AT_ONCE = 2_000  # rows in one message: the page draws the first while the next are on their way
# Bounds of what a message to the page holds: an event may carry a megabyte of a stranger's text.
_MAX_JSON_CHARS = 200_000
_MAX_FIELDS = 1_000  # of one object or list in an opened event
_MAX_STRING_CHARS = 4_000  # of one string in an opened event
_EVERY_S = 0.1  # how often a live session's new events are sent
_STATIC_ROWS = 60  # in the picture that an export shows

Source = Session | LoggedSession | Log | EventList | str | os.PathLike[str]


class EventTable(PageWidget):
    """``EventTable(session)``, ``EventTable(read_log("x.jsonl"))`` or ``EventTable("x.jsonl")`` as a cell's last line.

    Only the rows in sight are drawn, so tens of thousands of events are as quick as ten. Whatever the server sent is shown as
    text. A live session's events are added as they come.

    Args:
        source: A session, a session of a log, a log (its first session), a file, or an `EventList`.
        height_px: Of the list.
    """

    _esm = read("page.js", "events.js")
    _css = read("events.css")
    KINDS: ClassVar[tuple[str, ...]] = ("here", "open", "hear")
    height_px = traitlets.Int(360).tag(sync=True)
    # Follows a live session; None where all events are there already.
    _task: asyncio.Task[None] | None = None

    def __init__(self, source: Source, *, height_px: int = 360) -> None:
        if isinstance(source, str | os.PathLike):
            source = read_log(source)
        if isinstance(source, Log):
            source = source.session()
        if not isinstance(source, Session | LoggedSession | EventList):
            raise InputError(f"EventTable takes a session, a log or a file, not {clipped(source)}")
        self._source = source
        # What the rows are of. A live session fills it from `_follow`, a log has all at once.
        self._events: list[Event] = []
        # Of a response, by its id.
        self._index: dict[str | None, int] = {}
        super().__init__(height_px=max(120, int(height_px)))
        if isinstance(self._source, Session) and self._source.closed is None:
            with contextlib.suppress(RuntimeError):  # no loop runs: then it is a picture of this moment
                self._task = asyncio.get_running_loop().create_task(_follow(weakref.ref(self), self._source))
        if self._task is None:
            self._events = list(self._source if isinstance(self._source, EventList) else self._source.events)

    @property
    def responses(self) -> list[Response]:
        return self._source.responses if isinstance(self._source, Session | LoggedSession) else []

    def rows(self, start: int = 0, stop: int | None = None) -> list[list[Any]]:
        """What the list shows of events: ``[at_ms, direction, type, what it says, bytes of audio, response]``."""
        return [self._row(event) for event in self._events[start:stop]]

    def opened(self, n: int) -> str:
        """An event as JSON text to be read; long strings are cut, and say so."""
        # Before it is encoded: to cut the finished text would leave no JSON.
        data = _shortened(self._events[n].data)
        text = msgspec.json.format(msgspec.json.encode(data), indent=2).decode("utf-8", "replace")
        return show.plain(text, _MAX_JSON_CHARS)

    def sound(self, n: int) -> bytes | None:
        """The sound of the response that an event belongs to, as a WAV file; ``None`` if there is none."""
        at = self._row(self._events[n])[5]
        if not 0 <= at < len(self.responses):
            return None
        try:
            clip = self.responses[at].audio
        except KitError:  # not PCM: it cannot be played here, and the table shows the event all the same
            return None
        return show.wav_bytes(clip.to_bytes(), 24_000) if clip else None

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
        super().close()

    def static_html(self) -> str:
        """The first rows as a table: what an export shows."""
        rows = [
            ["–" if at is None else f"{at:.0f}", "→" if way else "←", f"<code>{show.esc(name)}</code>", show.esc(words)]
            for at, way, name, words, _, _ in self.rows(0, _STATIC_ROWS)
        ]
        n_left = len(self._events) - len(rows)
        remark = f" · {n_left:,} more in the notebook" if n_left else ""
        origin = show.origin(getattr(self._source, "simulated", None))
        head = f"<b>{len(self._events):,} events</b> {origin}{remark}"
        return show.card(head, show.table(rows, ["ms", "", "event", "says"]) if rows else "")

    def _on_here(self, content: Content, buffers: list[memoryview]) -> None:
        super()._on_here(content, buffers)
        self._send_rows(0)

    def _on_open(self, content: Content, _buffers: list[memoryview]) -> None:
        if (n := self._number(content)) is not None:
            self.send({"kind": "opened", "n": n, "text": self.opened(n), "sound": self.sound(n) is not None})

    def _on_hear(self, content: Content, _buffers: list[memoryview]) -> None:
        if (n := self._number(content)) is not None:
            self.send({"kind": "sound", "n": n}, [self.sound(n) or b""])

    def _number(self, content: Content) -> int | None:
        n = content.get("n")
        # The page may be older than this kernel, and ask for a row that there is not.
        return n if isinstance(n, int) and 0 <= n < len(self._events) else None

    def _row(self, event: Event) -> list[Any]:
        response_id = text_of(event.data, "response_id") or text_of(dict_of(event.data, "response"), "id")
        if response_id is not None and response_id not in self._index:
            self._index |= {r.id: n for n, r in enumerate(self.responses) if r.id is not None}
        return [
            # NaN is no JSON; the page draws a dash for null.
            None if math.isnan(event.at_ms) else round(event.at_ms, 1),
            0 if event.direction == "server" else 1,
            show.one_line(event.wire_type, 90),
            show.one_line(show.plain(gist(event, 1, event.n_audio_bytes or 0), 200), 200),
            event.n_audio_bytes or 0,
            self._index.get(response_id, -1),  # the response that it is about; -1 if about none
        ]

    def _send_rows(self, start: int) -> None:
        """The rows from `start` on, some at a time, and what there is to say of the responses."""
        end = len(self._events)
        # A message also where there are no rows: the page learns that the list is empty.
        for at in range(start, end, _AT_ONCE) if end > start else [start]:
            rows = self.rows(at, min(at + _AT_ONCE, end))
            self.send({"kind": "rows", "start": at, "rows": rows, "total": end})
        responses = [
            [*show.badge_style(r.modality), show.one_line(r.status or "no end", 20), show.one_line(r.words, 60)]
            for r in self.responses
        ]
        origin = show.origin_word(getattr(self._source, "simulated", None))
        self.send({"kind": "about", "responses": responses, "origin": origin, "live": self._task is not None})


async def _follow(table: weakref.ref[EventTable], session: Session) -> None:
    """Add a live session's events as they come, some at a time."""
    new: list[Event] = []
    loop = asyncio.get_running_loop()
    due: asyncio.TimerHandle | None = None

    def flush() -> None:
        nonlocal due
        due = None
        widget = table()
        if widget is not None and new:
            start = len(widget._events)
            widget._events += new
            new.clear()
            widget._send_rows(start)

    def snapshot() -> None:
        if (widget := table()) is not None:
            widget.update_snapshot()

    with contextlib.suppress(KitError):  # it fell behind: what came is shown
        async for event in session:
            # Held weakly: a widget that nobody holds any more ends this, and is not kept alive by it.
            if table() is None:
                return
            new.append(event)
            # One timer for all that come within it: deltas come much faster than a page can draw.
            due = due or loop.call_later(_EVERY_S, flush)
            if event.type == "response.done":
                # After the flush that brings the response's last events.
                loop.call_later(2 * _EVERY_S, snapshot)
    flush()
    snapshot()


def _shortened(value: Any) -> Any:
    if isinstance(value, str) and len(value) > _MAX_STRING_CHARS:
        return f"{value[:_MAX_STRING_CHARS]} … ({len(value) - _MAX_STRING_CHARS:,} more characters)"
    if isinstance(value, dict):
        return {str(key)[:200]: _shortened(field) for key, field in itertools.islice(value.items(), _MAX_FIELDS)}
    return [_shortened(entry) for entry in value[:_MAX_FIELDS]] if isinstance(value, list) else value
