"""Opening a session: the options, the server it may need, the first event, and a notebook's wishes.

`connect` builds a `Session` in four steps: start the stand-in (or the replay) if this session needs one of its own, open the
socket, read the first event, send the settings. A failure at any of them, cancelling included, undoes the ones before.
"""

from __future__ import annotations

import asyncio
import copy
import difflib
import inspect
import os
import sys
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from websockets.exceptions import ConnectionClosed

from .base import OpenSession
from .endpoint import Auth, Endpoint, Protocol, endpoint, live_address
from .errors import (
    HandshakeRefused,
    InputError,
    KitError,
    LocalProtocolError,
    Unreachable,
    clipped,
    show_interrupts_in_one_sentence,
)
from .eventlog.redact import Hook, Redactor
from .eventlog.writing import Audio, LogWriter
from .link import Link, dial, in_background, refusal, simulated_by
from .session import Session
from .show import plain
from .wire.conversation import Conversation
from .wire.dialect import Name

if TYPE_CHECKING:
    from .live import OnDelegation
    from .replay import Replay
    from .standin import StandIn
    from .wire.live_conversation import ReplyPolicy


_AWAIT = "write: session = await connect(…)"


class _NotAwaited(LocalProtocolError, AttributeError):
    """A session's attribute was asked of `connect`; an `AttributeError`, too, so that `hasattr` answers."""


