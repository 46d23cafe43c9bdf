"""A recorded session, played again: for a notebook that was made with a key, and must run without one.

The server's frames come in the recorded order, each after the client has sent as many frames as it had then. The client's ids
may be others; what it says must be the same. Where it departs from the recording, an `error` event with the code ``replay_departed``
and a close say so, and name the frame and the field. What was recorded there is quoted only to a client that is known: one of this
process, or one with the key.

What was simulated stays simulated. The handshake's ``X-Replay`` header says that this is a replay, and of what.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import math
import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec
from websockets.http11 import Request, Response

from .errors import InputError, clipped
from .eventlog.reading import AnySession, RecordedSession, recordings
from .eventlog.redact import MARK
from .eventlog.writing import without_audio
from .standin import MAX_FRAME_BYTES, Access, Connection, Listener, key_of
from .wire.conversation import TAG
from .wire.dialect import MARK_HEADER, REPLAY_HEADER
from .wire.events import DIGEST, LIVE_AUDIO_DELTA, dict_of, encode, loudness
from .wire.live_conversation import ReplyPolicy

# A microphone's or a feeder's: never the same twice. GPT-Live's are its clock, so they are counted all the same.
_APPENDS = ("input_audio_buffer.append", "session.input_audio.append")
_HUM = b"\xd0\x07\x30\xf8"  # ±2,000 as 16 bits: 12 kHz; of G.711, no silence either
# `LoggedSession.simulated`, as the handshake's header says it.
_ORIGINS = {True: "simulated", False: "service", None: "unknown"}


class Replay(Listener):
    """Play the sessions of a log to whoever connects: the first connection gets the first session, and so on, round and round.

    Args:
        path: A log with both directions; `connect(log=…)` writes one.
        pace: ``None`` or 0: as fast as the client goes. ``1.0``: with the recorded times between frames; 2.0: twice as fast.
        session: Only this one of the file's sessions, from 0.
        host, port: Where to listen; port 0 takes a free one. An address that others can reach needs `require_key`.
        require_key: The only API key that is let in; ``None`` lets everybody on this machine in.
        origins: Web pages, besides this machine's own, that may connect.
        quote: Whether a client that departs is told what was recorded; always so where a key is required.
        on_departed: Called with the whole sentence when a client departs.

    Raises:
        InputError: If the file cannot be read or played again, or others could reach it without a key.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        pace: float | None = None,
        session: int | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        require_key: str | None = None,
        origins: Sequence[str] = (),
        quote: bool = False,
        on_departed: Callable[[str], None] | None = None,
    ) -> None:
        if pace is not None and not (isinstance(pace, int | float) and 0 <= pace < float("inf")):
            raise InputError(f"pace must be a factor of the recorded time such as 1.0, or None, not {clipped(pace)}")
        self.recordings = recordings(path)
        if session is not None:
            if not isinstance(session, int) or not 0 <= session < len(self.recordings):
                raise InputError(f"session must be 0 to {len(self.recordings) - 1} in this log, not {clipped(session)}")
            self.recordings = [self.recordings[session]]
        # A factor of the recorded time; ``None``: as fast as the client goes.
        self.pace = pace or None
        super().__init__("replay", Access(host, require_key, frozenset(origins)), port)
        # Whether a client that departs is told what was recorded: with a key it is known, without one it may be any program here.
        self.quote = quote or require_key is not None
        self.on_departed = on_departed
        # Which session the next connection gets, round and round.
        self._next = itertools.count()

    @property
    def first(self) -> AnySession:
        """What the first connection gets."""
        return self.recordings[0].session

    def __repr__(self) -> str:
        first, n = self.first, len(self.recordings)
        about = f"{first.file}, {first.model or 'model unknown'}, {first.dialect}, {_ORIGINS[first.simulated]}"
        sound = ""
        if (first.header or {}).get("audio") == "digest":
            sound = f", sound as {'a hum' if first.dialect == 'live' else 'silence'} (its digest was kept)"
        return f"<Replay of {about}{f', {n} sessions' if n > 1 else ''}{sound}>"

    async def admit(self, connection: Connection, request: Request) -> Response | None:
        if self.access.require_key is None or self.access.fits(key_of(request.headers, request.path)):
            return None
        return connection.respond(HTTPStatus.UNAUTHORIZED, "this replay wants its key\n")

    def headers(self, connection: Connection) -> dict[str, str]:
        n = next(self._next) % len(self.recordings)
        connection.about = recording = self.recordings[n]
        origin = _ORIGINS[recording.session.simulated]
        headers = {REPLAY_HEADER: f"realtime-history-kit; session={n}; origin={origin}"}
        return headers | ({MARK_HEADER: "realtime-history-kit; replay"} if recording.session.simulated else {})

    async def talk(self, connection: Connection) -> None:
        playing = _Playing(connection.about, self.pace, connection)
        try:
            await playing.run()
        except _Departed as departed:
            sentence = "This is a replay{name}, and your frame {n} departs from it: {where}. Do what was recorded, or record again."
            name = f" of {connection.about.session.file}"
            quoted = sentence.format(name=name, n=playing.n_sent, where=departed.quoted)
            message = quoted if self.quote else sentence.format(name="", n=playing.n_sent, where=departed.place)
            if self.on_departed is not None:
                self.on_departed(quoted)
            error = {
                "type": "invalid_request_error", "code": "replay_departed", "message": message, "param": None,
                "event_id": departed.event_id,
            }  # fmt: skip
            frame = {"type": "error", "event_id": "event_replay_departed", "error": error}
            await connection.send(encode(frame), text=True)
            # As the service closes for a wrong request (wire/README.md, Handshake failures).
            await connection.close(4000, "replay_departed")


