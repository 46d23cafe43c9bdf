"""The stand-in on a real socket: `StandIn`, a websocket server on loopback with one `ServerSession` per connection.

`SessionDriver` drives one session over one websocket; who may connect is `handshake.py`'s, and how a server listens `listener.py`'s.
"""

from __future__ import annotations

import asyncio
import copy
import functools
import itertools
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from ..errors import InputError, KitError, clipped
from ..wire.dialect import GA, MARK_HEADER
from ..wire.refusals import Refusal
from .drift import Draws, Rule, rule
from .faults import Fault, Faults
from .frames import Job, encode, error_fields, new_id
from .handshake import (
    CALL_MODEL,
    DEFAULT_MODEL,
    Access,
    ConnectionRequest,
    HttpRequest,
    Secret,
    Secrets,
    http_answer,
    key_of,
    query_of,
    rejection,
)
from .journal import FrameCallback, Journal, Recorder
from .listener import Connection, Listener, make_certificate
from .live import LiveServerSession, LiveSideband
from .live_settings import LiveOptions, StoredSession
from .options import SESSION_S, Limits, Options, options_of, with_options
from .replies import Reply, ReplyRule
from .session import ServerSession

PING_S = 20.26  # the service's own interval, its pings carry four bytes (capture of 2026-09)
BACKLOG_FRAMES = 512  # unsent answers, after which a client that does not read is not listened to either
_BURST = 8  # steps of a reply between two looks at what the client sent
_RATE_WINDOW = 256  # messages between two looks at how fast they come

OBSERVERS: list[Callable[[dict[str, Any]], Recorder]] = []
"""Recorders of every connection to every stand-in in this process: for the test suite, which checks all frames."""

# Where a GPT-Live client knocks: at a new session's, at a stored one's by its id (fork), or at one that runs (attach).
_LIVE_PATH = re.compile(r"/live/sessions(?:/([^/]+)/(fork|attach))?$")


AnySession = ServerSession | LiveServerSession | LiveSideband


