"""Write one session's frames to a file, as they come and go.

A log is a text file with one JSON object per line (`LineFormat`). The first line of a session says what it is::

    {"log":"k3f9a1","kit":"0.1.0","format":1,"endpoint":"openai","url":"wss://…","model":"…","dialect":"ga","simulated":false,
     "audio":"digest","opened_at":"2026-11-22T11:20:23.120Z"}

and each further line is one frame without its secrets::

    {"log":"k3f9a1","n":4,"at_ms":812.114,"unix":1795346423.932,"dir":"server","event":{…}}

``at_ms`` is the session's monotonic clock (milliseconds since it was opened), ``unix`` the wall clock. A frame that is not a JSON
object has ``raw`` in the place of ``event``; one of which a hook kept nothing, ``withheld``. The last line says how the session
ended. A file may hold several sessions: a second one is appended.

Lines go to the operating system before their frames are folded or sent, and frames that arrived together go in one write. So the
log is never behind what the program has seen or sent, and a process that dies breaks off at most the lines of its last write.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
import secrets
import stat
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from ..errors import InputError, clipped
from ..files import named_path
from ..version import __version__
from ..wire.dialect import GA_NAME
from ..wire.events import AUDIO_DELTAS, DIGEST, Event, digest
from .redact import Hook, Redactor

Audio = Literal["keep", "digest"]
FORMAT = 1
_HAS_AUDIO = re.compile(rb'"audio"\s*:\s*"')  # a field of that name that holds text, not the name of a modality
_DELTA = b'"delta":"'
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def without_audio(value: Any) -> Any:
    """Return the same data with digests in the place of audio: of fields ``audio`` and of an audio delta's ``delta``."""
    if isinstance(value, Mapping):
        kind = str(value.get("type"))
        delta = "delta" if GA_NAME.get(kind, kind) in AUDIO_DELTAS else "audio"
        return {
            key: _digested(field) if key in ("audio", delta) and isinstance(field, str) else without_audio(field)
            for key, field in value.items()
        }
    return [without_audio(part) for part in value] if isinstance(value, list) else value


def _digested(audio: str) -> str:
    if not audio or DIGEST.match(audio):
        return audio
    try:
        return digest(base64.b64decode(audio, validate=True))
    except ValueError:
        return digest(audio.encode("utf-8", "surrogatepass"))


Body = tuple[bytes, bytes]
"""What a frame held: the name of its field in a line (``event``, ``raw`` or ``withheld``), and the value as JSON in one line."""


