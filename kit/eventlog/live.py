"""GPT-Live sessions of a log: sorted out of its records, and folded by the fold of a live session.

=====================  =================================================================================================
a log has              what is made of it
=====================  =================================================================================================
whole frames           as in a live session: the caller's loud frames end an ask, voiced frames are the reply
shortened frames       loudness as far as it goes; where no frame is voiced, the reply's words decide
digests of frames      zeros have a known digest, so what is no silence is known; a microphone's input is not, its words are. In a
                       ledger each digest says how loud its frame was, so that all is known
no frames of a side    the words of that side
no times               order by the frames (100 ms each); no times in the result, and every outcome is ``censored``
no `session.closed`    seconds and price are unconfirmed; an ask that was not decided is ``censored``
=====================  =================================================================================================
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from .. import show
from ..wire.dialect import CLIENT_EVENTS as REALTIME_CLIENT_EVENTS
from ..wire.dialect import GA_NAME
from ..wire.events import DIGEST, UNKNOWN_PEAK, Event, digest, loudness
from ..wire.live import CLIENT_EVENTS, SERVER_EVENTS, is_live
from ..wire.live_conversation import (
    Append,
    Delegation,
    LiveConversation,
    LiveView,
    Reply,
    ReplyPolicy,
    decoded_audio,
    peak_of,
)
from .events import Direction, LogRecord
from .sessions import MAX_EVENTS, Logged
from .writing import without_audio

LIVE_COLUMNS = (
    "session_id", "turn", "asked_by", "outcome", "by_words", "policy", "caller", "words", "first_word_ms", "first_voice_ms",
    "last_voice_ms", "ended", "overlapped", "model", "n_seeded", "seconds", "seconds_confirmed", "usd", "close_reason",
    "n_appends", "n_delegations", "has_times", "simulated", "file",
)  # fmt: skip
"""Of the row of a reply, or of an ask that got none. Milliseconds count from the end of the ask; ``None``: the log does not say."""

_REALTIME = frozenset(GA_NAME) | frozenset(REALTIME_CLIENT_EVENTS)
_FRAME_MS = 100.0  # of the track, and of what the kit and others feed
_SOUND = {"session.output_audio.delta": "delta", "session.input_audio.append": "audio"}
_WHOLE_BYTES = 160  # of a frame of 20 ms of G.711: the shortest that any client sends; what is below was shortened


class LoggedLiveSession(Logged[LiveConversation], LiveView):
    """One GPT-Live session of a log. Of its events silence that was fed is left out.

    Attributes:
        has_times: Whether the log says when its events were.
    """

    dialect: Literal["live"] = "live"
    columns = LIVE_COLUMNS
    _ANSWERS = "replies"

    def __init__(
        self, file: str, key: str | None = None, *, keep_audio: bool = True, policy: ReplyPolicy | None = None
    ) -> None:
        super().__init__(LiveConversation(policy, keep_audio=keep_audio), file, key, keep_audio)
        self.has_times = True
        self._at_ms = 0.0  # of its latest event; it does not go back
        self._has_idle_input = False  # silence is fed in zeros, so what is no zeros is somebody's voice

    @property
    def appends(self) -> list[Append]:
        """Context that was added after the start."""
        return list(self.conversation.appends)

    @property
    def delegations(self) -> list[Delegation]:
        """Work that was handed to a backend, or to the client."""
        return list(self.conversation.delegations)

    @property
    def answers(self) -> list[Reply]:
        """The replies that were asked for; to say something unasked is no answer."""
        return [reply for reply in self.replies if reply.ask is not None]

    def items_before(self, n: int) -> list[dict[str, Any] | None]:
        """The conversation as it was when the `n`-th reply was asked for, from 1, as `History.from_events` takes it."""
        # A developer's line of GPT-Live is a system item of Realtime (wire/LIVE.md, History).
        roles = {"developer": "system"}
        items: list[dict[str, Any] | None] = [
            {"type": "message", **past, "role": roles.get(str(past.get("role")), past.get("role"))}
            for past in self.conversation.past
        ]
        pairs = zip(self.conversation.caller_of_each(), self.replies[:n], strict=False)
        for k, (caller, reply) in enumerate(pairs, 1):
            items += [_message("user", "input_text", caller)] * bool(caller)
            items += [_message("assistant", "output_text", reply.words)] * (k < n and bool(reply.words))
        return items

    @property
    def has_client(self) -> bool:
        """Whether it has what the client sent."""
        return self.conversation.start_at_ms is not None

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A row per reply (`LIVE_COLUMNS`)."""
        common = {
            "session_id": self.id, "model": self.model, "n_seeded": len(self.conversation.past), "seconds": self.seconds,
            "seconds_confirmed": self.seconds_confirmed, "usd": self.usd, "close_reason": self.conversation.close_reason,
            "n_appends": len(self.conversation.appends), "n_delegations": len(self.conversation.delegations), "has_times": self.has_times,
            "simulated": self.simulated, "file": self.file,
        }  # fmt: skip
        rows = []
        for turn, (reply, caller) in enumerate(zip(self.replies, self.conversation.caller_of_each(), strict=True), 1):
            ask, timed = reply.ask, self.has_times
            row = common | {
                "turn": turn, "asked_by": ask.by if ask else None, "outcome": reply.outcome, "by_words": reply.by_words,
                "policy": reply.policy.name, "caller": caller, "words": reply.words,
                "first_word_ms": reply.first_transcript_ms if timed else None,
                "first_voice_ms": reply.first_audio_ms if timed else None,
                "last_voice_ms": reply.done_ms if timed else None,
                "ended": reply.ended, "overlapped": ask.overlapped if ask else None,
            }  # fmt: skip
            rows.append({name: row[name] for name in LIVE_COLUMNS})
        return rows

    def facts(self) -> list[str]:
        """Lines that say what the rows do not: history, close, seconds, appends, delegations, errors, unknown events."""
        fold = self.conversation
        price = f", ${self.usd:.4f}" if self.usd else ""
        word = "confirmed" if self.seconds_confirmed else "unconfirmed"
        seconds = "seconds not said" if self.seconds is None else f"{self.seconds:g} s {word}{price}"
        times = "" if self.has_times else ", no times: every outcome is censored"
        lines = [
            f"{self.id or self.key or 'without an id'}, {self.model or 'model unknown'}: {len(fold.past)} seeded messages, "
            f"{len(self.replies)} replies, {seconds}, {fold.close_reason or 'close not seen'}{times}"
        ]
        for append in fold.appends:
            delay = "not acknowledged" if append.acked_at_ms is None else "acknowledged"
            if append.acked_at_ms is not None and self.has_times:
                delay += f" after {show.ms(append.acked_at_ms - append.at_ms)}"
            lines.append(f"  {append.lane} append, {delay}: {append.content}")
        for delegation in fold.delegations:
            names = ", ".join(str(tool.get("name")) for tool in delegation.tools)
            details = (f", tools: {names}" if names else "") + (f": {delegation.text}" if delegation.text else "")
            lines.append(f"  delegation to {delegation.target or 'unknown'}, {delegation.status or 'no end'}{details}")
        lines += [f"  error: {error}" for error in fold.errors[:5]]
        if fold.unknown:
            lines.append("  unknown events: " + ", ".join(f"{name} {n}" for name, n in fold.unknown.most_common(5)))
        return lines

    # ------------------------------------------------------------------------------------------------------- being read

    def take(self, record: LogRecord) -> None:
        """Fold one record in."""
        if record.kind not in ("event", "live"):
            self._note(record)
            return
        data = record.data
        kind = data.get("type")
        self.n_events += 1
        if kind == "session.started" and self.id is not None and self.id == _session_id(data):
            return  # attached again
        at_ms = self._clock(record.at)
        # Whose an event is, its type says: also on a sideband, where the server sends the caller's audio.
        direction: Direction = "client" if kind in CLIENT_EVENTS else "server"
        name = _SOUND.get(str(kind))
        pcm, peak = (None, None) if name is None else self._decoded(data.get(name))
        if kind == "session.output_audio.delta" and peak == UNKNOWN_PEAK:
            reply = self.conversation.replies[-1] if self.conversation.replies else None
            if reply is None or reply.ended is not None or not reply.fragments:
                peak = 0  # the track's own start is no silence either; a voice has words before it
        elif kind == "session.input_audio.append":
            self._has_idle_input |= peak == 0
            if peak == UNKNOWN_PEAK and not self._has_idle_input:
                data, peak = data | {"audio": ""}, None  # a microphone's noise has no digest of silence
        self.conversation.feed(data, at_ms, direction, pcm=pcm, peak=peak)
        is_fed_silence = direction == "client" and peak == 0
        if self._keep_audio and not is_fed_silence and len(self._events) < MAX_EVENTS:
            listed = data | {name: digest(pcm, peak)} if name and pcm else without_audio(data)
            size = DIGEST.match(str(listed.get(name or "")))
            n_bytes = int(size[2]) if size else None
            self._events.append(Event(str(kind), listed, self.last_ms, direction, n_audio_bytes=n_bytes))

    def _decoded(self, audio: object) -> tuple[bytes, int | None]:
        """The samples of a frame, as far as they are there, and the largest, as far as a digest or they tell it."""
        peak = loudness(audio)
        if peak is not None:
            return b"", peak
        pcm = decoded_audio(audio)
        self.conversation.trusts_words |= len(pcm) < _WHOLE_BYTES
        return pcm, peak_of(pcm, self.conversation.sound_format()) if pcm else None

    def _clock(self, at: Any) -> float:
        """Milliseconds since the first event; without times, by the frames of whichever side has more of them."""
        if self.n_events == 1:
            self.has_times = at is not None
        if not self.has_times:
            return max(self.conversation.n_input_frames, self.conversation.n_output_frames) * _FRAME_MS
        at_ms = self._since_first(at)
        self._at_ms = self._at_ms if math.isnan(at_ms) else max(self._at_ms, at_ms)
        return self._at_ms

    @property
    def last_ms(self) -> float:
        """When its latest event was, since its first; NaN without times."""
        return self._at_ms if self.has_times else math.nan

    def finish(self, simulated: bool | None = None) -> None:
        """The log has no more of it. `simulated` is what is known otherwise of who answered."""
        fold = self.conversation
        if fold.simulated is None:
            fold.simulated = simulated
        is_cut_off = self.end is not None and self.end.get("code") not in (None, 1000, 1001)
        fold.end(self._at_ms if self.has_times else self._clock(None), lost=is_cut_off)
        for reply in fold.replies:
            reply.simulated = fold.simulated
            if not self.has_times:
                reply.outcome = "censored"  # a deadline cannot be checked


