"""Every event of a session as a table that a person can read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import msgspec

from .. import show
from .events import Event

_MAX_ROWS = 400  # of one table in a cell; the list itself has them all


class EventList(Sequence[Event]):
    """Events, both ways, in order. Slicing gives another one; `of` picks types.

    Attributes:
        n_dropped: Older events that are no longer kept.
    """

    def __init__(self, events: Iterable[Event], n_dropped: int = 0) -> None:
        self._events = tuple(events)
        self.n_dropped = n_dropped

    def __len__(self) -> int:
        return len(self._events)

    @overload
    def __getitem__(self, index: int) -> Event: ...
    @overload
    def __getitem__(self, index: slice) -> EventList: ...
    def __getitem__(self, index: int | slice) -> Event | EventList:
        return EventList(self._events[index]) if isinstance(index, slice) else self._events[index]

    def of(self, *types: str) -> EventList:
        """Those whose GA name begins with one of `types`."""
        return EventList(event for event in self._events if event.type.startswith(types))

    @property
    def types(self) -> list[str]:
        """GA's names, in order."""
        return [event.type for event in self._events]

    def __repr__(self) -> str:
        lines = [
            f"{first.at_ms:9.0f} ms  {_arrow(first)} {_name(first, n)}  {gist(first, n, size)}".rstrip()
            for first, n, size in self._runs()
        ]
        dropped = [f"({self.n_dropped} older events are no longer kept)"] if self.n_dropped else []
        return "\n".join([*dropped, *lines]) or "<no events>"

    def _repr_html_(self) -> str:
        runs = list(self._runs())
        rows = [
            [
                f"{first.at_ms:.0f}",
                _arrow(first),
                f"<code>{show.esc(_name(first, n))}</code>",
                show.esc(gist(first, n, size)),
                _json(first, n),
            ]
            for first, n, size in runs[:_MAX_ROWS]
        ]
        more = (
            f"{len(runs) - _MAX_ROWS} more rows: slice the list, or pick with .of('response.')"
            if len(runs) > _MAX_ROWS
            else ""
        )
        note = f"{self.n_dropped} older events are no longer kept. " if self.n_dropped else ""
        return show.table(rows, ["ms", "", "event", "says", ""]) + show.esc(note + more)

    def _runs(self) -> Iterator[tuple[Event, int, int]]:
        """Deltas of one kind that follow each other, as one row: the first, how many, and bytes of audio in all."""
        first: Event | None = None
        n = size = 0
        for event in self._events:
            if first is not None and event.type == first.type and _folds(event):
                n, size = n + 1, size + _size(event)
                continue
            if first is not None:
                yield first, n, size
            first, n, size = event, 1, _size(event)
        if first is not None:
            yield first, n, size


def _folds(event: Event) -> bool:
    return event.type.endswith(".delta") or event.type == "input_audio_buffer.append"


def _size(event: Event) -> int:
    return event.n_audio_bytes or 0


def _arrow(event: Event) -> str:
    return "←" if event.direction == "server" else "→"


def _name(event: Event, n: int) -> str:
    name = show.one_line(event.wire_type, 90)
    return name if n == 1 else f"{name} ×{n}"


def gist(event: Event, n: int, size: int) -> str:
    """What a reader looks for first in this event, in a few words."""
    data: dict[str, Any] = event.data
    if size:
        return f"{size:,} bytes of audio"
    if event.type == "error":
        error = data.get("error")
        return show.one_line(_said(error, "message"), 400) if isinstance(error, dict) else ""
    item, part, response = data.get("item"), data.get("part"), data.get("response")
    if isinstance(item, dict):
        told = item.get("content")
        content = [p for p in told if isinstance(p, dict)] if isinstance(told, list) else []
        kinds = "+".join(_said(p, "type") for p in content)
        words = " ".join(_said(p, "text", "transcript") for p in content)
        return show.one_line(f"{_said(item, 'role', 'type')} {kinds}: {words}".rstrip(": "), 90)
    if isinstance(part, dict):
        return show.one_line(f"{_said(part, 'type')}: {_said(part, 'text', 'transcript')}".rstrip(": "), 90)
    if isinstance(response, dict) and "status" in response:
        return show.one_line(_said(response, "status"), 90)
    return show.one_line(_said(data, "delta", "text", "transcript") + (" …" if n > 1 else ""), 90)


def _said(data: dict[str, Any], *names: str) -> str:
    """The first of these fields that holds words."""
    return next((value for name in names if isinstance(value := data.get(name), str) and value), "")


def _json(event: Event, n: int) -> str:
    pretty = msgspec.json.format(msgspec.json.encode(event.data), indent=1).decode("utf-8", "replace")
    which = "first of them" if n > 1 else "JSON"
    return f"<details><summary>{which}</summary><pre>{show.esc(pretty)}</pre></details>"