class _Departed(Exception):
    """The client does something else than when it was recorded.

    Args:
        place: Where, in words that repeat nothing recorded.
        quoted: Where, with what was recorded there and what came now.
        event_id: Of the client's event.
    """

    def __init__(self, place: str, quoted: str | None = None, event_id: object = None) -> None:
        super().__init__(place)
        self.place, self.quoted = place, quoted or place
        self.event_id = event_id if isinstance(event_id, str) else None


class _Playing:
    """One connection to one recording."""

    def __init__(self, recording: RecordedSession, pace: float | None, connection: Connection) -> None:
        self._pace, self._connection = pace, connection
        self._session, self._steps = recording.session, recording.steps
        # Which of the client's ids stand for which recorded ones.
        self._ids = Ids()
        # Taken from the socket, not yet compared.
        self._ahead: deque[dict[str, Any]] = deque()
        # Frames of the client so far: a departure is told by its number.
        self.n_sent = 0

    async def run(self) -> None:
        before = None
        for n, step in enumerate(self._steps):
            if step.direction == "client":
                # GPT-Live is fed all the time, and never so many frames twice.
                fed = self._session.dialect == "live" or (n > 0 and self._steps[n - 1].data.get("type") in _APPENDS)
                await self._compare(step.data, more_sound=fed)
            else:
                gap_ms = step.at_ms - before.at_ms if before is not None else math.nan
                if self._pace is not None and not math.isnan(gap_ms):
                    await asyncio.sleep(max(0.0, gap_ms / 1000 / self._pace))
                await self._connection.send(encode(_sounding(self._ids.now(step.data))), text=True)
            before = step
        end = self._session.end or {}
        code = end.get("code")
        # Codes that may be sent in a close frame; 1015 may not, and 1000 is a client's own close, so the client goes on to close.
        if isinstance(code, int) and (code == 1001 or 1007 <= code <= 4999):
            await self._connection.close(1011 if code == 1015 else code, str(end.get("reason") or "")[:100])
            return
        event = await self._receive()
        place = f"the recording ends here, and now came {event.get('type')}"
        raise _Departed(place, event_id=event.get("event_id"))

    async def _compare(self, recorded: dict[str, Any], *, more_sound: bool) -> None:
        """Take the client's next frame and hold it against the recorded one."""
        event = await self._receive()
        if recorded.get("type") not in _APPENDS:
            while more_sound and event.get("type") in _APPENDS:  # a microphone is never heard twice for the same time
                event = await self._receive()
        elif event.get("type") not in _APPENDS and more_sound:
            # less was appended than when it was recorded: this event is compared with the next one
            self._ahead.appendleft(event)
            return
        departure = difference(recorded, event, self._ids)
        if departure is not None:
            raise _Departed(*departure, event_id=event.get("event_id"))
        self._ids.learn(recorded, event)

    async def _receive(self) -> dict[str, Any]:
        if self._ahead:
            return self._ahead.popleft()
        frame = await self._connection.recv()
        self.n_sent += 1
        try:
            event = msgspec.json.decode(frame)
        except (msgspec.DecodeError, ValueError, RecursionError):
            event = None
        if not isinstance(event, dict):
            raise _Departed("what came is not a JSON object")
        return event