class SessionDriver:
    """Drive one session over one websocket: one task reads, one writes, and work that takes long runs in a thread.

    `recorders` are told of each frame; a client is read no faster than `messages_per_s`.
    """

    def __init__(
        self, connection: Connection, session: AnySession, recorders: Sequence[Recorder], messages_per_s: float
    ) -> None:
        self.session = session
        self._connection = connection
        self._recorders = recorders
        self._messages_per_s = messages_per_s
        # Set when there may be something to send: a client's frame came, a time is due, a job is done.
        self._wake = asyncio.Event()
        # Set when the backlog was sent, or can no longer be: the reader waits for it.
        self._room = asyncio.Event()
        # Jobs that are running; asyncio itself holds tasks only weakly.
        self._jobs: set[asyncio.Task[None]] = set()
        session.wake = self._wake.set  # another socket's command may give it something to do

    async def run(self) -> None:
        """Run until either side closes. Leaves no task behind."""
        writer = asyncio.create_task(self._write())
        try:
            await self._read(writer)
            if self.session.over:
                await writer  # it sends the last frames
        finally:
            for task in (writer, *self._jobs):
                task.cancel()
            for task in (writer, *self._jobs):
                with suppress(asyncio.CancelledError, ConnectionClosed):
                    await task

    async def _read(self, writer: asyncio.Task[None]) -> None:
        session, loop = self.session, asyncio.get_running_loop()
        count, since_s = 0, loop.time()
        async for frame in self._connection:
            accepted = session.receive(frame)
            for recorder in self._recorders:
                recorder.frame("client", frame, not accepted)
            self._wake.set()
            # Back-pressure: who does not read is not listened to, or the answers would fill the memory.
            while session.backlog > BACKLOG_FRAMES and not writer.done():
                self._room.clear()
                await self._room.wait()
            # Too fast a sender is read no faster: the socket fills, and TCP slows it.
            count += 1
            if count == _RATE_WINDOW:
                ahead_s = count / self._messages_per_s - (loop.time() - since_s)
                if ahead_s > 0:
                    await asyncio.sleep(ahead_s)
                count, since_s = 0, loop.time()

    async def _write(self) -> None:
        session, connection = self.session, self._connection
        try:
            while True:
                frames = session.take()
                for recorder in self._recorders:
                    for frame in frames:
                        recorder.frame("server", frame, False)
                if frames:
                    await connection.send_all(frames)
                self._room.set()
                # After its last frames: a fault may cut the line in the middle of a reply.
                if session.cut:
                    connection.transport.abort()
                    return
                if session.closing is not None:
                    await connection.close(*session.closing)
                    return
                if session.backlog:
                    continue
                await self._until(session.wake_at)
                for _ in range(_BURST):
                    if not session.advance():
                        break
                for job in session.jobs():
                    task = asyncio.create_task(self._work(job))
                    self._jobs.add(task)
                    task.add_done_callback(self._jobs.discard)
        except Exception:
            connection.transport.abort()  # a session that can no longer send is over
            raise
        finally:
            self._room.set()  # the reader waits for it no longer

    async def _until(self, wake_at: float | None) -> None:
        """Wait for a time on the loop's clock, or for the reader, whichever comes first."""
        loop = asyncio.get_running_loop()
        if wake_at is not None and wake_at <= loop.time():
            await asyncio.sleep(0)  # due already: but let the reader have its turn, a cancel may be there
            return
        timer = None if wake_at is None else loop.call_at(wake_at, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            if timer is not None:
                timer.cancel()
        self._wake.clear()

    async def _work(self, job: Job) -> None:
        try:
            result = await asyncio.to_thread(job.run)
        except Exception as exc:  # whatever it does wrong is told to the client, and does not end this server
            result = exc
        job.done(result)
        self._wake.set()


@dataclass(frozen=True, slots=True)
class _About:
    """What a handshake said, for its handler."""

    request: ConnectionRequest
    # What its draws are drawn for.
    trial: str
    # The name of the connection's fault, or nothing.
    fault: str
    # Which connection of this stand-in's it is, from 1.
    number: int
    # The stand-in's options, and what the connection set for itself.
    options: Options
    # How a GPT-Live session behaves; ``None`` for Realtime.
    live: LiveOptions | None
    # ``fork`` or ``attach``, and of which session; nothing for a new one.
    verb: str
    session_id: str


class StandIn(Listener):
    """A local Realtime server that speaks, listens, and drifts and fails on demand. Nothing leaves this machine.

    Everything it says is simulated, and says so: in the header ``X-Stand-In`` of the handshake, and under ``simulated`` in
    the session object.

    Args:
        drift: When an audio reply comes as text, late or not at all: a rule of `kit.standin.drift`, such as ``share=0.2+silent=0.1``.
        seed: Of its draws, together with the query field ``trial`` of a connection.
        dialect: ``both`` (header or query decides), ``ga`` or ``beta``.
        pace: How fast speech streams, as a multiple of real time; ``None`` or 0: as fast as it can.
        host, port: Where to listen; port 0 takes a free one. Another machine can reach it only at an address that is not
            loopback, and then `require_key` must be given.
        beta_disabled: Refuse the beta header, as the service does since 2026-05.
        replies: What to say, one after the other in each session, before the repertoire goes on: texts, `Call`, `Reasoned`.
            A text that is not recorded is synthesised (the extra ``tts``), or else hummed.
        rules: What to answer when the user's words match: `ReplyRule`, or the same as JSON objects. The first that matches.
        strict: A response that no reply and no rule is there for fails, with the code ``no_rule_matches``.
        first_ms: Real time from a request to the first content, whatever the pace; ``None``: as in the service's logs.
        token_ms: Real time between two deltas of text or arguments, whatever the pace; ``None``: the same.
        faults: What shall go wrong, and when or how often: ``NAME[=VALUE][@WHEN]``, such as ``stall@2`` or ``drop@p=0.1``
            (`kit.standin.faults`).
        on_frame: Called with ``(direction, text, session_id)`` for each frame; direction is ``client`` or ``server``.
        require_key: The only API key that is let in; ``None`` lets everybody in but ``sk-wrong…``.
        session_s: How long a session may last, in seconds.
        limits: What it takes before it refuses.
        origins: Web pages, besides this machine's own, that may connect, such as ``https://app.example``.
        journal: Whether to keep what each client sends, for ``GET /journal``.
        tls: Whether to speak TLS (``wss://``), with a certificate made on the spot; `ca_path` is the file for clients to trust.
        recorder: Called with what is known of a connection; what it returns is told of each frame (`kit.standin.journal`).
        on_notice: Called with a sentence when a client does something that cannot work, such as TLS where there is none.
        live: How its GPT-Live sessions behave: the fields of `live_settings.LiveOptions`, such as ``silence="p=0.3@9"``.

    Raises:
        InputError: For a setting that cannot be, a reply in which nothing can be spoken, or options that exclude each other.
        MissingExtra: For TLS without the extra ``tls``.
    """

    def __init__(
        self,
        *,
        drift: str | Rule = "documented",
        seed: int = 0,
        dialect: str = "both",
        pace: float | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        beta_disabled: bool = False,
        replies: Sequence[Reply | dict[str, Any]] | None = None,
        rules: Sequence[ReplyRule | dict[str, Any]] | None = None,
        strict: bool = False,
        first_ms: float | None = None,
        token_ms: float | None = None,
        faults: Sequence[str | Fault] = (),
        on_frame: Callable[[str, str, str], None] | None = None,
        require_key: str | None = None,
        session_s: float = SESSION_S,
        limits: Limits | None = None,
        origins: Sequence[str] = (),
        journal: bool = False,
        tls: bool = False,
        recorder: Callable[[dict[str, Any]], Recorder] | None = None,
        on_notice: Callable[[str], None] | None = None,
        live: Mapping[str, Any] | None = None,
    ) -> None:
        if dialect not in ("both", "ga", "beta"):
            raise InputError(f"dialect must be 'both', 'ga' or 'beta', not {clipped(dialect)}")
        if not session_s > 0:
            raise InputError(f"session_s must be a number of seconds above 0, not {clipped(session_s)}")
        self.limits = limits or Limits()
        access = Access(host, require_key, frozenset(origins))
        super().__init__("stand-in", access, port, frame_bytes=self.limits.frame_bytes, ping_s=PING_S)
        self.options = with_options(
            Options(rule(drift), session_s=session_s, limits=self.limits),
            seed=seed,
            pace=pace,
            faults=faults,
            replies=replies,
            rules=rules,
            strict=strict,
            first_ms=first_ms,
            token_ms=token_ms,
        )
        # What clients sent, for a test that asks; ``None``: it is not kept.
        self.journal = Journal() if journal else None
        # The certificate that clients must trust, in PEM; ``None`` without TLS.
        self.ca_path: Path | None = None
        if tls:
            self._ssl, self.ca_path = make_certificate(host)
        # Who else is told of each frame.
        self._recorder = recorder
        self._watchers: list[Callable[[dict[str, Any]], Recorder]] = []
        if on_frame is not None:
            self._watchers.append(functools.partial(FrameCallback, on_frame))
        self.on_notice = on_notice
        self.answer_plain = self._answer
        # How GPT-Live sessions behave. They run in real time, or they could not be spoken to.
        self.live = LiveOptions.from_words(live or {}, pace=pace or 1.0)
        # GPT-Live sessions that ended, by id, to be forked.
        self._stored: dict[str, StoredSession] = {}
        # Which dialect a connection may speak: ``ga``, ``beta`` or ``both``.
        self.dialect = dialect
        self.beta_disabled = beta_disabled
        # Numbers connections from 1: the journal names them so, and one without `trial` draws by it.
        self._n_connections = itertools.count(1)
        # Faults of connections; each session has its own count of the others.
        self._faults = Faults(self.options.faults)
        # The ephemeral keys that were made here.
        self._secrets = Secrets(time.time)
        # Whoever drives an open session: how many there are is limited.
        self._drivers: set[SessionDriver] = set()

    @property
    def drift(self) -> str:
        """The name of the drift rule."""
        return str(self.options.drift)

    @property
    def mark(self) -> str:
        """The text of the header ``X-Stand-In``."""
        return self.options.mark

    @property
    def n_sessions(self) -> int:
        """How many sessions are open."""
        return len(self._drivers)

    def __repr__(self) -> str:
        where = self.url if self.listening else "not started"
        faults = f" faults={','.join(map(str, self.options.faults))}" if self.options.faults else ""
        return f"<StandIn {where} drift={self.drift} seed={self.options.seed}{faults}>"

    # One connection

    async def admit(self, connection: Connection, request: Request) -> Response | None:
        path = urlsplit(request.path).path.rstrip("/")
        if path == "/health":
            return _json(connection, HTTPStatus.OK, {"status": "ok", "sessions": self.n_sessions})
        if path == "/journal":
            if not self.access.fits(key_of(request.headers, request.path)):
                return connection.respond(HTTPStatus.UNAUTHORIZED, "this stand-in wants its key\n")
            if self.journal is not None:
                return _json(connection, HTTPStatus.OK, self.journal.show(query_of(request.path)))
            return connection.respond(HTTPStatus.NOT_FOUND, "this stand-in keeps no journal: StandIn(journal=True)\n")
        live_path = _LIVE_PATH.search(path)
        if live_path is None and not path.endswith("/realtime"):
            text = f"{self!r}: connect a websocket to /v1/realtime?model=… or to /v1/live/sessions; GET /health, /journal\n"
            return connection.respond(HTTPStatus.NOT_FOUND, text)
        session_id, verb = (word or "" for word in live_path.groups()) if live_path is not None else ("", "")
        if (verb == "fork" and session_id not in self._stored) or (verb == "attach" and not self._running(session_id)):
            why = Refusal("session_id_not_found", "No session found for the provided session_id", "session_id")
            return _json(connection, HTTPStatus.NOT_FOUND, {"error": error_fields(why)})
        if len(self._drivers) >= self.limits.sessions:
            text = f"{self.limits.sessions} sessions are open already\n"
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, text)
        options, live = self.options, self.live if live_path is not None else None
        try:
            values = options_of(request)
            if values and live is not None:
                live = live.with_values(values)
                # What it says, how fast and when it falls silent is in options of its own.
                values = {name: value for name, value in values.items() if name in ("seed", "faults")}
            if values:  # to try a rule, and to speak a text, takes a while
                options = await asyncio.to_thread(with_options, options, **values)
            unfit = live is not None and any(fault.kind.of != "connection" for fault in options.faults)
            if unfit and "faults" in values:
                raise InputError("a GPT-Live connection can have faults of the connection only, such as http-error=503")
        except KitError as exc:
            return connection.respond(HTTPStatus.BAD_REQUEST, f"{exc}\n")
        client = ConnectionRequest(request.path, request.headers, self.dialect)
        number = next(self._n_connections)
        trial = client.trial or f"session {number}"
        # those of connections are counted over the stand-in, unless the connection brings its own
        faults = self._faults if options.faults is self.options.faults else Faults(options.faults)
        fault = faults.due("connection", Draws(options.seed, trial, client.attempt).of_attempt())
        name = fault.name if fault is not None else ""
        connection.about = _About(client, trial, name, number, options, live, verb, session_id)
        if fault is not None and name == "http-error":
            status = HTTPStatus(int(fault.value))
            return connection.respond(status, "this was asked for of a stand-in: http-error\n")
        return None

    def _running(self, session_id: str) -> LiveServerSession | None:
        sessions = (driver.session for driver in self._drivers)
        return next((s for s in sessions if isinstance(s, LiveServerSession) and s.id == session_id), None)

    def headers(self, connection: Connection) -> dict[str, str]:
        return {MARK_HEADER: connection.about.options.mark}

    def _answer(self, request: HttpRequest) -> bytes:
        """Answer a POST or DELETE."""
        if not self.access.fits(key_of(request.headers)):
            return http_answer("401 Unauthorized", Refusal("invalid_api_key", "Incorrect API key provided."))
        if request.method == "DELETE" and request.path == "/journal" and self.journal is not None:
            return http_answer("200 OK", {"deleted": self.journal.clear(query_of(f"?{request.query}"))})
        return self._secrets.answer(request)

    async def talk(self, connection: Connection) -> None:
        about: _About = connection.about
        request = copy.copy(about.request)
        # Refused here and not in `admit`: the service takes every upgrade, and then says no by an event.
        secret = self._secrets.find(request.key)
        if about.live is not None:
            # The model is in the body there, so only the key can be wrong before the start.
            request.model, request.dialect, request.beta_header = DEFAULT_MODEL, GA, False
        if secret is not None:
            request.model, request.dialect = request.model or secret.model, secret.dialect
            request.intent = "transcription" if secret.model is None else request.intent
        why = rejection(request, self.access, ephemeral=secret is not None, beta_disabled=self.beta_disabled)
        if about.fault == "refuse-handshake":
            message = "Incorrect API key provided: asked for of a stand-in."
            why = Refusal("invalid_api_key", message), 3000
        if why is not None:
            refusal, close_code = why
            error = error_fields(refusal) | {"event_id": None}
            frame = encode({"type": "error", "event_id": new_id("event", int(time.time())), "error": error})
            for make in [*OBSERVERS, *self._watchers]:
                make({"dialect": request.dialect.name}).frame("server", frame, False)
            await connection.send(frame, text=True)
            await connection.close(close_code, f"{refusal.type}.{refusal.code}" if refusal.code else refusal.type)
        elif about.fault == "silent":
            await connection.wait_closed()
        elif (session := self._session(about, request, secret)) is not None:
            await self._drive(connection, session)

    def _session(self, about: _About, request: ConnectionRequest, secret: Secret | None) -> AnySession | None:
        """Make the session of a connection; ``None`` to attach to one that has ended since the handshake."""
        options, live, now = about.options, about.live, asyncio.get_running_loop().time
        if live is None:
            transcribes = request.intent == "transcription"
            return ServerSession(
                options,
                GA if transcribes else request.dialect,
                model=None if transcribes else request.model or CALL_MODEL,
                sideband=request.call_id is not None,
                trial=about.trial,
                attempt=request.attempt,
                now=now,
                unix=time.time,
                update=secret.update if secret is not None else None,
            )
        if about.verb == "attach":
            running = self._running(about.session_id)
            return None if running is None else LiveSideband(running, graceful=request.graceful_close)
        return LiveServerSession(
            live,
            Draws(options.seed, about.trial),
            self._stored,
            now=now,
            unix=time.time,
            simulated={"drift": f"live-silent={live.silence}", "seed": options.seed},
            source=self._stored.get(about.session_id),
        )

    async def _drive(self, connection: Connection, session: AnySession) -> None:
        about: _About = connection.about
        makers = [*OBSERVERS, *self._watchers]
        if self.journal is not None:
            makers.append(functools.partial(self.journal.open, items=session.items))
        if self._recorder is not None:
            makers.append(self._recorder)
        facts = {
            "connection": about.number,
            "session": session.id,
            "trial": about.request.trial,
            "attempt": about.request.attempt,
            "model": about.request.model,
            "dialect": session.dialect,
            "drift": str(about.options.drift if about.live is None else about.live.silence),
        }
        recorders = [make(facts) for make in makers]
        driver = SessionDriver(connection, session, recorders, self.limits.messages_per_s)
        self._drivers.add(driver)
        try:
            await driver.run()
        except ConnectionClosed:
            raise
        except Exception:
            # A fault of the stand-in's own, or of a rule or recorder that somebody gave it. Its client sees no more than 1011.
            logging.getLogger("kit.standin").exception("a session of the stand-in failed")
            raise
        finally:
            self._drivers.discard(driver)
            for recorder in recorders:
                recorder.end(connection.close_code, connection.close_reason or "")
            session.close()


def _json(connection: Connection, status: HTTPStatus, body: dict[str, Any]) -> Response:
    """Answer a plain GET with JSON."""
    response = connection.respond(status, encode(body).decode())
    del response.headers["Content-Type"]
    response.headers["Content-Type"] = "application/json"
    return response
