"""The fold for GPT-Live: from the events of a session to replies, each with its outcome.

GPT-Live announces no turn, no reply and no end of one. What a reader wants to know (was the question answered aloud, and
when?) is therefore *inferred*, by a `ReplyPolicy` that has a name and is stored with the result:

===================  =====================================================================================================
ask                  the caller's sound falls quiet (its last loud frame), or a commentary append is sent
reply opens          the first voiced output frame or the first output word, whichever comes first
reply ends           no voice and no word for `quiet_ms`; or the next ask is answered; or the session ends
``spoken``           the first voiced frame comes within `deadline_ms` of the ask
``late``             it comes after the deadline, and before the next ask
``silent``           the deadline passes, and nothing voiced comes before the next ask or the end of the session
``censored``         the session ended, or the log stops, before the deadline; or the model was already speaking
``failed``           the connection was lost, or an error ended the session, before the deadline
===================  =====================================================================================================

Two clocks are kept apart. Instants in ``_at_ms`` are arrivals on the caller's clock; ``start_ms`` and ``end_ms`` of words are
the session's own timeline, which advances with the input audio only. A frame of output is no evidence of speech: the
track always runs, so its samples are looked at.

No clock and no I/O in here: each event comes with the instant of its arrival.
"""

from __future__ import annotations

import functools
import math
import re
from bisect import bisect_right
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Literal

import pybase64

from .. import show
from ..errors import ServerError
from .conversation import SessionView
from .events import MAX_ERRORS, Event, dict_of, digest, error_of, text_of
from .live import CLIENT_EVENTS, FORMATS, SERVER_EVENTS, USD_PER_SECOND

if TYPE_CHECKING:
    from ..clip import Clip

Outcome = Literal["spoken", "late", "silent", "censored", "failed"]

_MAX_EVENT_IDS = 4_096  # remembered, so that a replayed event is known


@dataclass(frozen=True, slots=True)
class ReplyPolicy:
    """How replies and outcomes are inferred. Results of different policies are not pooled."""

    voiced_floor: int = 64
    """A frame is voiced if a sample is above it (of 32,767). The track's own dither peaks at 45 (recordings of 2026-09)."""
    caller_floor: int = 500
    """A frame of the caller is loud above it: room noise in the recordings peaks at 206, speech above 700."""
    quiet_ms: float = 2_000
    """Without voice and words for so long, a reply is over (OpenAI's own TranscriptGrouper, pydantic-ai)."""
    caller_gap_ms: float = 1_200  # a pause of the caller that does not end the ask, while the model says nothing
    deadline_ms: float = 5_000
    """For the first voice: the yardstick of OpenAI's cookbook (duplex_voice_agent_evaluation)."""
    window_ms: float = 10_000  # how long a session is observed after an ask before it is called silent for good
    settling_ms: float = 500
    """After the first output frame, a voiced frame without words is the track's start, not speech."""

    @property
    def name(self) -> str:
        """A name that says all of it, for ledgers and tables."""
        return (
            f"peak>{self.voiced_floor} quiet={self.quiet_ms:g} gap={self.caller_gap_ms:g}@{self.caller_floor} "
            f"deadline={self.deadline_ms:g} window={self.window_ms:g}"
        )

    @classmethod
    def named(cls, name: str) -> ReplyPolicy | None:
        """The policy of that name, as a ledger keeps it; ``None`` if it is none."""
        numbers = re.fullmatch(r"peak>(.+) quiet=(.+) gap=(.+)@(.+) deadline=(.+) window=(.+)", name)
        try:
            floor, quiet, gap, caller_floor, deadline, window = map(float, numbers.groups() if numbers else ())
        except ValueError:
            return None
        return cls(int(floor), int(caller_floor), quiet, gap, deadline, window)


@dataclass(slots=True)
class Words:
    """A fragment of a transcript: the session's timeline, and its arrival."""

    text: str
    at_ms: float
    start_ms: float | None = None
    end_ms: float | None = None


