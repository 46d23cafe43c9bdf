"""Every event of a session, as a list and as a table that a person can read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import count, groupby, islice
from typing import Any, overload

import msgspec

from .. import show
from .events import Event, dict_of, text_of

_MAX_ROWS = 400  # of one table in a cell, and of one in a terminal; the list itself has them all


class EventList(Sequence[Event]):
    """Events, both ways, in order. Slicing makes another list; `of` picks types.

    Attributes:
        n_dropped: Older events that are no longer kept.
    """

    def __init__(self, events: Iterable[Event], n_dropped: int = 0) -> None:
        self._events = tuple(events)  # as they are now: a session's own list goes on growing
        self.n_dropped = n_dropped

    def __len__(self) -> int:
        return len(self._events)

    @overload
    def __getitem__(self, index: int) -> Event: ...
    @overload
    def __getitem__(self, index: slice) -> EventList: ...
    def __getitem__(self, index: int | slice) -> Event | EventList:
        # Without `n_dropped`: of what came before it, a slice says nothing.
        return EventList(self._events[index]) if isinstance(index, slice) else self._events[index]

    def of(self, *types: str) -> EventList:
        """Pick the events whose GA name begins with one of `types`."""
        return EventList(event for event in self._events if event.type.startswith(types))

    @property
    def types(self) -> list[str]:
        """GA's names, in order."""
        return [event.type for event in self._events]

    def __repr__(self) -> str:
        lines = [
            f"{first.at_ms:9.0f} ms  {arrow} {name}  {gist(first, n, size)}".rstrip()
            for first, arrow, name, n, size in islice(self._rows(), _MAX_ROWS)
        ]
        return "\n".join([*self._notes(), *lines]) or "<no events>"

    def _repr_html_(self) -> str:
        rows = []
        for first, arrow, name, n, size in islice(self._rows(), _MAX_ROWS):
            pretty = msgspec.json.format(msgspec.json.encode(first.data), indent=1).decode("utf-8", "replace")
            caption = "first of them" if n > 1 else "JSON"
            details = f"<details><summary>{caption}</summary><pre>{show.esc(pretty)}</pre></details>"
            words = show.esc(gist(first, n, size))
            rows.append([f"{first.at_ms:.0f}", arrow, f"<code>{show.esc(name)}</code>", words, details])
        return show.table(rows, ["ms", "", "event", "says", ""]) + show.esc(" ".join(self._notes()))

    def _notes(self) -> Iterator[str]:
        """What a table of these events does not show."""
        if self.n_dropped:
            yield f"({self.n_dropped:,} older events are no longer kept)"
        n_rows = sum(1 for _ in self._rows())
        if n_rows > _MAX_ROWS:
            yield f"(the first {_MAX_ROWS} of {n_rows:,} rows: slice the list, or pick with .of('response.'))"

    def _rows(self) -> Iterator[tuple[Event, str, str, int, int]]:
        """Deltas of one kind that follow each other, as one row: the first, its direction, their name, how many, bytes of audio."""
        numbers = count()  # an event that is in a row of its own

        def kind(event: Event) -> str | int:
            # A reply has hundreds of deltas and a microphone's appends never end: as rows, they would hide all others.
            repeats = event.type.endswith(".delta") or event.type == "input_audio_buffer.append"
            return event.type if repeats else next(numbers)

        for _, run in groupby(self._events, kind):
            events = list(run)
            first, n = events[0], len(events)
            name = show.one_line(first.wire_type, 90) + (f" ×{n}" if n > 1 else "")
            yield first, "←" if first.direction == "server" else "→", name, n, sum(e.n_audio_bytes or 0 for e in events)


def gist(event: Event, n: int, size: int) -> str:
    """Say in a few words what a reader looks for first in this event."""
    data = event.data
    if size:
        return f"{size:,} bytes of audio"
    if event.type == "error":
        return show.one_line(_first_text(dict_of(data, "error"), "message"), 400)
    item, part, response = dict_of(data, "item"), dict_of(data, "part"), dict_of(data, "response")
    if item:
        content = item.get("content")
        # Nine fill the line; a hostile item may have a million.
        parts = [p for p in content[:9] if isinstance(p, dict)] if isinstance(content, list) else []
        types = "+".join(_first_text(p, "type") for p in parts)
        words = " ".join(_first_text(p, "text", "transcript")[:200] for p in parts)
        return show.one_line(f"{_first_text(item, 'role', 'type')} {types}: {words}".rstrip(": "), 90)
    if part:
        words = _first_text(part, "text", "transcript")[:200]
        return show.one_line(f"{_first_text(part, 'type')}: {words}".rstrip(": "), 90)
    # Of `response.created` and `.done`: the words are in the rows between.
    if "status" in response:
        return show.one_line(_first_text(response, "status"), 90)
    return show.one_line(_first_text(data, "delta", "text", "transcript")[:200] + (" …" if n > 1 else ""), 90)


def _first_text(data: dict[str, Any], *names: str) -> str:
    """The first of these fields that holds text."""
    return next((text for name in names if (text := text_of(data, name))), "")