class connect:
    """Open a session: ``session = await connect(…)``, or ``async with connect(…) as session``.

    It is a `Session`, or for GPT-Live a `LiveSession`: by `protocol`, or by a model's or an address's name.

    Cancelling it is safe: the socket is closed, and the stand-in that was started for it is stopped.

    Args:
        where: ``"standin"`` (default: starts one in this process), the name of a service (``"openai"``, ``"azure"``, ``"xai"``;
            ``kit endpoints`` lists them), a ``ws://`` URL, an `Endpoint`, or a `StandIn` that runs and goes on running.
        model: The model, or Azure's deployment.
        dialect: ``"ga"`` or ``"beta"``; by default what the service speaks, else GA.
        key_env: The environment variable that holds a URL's key.
        auth: How that key is sent: ``"bearer"`` (default), ``"api-key"``, ``"xi-api-key"``, ``"basic"`` or ``"none"``.
        headers: More headers of the handshake. Their values are kept nowhere, as the key is.
        call_id: Join this WebRTC or SIP call as its sideband, instead of opening a session of its own.
        protocol: ``"realtime"`` or ``"live"``; by default what the model or the address belongs to.
        fork: GPT-Live: the id of a stored session whose past the new one shares.
        attach: GPT-Live: the id of a running session, which is joined beside its caller (sideband): both sides are heard, and
            context can be added; closing it leaves the caller's session open.
        policy: GPT-Live: how replies and their outcomes are inferred.
        on_delegation: GPT-Live: answers the work that the voice hands to the client; runs on the session's loop.
        settings: What to `Session.update` before anything else, in the kit's words; GPT-Live's go into its start.
        trial: A name for this session's random draws; the stand-in draws from its seed and this name. Sent to no one else.
        attempt: Which attempt at the trial this is, from 1: a stand-in draws its faults anew for each. Sent to no one else.
        timeout_s: For the handshake and the first event.
        quiet: Do not print where this is and who pays.
        keep_audio: ``False``: replies have their words, times and number of bytes; their sound is thrown away.
        log: A file that keeps every frame, both ways, as it happens and without secrets (`kit.eventlog`).
        audio: What that file keeps of sound: ``"digest"`` (default: hash and length) or ``"keep"``.
        redact: Called with each event before it is written; returns the event to write, or ``None`` to withhold it.
        replay: A log with both directions (see `log`), played again instead of any server: no key, no network. Takes ``pace=1.0``
            (as recorded; default: at once) and ``session=n``. What differs from the recording is refused and named.
        **stand_in: For ``"standin"`` only: ``drift, seed, pace, replies, …`` as `kit.standin.StandIn` takes them.

    Raises:
        EndpointError: For an unknown endpoint, a URL that is none, a key that is not set or would go out unencrypted.
        Unreachable, HandshakeRefused: If no session comes about. Nothing falls back to the stand-in.
        MissingExtra: If the environment names a SOCKS proxy and the library for it is not installed.
    """

    def __init__(
        self,
        where: str | Endpoint | StandIn = "standin",
        *,
        model: str | None = None,
        dialect: str | None = None,
        key_env: str | None = None,
        auth: Auth | None = None,
        headers: Mapping[str, str] | None = None,
        call_id: str | None = None,
        protocol: Protocol | None = None,
        fork: str | None = None,
        attach: str | None = None,
        policy: ReplyPolicy | None = None,
        on_delegation: OnDelegation | None = None,
        settings: Mapping[str, Any] | None = None,
        trial: str | None = None,
        attempt: int = 1,
        timeout_s: float = 15,
        quiet: bool = False,
        keep_audio: bool = True,
        log: str | os.PathLike[str] | None = None,
        audio: Audio = "digest",
        redact: Hook | None = None,
        replay: str | os.PathLike[str] | None = None,
        **stand_in: Any,
    ) -> None:
        # A stand-in of the caller's; None: one of this session's own, or none at all.
        self._running: StandIn | None = None
        if not isinstance(where, str | Endpoint):
            from .standin import StandIn

            if not isinstance(where, StandIn):
                raise InputError(
                    f"connect() takes an endpoint's name, a URL, an Endpoint or a StandIn, not {clipped(where)}"
                )
            # It counts as `standin`, too: its port is put in when the socket is opened (`_url`).
            self._running, where = where, "standin"
        self._endpoint = endpoint(
            where,
            model=model,
            dialect_name=dialect,
            key_env=key_env,
            auth=auth,
            headers=headers,
            call_id=call_id,
            protocol=protocol,
            fork=fork,
            attach=attach,
        )
        # Only a `LiveSession` has them.
        self._policy, self._on_delegation = policy, on_delegation
        if self.protocol == "realtime" and (policy is not None or on_delegation is not None):
            raise InputError("policy= and on_delegation= are GPT-Live's; name its model, or protocol='live'")
        if replay is not None and set(stand_in) - {"pace", "session"}:
            raise InputError(f"{', '.join(stand_in)}: a replay takes pace= and session= only")
        if replay is None and stand_in and (self._running or self._endpoint.name != "standin"):
            reason = "is running already" if self._running else "is not it"
            raise InputError(
                f"{', '.join(stand_in)}: only the stand-in takes this, and {self._running or where!r} {reason}"
            )
        # A log to be played again, and what the server that is started for this session is made with.
        self._replay, self._stand_in = replay, stand_in
        # Only a stand-in is told of them, in its query.
        self._trial, self._attempt = trial, attempt
        # Sent as soon as the session is there, so that its first response has them.
        self._settings = dict(settings or {})
        self._timeout_s = timeout_s  # for the handshake and the first event together
        self._quiet = quiet
        self._keep_audio = keep_audio
        # Where every frame is written, what is kept of its sound, and the caller's say in what is written.
        self._log, self._audio, self._redact = log, audio, redact
        self._session: OpenSession | None = None  # of `async with`
        self._at_end: list[Callable[[], Awaitable[None]]] = []  # run when the session is closed, for `in_thread`

    def __await__(self) -> Generator[Any, None, Any]:
        return self._connect().__await__()

    # Without await it is no session yet, and says how it becomes one.

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # what Python and Jupyter look for in any object
            raise AttributeError(name)
        raise _NotAwaited(f"connect() was not awaited, so there is no session to {clipped(name)}; {_AWAIT}")

    def __enter__(self) -> Any:
        raise LocalProtocolError("with connect(…) misses its async; write: async with connect(…) as session:")

    def __exit__(self, *_exc: object) -> None:
        """Never reached; without it `with` would not ask `__enter__`."""

    def __repr__(self) -> str:
        return f"<connect to {self._endpoint.name}, not awaited; {_AWAIT}>"

    async def __aenter__(self) -> Any:
        self._session = await self._connect()
        return self._session

    async def __aexit__(self, *_exc: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def _connect(self) -> OpenSession:
        link = await self._open()
        # In front, and so run last: a thread ends only after the server that runs on it.
        link.on_close[:0] = self._at_end
        session = self._session_on(link)
        try:
            await session._begin(self._settings, self._timeout_s)
        except BaseException:
            await session.close()
            raise
        if not self._quiet:
            if self._stand_in.get("pace") and self._replay is None:  # times are looked at: loading is none of theirs
                from .standin import prepare_hearing

                await asyncio.to_thread(prepare_hearing)
            place = "the stand-in in this process" if self._endpoint.name == "standin" else self._endpoint.host
            print(plain(session._greeting(place)))  # the model's name is the server's word
        when_rebound(session, type(session), _close_replaced)
        return session

    async def forked(self, session_id: str) -> Any:
        """Open a fork of a stored session of GPT-Live at the same place, with the same options but for the settings."""
        fork = copy.copy(self)
        fork._endpoint = endpoint(self._endpoint, fork=session_id)
        fork._settings = {}
        return await fork

    @property
    def protocol(self) -> Protocol:
        """Which protocol it will speak; a replay learns it from its log."""
        return self._endpoint.protocol

    @property
    def _pace(self) -> float:
        """How fast its time runs: GPT-Live's as fast as the stand-in's, where that is known; a service's is the wall's."""
        if self.protocol == "realtime":
            return 1.0
        own = self._stand_in.get("pace") if self._running is None else self._running.live.pace
        return float(own or 1.0)

    def _session_on(self, link: Link[Any]) -> OpenSession:
        if self.protocol == "realtime":
            session = Session(link)
            session.shows_replies = not self._quiet
            return session
        from .live import LiveSession

        return LiveSession(
            link,
            settings=self._settings,
            pace=self._pace,
            on_delegation=self._on_delegation,
            door="fork" if self._endpoint.fork else "attach" if self._endpoint.attach else "new",
        )

    async def _open(self) -> Link[Any]:
        """The socket, and with it the server that only this session uses."""
        log = LogWriter(self._log, audio=self._audio, redact=self._redact) if self._log is not None else None
        server, where = self._own_server(), self._endpoint
        if server is None:
            return await self._link(where, self._url(self._running), log)
        replayed = None if self._replay is None else repr(server)
        if replayed:
            first = server.first
            # Which protocol is spoken, the recording says.
            dialect: Name = "beta" if first.dialect == "beta" else "ga"
            self._endpoint = where = Endpoint("replay", "", dialect, first.model, protocol=first.protocol)
        starting = in_background(server.start())
        try:
            await asyncio.shield(starting)  # broken off in its middle, it would listen for ever
            link = await self._link(where, self._url(server), log)
        except BaseException:
            # A second cancelling must not leave it listening.
            await asyncio.shield(in_background(_stop(server, starting)))
            raise
        link.on_close.append(server.stop)
        link.replay = replayed
        return link

    async def _link(self, where: Endpoint, url: str, log: LogWriter | None) -> Link[Any]:
        """Open the socket and read the first event. With a log, every frame is written to it, those of a refusal too."""
        try:
            return await self._shake_hands(where, url, log)
        except BaseException as exc:
            if log is not None:
                problem = str(exc) if isinstance(exc, KitError) else type(exc).__name__
                log.end(code=getattr(exc, "close_code", None), problem=problem)
            # Below, variables hold the handshake's headers, and with them the key: a traceback that prints variables would
            # print them. So what is raised has neither frames nor causes from there.
            exc.__context__ = exc.__cause__ = None
            raise exc.with_traceback(None) from None

    async def _shake_hands(self, where: Endpoint, url: str, log: LogWriter | None) -> Link[Any]:
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        headers = where.headers()
        # One for the connection, made of what is sent: the environment may change as soon as the key has been read.
        redactor = log.redactor if log is not None else Redactor()
        redactor.add(*where.secrets(headers))
        ws = await dial(where, url, headers, redactor, self._timeout_s)
        # The session's clock begins here.
        opened, pace = time.perf_counter(), self._pace
        simulated = simulated_by(where, ws)
        if where.protocol == "realtime":
            fold: Any = Conversation(simulated=simulated, keep_audio=self._keep_audio)
        else:
            from .wire.live_conversation import LiveConversation

            fold = LiveConversation(self._policy, simulated=simulated, keep_audio=self._keep_audio)
        link = Link(where, ws, fold, lambda: (time.perf_counter() - opened) * 1000 * pace, redactor, log)
        if log is not None:
            log.begin(
                endpoint=where.name,
                url=where.shown_url,
                model=where.model,
                dialect="live" if where.protocol == "live" else where.dialect,
                simulated=link.conversation.simulated,
            )
        try:
            if where.protocol == "realtime":  # of GPT-Live the client speaks first, when its session starts
                async with asyncio.timeout_at(deadline):
                    await _first_event(link)
        except TimeoutError:
            await asyncio.shield(in_background(ws.close()))
            if link.conversation.errors:  # it refused, and left the socket open
                raise _refusal(link) from None
            raise Unreachable(f"{where.host or url} connected, but sent nothing within {self._timeout_s:g} s") from None
        except ConnectionClosed as exc:
            message = redactor.text(f"closed at once: {exc}.")  # its reason may repeat what was sent
            raise HandshakeRefused(code=None, message=message, close_code=ws.close_code) from None
        except BaseException:
            await asyncio.shield(in_background(ws.close()))
            raise
        # Only now: the first event was read above, where a refusal is still an error of connecting.
        link.start()
        return link

    def _own_server(self) -> Any:
        """A `StandIn` or a `Replay` that ends with the session; ``None`` where one is running, or none is needed."""
        if self._replay is not None:
            from .replay import Replay

            return Replay(self._replay, quote=True, **self._stand_in)
        if self._running is not None or self._endpoint.url:
            return None
        from .standin import StandIn

        options = inspect.signature(StandIn).parameters
        if unknown := [name for name in self._stand_in if name not in options]:
            near = difflib.get_close_matches(unknown[0], [*inspect.signature(connect).parameters, *options], 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise InputError(f"connect() takes no {clipped(unknown[0])}{hint}")
        return StandIn(**self._stand_in)

    def _url(self, server: StandIn | Replay | None) -> str:
        """The address: the endpoint's, or the server's, with what only a stand-in is told."""
        where = self._endpoint
        if server is None:
            return where.url
        url = server.url
        if self._replay is None:
            query = {"model": where.model or "gpt-realtime", "trial": self._trial}
            query |= {"attempt": str(self._attempt)} if self._trial and self._attempt > 1 else {}
            url += f"?{urlencode({name: value for name, value in query.items() if value})}"
        return live_address(url, fork=where.fork, attach=where.attach) if where.protocol == "live" else url


async def _stop(server: Any, starting: asyncio.Task[Any]) -> None:
    """Stop a server that may still be starting."""
    await asyncio.gather(starting, return_exceptions=True)
    await server.stop()


def _refusal(link: Link[Any]) -> HandshakeRefused:
    error = link.conversation.errors[-1]
    return refusal(link.endpoint, error.code, error.message, link.socket.close_code)


async def _first_event(link: Link[Any]) -> None:
    """Read until the session is known. A sideband sends nothing by itself: it answers an update (wire/README.md, Other servers)."""
    sideband = "call_id=" in urlsplit(link.endpoint.url).query
    if sideband:
        await link.send({"type": "session.update", "session": {"type": "realtime"}})
    while True:
        link.receive([await link.socket.receive()])
        if link.malformed:
            raise copy.copy(link.malformed[0])
        if link.events[-1].type == "error":
            await link.socket.wait_closed()
            raise _refusal(link)
        if not sideband or link.conversation.session:
            return


# ------------------------------------------------------------------------------------------- a notebook's rebound names

# Jupyter keeps every displayed object (`Out`, `_`), so what was replaced is not collected: a paid socket, or a microphone, would
# stay open unseen. After each cell, what had a name and lost its last one to another of its kind is ended.

# The names that each thing has had, its kind, and what ends it.
_watched: weakref.WeakKeyDictionary[Any, tuple[set[str], type, Callable[[Any], None]]] = weakref.WeakKeyDictionary()


def when_rebound(thing: Any, kind: type, end: Callable[[Any], None]) -> None:
    """Call `end` with the thing when a cell has given its last name to another one of its kind, if IPython runs."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is None:
        return
    if not getattr(shell, "_kit_watches_names", False):
        shell._kit_watches_names = True
        shell.events.register("post_run_cell", lambda _result=None: _after_cell(shell.user_ns))
        show_interrupts_in_one_sentence()
    _watched.setdefault(thing, (set(), kind, end))


def _after_cell(namespace: dict[str, Any]) -> None:
    for thing, (earlier, kind, end) in list(_watched.items()):
        # `_`, `_12` and `Out` are IPython's, and no name that somebody gave.
        names = {name for name, value in list(namespace.items()) if value is thing and not name.startswith("_")}
        # Only where another one took the name: `del` and a passing variable end nothing.
        if earlier and not names and any(isinstance(namespace.get(name), kind) for name in earlier):
            _watched.pop(thing, None)
            end(thing)
        else:
            earlier |= names


def _close_replaced(session: OpenSession) -> None:
    if not session.closed:
        in_background(session.close())
        print(f"closed the session that was replaced ({session.id})")


# ------------------------------------------------------------------------------------- a session on a thread of its own


async def in_thread(opening: connect) -> Session:
    """Open a session, of either protocol, on a loop and a thread of its own, so that it goes on while a cell blocks.

    A cell that computes for a minute without awaiting blocks the loop that all cells share, and with it the sockets of every
    session that was opened in a cell. This one, and the stand-in that it starts, go on::

        session = await in_thread(connect("standin"))
        await session.ask("Tell me a joke.")         # awaited like any other

    The thread ends when the session is closed.

    Args:
        opening: ``connect(…)``, not awaited.

    Raises:
        KitError: What `connect` raises.
    """
    loop = asyncio.new_event_loop()
    over = asyncio.Event()  # set on the new loop once the session is closed, or could not be opened

    async def end() -> None:
        over.set()

    async def live() -> None:
        await over.wait()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}  # whoever closed it is still to be told
        if tasks:
            await asyncio.wait(tasks, timeout=1)

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(live())

    async def opened() -> Session:
        try:
            session: Session = await opening
            return session
        except BaseException:
            over.set()
            raise

    opening._at_end.append(end)
    # A daemon, so that a kernel can end while the session is open.
    threading.Thread(target=run, name="kit: session", daemon=True).start()
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(opened(), loop))
