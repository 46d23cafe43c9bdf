"""Opening a session, wherever it is."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import socket
import sys
import threading
import time
import weakref
from collections.abc import Coroutine, Generator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode, urlsplit

import msgspec
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from .endpoint import PRICES, Endpoint, endpoint, is_local
from .errors import ConnectError, EndpointError, HandshakeRefused, InputError, KitError, Unreachable, clipped
from .eventlog.redact import Hook, Redactor
from .eventlog.writing import Audio, LogWriter
from .intake import Tapped
from .link import Link
from .session import Session
from .show import plain

if TYPE_CHECKING:
    from .standin import StandIn


class connect:
    """Open a session: ``session = await connect(…)``, or ``async with connect(…) as session``.

    Args:
        where: ``"standin"`` (default: starts one in this process), ``"openai"``, ``"azure"``, ``"xai"``, a ``ws://`` URL, an
            `Endpoint`, or a `StandIn` that is running, which the session leaves running.
        model: The model, or Azure's deployment.
        dialect: ``"ga"`` (default) or ``"beta"``.
        key_env: The environment variable that holds a URL's key.
        settings: What to `Session.update` before anything else, in the kit's words.
        trial: A name for this session's random draws; the stand-in draws from its seed and this name. Sent to no one else.
        attempt: Which attempt at the trial this is, from 1: a stand-in draws its faults anew for each. Sent to no one else.
        timeout_s: For the handshake and the first event.
        quiet: Do not print where this is and who pays.
        keep_audio: ``False``: replies are told by their words, times and number of bytes, and their sound is thrown away.
        log: A file that keeps every frame, both ways, as it happens and without secrets (`kit.eventlog`).
        audio: What that file keeps of sound: ``"digest"`` (default: hash and length) or ``"keep"``.
        redact: Called with each event before it is written; gives the event to write, or ``None`` for nothing of it.
        replay: A log with both directions (see `log`), played again instead of any server: no key, no network. Takes ``pace=1.0``
            (as recorded; default: at once) and ``session=n``. What differs from the recording is refused and told.
        **stand_in: For ``"standin"`` only: ``drift, seed, pace, replies, …`` as `kit.standin.StandIn` takes them.

    Raises:
        EndpointError: For an unknown endpoint, a URL that is none, or a key that is not set.
        Unreachable, HandshakeRefused: If no session comes about. Nothing falls back to the stand-in.
    """

    def __init__(
        self,
        where: str | Endpoint | StandIn = "standin",
        *,
        model: str | None = None,
        dialect: str | None = None,
        key_env: str | None = None,
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
        self._running = None if isinstance(where, str | Endpoint) else _running_stand_in(where)
        spec = where if isinstance(where, str | Endpoint) else "standin"
        self._endpoint = endpoint(spec, model=model, dialect_name=dialect, key_env=key_env)
        self._replay = replay
        if replay is not None and set(stand_in) - {"pace", "session"}:
            raise InputError(f"{', '.join(stand_in)}: a replay takes pace= and session= only")
        if replay is None and stand_in and (self._running is not None or self._endpoint.name != "standin"):
            started = "is running already" if self._running is not None else "is not it"
            raise InputError(f"{', '.join(stand_in)}: only the stand-in takes this, and {where!r} {started}")
        self._settings = dict(settings or {})
        self._trial = trial
        self._attempt = attempt
        self._timeout_s = timeout_s
        self._quiet = quiet
        self._keep_audio = keep_audio
        self._log, self._audio, self._redact = log, audio, redact
        self._stand_in = stand_in
        self._session: Session | None = None

    async def _connect(self) -> Session:
        link = await self._open()
        session = Session(link)
        try:
            if self._settings:
                await session.update(**self._settings)
        except BaseException:
            await session.close()
            raise
        if not self._quiet:
            print(plain(_announcement(session)))  # the model's name is the server's word
        close_when_rebound(session)
        return session

    async def _open(self) -> Link:
        where = self._endpoint
        log = LogWriter(self._log, audio=self._audio, redact=self._redact) if self._log is not None else None
        if self._replay is not None:
            return await self._open_replay(self._replay, log)
        if where.url:
            return await open_link(where, where.url, timeout_s=self._timeout_s, log=log, keep_audio=self._keep_audio)
        if self._running is not None:
            url = in_process_url(self._running.url, where.model, self._trial, self._attempt)
            return await open_link(where, url, timeout_s=self._timeout_s, log=log, keep_audio=self._keep_audio)
        from .standin import StandIn

        server = StandIn(**self._stand_in)
        await server.start()
        try:
            link = await open_link(
                where,
                in_process_url(server.url, where.model, self._trial, self._attempt),
                timeout_s=self._timeout_s,
                log=log,
                keep_audio=self._keep_audio,
            )
        except BaseException:
            await server.stop()
            raise
        link.on_close.append(server.stop)
        return link

    async def _open_replay(self, path: str | os.PathLike[str], log: LogWriter | None) -> Link:
        from .replay import Replay

        server = Replay(path, **self._stand_in)
        where = Endpoint("replay", "", server.first.dialect, server.first.model)
        await server.start()
        try:
            link = await open_link(where, server.url, timeout_s=self._timeout_s, log=log, keep_audio=self._keep_audio)
        except BaseException:
            await server.stop()
            raise
        link.on_close.append(server.stop)
        link.replay = repr(server)
        return link

    def __await__(self) -> Generator[Any, None, Session]:
        return self._connect().__await__()

    async def __aenter__(self) -> Session:
        self._session = await self._connect()
        return self._session

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()


def _running_stand_in(where: object) -> StandIn:
    from .standin import StandIn

    if not isinstance(where, StandIn):
        raise InputError(
            f"connect() takes an endpoint's name, a ws:// URL, an Endpoint or a StandIn, not {clipped(where)}"
        )
    return where


def in_process_url(url: str, model: str | None, trial: str | None, attempt: int = 1) -> str:
    """The address of a session at a stand-in that this process runs."""
    told = {"model": model or "gpt-realtime", "trial": trial, "attempt": attempt if trial and attempt > 1 else None}
    return f"{url}?{urlencode({name: value for name, value in told.items() if value})}"


def _announcement(session: Session) -> str:
    where = session.endpoint
    drift = (session.settings.get("simulated") or {}).get("drift")
    if session.replay:
        return f"connected to {session.replay.strip('<>')} (free: nothing is sent anywhere)"
    place = "the stand-in in this process" if where.name == "standin" else where.host
    who = "a stand-in: free, simulated" if session.simulated and where.name != "standin" else where.who_pays
    return f"connected to {place}, {session.model}, {session.dialect.name} ({who}{f'; drift rule: {drift}' if drift else ''})"


# Opening a socket: the handshake, the first event, and every way in which a service says no.


# websockets writes the handshake's headers, and with them the key, at DEBUG. This logger has no parent and no handler.
# Its level is above all others, for at DEBUG the library would also spend more on each frame than the kit does.
_SILENT = logging.Logger("kit.link", level=logging.CRITICAL + 1)


async def open_link(
    endpoint: Endpoint, url: str, *, timeout_s: float, log: LogWriter | None = None, keep_audio: bool = True
) -> Link:
    """Open a socket and read its first event; with a `log`, every frame is written to it, also those of a refusal.

    Raises:
        EndpointError: If the key is missing or the address is none.
        Unreachable: If nobody answers in `timeout_s` seconds.
        HandshakeRefused: If the service says no, by HTTP status or by an `error` event and a close.
    """
    try:
        return await _open_link(endpoint, url, timeout_s, log, keep_audio)
    except BaseException as exc:
        if log is not None:
            told = str(exc) if isinstance(exc, KitError) else type(exc).__name__
            log.end(code=getattr(exc, "close_code", None), problem=told)
        if isinstance(exc, KitError):
            raise
        # What was raised below had the handshake's headers, and with them the key, among its variables: a traceback that
        # prints variables would print them.
        exc.__context__ = exc.__cause__ = None
        raise exc.with_traceback(None) from None


async def _open_link(endpoint: Endpoint, url: str, timeout_s: float, log: LogWriter | None, keep_audio: bool) -> Link:
    deadline = asyncio.get_running_loop().time() + timeout_s
    headers = endpoint.headers()
    # One for the connection, made of what is sent: the environment may change as soon as the key has been read.
    redactor = log.redactor if log is not None else Redactor()
    redactor.add(*endpoint.secrets(headers))
    ws, problem = await _open(endpoint, url, headers, redactor, timeout_s)
    del headers
    if problem is not None:  # raised here, where no frame and no earlier error holds the headers
        raise problem
    assert ws is not None
    opened = time.perf_counter()
    link = Link(endpoint, ws, lambda: (time.perf_counter() - opened) * 1000, redactor, log, keep_audio=keep_audio)
    if log is not None:
        log.begin(
            endpoint=endpoint.name,
            url=endpoint.shown_url,
            model=endpoint.model,
            dialect=endpoint.dialect,
            simulated=link.conversation.simulated,
        )
    try:
        async with asyncio.timeout_at(deadline):
            link.take([await ws.receive()])
            first = link.events[-1] if link.events else None
            if first is not None and first.type == "error":
                await ws.wait_closed()
                raise _refused(link, ws.close_code)
    except TimeoutError:
        await ws.close()
        if link.conversation.errors:  # it said no, and left the socket open
            raise _refused(link, ws.close_code) from None
        raise Unreachable(
            f"{endpoint.host or url} took the connection but sent nothing within {timeout_s:g} s"
        ) from None
    except ConnectionClosed as exc:
        told = redactor.text(f"closed at once: {exc}.")  # its reason may repeat what was sent
        raise HandshakeRefused(code=None, message=told, close_code=ws.close_code) from None
    except asyncio.CancelledError:
        await ws.close()
        raise
    if link.malformed:
        await ws.close()
        raise link.malformed[0]
    link.start()
    return link


async def _open(
    endpoint: Endpoint, url: str, headers: dict[str, str], redactor: Redactor, timeout_s: float
) -> tuple[Tapped | None, Exception | None]:
    host = urlsplit(url).hostname or ""
    local = is_local(url)
    try:
        ws = await open_websocket(
            url,
            additional_headers=headers,
            user_agent_header="realtime-history-kit",
            max_size=None,  # items that carry audio come in frames of several MB; the library's 1 MiB would end the session
            compression=None,  # costs several times the CPU of everything else here, and base64 audio hardly shrinks
            # No keepalive of ours: a cell that blocks the loop for a minute would find its session dead. The service pings
            # every 20 s, and TCP's own keepalive (below) finds a dead peer.
            ping_interval=None,
            open_timeout=timeout_s,
            close_timeout=5,
            proxy=None if local else True,
            logger=_SILENT,
            create_connection=Tapped,
        )
        assert isinstance(ws, Tapped)
    except InvalidStatus as exc:
        return None, _refused_by_status(endpoint, redactor, exc)
    except InvalidURI as exc:
        return None, EndpointError(f"{clipped(endpoint.shown_url or url)} is not a websocket address: {exc.msg}")
    except InvalidHandshake as exc:
        told = redactor.text(str(exc))
        return None, ConnectError(f"{host} answered, but not as a websocket server: {told}")
    except TimeoutError:
        return None, Unreachable(
            f"{host} did not answer within {timeout_s:g} s; check the address and the network{_start_one(local)}"
        )
    except OSError as exc:
        return None, Unreachable(
            f"cannot reach {endpoint.shown_url or url}: {exc.strerror or exc}; check the address and the network{_start_one(local)}"
        )
    raw = ws.transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return ws, None


def _start_one(local: bool) -> str:
    return ". To start a stand-in there: python -m kit serve --port PORT" if local else ""


_ADVICE = {
    "invalid_api_key": "Check the key in {key_env}.",
    "missing_model": "Name a model: connect({name!r}, model=…).",
    "invalid_model": "Known models: {models}.",
    "beta_api_shape_disabled": "The service switched beta off in 2026-05: connect with dialect='ga'.",
    "insufficient_quota": "The account has no credit left for this.",
}


def _advice(endpoint: Endpoint, code: str | None) -> str:
    words = _ADVICE.get(code or "", "")
    return words.format(key_env=endpoint.key_env, name=endpoint.name, models=", ".join(PRICES))


def _refused(link: Link, close_code: int | None) -> HandshakeRefused:
    error = link.conversation.errors[-1]
    advice = _advice(link.endpoint, error.code)
    if not advice and close_code == 3000:
        advice = (
            f"Check the key in {link.endpoint.key_env}."
            if link.endpoint.key_env
            else "This server wants a key: key_env='…'."
        )
    message = link.redactor.text(error.message)  # a proxy may repeat what it was sent
    return HandshakeRefused(code=error.code, message=message, close_code=close_code, advice=advice)


def _refused_by_status(endpoint: Endpoint, redactor: Redactor, exc: InvalidStatus) -> HandshakeRefused:
    status, body = exc.response.status_code, redactor(bytes(exc.response.body or b""))[:2_000]
    code, message = None, body.decode("utf-8", "replace").strip()
    try:
        told = msgspec.json.decode(body)
        told = told.get("error", told)
        code, message = told.get("code"), str(told.get("message", message))
    except (ValueError, AttributeError):
        message = message or f"HTTP {status}."
    advice = {
        401: f"Check the key in {endpoint.key_env}.",
        403: "This key has no access to Realtime, or the server refuses this origin.",
        404: "Check the address and the model or deployment.",
        429: "Too many requests or no quota left; wait, or ask for fewer at once.",
    }.get(status, "")
    return HandshakeRefused(
        code=code if isinstance(code, str) else None, message=message, close_code=status, advice=advice
    )


# What a notebook needs beyond a script: a session whose cell is run again is closed.
#
# Jupyter keeps every displayed object (`Out`, `_`), so a session that was replaced is not collected, and a paid socket would
# stay open unseen. After each cell, a session that had a name and lost its last one to another session is closed.


_named: weakref.WeakKeyDictionary[Session, set[str]] = weakref.WeakKeyDictionary()
_closing: set[asyncio.Task[None]] = set()


def close_when_rebound(session: Session) -> None:
    """Watch this session's names, if we are in IPython."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is None:
        return
    if not getattr(shell, "_kit_watches_names", False):
        shell._kit_watches_names = True
        shell.events.register("post_run_cell", lambda _result=None: _after_cell(shell.user_ns))
    _named.setdefault(session, set())