@dataclass(slots=True)
class Ask:
    """What a reply is owed to. `at_ms` is its end: all times of a reply count from it."""

    at_ms: float
    by: str
    """``clip`` (the caller's sound), ``words`` (the caller's transcript, where a log has no sound) or ``commentary``."""
    began_at_ms: float | None = None
    overlapped: bool = False  # the model was speaking when it ended; the official metric leaves such an opportunity out


@dataclass(slots=True)
class Append:
    """Context that was added after the start."""

    lane: str
    content: str
    at_ms: float
    event_id: str | None = None
    acked_at_ms: float | None = None
    start_ms: float | None = None  # where on the session's timeline it was taken in


@dataclass(slots=True)
class Delegation:
    """A piece of work that the voice handed to a backend, or to the client."""

    id: str | None
    target: str | None
    at_ms: float
    offset_ms: float | None = None
    tools: list[dict[str, Any]] = field(default_factory=list)
    """The finished function calls: ``name``, ``call_id``, ``arguments``."""
    text: str = ""  # the backend's own answer, before the voice says it in its words
    usage: list[dict[str, Any]] = field(default_factory=list)
    n_open: int = 0  # responses of the backend that began and did not end
    status: str | None = None


@dataclass(slots=True, eq=False)
class Reply:
    """What came after one ask, or unasked: words, sound, times, and the outcome by a named policy.

    It has the names of a Realtime `Response` where it can (`modality`, `words`, `audio`, `first_audio_ms`, …), so that the
    same card, tables and plots show it. Durations count from the end of the ask and are ``None`` where there was none.
    """

    id: str
    ask: Ask | None
    policy: ReplyPolicy
    simulated: bool | None = None
    output_format: str = "pcm16"
    fragments: list[Words] = field(default_factory=list)
    chunks: list[bytes] = field(default_factory=list)
    """Output frames from the first voiced one on, quiet ones between voiced ones included."""
    n_audio_bytes: int = 0
    n_voiced: int = 0
    first_word_at_ms: float | None = None
    first_voice_at_ms: float | None = None
    last_voice_at_ms: float | None = None
    ended: Literal["quiet", "next ask", "session ended"] | None = None
    """How its end is known: always inferred. ``None`` while it goes on."""
    outcome: Outcome | None = None  # ``None`` while it is not decided
    by_words: bool = False
    """Its outcome was decided by its words alone: the log's frames are shortened, or have no sound."""
    played_ms: float | None = None  # where a listener stopped hearing it; ``None`` if it was not interrupted
    _trailing: list[bytes] = field(default_factory=list)
    """Quiet frames since the last voiced one: a pause if voice comes again, else not part of the reply."""

    status = property(lambda self: "in_progress" if self.outcome is None or self.ended is None else "completed")
    started_at_ms = property(lambda self: self.ask.at_ms if self.ask else self.first_voice_at_ms)
    first_audio_at_ms = property(lambda self: self.first_voice_at_ms)
    done_at_ms = property(lambda self: self.last_voice_at_ms if self.ended else None)
    lost_voice = property(lambda self: self.outcome in ("silent", "late"))
    # What a Realtime response also says, and a reply of GPT-Live never does.
    calls = property(lambda self: [])
    asked = property(lambda self: ("audio",))
    reason = error = usage = voice = started_by = created_at_ms = first_text_at_ms = property(lambda self: None)
    first_modality = property(lambda self: self.modality)

    @property
    def modality(self) -> str | None:  # a Literal would break completion, see `records.Modality`
        """``audio`` if a voice was heard, ``empty`` if it is decided that none was. Text cannot occur on GPT-Live."""
        if self.first_voice_at_ms is not None or self.by_words:
            return "audio"
        return "empty" if self.outcome in ("silent", "failed") else None

    @property
    def words(self) -> str:
        """The words as they came, joined; a space where a sentence ends and the next begins without one."""
        text = ""
        for fragment in self.fragments:
            if text and text[-1] in ".!?" and fragment.text[:1].isupper():
                text += " "
            text += fragment.text
        return text.strip()

    transcript = words
    text = property(lambda self: "")

    def _since_ask(self, at_ms: float | None) -> float | None:
        return None if at_ms is None or self.ask is None else at_ms - self.ask.at_ms

    # From the end of the ask to the first voiced frame; to the first word, 0.2 to 0.4 s before its sound; to the last voiced frame.
    first_audio_ms = property(lambda self: self._since_ask(self.first_voice_at_ms))
    first_transcript_ms = property(lambda self: self._since_ask(self.first_word_at_ms))
    done_ms = property(lambda self: self._since_ask(self.done_at_ms))
    first_text_ms = property(lambda self: None)

    def frames(self, n_taken: int) -> list[tuple[bytes, bool]]:
        """Return its frames after the first `n_taken`, each with whether it is in the reply for good: a quiet one at its end is not
        yet. For a player, which cannot wait for the end."""
        n = len(self.chunks)
        return [(frame, k < n) for k, frame in enumerate((*self.chunks, *self._trailing)) if k >= n_taken]

    @property
    def sound(self) -> bytes:
        """The audio as it came, in `output_format`, from the first voiced frame to the last."""
        return b"".join(self.chunks)

    @property
    def audio(self) -> Clip | None:
        """The reply as a `Clip` at 24 kHz; ``None`` if no voice came, or its sound was not kept (bytes: `sound`)."""
        data = self.sound
        if self.output_format.startswith("pcm"):
            data = data[: len(data) // 2 * 2]
        if not data:
            return None
        from ..clip import Clip  # with numpy, which a log of events has no use for

        source = f"reply {self.id}"
        return Clip.from_pcm(data, source=source, text=self.words, audio_format=self.output_format)

    def __repr__(self) -> str:
        when = f" after {self.first_audio_ms / 1000:.2f} s" if self.first_audio_ms is not None else ""
        mark = show.origin_word(self.simulated)
        return f"<Reply {self.outcome or 'open'}{when} {show.one_line(self.words)!r}{f', {mark}' if mark else ''}>"

    def _repr_html_(self) -> str:
        clip = self.audio if self.ended else None
        durations = {
            "first voice": self.first_audio_ms,
            "first word": self.first_transcript_ms,
            "last voice": self.done_ms,
        }
        facts: list[tuple[str, object]] = [(name, show.ms(v)) for name, v in durations.items() if v is not None]
        facts += [("audio", f"{clip.duration_ms / 1000:.2f} s")] if clip else []
        facts.append(("its end", f"{self.ended or 'not yet'}, inferred"))
        # The finding comes first, as on a Realtime card; the end of a reply is nothing that anybody said.
        arrived = f"<b>{show.esc(self.outcome or 'not decided yet')}</b> {show.badge(self.modality)}"
        return show.card(
            f"asked {show.outline('audio')} → {arrived} {show.origin(self.simulated)}",
            f'<span style="font-size:1.1em">{show.esc(self.words)}</span>' if self.words else "",
            show.player(clip.to_bytes()) if clip else "" if self.n_audio_bytes else show.no_sound(),
            f'<span title="{show.esc(self.policy.name)}">{show.facts(facts)}</span>',
            edge=show.badge_style(self.modality)[2],
        )


class LiveConversation:
    """The state of one GPT-Live session, as its events tell it.

    Args:
        policy: How replies are inferred.
        keep_audio: ``False``: a reply's sound is counted and thrown away.
    """

    def __init__(
        self, policy: ReplyPolicy | None = None, *, simulated: bool | None = None, keep_audio: bool = True
    ) -> None:
        self.policy = policy or ReplyPolicy()
        self.keep_audio = keep_audio
        # The session object of `session.started`, `updated` or `closed`: never merged, the server always sends all of it.
        self.session: dict[str, Any] = {}
        # The history as it was given, from `session.start`; a fork's is not on the wire.
        self.past: list[dict[str, Any]] = []
        # When the start was sent, and when the server said that it had: seconds are billed from then on.
        self.start_at_ms: float | None = None
        self.started_at_ms: float | None = None
        self.closed_at_ms: float | None = None
        # `close_requested`, `expired`, `content`, `remote_hangup` or `connection_lost`; ``None`` without `session.closed`.
        self.close_reason: str | None = None
        # Whole seconds so far, cumulative. Confirmed only by `session.closed`.
        self.seconds: float | None = None
        self.seconds_confirmed = False
        self.usage_ratio: float | None = None  # of the context window of 128,000 tokens
        self.replies: list[Reply] = []
        self.asks: list[Ask] = []
        self.appends: list[Append] = []
        # Those whose acknowledgement has not come, by lane and event id: logs may have a million of them.
        self._unconfirmed: dict[str, dict[str, Append]] = {}
        self.delegations: list[Delegation] = []
        self._delegation_by_id: dict[str | None, Delegation] = {}
        # Backend responses that began and did not end, in all delegations: while there are any, no reply is over.
        self._n_working = 0
        self.caller: list[Words] = []
        # Each tied to the client event that it names; its code may be ``None``.
        self.errors: list[ServerError] = []
        # Types that are in no table of GPT-Live, with how often each came.
        self.unknown: Counter[str] = Counter()
        self.n_output_frames = 0  # the track always runs: most of its frames are silence
        self.n_input_frames = 0
        # True where the session object carries the stand-in's mark; else what the caller knows.
        self.simulated = simulated
        # Of the first output frame: the track's own start is not silent (`ReplyPolicy.settling_ms`).
        self._output_began_at_ms: float | None = None
        self._now_ms = 0.0  # the latest instant that any event had
        # Where the caller is: the first and the last loud frame of the ask that is being spoken.
        self._loud_from_ms: float | None = None
        self._loud_until_ms: float | None = None
        # Those of the last events: an attached session replays its last seconds under their old ids.
        self._event_ids: OrderedDict[str, None] = OrderedDict()
        # The client that is asking says itself when its clip ended; then loudness decides nothing.
        self.asks_are_told = False
        # The caller's sound is in this log; else its words are the only trace of an ask.
        self._saw_input = False
        self._ended = False
        # This is a sideband's view (`connect(attach=…)`): the session's start may be unseen, and sound is PCM at 24 kHz.
        self.attached = False
        # The frames of a log may be shortened, or hold no sound: then words are evidence of a voice.
        self.trusts_words = False

    # ------------------------------------------------------------------------------------------------------- events

    def receive(self, event: Event) -> None:
        """Take a server's event; its audio is taken out of it, for it is kept once, in its reply."""
        pcm, event.pcm = event.pcm, None
        name = "delta"
        if event.type == "session.input_audio.append":  # the caller's, mirrored on a sideband
            name, pcm = "audio", decoded_audio(event.data.get("audio"))
            event.n_audio_bytes = len(pcm)
        peak = peak_of(pcm, self.sound_format()) if pcm else None
        self.feed(event.data, event.at_ms, "server", pcm=pcm, peak=peak)
        if pcm:
            # The track runs always, so that the list of events says of each frame how loud it was.
            event.data[name] = digest(pcm, peak) if peak else _quiet(pcm)

    def sent(self, event: Mapping[str, Any], at_ms: float) -> None:
        """Take note of a client's event."""
        self.feed(event, at_ms, "client")

    def feed(
        self,
        event: Mapping[str, Any],
        at_ms: float,
        direction: str | None = None,
        *,
        pcm: bytes | None = None,
        peak: int | None = None,
    ) -> None:
        """Take one event, as it went over the wire.

        Args:
            at_ms: Its arrival, or its sending, on the caller's clock.
            direction: ``client`` or ``server``; where a log does not say, the type tells it.
            pcm: The bytes of an output frame, where they were decoded already.
            peak: The largest sample of a frame, where a log says something of it and keeps no sound.
        """
        kind = event.get("type")
        if not isinstance(kind, str):
            self.unknown["(no type)"] += 1
            return
        event_id = event.get("event_id")
        if isinstance(event_id, str) and direction != "client":
            if event_id in self._event_ids:
                return
            self._event_ids[event_id] = None
            if len(self._event_ids) > _MAX_EVENT_IDS:
                self._event_ids.popitem(last=False)
        self._now_ms = max(self._now_ms, at_ms)
        self.settle(at_ms)
        if kind == "session.output_audio.delta":
            self._output(decoded_audio(event.get("delta")) if pcm is None else pcm, at_ms, peak)
        elif kind == "session.input_audio.append":
            self._input(event, at_ms, peak)
        elif kind == "session.output_transcript.delta":
            self._output_words(event, at_ms)
        elif kind == "session.input_transcript.delta":
            self._input_words(event, at_ms)
        elif kind == "response.event":
            self._backend(event, at_ms)
        elif kind == "session.start":
            self.start_at_ms = at_ms
            self.past = _messages(dict_of(event, "session"))
        elif kind in ("session.started", "session.updated"):
            self.session = dict_of(event, "session")
            if kind == "session.started":
                self.started_at_ms = at_ms
                self.past = self.past or _messages(self.session)
        elif kind == "session.usage.updated":
            self._usage(event)
        elif kind == "session.closed":
            self.session = dict_of(event, "session") or self.session
            # Not by what was said before: a close that says nothing of its seconds confirms none.
            self.seconds_confirmed = self._usage(event)
            self.close_reason = text_of(event, "reason")
            self.end(at_ms)
        elif kind == "session.delegation.created":
            fields = dict_of(event, "delegation")
            delegation = self._delegation_of(text_of(fields, "id"), at_ms)
            delegation.target = text_of(dict_of(fields, "target"), "type") or text_of(fields, "target")
            delegation.offset_ms = _number(event, "offset_ms")
        elif kind == "error":
            fields = dict_of(event, "error")
            event_id = text_of(fields, "client_event_id") or text_of(event, "client_event_id")
            self.errors.append(error_of(fields, event_id))
            if len(self.errors) >= 2 * MAX_ERRORS:
                del self.errors[:MAX_ERRORS]
        elif kind.startswith("session.") and kind.endswith(".append"):
            self._appended(kind.split(".")[1], event, at_ms)
        elif kind.startswith("session.") and kind.endswith(".appended"):
            self._acknowledged(kind.split(".")[1], event, at_ms)
        elif kind not in CLIENT_EVENTS and kind not in SERVER_EVENTS:
            self.unknown[kind] += 1
        if dict_of(event, "session").get("simulated") is not None:
            self.simulated = bool(dict_of(event, "session")["simulated"])

    def asked(self, at_ms: float, by: str, *, began_at_ms: float | None = None) -> Ask:
        """Note an ask whose end is known; `at_ms` is the sending of its last loud sample, or of the order."""
        reply = self._open_reply()
        ask = Ask(at_ms, by, began_at_ms)
        if reply is not None:
            # Voice within half a pause of the caller's end: the model had not stopped speaking.
            just_now_ms = at_ms - self.policy.caller_gap_ms / 2
            ask.overlapped = reply.last_voice_at_ms is not None and reply.last_voice_at_ms > just_now_ms
            self._close_reply(reply, "next ask")
        self.asks.append(ask)
        owed = self._new_reply(ask)
        if ask.overlapped:
            owed.outcome = "censored"
        return ask

    def settle(self, now_ms: float) -> None:
        """Decide what time alone decides: an ask that fell quiet, a reply that ended, a deadline that passed."""
        policy = self.policy
        if self._loud_until_ms is not None and now_ms - self._loud_until_ms >= policy.caller_gap_ms:
            self._caller_fell_quiet()
        reply = self._open_reply()
        if reply is None:
            return
        last = max(reply.last_voice_at_ms or 0.0, reply.fragments[-1].at_ms if reply.fragments else 0.0)
        if last and now_ms - last >= policy.quiet_ms and not self._n_working:
            self._close_reply(reply, "quiet")
        elif not last and reply.ask and reply.outcome is None and now_ms - reply.ask.at_ms > policy.window_ms:
            reply.outcome = "silent"
            reply.ended = "quiet"

    responses = property(lambda self: self.replies)  # by the name that Realtime's have

    def end(self, at_ms: float, *, lost: bool | None = False) -> None:
        """The session, or the log, is over. `lost`: the connection broke, which is no silence of the model's; ``None``: unless
        `session.closed` came."""
        if self._ended:
            return
        lost = self.close_reason is None if lost is None else lost
        if self._loud_until_ms is not None:
            self._caller_fell_quiet()
        self._ended = True
        self.closed_at_ms = at_ms
        self._now_ms = max(self._now_ms, at_ms)
        reply = self._open_reply()
        if reply is not None:
            self._close_reply(reply, "session ended", lost=lost)

    # ------------------------------------------------------------------------------------------------------ replies

    def _open_reply(self) -> Reply | None:
        return self.replies[-1] if self.replies and self.replies[-1].ended is None else None

    def _new_reply(self, ask: Ask | None) -> Reply:
        reply = Reply(f"reply_{len(self.replies) + 1}", ask, self.policy, self.simulated, self.sound_format())
        self.replies.append(reply)
        return reply

    def _reply_for(self, at_ms: float) -> Reply:
        """The reply that voice or words belong to; without an ask, one of its own."""
        reply, until = self._open_reply(), self._loud_until_ms
        if until is not None and at_ms > until and (reply is None or (reply.last_voice_at_ms or 0.0) < until):
            # The model answers before the caller's pause was long enough to count: then it was the end. One that goes on while
            # the caller talks, and after it, goes on with its reply.
            self._caller_fell_quiet()
        return self._open_reply() or self._new_reply(None)

    def _close_reply(
        self, reply: Reply, how: Literal["quiet", "next ask", "session ended"], *, lost: bool = False
    ) -> None:
        reply.ended = how
        reply._trailing.clear()
        if reply.outcome is not None:
            return
        first_ms = reply.first_audio_ms
        if self.trusts_words and not reply.n_voiced and reply.fragments:
            reply.by_words, first_ms = True, reply.first_transcript_ms
        was_refused = self.started_at_ms is None and bool(self.errors)
        if reply.ask is None:
            reply.outcome = "spoken" if reply.n_voiced or reply.by_words else "censored"
        elif first_ms is not None:
            reply.outcome = "spoken" if first_ms <= self.policy.deadline_ms else "late"
        elif self._now_ms - reply.ask.at_ms >= self.policy.deadline_ms:
            reply.outcome = "silent"
        else:
            reply.outcome = "failed" if lost or was_refused else "censored"

    # ------------------------------------------------------------------------------------------------------- sound

    def _output(self, data: bytes, at_ms: float, peak: int | None) -> None:
        self.n_output_frames += 1
        if self._output_began_at_ms is None:
            self._output_began_at_ms = at_ms
        reply = self._open_reply()
        peak = peak_of(data, self.sound_format()) if peak is None else peak
        voiced = peak > self.policy.voiced_floor
        if voiced and (reply is None or not reply.fragments):
            # Without words, the first half second is the track's own start.
            voiced = at_ms - self._output_began_at_ms >= self.policy.settling_ms
        if voiced:
            reply = self._reply_for(at_ms)
            if reply.first_voice_at_ms is None:
                reply.first_voice_at_ms = at_ms
            reply.last_voice_at_ms = at_ms
            reply.n_voiced += 1
            reply.n_audio_bytes += len(data) + sum(map(len, reply._trailing))
            if self.keep_audio:
                reply.chunks += [*reply._trailing, data]
            reply._trailing.clear()
        elif reply is not None and reply.n_voiced:
            reply._trailing.append(data)

    def _input(self, event: Mapping[str, Any], at_ms: float, peak: int | None) -> None:
        self.n_input_frames += 1
        if self.asks_are_told:
            return
        if peak is None:
            data = decoded_audio(event.get("audio"))
            if not data:
                return  # a log without the caller's sound: its words are what is left of it
            peak = peak_of(data, self.sound_format())
        self._saw_input = True
        if peak > self.policy.caller_floor:
            if self._loud_from_ms is None:
                self._loud_from_ms = at_ms
            self._loud_until_ms = at_ms

    def _caller_fell_quiet(self) -> None:
        began_at_ms, until = self._loud_from_ms, self._loud_until_ms
        self._loud_from_ms = self._loud_until_ms = None
        if until is not None:
            self.asked(until, "clip" if self._saw_input else "words", began_at_ms=began_at_ms)

    # ------------------------------------------------------------------------------------------------------- words

    def _output_words(self, event: Mapping[str, Any], at_ms: float) -> None:
        text = text_of(event, "delta")
        if not text:
            return
        reply = self._reply_for(at_ms)
        if reply.first_word_at_ms is None:
            reply.first_word_at_ms = at_ms
        reply.fragments.append(Words(text, at_ms, _number(event, "start_ms"), _number(event, "end_ms")))

    def _input_words(self, event: Mapping[str, Any], at_ms: float) -> None:
        text = text_of(event, "delta")
        if not text:
            return
        self.caller.append(Words(text, at_ms, _number(event, "start_ms"), _number(event, "end_ms")))
        # Without sound of the caller in this log, its words are the only trace of the ask; they come 0.2 to 0.35 s late.
        if not self._saw_input and not self.asks_are_told:
            self._loud_from_ms = at_ms if self._loud_from_ms is None else self._loud_from_ms
            self._loud_until_ms = at_ms

    def _appended(self, lane: str, event: Mapping[str, Any], at_ms: float) -> None:
        """Take context that the client adds (``session.<lane>.append``)."""
        append = Append(lane, text_of(event, "content") or "", at_ms, text_of(event, "event_id"))
        self.appends.append(append)
        # One without an id is acknowledged in its turn, so any key of its own will do.
        self._unconfirmed.setdefault(lane, {})[append.event_id or f"the {len(self.appends)}th"] = append
        # One that answers a delegation belongs to the ask that was handed on: it opens none of its own.
        if lane == "commentary" and event.get("delegation_id") is None:
            self.asked(at_ms, "commentary")

    def _acknowledged(self, lane: str, event: Mapping[str, Any], at_ms: float) -> None:
        """Take the server's word that context was added (``session.<lane>.appended``)."""
        waiting = self._unconfirmed.get(lane, {})
        append = waiting.pop(text_of(event, "client_event_id") or next(iter(waiting), ""), None)
        if append is not None:
            append.acked_at_ms, append.start_ms = at_ms, _number(event, "start_ms")

    # ----------------------------------------------------------------------------------------------------- backend

    def _delegation_of(self, delegation_id: str | None, at_ms: float) -> Delegation:
        """Promptfoo has seen a `response.event` before `session.delegation.created` (wire/LIVE.md, "Events")."""
        delegation = self._delegation_by_id.get(delegation_id)
        if delegation is None:
            delegation = self._delegation_by_id[delegation_id] = Delegation(delegation_id, "responses", at_ms)
            self.delegations.append(delegation)
        return delegation

    def _backend(self, event: Mapping[str, Any], at_ms: float) -> None:
        delegation = self._delegation_of(text_of(event, "delegation_id"), at_ms)
        inner = dict_of(event, "event")
        kind = text_of(inner, "type") or ""
        if kind == "response.created":
            delegation.n_open += 1
            self._n_working += 1
        elif kind in ("response.completed", "response.failed", "response.incomplete"):
            if delegation.n_open:
                delegation.n_open -= 1
                self._n_working -= 1
            delegation.status = kind.partition(".")[2]
            usage = dict_of(inner, "response").get("usage")
            if isinstance(usage, dict):
                delegation.usage.append(usage)
        elif kind == "response.output_text.done":
            delegation.text = text_of(inner, "text") or delegation.text
        elif kind == "response.output_item.done":
            # The one event that has name, call_id and the whole arguments together.
            item = dict_of(inner, "item")
            if item.get("type") == "function_call":
                delegation.tools.append({key: item.get(key) for key in ("name", "call_id", "arguments")})

    def _usage(self, event: Mapping[str, Any]) -> bool:
        """Take the seconds that an event tells; returns whether it tells any."""
        seconds = _number(dict_of(event, "usage"), "seconds")
        tells = seconds is not None and seconds >= 0
        if seconds is not None and tells:
            self.seconds = max(seconds, self.seconds or 0.0)  # cumulative: a smaller one is an older one
        ratio = _number(dict_of(event, "context_window"), "usage_ratio")
        self.usage_ratio = ratio if ratio is not None else self.usage_ratio
        return tells

    def sound_format(self) -> str:
        """The format of the sound, both ways: the session's; on a sideband always PCM at 24 kHz."""
        if self.attached:
            return "pcm16"
        spelled_format = dict_of(dict_of(self.session, "audio"), "format")
        pair = (spelled_format.get("type"), spelled_format.get("rate"))
        return next((name for name, value in FORMATS.items() if value == pair), "pcm16")

    def caller_of_each(self) -> list[str]:
        """What the caller said before each reply: the words that came since its ask began, until the next ask began."""
        starts = [
            (reply.ask.at_ms if reply.ask.began_at_ms is None else reply.ask.began_at_ms) if reply.ask else math.inf
            for reply in self.replies
        ]
        # By time, and up to each the latest reply that had begun; NaN is a time that a log does not tell, and in no order.
        by_time = sorted((start, n) for n, start in enumerate(starts) if not math.isnan(start))
        latest = list(accumulate((n for _, n in by_time), max))
        pieces: list[list[str]] = [[] for _ in starts]
        for words in self.caller if pieces else ():
            at = 0 if math.isnan(words.at_ms) else bisect_right(by_time, (words.at_ms, math.inf))
            pieces[latest[at - 1] if at else 0].append(words.text)
        return [" ".join("".join(texts).split()) for texts in pieces]

    @property
    def caller_words(self) -> str:
        """What the caller said, as the session transcribed it."""
        return " ".join("".join(fragment.text for fragment in self.caller).split())

    def backend_usage(self) -> Iterator[dict[str, Any]]:
        """Token usage of the backend's responses, which is billed beside the seconds."""
        return (usage for delegation in self.delegations for usage in delegation.usage)


class LiveView(SessionView[LiveConversation]):
    """The face of GPT-Live. `kit.live.LiveSession` and a log's session inherit it."""

    protocol: Literal["realtime", "live"] = "live"

    @property
    def conversation(self) -> LiveConversation:
        """The fold: asks, replies, appends, delegations, seconds."""
        return self._conversation

    @property
    def replies(self) -> list[Reply]:
        """Every reply so far, silent ones included."""
        return list(self._conversation.replies)

    responses = replies  # what a reader of either protocol may ask for

    @property
    def asks(self) -> list[Ask]:
        """What the caller asked, as this side knows it."""
        return list(self._conversation.asks)

    @property
    def n_seeded(self) -> int | None:
        """How many messages of the assistant it was given; ``None`` where its start is not known."""
        fold = self._conversation
        has_started = fold.start_at_ms is not None or fold.started_at_ms is not None
        return sum(message.get("role") == "assistant" for message in fold.past) if has_started else None

    @property
    def seconds(self) -> float | None:
        """Seconds billed, as the server said last."""
        return self._conversation.seconds

    @property
    def seconds_confirmed(self) -> bool:
        """Whether `session.closed` said so."""
        return self._conversation.seconds_confirmed

    @property
    def usd(self) -> float | None:
        """What the seconds cost; the backend's tokens are billed beside them. The stand-in costs nothing."""
        if self.simulated:
            return 0.0
        return None if self.seconds is None else self.seconds * USD_PER_SECOND


# ------------------------------------------------------------------------------------------- fields that may be anything


def _messages(session: Mapping[str, Any]) -> list[dict[str, Any]]:
    messages = session.get("input")
    return [message for message in messages if isinstance(message, dict)] if isinstance(messages, list) else []


def _number(event: Mapping[str, Any], name: str) -> float | None:
    value = event.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1e12 < value < 1e12:
        return None
    return float(value)


def decoded_audio(data: object) -> bytes:
    """Decode base64; empty for anything else, and for what a log cut or elided."""
    if isinstance(data, bytes):
        return data
    try:
        return pybase64.b64decode(data, validate=True) if isinstance(data, str) else b""
    except ValueError:
        return b""


@functools.lru_cache(maxsize=16)
def _quiet(pcm: bytes) -> str:
    """One text for all the silence of a session."""
    return digest(pcm, 0)


_ZEROS = bytes(9_600)


def peak_of(data: bytes, output_format: str) -> int:
    """The largest sample of a frame, as 16 bits."""
    if not data or (len(data) <= len(_ZEROS) and data == _ZEROS[: len(data)] and output_format.startswith("pcm")):
        return 0  # most frames of a session
    from ..clip import samples_of

    samples = samples_of(data, output_format)
    return int(max(int(samples.max(initial=0)), -int(samples.min(initial=0))))
