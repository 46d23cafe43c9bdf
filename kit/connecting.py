"""Opening a session, wherever it is."""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from types import TracebackType
from typing import Any
from urllib.parse import urlencode

from .endpoint import Endpoint, endpoint
from .errors import InputError
from .eventlog.redact import Hook
from .eventlog.writing import Audio, LogWriter
from .link import Link
from .notebook import close_when_rebound
from .opening import open_link
from .session import Session
from .show import plain


class connect:
    """Open a session: ``session = await connect(…)``, or ``async with connect(…) as session``.

    Args:
        where: ``"standin"`` (default: starts one in this process), ``"openai"``, ``"azure"``, ``"xai"``, a ``ws://`` URL, or
            an `Endpoint`.
        model: The model, or Azure's deployment.
        dialect: ``"ga"`` (default) or ``"beta"``.
        key_env: The environment variable that holds a URL's key.
        settings: What to `Session.update` before anything else, in the kit's words.
        trial: A name for this session's random draws; the stand-in draws from its seed and this name. Sent to no one else.
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
        where: str | Endpoint = "standin",
        *,
        model: str | None = None,
        dialect: str | None = None,
        key_env: str | None = None,
        settings: Mapping[str, Any] | None = None,
        trial: str | None = None,
        timeout_s: float = 15,
        quiet: bool = False,
        keep_audio: bool = True,
        log: str | os.PathLike[str] | None = None,
        audio: Audio = "digest",
        redact: Hook | None = None,
        replay: str | os.PathLike[str] | None = None,
        **stand_in: Any,
    ) -> None:
        self._endpoint = endpoint(where, model=model, dialect_name=dialect, key_env=key_env)
        self._replay = replay
        if replay is not None and set(stand_in) - {"pace", "session"}:
            raise InputError(f"{', '.join(stand_in)}: a replay takes pace= and session= only")
        if replay is None and stand_in and self._endpoint.name != "standin":
            raise InputError(f"{', '.join(stand_in)}: only the stand-in takes this, and {where!r} is not it")
        self._settings = dict(settings or {})
        self._trial = trial
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
        if where.name != "standin":
            return await open_link(where, where.url, timeout_s=self._timeout_s, log=log, keep_audio=self._keep_audio)
        from .standin import StandIn

        server = StandIn(**self._stand_in)
        await server.start()
        try:
            link = await open_link(
                where,
                in_process_url(server.url, where.model, self._trial),
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
        from .standin.replay import Replay

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
