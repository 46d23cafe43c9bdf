"""The journal: what each client sent, for a test that asks the server. ``GET /journal``, ``DELETE /journal``.

Frames are kept as they came, bounded in number and bytes; they are parsed when somebody asks.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec
import pybase64

# Kept; the oldest are forgotten first.
MAX_CONNECTIONS, MAX_BYTES = 1_000, 64 << 20
# Of one connection: what it sends after that is counted only.
MAX_CONNECTION_BYTES = 8 << 20
# A longer frame is kept without its audio, or as its length.
MAX_FRAME_BYTES = 100_000


class Recorder(Protocol):
    """What is told of one connection, frame by frame."""

    def frame(self, direction: str, frame: str | bytes, refused: bool) -> None:
        """Take note of a frame; direction is ``client`` or ``server``."""

    def end(self, code: int | None, reason: str) -> None:
        """Take note of the end."""


class FrameCallback:
    """A recorder that hands each frame on, as ``on_frame(direction, text, session_id)``."""

    def __init__(self, on_frame: Callable[[str, str, str], None], facts: Mapping[str, Any]) -> None:
        self._on_frame, self._session_id = on_frame, str(facts.get("session", ""))

    def frame(self, direction: str, frame: str | bytes, refused: bool) -> None:
        text = frame if isinstance(frame, str) else frame.decode() if direction == "server" else repr(frame)
        self._on_frame(direction, text, self._session_id)

    def end(self, code: int | None, reason: str) -> None:
        """Nothing: an end is no frame."""


class Entry:
    """One connection in the journal. `items` returns its conversation as it is now."""

    def __init__(self, about: Mapping[str, Any], items: Callable[[], list[dict[str, Any]]]) -> None:
        # What queries filter by.
        self.about = dict(about)
        # Of the frames that are kept.
        self.n_bytes = 0
        # Returns the conversation: the session's while it is open, then what it came to.
        self._items = items
        # Seconds since the opening, text, whether it was refused.
        self._frames: list[tuple[float, str, bool]] = []
        self._opened_s = time.monotonic()
        opened_at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        # What is shown of it; `not_kept` counts frames after `MAX_CONNECTION_BYTES`.
        self._shown: dict[str, Any] = self.about | {"opened_at": opened_at, "closed": None, "not_kept": 0}

    def frame(self, direction: str, frame: str | bytes, refused: bool) -> None:
        if direction != "client":
            return
        if self.n_bytes > MAX_CONNECTION_BYTES:
            self._shown["not_kept"] += 1
            return
        if isinstance(frame, bytes):
            frame = json.dumps({"binary": f"{len(frame)} bytes"})
        elif len(frame) > MAX_FRAME_BYTES or (len(frame) > 1_000 and '"audio"' in frame):
            with suppress(ValueError, RecursionError):
                frame = json.dumps(_without_audio(msgspec.json.decode(frame)), ensure_ascii=False)
            if len(frame) > MAX_FRAME_BYTES:
                frame = json.dumps({"cut": frame[:1_000], "n_chars": len(frame)})
        self.n_bytes += len(frame)
        self._frames.append((time.monotonic() - self._opened_s, frame, refused))

    def end(self, code: int | None, reason: str) -> None:
        items = self._items()
        self._items = lambda: items  # the session itself is not held any longer
        self._shown["closed"] = {"code": code, "reason": reason}

    def show(self) -> dict[str, Any]:
        """Return the entry as JSON data."""
        frames = []
        for at_s, text, refused in self._frames:
            try:
                event = json.loads(text)
            except ValueError:
                event = {"raw": text}
            frames.append({"at_ms": round(at_s * 1000, 1), "event": event} | ({"refused": True} if refused else {}))
        return self._shown | {"sent": frames, "conversation": self._items()}


class Journal:
    """The connections of one stand-in, in order."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self._n_forgotten = 0

    def open(self, about: Mapping[str, Any], items: Callable[[], list[dict[str, Any]]]) -> Entry:
        """Begin an entry, and forget the oldest where there are too many."""
        entry = Entry(about, items)
        self._entries.append(entry)
        while len(self._entries) > MAX_CONNECTIONS or (
            len(self._entries) > 1 and sum(entry.n_bytes for entry in self._entries) > MAX_BYTES
        ):
            self._entries.popleft()
            self._n_forgotten += 1
        return entry

    def show(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Return the entries that a query asks for, by ``connection``, ``session``, ``trial`` or ``model``."""
        return {"connections": [entry.show() for entry in self._matching(query)], "forgotten": self._n_forgotten}

    def clear(self, query: Mapping[str, str]) -> int:
        """Forget the entries that a query asks for; return how many."""
        matching = self._matching(query)
        self._entries = deque(entry for entry in self._entries if entry not in matching)
        return len(matching)

    def _matching(self, query: Mapping[str, str]) -> list[Entry]:
        return [
            entry
            for entry in self._entries
            if all(str(entry.about.get(name)) == value for name, value in query.items() if name in entry.about)
        ]


def _without_audio(value: Any) -> Any:
    """Return the same data with SHA-256 and length in the place of audio, as the kit's event log writes it."""
    if isinstance(value, list):
        return [_without_audio(part) for part in value]
    if not isinstance(value, dict):
        return value
    fields: dict[str, Any] = {}
    for name, field in value.items():
        if name == "audio" and isinstance(field, str):
            try:
                data = pybase64.b64decode(field, validate=True)
            except ValueError:
                data = field.encode("utf-8", "replace")
            fields[name] = f"sha256:{hashlib.sha256(data).hexdigest()}:{len(data)}"
        else:
            fields[name] = _without_audio(field)
    return fields