def _after_cell(names: dict[str, Any]) -> None:
    for session, known in list(_named.items()):
        now = {name for name, value in names.items() if value is session and not name.startswith("_")}
        replaced = known and not now and any(type(names.get(name)) is type(session) for name in known)
        if replaced and session.closed is None:
            task = asyncio.ensure_future(session.close())
            _closing.add(task)
            task.add_done_callback(_closing.discard)
            print(f"closed the session that was replaced ({session.id})")
        if replaced or session.closed is not None:
            _named.pop(session, None)
        else:
            known |= now


# A session on a thread of its own, so that it goes on while a cell blocks.
#
# A cell that computes for a minute without awaiting blocks the loop that all cells share, and with it every session opened in
# a cell: its socket is not read. A session that was opened `apart` has its own loop in its own thread::
#
#     session = await apart(connect("standin"))
#     await session.ask("Tell me a joke.")         # awaited as ever
#
# The stand-in that such a `connect` starts lives on that thread, too.


T = TypeVar("T")


class ApartSession:
    """A session elsewhere: its coroutines are awaited here and run there; everything else is read as it is.

    Attributes:
        session: The session itself. Only its own thread may call it.
        loop: The loop that it lives on.
    """

    def __init__(self, session: Session, loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
        self.session = session
        self.loop = loop
        self._thread = thread

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.session, name)
        if not inspect.iscoroutinefunction(value):
            return value

        async def there(*args: Any, **kwargs: Any) -> Any:
            return await self.run(value(*args, **kwargs))

        return there

    async def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the session's thread and wait for it here. Cancelling one cancels the other."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self.loop))

    async def close(self) -> None:
        """Close the session and end its thread. Closing twice is fine."""
        if self._thread.is_alive():
            await self.run(self.session.close())
            self.loop.call_soon_threadsafe(self.loop.stop)
            await asyncio.to_thread(self._thread.join, 5)

    async def __aenter__(self) -> ApartSession:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return repr(self.session).replace("<Session", "<Session (apart)", 1)

    def _repr_html_(self) -> str:
        return self.session._repr_html_()


async def apart(connecting: connect) -> ApartSession:
    """Open a session on a thread of its own.

    Args:
        connecting: ``connect(…)``, not awaited.

    Raises:
        KitError: What `connect` raises.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=_live, args=(loop,), name="kit: session apart", daemon=True)
    thread.start()

    async def opened() -> Session:
        return await connecting

    try:
        session = await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(opened(), loop))
    except BaseException:
        loop.call_soon_threadsafe(loop.stop)
        raise
    return ApartSession(session, loop, thread)


def _live(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
