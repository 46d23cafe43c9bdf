"""A GPT-Live session: the same cells as Realtime, over another protocol.

::

    session = await connect("openai", model="gpt-live-1.1")     # or: connect(protocol="live"), the stand-in
    await session.seed(history)                                  # the one moment at which GPT-Live takes a history
    reply = await session.ask("Tell me another joke.")           # spoken text, or a Clip
    reply.outcome                                                # 'spoken', 'late', 'silent', 'censored' or 'failed'

What differs underneath: the client speaks first, so the session begins at `seed` (or at the first `ask`); audio is fed all
the time, silence between clips, because the session's clock *is* the input audio; no event ends a reply, so its end and
its outcome are inferred by a named policy (`kit.wire.live_conversation`).

What it shares with Realtime's (its loop, its events, its end) is in `kit.base`. After a cancelled verb the feeder goes on; after a
drop the reply that was owed is ``failed``.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import inspect
import weakref
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import pybase64

from . import show
from .base import OpenSession, check_history, verb
from .errors import (
    HistoryError,
    InputError,
    LocalProtocolError,
    MissingExtra,
    ResponseTimeout,
    ServerError,
    SessionClosed,
    clipped,
)
from .history import History
from .link import Link, in_background, refusal
from .wire.events import dict_of, digest
from .wire.live import FORMATS, LANES, MAX_APPEND_TOKENS, Lane, lint_past, pieces, spell_past, spell_start, tokens_of
from .wire.live_conversation import Append, Delegation, LiveConversation, LiveView, Reply, ReplyPolicy, peak_of

if TYPE_CHECKING:
    from .clip import Clip

FRAME_MS = 100  # of one append: what LiveKit and pydantic-ai send
LEAD_IN_MS = 1_000  # of silence before the first clip, so that the track has begun and settled
PING = "Reply to the caller now, aloud. Do not wait for the caller to speak first. After that, pause and listen."
"""The commentary that asks for a reply to what is in the history already (LiveKit's and others' wording of it)."""

# Silence, by format: G.711's zero is 0xFF in µ-law and 0xD5 in A-law.
_IDLE = {"pcm16": b"\0", "pcm16-16k": b"\0", "g711_ulaw": b"\xff", "g711_alaw": b"\xd5"}
_BURST_MS = 14_000  # of silence behind a clip that is fed in a burst: what the recorded session sent
_CLOSE_TIMEOUT_S = 5  # for the confirmed seconds: 0.6 to 0.9 s in the recordings, LiveKit waits as long
_LOUD = 500  # of 32,767: the last sample of a clip above it is where its ask ends

Feed = Literal["paced", "clips", "burst"]
"""What goes in beside clips: silence, paced; nothing; or, at once with each clip, the 14 s of silence that follow it."""

OnDelegation = Callable[[Delegation], "Awaitable[str | None] | str | None"]


class Feeder:
    """Sends audio all the time: a frame per `FRAME_MS`, silence unless a clip is due.

    Paced by deadlines, not by sleeps: frame n is due at n x `FRAME_MS` after the start, so that no error adds up. A frame that
    is late by more than itself is counted, and sent at once; after a stop of `_GAP_S` (a machine that slept, a cell that
    blocked) the missing time is skipped and counted, or the server would be sent a burst that it hears as the present.

    Attributes:
        n_frames: Frames sent.
        n_late: Of them, sent later than one frame's length after they were due.
        worst_ms: How late the latest was.
        skipped_ms: Time for which nothing was sent.
    """

    _GAP_S = 2.0
    _MICROPHONE_GAP_S = 0.3  # a microphone's blocks come every 20 ms, and a busy machine's in bursts

    def __init__(
        self, link: Link[LiveConversation], audio_format: str, *, pace: float = 1.0, feed: Feed = "paced"
    ) -> None:
        # The format is a key of `FORMATS`; the pace is how fast the session's time runs.
        self._link, self._format, self._pace, self._feed = link, audio_format, pace, feed
        # Bytes of sound in one frame.
        self._n_bytes = FORMATS[audio_format][1] * (2 if audio_format.startswith("pcm") else 1) * FRAME_MS // 1000
        # Most frames of a session are this one, so it is made once.
        self._idle_frame = _append_frame(_IDLE[audio_format] * self._n_bytes)
        self._queue: list[bytes] = []  # what is left of the clip that is being sent, a frame each
        # Set at the frame that holds the clip's last loud sample: all times of the reply count from there.
        self._sent: asyncio.Future[float] | None = None
        self._n_loud = 0  # frames until then; below 0 after it
        self._heard_at_s = float("-inf")  # when a microphone last brought sound, on the loop's clock
        self.n_frames = self.n_late = 0
        self.worst_ms = self.skipped_ms = 0.0

    async def run(self) -> None:
        """Feed until cancelled, or until the session closes."""
        loop = asyncio.get_running_loop()
        step_s = FRAME_MS / 1000 / self._pace
        due_s = loop.time()
        while self._link.closed is None:
            late_s = loop.time() - due_s
            if late_s > self._GAP_S:
                skipped = int(late_s / step_s)
                self.skipped_ms += skipped * FRAME_MS
                due_s += skipped * step_s
            elif late_s > step_s:
                self.n_late += 1
            self.worst_ms = max(self.worst_ms, late_s * 1000)
            # Silence between a microphone's blocks would be heard as gaps in the speech.
            if loop.time() - self._heard_at_s > self._MICROPHONE_GAP_S:
                if self._queue or self._feed == "paced":
                    await self._send_next()
                while self._feed == "burst" and self._queue:
                    await self._send_next()
            due_s += step_s
            await asyncio.sleep(max(0.0, due_s - loop.time()))

    async def _send_next(self) -> None:
        """Send the next frame of the clip, or silence where none is due."""
        await self._send(self._queue.pop(0) if self._queue else None)
        self._n_loud -= 1
        if self._n_loud == 0 and self._sent is not None and not self._sent.done():
            self._sent.set_result(self._link.now_ms())

    async def hear(self, data: bytes) -> None:
        """Send sound as it comes, from a microphone; silence is fed again `_MICROPHONE_GAP_S` after the last of it."""
        self._heard_at_s = asyncio.get_running_loop().time()
        await self._send(data)

    async def _send(self, data: bytes | None) -> None:
        """Send somebody's sound, which the list of events has, without its bytes; or silence, which it has not."""
        if data is None:
            await self._link.send_frame(self._idle_frame)
        else:
            sound = {"type": "session.input_audio.append", "audio": digest(data, peak_of(data, self._format))}
            await self._link.send_frame(_append_frame(data), listed=sound)
        self.n_frames += 1

    def play(self, data: bytes, n_loud_bytes: int) -> asyncio.Future[float]:
        """Queue a clip; the future is the instant at which its last loud frame was sent, on the session's clock."""
        if self._queue:
            raise LocalProtocolError("a clip is being sent; wait for its ask() to return")
        n = self._n_bytes
        chunks = [data[start : start + n] for start in range(0, len(data), n)]
        if chunks:
            # A shorter frame would set the session's clock back against the feeder's.
            chunks[-1] = chunks[-1].ljust(n, _IDLE[self._format])
        self._queue += chunks
        if self._feed == "burst":
            self._queue += [_IDLE[self._format] * n] * (_BURST_MS // FRAME_MS)
        # Rounded up, since the frame that holds the last loud sample counts; at least 1, or the wait would never end.
        self._n_loud = max(1, -(-n_loud_bytes // n))
        self._sent = asyncio.get_running_loop().create_future()
        return self._sent

    def clear(self) -> None:
        """Drop what is queued of a clip."""
        self._queue.clear()
        self._n_loud = 0


class LiveSession(OpenSession, LiveView):
    """One GPT-Live session. Made by `connect`.

    Args:
        pace: How fast time runs; other than 1 only with a stand-in that runs as fast.
        door: ``fork``: the address is a stored session's, model and history are its own. ``attach``: it is a running session's, whose
            caller feeds and asks; it has started already, and closing this one does not close it.
    """

    def __init__(
        self,
        link: Link[LiveConversation],
        *,
        settings: Mapping[str, Any] | None = None,
        pace: float = 1.0,
        on_delegation: OnDelegation | None = None,
        door: Literal["new", "fork", "attach"] = "new",
    ) -> None:
        super().__init__(link)
        self._settings = dict(settings or {})  # for `session.start`; nothing of it can change later
        # How fast its time runs; and whether it is new, a fork, or a sideband.
        self._pace, self._door = pace, door
        self._feed: Feed = "paced"  # for the feeder, which is made at the start
        self._on_delegation = on_delegation
        # There from the start on, and then it feeds until the session is closed; with counts of what it fed.
        self.feeder: Feeder | None = None
        self._feeding: asyncio.Task[Any] | None = None
        # Whatever runs for this session beside its verbs; it ends with it.
        self._tasks: set[asyncio.Task[Any]] = set()
        self._n_delegations = 0  # handed to `on_delegation` so far
        self._asking = False  # one ask at a time: a second clip would be heard as part of the first

    spoken = "GPT-Live"

    @property
    def audio_format(self) -> str:
        """The format of its sound, both ways: a key of `kit.wire.live.FORMATS`."""
        return str(self._settings.get("format", "pcm16"))

    @property
    def seconds(self) -> float | None:
        """Seconds billed: what the server said at the end, else what it said last, else by this clock."""
        if self.conversation.seconds_confirmed or self.conversation.started_at_ms is None:
            return self.conversation.seconds
        until = self.conversation.closed_at_ms or self.now_ms
        return max(self.conversation.seconds or 0.0, (until - self.conversation.started_at_ms) / 1000)

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open" if self.conversation.started_at_ms is not None else "not started"
        mark = show.origin_word(self.simulated)
        return (
            f"<LiveSession at {self.endpoint.name}, {show.one_line(self.model)}, {state}, {len(self.replies)} replies"
            f"{f', {mark}' if mark else ''}>"
        )

    def _repr_html_(self) -> str:
        rows = []
        for n, r in enumerate(self.replies):
            outcome, words = show.esc(r.outcome or "open"), show.esc(r.words)
            rows.append([str(n), show.badge(r.modality), outcome, words, show.ms(r.first_audio_ms)])
        facts: list[tuple[str, object]] = [
            ("model", self.model),
            ("history", f"{len(self.conversation.past)} messages"),
            ("open for", f"{self.seconds or 0:.0f} s"),
            ("frames of sound", self.conversation.n_output_frames),
            ("errors", len(self.errors) or "none"),
        ]
        if words := self.conversation.caller_words:
            facts.append(("the caller said", f"“{show.one_line(words, 120)}”"))
        state = "closed" if self.closed else "open"
        return show.card(
            f"<b>GPT-Live session</b> at {show.esc(self.endpoint.name)} {show.origin(self.simulated)} {state}",
            show.facts(facts),
            show.table(rows, ["", "modality", "outcome", "says", "first voice"]) if rows else "no replies yet",
        )

    # ------------------------------------------------------------------------------------------------- the start

    def _greeting(self, place: str) -> str:
        if self._door == "attach":
            return f"attached to {self.id} at {place}, GPT-Live: its caller feeds, asks and pays"
        if self.replay:
            return f"connected to {self.replay.strip('<>')} (free: nothing is sent anywhere); seed() or ask() starts it"
        model = self.endpoint.model or "a fork"
        return f"connected to {place}, {model}, GPT-Live ({self.endpoint.who_pays}); seed() or ask() starts it"

    async def _begin(self, settings: Mapping[str, Any], timeout_s: float) -> None:
        """Take the settings for the start; join a session that runs."""
        self._settings |= settings
        if self._door != "attach":
            return
        self.conversation.attached = True
        self._spawn(_watch(weakref.ref(self)))
        # `session.started` is replayed only while the session is young; later an empty update brings the same object
        # (wire/LIVE.md, "Attaching").
        await self._request({"type": "session.update", "session": {}}, "session.updated", timeout_s)

    def _check_unstarted(self, else_: str) -> None:
        if self._door == "attach":
            raise LocalProtocolError("this is a sideband: its caller starts, feeds and asks; append() adds context")
        if self.feeder is not None or self.conversation.start_at_ms is not None:
            raise LocalProtocolError(f"this session has started; {else_}")

    def configure(self, *, policy: ReplyPolicy | None = None, feed: Feed | None = None, **settings: Any) -> None:
        """Change what the start will say, how replies are inferred, or what is fed, before the session has started.

        Args:
            feed: ``paced`` silence between clips (default); only the ``clips``, so that the session's clock stands between them;
                or each clip in a ``burst`` with the 14 s of silence after it.
            **settings: As `connect` takes them.
        """
        self._check_unstarted("GPT-Live's settings go into its start")
        self._settings |= settings
        self.conversation.policy = policy or self.conversation.policy
        self._feed = feed or self._feed

    @verb
    async def start(self, past: History | None = None, *, timeout_s: float = 30) -> None:
        """Start the session, with a history or without one, and begin to feed it.

        Called by `seed` and by the first `ask`. After a call that was cancelled or gave up waiting, the same call goes on where
        that one was: the start is sent once.

        Raises:
            LocalProtocolError: If it has been started, or another history is on its way.
            HandshakeRefused: If the service refuses the start; an `error` before `session.started` ends the session.
        """
        messages = spell_past(past) if past is not None else []
        # Sent by a call that was cancelled or gave up waiting.
        on_its_way = (
            self.feeder is None
            and self.conversation.start_at_ms is not None
            and (past is None or messages == self.conversation.past)
        )
        if not on_its_way or self._door == "attach":
            self._check_unstarted("GPT-Live takes a history once, at its start")
        body = spell_start(self.endpoint.model or "", messages, self._settings)
        if self._door == "fork":
            # A fork brings its model and its history along (wire/LIVE.md, Connecting).
            body = {key: value for key, value in body.items() if key not in ("model", "input")}
        try:
            if not on_its_way:
                await self._request({"type": "session.start", "session": body}, "session.started", timeout_s)
            elif self.conversation.started_at_ms is None:
                await self.wait_for("session.started", timeout_s=timeout_s)
        except (ServerError, SessionClosed):
            await self.close()
            # An `error` before `session.started` ends the session, whether it names the start or not.
            if not self.conversation.errors:
                raise
            error = self.conversation.errors[-1]
            raise refusal(self.endpoint, error.code, error.message, self._link.socket.close_code) from None
        if self.feeder is not None:  # of another call, which waited for the same start
            return
        self.conversation.asks_are_told = True
        self.feeder = Feeder(self._link, self.audio_format, pace=self._pace, feed=self._feed)
        self._feeding = self._spawn(self.feeder.run())
        self._spawn(_watch(weakref.ref(self)))

    @verb
    async def seed(self, history: History, *, check: bool = True, timeout_s: float = 30) -> list[dict[str, Any]]:
        """Start the session with this history.

        Args:
            check: Raise `HistoryError` for what `lint_past` finds, before anything is sent. ``False`` lets the service refuse it.

        Returns:
            The messages as the server echoed them. GPT-Live confirms no message singly.
        """
        check_history(history)
        findings = lint_past(history) if check else []
        if findings:
            problem = f"GPT-Live would refuse this history, so nothing was sent: {findings[0]}"
            raise HistoryError(f"{problem} (seed(history, check=False) lets the service refuse it)", findings)
        await self.start(history, timeout_s=timeout_s)
        return list(self.conversation.past)

    # ------------------------------------------------------------------------------------------------------ asking

    @verb
    async def ask(self, content: str | Clip, *, timeout_s: float | None = None) -> Reply:
        """Say something to the model, and wait until its reply is decided and over.

        Args:
            content: A `Clip`, or text, which is spoken: recorded lines and, with the extra ``tts``, any text.
            timeout_s: For all of it; default: the clip, the policy's window, and a minute of reply.

        Returns:
            The reply, also a silent one: `outcome` says what came.
        """
        import numpy as np

        from .clip import Clip
        from .speech import say

        if not isinstance(content, str | Clip):
            raise InputError(f"ask() takes text or a Clip, not {clipped(content)}; a sound file: Clip.load()")
        try:
            # A synthesiser blocks, and the feeder must go on.
            clip = content if isinstance(content, Clip) else await asyncio.to_thread(say, content)
        except MissingExtra as exc:
            advice = f"the kit speaks it, and {exc}; or ask(Clip.load(…))"
            raise MissingExtra(f"GPT-Live takes no typed question; {advice}") from None
        feeder = await self._started()
        with self._one_ask():
            data, loud = clip.to_bytes(self.audio_format), np.flatnonzero(np.abs(clip.pcm.astype(np.int32)) > _LOUD)
            # How much of it ends with its last loud sample: a share, since the formats differ in rate and width.
            share = (int(loud[-1]) + 1) / len(clip.pcm) if len(loud) else 1.0
            if self._feed == "paced" and feeder.n_frames * FRAME_MS < LEAD_IN_MS:
                await asyncio.sleep((LEAD_IN_MS - feeder.n_frames * FRAME_MS) / 1000 / self._pace)
            self.conversation.asks_are_told = True  # this clip's end is known to the frame
            try:
                began_at_ms = self.now_ms
                clip_sent = feeder.play(data, int(len(data) * share))
                # A clip goes out in real time, so it takes its own length; the rest is room for a busy machine.
                limit_s = (clip.duration_ms + 5_000) / 1000 / self._pace + 31
                asked_at_ms = await self._unless_closed(clip_sent, limit_s)
                self.conversation.asked(asked_at_ms, "clip", began_at_ms=began_at_ms)
                return await self._decided(self.conversation.replies[-1], timeout_s)
            except BaseException:
                # What is left of this clip would be heard as the beginning of the next.
                feeder.clear()
                raise

    @verb
    async def respond(self, prompt: str = PING, *, timeout_s: float | None = None) -> Reply:
        """Ask for a reply to what the history ends with, by a commentary append.

        GPT-Live cannot be ordered to speak; a commentary is the nearest thing to `response.create`.
        """
        if self._door != "attach":
            await self._started()
        with self._one_ask():
            # Unconfirmed, since the voice may come before the acknowledgement (wire/LIVE.md, Events).
            await self.append("commentary", prompt, confirmed=False)
            return await self._decided(self.conversation.replies[-1], timeout_s)

    @verb
    async def append(
        self, lane: Lane, text: str, *, delegation_id: str | None = None, confirmed: bool = True, timeout_s: float = 10
    ) -> Append:
        """Add context: ``commentary`` is said aloud in the model's words, ``instructions`` are obeyed, ``thinking`` is known.

        Args:
            text: At most 500 tokens; `kit.wire.live.pieces` cuts a longer one.
            delegation_id: Of the client delegation that it answers.
            confirmed: Wait for the acknowledgement, which comes when the session's clock has passed it.
        """
        if lane not in LANES:
            raise InputError(f"a lane is one of {', '.join(LANES)}, not {clipped(lane)}")
        if tokens_of([text])[0] > MAX_APPEND_TOKENS:
            raise InputError(f"one append takes {MAX_APPEND_TOKENS} tokens, and this is more: kit.wire.live.pieces()")
        # The delegation's id may be null, but has to be there (wire/LIVE.md, Events).
        event = {"type": f"session.{lane}.append", "delegation_id": delegation_id, "content": text}
        if confirmed:
            await self._request(event, f"session.{lane}.appended", timeout_s)
        else:
            await self.send(event)
        return self.conversation.appends[-1]

    @verb
    async def append_past(self, history: History, *, lane: Lane = "thinking") -> list[Append]:
        """Add a history after the start, by default as silent context, in pieces of at most 500 tokens (LiveKit's way)."""
        lines = "\n".join(f"{m['role']}: {m['content'][0]['text']}" for m in spell_past(history))
        return [await self.append(lane, piece) for piece in pieces(lines)]

    @verb
    async def append_audio(self, audio: Clip | bytes) -> None:
        """Send the caller's sound as it comes, from a microphone; silence is fed where none comes.

        Where an ask ends is then heard by its loudness (`ReplyPolicy.caller_gap_ms`), as it is in a log.
        """
        feeder = await self._started()
        data = audio if isinstance(audio, bytes) else audio.to_bytes(self.audio_format)
        # Where a microphone's sound will end is not known beforehand: `send_frame` passes the fold by, so it is told of the loudness.
        self.conversation.asks_are_told = False
        event, peak = {"type": "session.input_audio.append"}, peak_of(data, self.audio_format)
        self.conversation.feed(event, self.now_ms, "client", peak=peak)
        await feeder.hear(data)

    @verb
    async def mute(self, muted: bool = True, *, timeout_s: float = 10) -> None:
        """Let the model hear silence, or the caller again. It keeps speaking, and must still be fed."""
        verb = "mute" if muted else "unmute"
        await self._request({"type": f"session.input_audio.{verb}"}, f"session.input_audio.{verb}d", timeout_s)

    @verb
    async def update(self, *, timeout_s: float = 10, **fields: Any) -> dict[str, Any]:
        """Change what may change after the start: ``delegation`` (not its type) and ``triggers``."""
        event = await self._request({"type": "session.update", "session": fields}, "session.updated", timeout_s)
        return dict_of(event.data, "session")

    @verb
    async def run_backend(self, *items: Mapping[str, Any]) -> None:
        """Queue items for the Responses backend and run it (delegation of type ``responses`` only)."""
        for item in items:
            await self.send({"type": "response.item.create", "item": dict(item)})
        await self.send({"type": "response.create"})

    @verb
    async def play_fixture(self, clip: Clip, *, timeout_s: float = 45) -> None:
        """Play a recording as the model's own output (at most 30 s), and wait until it has played."""
        data = clip.to_bytes()
        event = {"type": "session.output_audio.fixture.play", "audio": pybase64.b64encode(data).decode("ascii")}
        listed = event | {"audio": f"({len(data)} bytes)"}
        await self._request(event, "session.output_audio.fixture.played", timeout_s, listed=listed)

    def interrupted(self, played_ms: float) -> None:
        """Note where a listener stopped hearing the last reply. Nothing is sent: the caller's voice alone interrupts."""
        if self.conversation.replies:
            self.conversation.replies[-1].played_ms = played_ms

    async def _leave(self) -> None:
        """Ask for the confirmed seconds, wait for them, and close the socket."""
        await asyncio.shield(in_background(self._end()))

    async def _end(self) -> None:
        try:
            if self._feeding is not None:
                self._feeding.cancel()  # what is fed after `session.close` is refused
            if self._link.closed is None and self.conversation.started_at_ms is not None and self._door != "attach":
                with contextlib.suppress(SessionClosed, ResponseTimeout, ServerError):
                    await self._request({"type": "session.close"}, "session.closed", _CLOSE_TIMEOUT_S)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._link.close()
            self.conversation.end(self.now_ms)

    def _spawn(self, work: Any) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # Its exception is taken: a feeder whose socket closed ends quietly, and `session.closed` says why.
        task.add_done_callback(lambda over: over.cancelled() or over.exception())
        return task

    async def _answer(self, delegation: Delegation) -> None:
        assert self._on_delegation is not None
        answer = self._on_delegation(delegation)
        text = await answer if inspect.isawaitable(answer) else answer
        if isinstance(text, str) and text:
            await self.append("commentary", text, delegation_id=delegation.id, confirmed=False)

    async def _decided(self, reply: Reply, timeout_s: float | None) -> Reply:
        """Wait until an outcome is decided and the reply is over."""
        policy = self.conversation.policy
        limit_ms = self.now_ms + (timeout_s * 1000 if timeout_s is not None else policy.window_ms + 60_000)
        while reply.ended is None and self._link.closed is None:
            if self.now_ms > limit_ms:
                raise ResponseTimeout(f"the reply was not over within {timeout_s or 70:g} s", self._link.tail())
            # No event ends a reply: time does, and `settle` has to be told of it.
            await asyncio.sleep(0.02 / self._pace)
            self.conversation.settle(self.now_ms)
        if reply.ended is None:
            self.conversation.end(self.now_ms, lost=None)
        if reply.outcome == "failed" and self._link.closed is not None:
            raise copy.copy(self._link.closed)
        return reply

    @contextlib.contextmanager
    def _one_ask(self) -> Iterator[None]:
        if self._asking:
            raise LocalProtocolError("an ask() is under way; wait for its reply")
        self._asking = True
        try:
            yield
        finally:
            self._asking = False

    async def _started(self) -> Feeder:
        """Start the session if it has not been; what feeds it."""
        if self.feeder is None:
            await self.start()
        assert self.feeder is not None
        return self.feeder

    async def _unless_closed(self, clip_sent: asyncio.Future[float], limit_s: float) -> float:
        async with asyncio.timeout(limit_s):
            while not clip_sent.done():
                if self._link.closed is not None:
                    raise copy.copy(self._link.closed)
                # A feeder whose socket closed leaves its future as it is, so both are looked at.
                await asyncio.wait([clip_sent], timeout=0.05)
        return clip_sent.result()


async def _watch(reference: weakref.ref[LiveSession]) -> None:
    """Hand the client's delegations to `on_delegation`, and let time decide what no event decides.

    It holds the session only while it looks: a session that nobody else holds is collected, and with it ends what is paid for.
    """
    while (session := reference()) is not None:
        if session.closed is not None:
            session.conversation.end(session.now_ms, lost=None)
            return
        session.conversation.settle(session.now_ms)
        for delegation in session.conversation.delegations[session._n_delegations :]:
            session._n_delegations += 1
            if session._on_delegation is not None and delegation.target == "client":
                session._spawn(session._answer(delegation))
        pause_s = 0.25 / session._pace  # each event settles too: this is for when none comes
        del session
        await asyncio.sleep(pause_s)


def _append_frame(data: bytes) -> bytes:
    # Ten times a second, and base64 needs no escaping: no JSON encoder.
    return b'{"type":"session.input_audio.append","audio":"' + pybase64.b64encode(data) + b'"}'