class LineFormat:
    """The lines of one session, each ``bytes`` with its line end. The one place that knows how a log is written.

    Args:
        log_id: Stands in each line, so that sessions which share a file can be told apart.
        redactor: Takes secrets out.
        audio: Of frames: ``"digest"`` replaces audio by its SHA-256 and length, ``"keep"`` keeps it.
        hook: The user's own, called with each event before the redactor is.
    """

    def __init__(self, log_id: str, redactor: Redactor, *, audio: Audio = "digest", hook: Hook | None = None) -> None:
        self.redactor = redactor
        self._log_id = log_id
        self._head = b'{"log":%b,"n":' % _encode(log_id)
        self.audio: Audio = audio
        self.hook = hook

    def header(
        self, *, endpoint: Any, url: Any, model: Any, dialect: Any, simulated: Any, opened_at: str | None
    ) -> bytes:
        """The first line."""
        versions, facts = {"kit": __version__, "format": FORMAT}, {"endpoint": endpoint, "url": url, "model": model}
        facts |= {"dialect": dialect, "simulated": simulated, "audio": self.audio, "opened_at": opened_at}
        return self.redactor(_encode({"log": self._log_id, **versions, **facts})) + b"\n"

    def frames(
        self, n: int, direction: str, bodies: Sequence[Body], *, at_ms: float | None, unix: float | None = None
    ) -> bytes:
        """The lines of frames that came or went together, the first of them the session's `n`-th.

        Args:
            bodies: What `event` or `raw` made of each frame.
        """
        # Secrets are looked for in all bodies at once (that costs by the call, and a reply comes in bursts of small frames), and
        # not in what stands around them.
        values = self.redactor(b"\n".join([value for _, value in bodies])).split(b"\n")
        head, tail = self._head, b'%b"dir":"%b",' % (_clocks(at_ms, unix), direction.encode())
        return b"".join(
            [
                b'%b%d,%b"%b":%b}\n' % (head, number, tail, name, value)
                for number, ((name, _), value) in enumerate(zip(bodies, values, strict=True), n)
            ]
        )

    def event(self, frame: bytes | dict[str, Any]) -> Body:
        """What is kept of a frame that is a JSON object, or of the object; its secrets are still in it.

        Args:
            frame: As it came; or decoded, with digests in the place of audio.
        """
        if isinstance(frame, bytes):
            if self.audio == "digest" and frame.find(b'"audio"') >= 0 and _HAS_AUDIO.search(frame):
                frame = _frame_without_audio(frame)
            elif frame.find(b"\n") >= 0 or frame.find(b"\r") >= 0:
                # In valid JSON a line break stands only between tokens: inside a string it is escaped.
                frame = frame.replace(b"\n", b" ").replace(b"\r", b" ")
        if self.hook is None:
            return b"event", frame if isinstance(frame, bytes) else _encode(frame)
        try:
            event = self.hook(_decode(frame) if isinstance(frame, bytes) else frame)
            return (b"event", _encode(dict(event))) if event is not None else (b"withheld", b'"by the redact hook"')
        except Exception as exc:  # whatever the user's hook raises: the frame is not written as it is
            return b"withheld", _encode(f"the redact hook raised {type(exc).__name__}")

    def raw(self, frame: bytes) -> Body:
        """What is kept of a frame that is no event: its text."""
        return b"raw", _encode(self.redactor(frame).decode("utf-8", "replace"))

    def last(self, end: Mapping[str, Any], *, at_ms: float | None = None, unix: float | None = None) -> bytes:
        """The last line: how the session ended."""
        value = self.redactor(_encode(dict(end)))
        return b'{"log":%b,%b"end":%b}\n' % (_encode(self._log_id), _clocks(at_ms, unix), value)


def _clocks(at_ms: float | None, unix: float | None) -> bytes:
    """The fields of the clocks that are known, each with its comma."""
    fields = b"" if at_ms is None else b'"at_ms":%.3f,' % at_ms
    return fields if unix is None else b'%b"unix":%.3f,' % (fields, unix)


def _frame_without_audio(frame: bytes) -> bytes:
    try:
        return _encode(without_audio(_decode(frame)))
    except (msgspec.DecodeError, ValueError, RecursionError):
        return frame


