"""Every event of a session or a log, to look through: filter, open, hear, and jump from a response to its events."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anywidget
import msgspec
import traitlets

from .. import show
from ..errors import InputError, KitError, clipped
from ..eventlog import Log, LoggedSession, read_log
from ..session import Session
from ..wire.event_list import EventList, gist
from ..wire.events import Event, dict_of, text_of
from ..wire.records import Response

_HERE = Path(__file__).parent
_AT_ONCE = 2_000  # rows in one message: the page draws the first while the next are on their way
_MAX_JSON_CHARS = 200_000
_MAX_STRING_CHARS = 4_000  # of one string in an opened event
_EVERY_S = 0.1  # how often a live session's new events are sent

Source = Session | LoggedSession | Log | EventList | str | os.PathLike[str]


class EventTable(anywidget.AnyWidget):
    """``EventTable(session)``, ``EventTable(read_log("x.jsonl"))`` or ``EventTable("x.jsonl")`` as a cell's last line.

    Only the rows in sight are drawn, so tens of thousands of events are as quick as ten. Whatever the server sent is shown as
    text. A live session's events are added as they come.

    Args:
        source: A session, a session of a log, a log (its first session), a file, or an `EventList`.
        height_px: Of the list.
    """

    _esm = _HERE / "events.js"
    _css = _HERE / "events.css"
    height_px = traitlets.Int(360).tag(sync=True)
    _task: asyncio.Task[None] | None = None

    def __init__(self, source: Source, *, height_px: int = 360, **kwargs: Any) -> None:
        self._source = _looked_at(source)
        self._events: list[Event] = []
        self._index: dict[str, int] = {}  # of a response, by its id
        self._latest = -1
        super().__init__(height_px=max(120, int(height_px)), **kwargs)
        self.on_msg(_answer)
        if isinstance(self._source, Session) and self._source.closed is None:
            with contextlib.suppress(RuntimeError):  # no loop runs: then it is a picture of this moment
                self._task = asyncio.get_running_loop().create_task(_follow(weakref.ref(self), self._source))
        if self._task is None:
            self._events = list(self._source if isinstance(self._source, EventList) else self._source.events)

    # ------------------------------------------------------------------------------------------------- what is asked

    @property
    def responses(self) -> list[Response]:
        return self._source.responses if isinstance(self._source, Session | LoggedSession) else []

    def rows(self, start: int = 0, stop: int | None = None) -> list[list[Any]]:
        """What the list shows of events: ``[at_ms, direction, type, what it says, bytes of audio, response]``."""
        return [self._row(event) for event in self._events[start:stop]]

    def opened(self, n: int) -> str:
        """An event as JSON text to be read; long strings are cut, and say so."""
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
        except KitError:  # not PCM
            return None
        return show.wav_bytes(clip.to_bytes(), 24_000) if clip else None

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
        super().close()

    # ------------------------------------------------------------------------------------------------------- sending

    def _row(self, event: Event) -> list[Any]:
        return [
            None if math.isnan(event.at_ms) else round(event.at_ms, 1),
            0 if event.direction == "server" else 1,
            show.one_line(event.wire_type, 90),
            show.one_line(show.plain(gist(event, 1, event.n_audio_bytes or 0), 200), 200),
            event.n_audio_bytes or 0,
            self._response_of(event),
        ]

    def _response_of(self, event: Event) -> int:
        """Which response an event is about; -1 if about none."""
        name = text_of(event.data, "response_id") or text_of(dict_of(event.data, "response"), "id")
        if name is None:
            return -1
        if name not in self._index:
            self._index |= {r.id: n for n, r in enumerate(self.responses) if r.id is not None}
        return self._index.get(name, -1)

    def _send_rows(self, start: int) -> None:
        """The rows from `start` on, some at a time, and what there is to say of the responses."""
        end = len(self._events)
        for at in range(start, end, _AT_ONCE) if end > start else [start]:
            rows = self.rows(at, min(at + _AT_ONCE, end))
            self.send({"kind": "rows", "start": at, "rows": rows, "total": end})
        told = [
            [
                show.one_line(r.modality or "pending", 12),
                show.one_line(r.status or "no end", 20),
                show.one_line(show.plain(r.words, 80), 60),
            ]
            for r in self.responses
        ]
        simulated = getattr(self._source, "simulated", None)
        self.send(
            {"kind": "about", "responses": told, "origin": show.origin_word(simulated), "live": self._task is not None}
        )


def _answer(table: EventTable, told: Any, _buffers: Any) -> None:
    """What the page asks for. (A function: a bound method would keep the table alive with itself.)"""
    kind, n = (told.get("kind"), told.get("n")) if isinstance(told, dict) else (None, None)
    if kind == "ready":
        table._send_rows(0)
    elif isinstance(n, int) and 0 <= n < len(table._events):
        if kind == "open":
            table.send({"kind": "opened", "n": n, "text": table.opened(n), "sound": table.sound(n) is not None})
        elif kind == "hear":
            table.send({"kind": "sound", "n": n}, [table.sound(n) or b""])


async def _follow(table: weakref.ref[EventTable], session: Session) -> None:
    """Add a live session's events as they come, some at a time."""
    new: list[Event] = []
    loop = asyncio.get_running_loop()
    due: asyncio.TimerHandle | None = None

    def flush() -> None:
        nonlocal due
        due = None
        shown = table()
        if shown is not None and new:
            start = len(shown._events)
            shown._events += new
            new.clear()
            shown._send_rows(start)

    with contextlib.suppress(KitError):  # it fell behind: what came is shown
        async for event in session:
            if table() is None:
                return
            new.append(event)
            due = due or loop.call_later(_EVERY_S, flush)
    flush()


def _looked_at(source: Source) -> Session | LoggedSession | EventList:
    if isinstance(source, str | os.PathLike):
        source = read_log(source)
    if isinstance(source, Log):
        source = source.session()
    if not isinstance(source, Session | LoggedSession | EventList):
        raise InputError(f"EventTable takes a session, a log or a file, not {clipped(source)}")
    return source


def _shortened(value: Any) -> Any:
    if isinstance(value, str) and len(value) > _MAX_STRING_CHARS:
        return f"{value[:_MAX_STRING_CHARS]} … ({len(value) - _MAX_STRING_CHARS:,} more characters)"
    if isinstance(value, dict):
        return {str(key)[:200]: _shortened(each) for key, each in _few(value.items())}
    return [_shortened(each) for each in _few(value)] if isinstance(value, list) else value


def _few(values: Any) -> Iterator[Any]:
    for n, each in enumerate(values):
        if n == 1_000:
            return
        yield each