def _sounding(value: Any) -> Any:
    """Return a frame with silence, as long as the sound was, where the log keeps the sound's digest only.

    On GPT-Live's track silence is a finding, so a frame that was none (its digest tells) becomes a hum.
    """
    if isinstance(value, dict) and value.get("type") == LIVE_AUDIO_DELTA:
        digest = DIGEST.match(str(value.get("delta")))
        if digest and (loudness(digest[0]) or 0) > ReplyPolicy().voiced_floor:
            return value | {"delta": base64.b64encode((_HUM * (int(digest[2]) // 4 + 1))[: int(digest[2])]).decode()}

    def silence(text: str) -> str:
        digest = DIGEST.match(text) if text.startswith("sha256:") else None
        return base64.b64encode(bytes(min(int(digest[2]), MAX_FRAME_BYTES // 2))).decode() if digest else text

    return with_texts(value, silence)


def with_texts(value: Any, change: Callable[[str], str]) -> Any:
    """Return a value of JSON with each text in it, but for the names of fields, as `change` returns it."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: with_texts(field, change) for key, field in value.items()}
    return [with_texts(item, change) for item in value] if isinstance(value, list) else value


# What a client sent, held against what was sent when it was recorded: where they differ, and which ids stand for which.


class Ids:
    """The client's own ids, as recorded and as they are now."""

    def __init__(self) -> None:
        # The recorded id → the one that stands for it now.
        self._now: dict[str, str] = {}

    def learn(self, recorded: Mapping[str, Any], event: Mapping[str, Any]) -> None:
        """Take note of the ids that a client chose in an event."""
        chosen = [
            (
                data.get("event_id"),
                dict_of(dict_of(data, "response"), "metadata").get(TAG),
                dict_of(data, "item").get("id"),
            )
            for data in (recorded, event)
        ]
        pairs = zip(*chosen, strict=True)
        self._now |= {a: b for a, b in pairs if isinstance(a, str) and isinstance(b, str) and a != b}

    def now(self, value: Any) -> Any:
        """Return a recorded value with today's ids."""
        # No id is longer (wire/README.md, Lifetime and limits), and sound need not be looked up.
        return with_texts(value, lambda text: self._now.get(text, text) if len(text) <= 512 else text)


def difference(recorded: Mapping[str, Any], event: Mapping[str, Any], ids: Ids) -> tuple[str, str] | None:
    """Return where a client's event departs from the recorded one; ``None`` if it does not.

    Returns:
        A sentence that repeats nothing recorded, and one that quotes both sides.

    Ids that the client chooses may be others; sound must be the same, but for what is appended to the input buffer as it is
    heard; what was redacted may be anything.
    """
    if recorded.get("type") != event.get("type"):
        place = f"another event was recorded here than {event.get('type')}"
        return place, f"recorded was {_summary(recorded)}, now came {_summary(event)}"
    return _differ(_plain(ids.now(dict(recorded))), _plain(dict(event)), str(recorded.get("type")))


def _plain(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event without what may be different: ids of its own, the kit's tag, sound by its hash."""
    event = {key: value for key, value in without_marks(event).items() if value not in (None, {})}
    if event.get("type") in _APPENDS:
        event.pop("audio", None)
    item = event.get("item")
    if isinstance(item, dict):
        event["item"] = {key: value for key, value in item.items() if key not in ("id", "object")}
    plain: dict[str, Any] = without_audio(event)
    return plain


def without_marks(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return a client's event without its id, and without the tag by which the kit finds its response again."""
    bare = {key: value for key, value in event.items() if key != "event_id"}
    response, metadata = bare.get("response"), dict_of(dict_of(bare, "response"), "metadata")
    if isinstance(response, dict) and TAG in metadata:
        own = {key: value for key, value in metadata.items() if key != TAG}
        bare["response"] = {key: value for key, value in response.items() if key != "metadata"}
        # The user's own metadata stay; an empty field would be more than was sent.
        bare["response"] |= {"metadata": own} if own else {}
        if not bare["response"]:
            del bare["response"]
    return bare


def _differ(then: Any, now: Any, where: str) -> tuple[str, str] | None:
    """Return the first place at which two values differ, without and with the values."""
    if isinstance(then, str) and MARK in then:
        return None
    if isinstance(then, dict) and isinstance(now, dict):
        for key in (*then, *(key for key in now if key not in then)):
            if key not in then:
                place = f"{where}.{key} was not sent then"
                return place, f"{place}; now it is {clipped(now[key])}"
            if key not in now:
                place = f"{where}.{key} is missing"
                return place, f"{place}; then it was {clipped(then[key])}"
            if differing := _differ(then[key], now[key], f"{where}.{key}"):
                return differing
        return None
    if isinstance(then, list) and isinstance(now, list):
        if len(then) != len(now):
            return f"{where} has another number of parts", f"{where} had {len(then)} parts, now it has {len(now)}"
        for n, (a, b) in enumerate(zip(then, now, strict=True)):
            if differing := _differ(a, b, f"{where}[{n}]"):
                return differing
        return None
    if then == now:
        return None
    return f"{where} is not what was recorded", f"{where} was {clipped(then)}, now it is {clipped(now)}"


def _summary(event: Mapping[str, Any]) -> str:
    content = dict_of(event, "item").get("content")
    parts = [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    words = " ".join(str(part.get("text", "")) for part in parts).strip()
    return f"{event.get('type')}{f' ({clipped(words, 60)})' if words else ''}"