class LogWriter(LineFormat):
    """Write one session to a file. The connection sets a redactor which knows the key that was sent.

    Args:
        path: The file; a second session is appended to it. Made readable by its owner only.
        audio: ``"digest"`` keeps the SHA-256 and length of each piece of audio, ``"keep"`` the audio itself.
        redact: Your own hook: takes an event, returns the one to keep, or ``None``.

    Attributes:
        path: Absolute.
        n_frames: How many are written.
        problem: Why it stopped writing (a full disk), else ``None``.

    Raises:
        InputError: For a path that cannot be written to: before anything is connected or paid for.
    """

    def __init__(self, path: str | os.PathLike[str], *, audio: Audio = "digest", redact: Hook | None = None) -> None:
        if audio not in ("keep", "digest"):
            raise InputError(f"audio must be 'keep' or 'digest', not {clipped(audio)}")
        self.path = named_path(path).absolute()
        self.n_frames = 0
        self.problem: str | None = None
        super().__init__(secrets.token_hex(4), Redactor(), audio=audio, hook=redact)
        self._file: int | None = _open(self.path)  # a descriptor; None once closed or given up
        self._lines: list[bytes] | None = None  # inside of `in_one_write`: what waits for its end

    def __repr__(self) -> str:
        state = "open" if self._file is not None else f"stopped: {self.problem}" if self.problem else "closed"
        return f"<LogWriter {self.path}, {self.n_frames} frames, audio {self.audio}, {state}>"

    def begin(self, *, endpoint: str, url: str, model: str | None, dialect: str, simulated: bool | None) -> None:
        """Write the first line."""
        opened_at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        facts = {"endpoint": endpoint, "url": url, "model": model, "dialect": dialect, "simulated": simulated}
        self._write(self.header(**facts, opened_at=opened_at))

    def server(
        self, frames: Sequence[bytes], events: Sequence[Event | Exception], at_ms: float, unix: float | None = None
    ) -> None:
        """Write frames that arrived together. Call it before the fold takes the audio out of the events.

        Args:
            events: What each frame decoded to, or why it is no event.
            unix: When, by the wall clock; by default now.
        """
        bodies = []
        for frame, event in zip(frames, events, strict=True):
            if isinstance(event, Exception):
                bodies.append(self.raw(frame))
            elif event.pcm and self.audio == "digest":  # its base64 is decoded already
                audio = digest(event.pcm)
                # Where nothing stands behind the delta, as in the service's frames, the frame is written up to there.
                start = len(frame) - len(b'"}') - (len(event.pcm) + 2) // 3 * 4
                is_last = frame.find(_DELTA) + len(_DELTA) == start and frame.endswith(b'"}')
                shortened = b'%b%b"}' % (frame[:start], audio.encode()) if is_last else event.data | {"delta": audio}
                bodies.append(self.event(shortened))
            else:
                bodies.append(self.event(frame))
        self._write_frames("server", bodies, at_ms, unix)

    def client(self, frames: Sequence[bytes], at_ms: float, unix: float | None = None) -> None:
        """Write frames that are sent together."""
        self._write_frames("client", [self.event(frame) for frame in frames], at_ms, unix)

    @contextlib.contextmanager
    def in_one_write(self) -> Iterator[None]:
        """Hand what is written meanwhile to the operating system at the end, in one call."""
        self._lines = []
        try:
            yield
        finally:
            lines, self._lines = self._lines, None
            self._write(b"".join(lines))

    def end(self, *, code: int | None = None, reason: str = "", problem: str = "", at_ms: float | None = None) -> None:
        """Write the last line and close the file."""
        end = {"code": code, "reason": reason} | ({"problem": problem} if problem else {})
        self._write(self.last(end, at_ms=at_ms, unix=time.time()))
        self.close()

    def close(self) -> None:
        """Close the file. Closing twice is fine."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def _write_frames(self, direction: str, bodies: Sequence[Body], at_ms: float, unix: float | None) -> None:
        unix = time.time() if unix is None else unix
        lines = self.frames(self.n_frames + 1, direction, bodies, at_ms=at_ms, unix=unix)
        if bodies and self._write(lines):
            self.n_frames += len(bodies)

    def _write(self, lines: bytes) -> bool:
        """Hand lines to the operating system; False if the log has ended."""
        if self._file is None:
            return False
        if self._lines is not None:
            self._lines.append(lines)
            return True
        unwritten = memoryview(lines)
        try:
            while unwritten:
                unwritten = unwritten[os.write(self._file, unwritten) :]
        except OSError as exc:
            self.problem = exc.strerror or type(exc).__name__
            self.close()
            warnings.warn(
                f"the event log {self.path} ends after {self.n_frames} frames: {self.problem}; the session goes on",
                RuntimeWarning,
                stacklevel=2,
            )
        return self._file is not None


def _open(path: Path) -> int:
    """Open a log for appending, at the beginning of a line; returns the descriptor."""
    if path.suffix == ".gz":
        raise InputError(f"{path.name}: a log that is being written cannot be packed; name it .jsonl, gzip it later")
    try:
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
        # O_NOFOLLOW: a link that somebody left in a shared folder must not decide where the words of a call go.
        # O_NONBLOCK: a pipe without a reader is refused below instead of waited for.
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
        for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"):  # where the system has them
            flags |= getattr(os, name, 0)
        file = os.open(path, flags, 0o600)
    except OSError as exc:
        why = "it is a link; name the file itself" if path.is_symlink() else exc.strerror or type(exc).__name__
        raise InputError(f"cannot write the event log {path}: {why}") from None
    status = os.fstat(file)
    if not stat.S_ISREG(status.st_mode):
        os.close(file)
        raise InputError(f"cannot write the event log {path}: it is no ordinary file")
    if status.st_size:
        os.lseek(file, -1, os.SEEK_END)
        if os.read(file, 1) != b"\n":
            os.write(file, b"\n")  # a torn last line of an earlier program: this session begins on a line of its own
    return file