class LiveSorter:
    """Which records of a log are of GPT-Live, and of which session.

    Sessions are told apart by what the log says beside the events, else by `session.start` and `session.started`. Some types
    are in both protocols (`session.updated`, `response.create`, `error`): without a key they belong to whatever the log
    spoke of last.
    """

    def __init__(self, file: str, *, keep_audio: bool = True, policy: ReplyPolicy | None = None) -> None:
        self.sessions: list[LoggedLiveSession] = []
        self._file, self._keep_audio, self._policy = file, keep_audio, policy
        self._by_key: dict[str, LoggedLiveSession] = {}
        self._latest: LoggedLiveSession | None = None
        self._spoke_last = False  # a GPT-Live event was the last that only one protocol has

    def take(self, record: LogRecord) -> LoggedLiveSession | None:
        """Fold a record into its session, and return that; ``None`` if it is none of GPT-Live's."""
        kind = record.data.get("type")
        if record.kind == "header":
            if record.data.get("dialect") != "live":
                return None
        elif record.kind not in ("event", "live"):
            if record.key is None or record.key not in self._by_key:
                return None
        elif record.key is not None and record.key in self._by_key:
            pass
        elif record.kind == "live" or is_live(kind) or str(_session_id(record.data) or "").startswith("live_"):
            self._spoke_last = True
        elif record.key is not None or not self._spoke_last:
            return None
        elif kind not in CLIENT_EVENTS and kind not in SERVER_EVENTS and kind in _REALTIME:
            self._spoke_last = False
            return None
        session = self._by_key.get(record.key) if record.key is not None else self._latest
        if session is not None and record.kind in ("event", "live"):
            fold = session.conversation
            # Where the log tells sessions apart, a second start is one that the server refuses.
            is_second = fold.start_at_ms is not None or fold.started_at_ms is not None
            begins = kind == "session.start" and record.key is None and is_second
            is_other = fold.started_at_ms is not None and _session_id(record.data) != session.id
            if begins or (kind == "session.started" and is_other):
                session = None
        if session is None:
            session = LoggedLiveSession(self._file, record.key, keep_audio=self._keep_audio, policy=self._policy)
            self.sessions.append(session)
        if record.key is not None:
            self._by_key[record.key] = session
        else:
            self._latest = session
        session.take(record)
        return session

    def finish(self, simulated: bool | None = None) -> list[LoggedLiveSession]:
        """End every session; returns those of which any event was read."""
        for session in self.sessions:
            session.finish(simulated)
        return [session for session in self.sessions if session.n_events]


def outcomes(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Say how often each outcome came, a line for each policy: results of different policies are not pooled."""
    counts: dict[str, dict[str, int]] = {}
    for row in rows:
        if row["asked_by"] is None:
            continue  # it spoke unasked
        by_outcome = counts.setdefault(row["policy"], {})
        by_outcome[row["outcome"]] = by_outcome.get(row["outcome"], 0) + 1
    for policy, by_outcome in counts.items():
        kinds = ", ".join(f"{n:,} {outcome}" for outcome, n in sorted(by_outcome.items()))
        yield f"GPT-Live: of {sum(by_outcome.values()):,} asks {kinds} ({policy})"


def _message(role: str, kind: str, text: str) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}


def _session_id(data: Mapping[str, Any]) -> str | None:
    session = data.get("session")
    name = session.get("id") if isinstance(session, dict) else None
    return name if isinstance(name, str) else None
